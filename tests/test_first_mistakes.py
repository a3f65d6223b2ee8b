"""What somebody does wrong on the first day: each mistake is answered with its value, and with what to write instead."""

import asyncio
from datetime import datetime
from decimal import Decimal

import attrs
import pytest
import trio

from genesis_trio import (
    Capability,
    ChildSpec,
    CircuitBreaker,
    Component,
    ConfigError,
    Context,
    Guard,
    Mode,
    Overflow,
    Restart,
    Retry,
    SchemaError,
    Service,
    StoreError,
    Topic,
    allows,
    current_mode,
    mode_scope,
    open_store,
    open_supervisor,
    require,
    run,
    run_service,
    schema,
)
from genesis_trio.testing import simulate


@attrs.frozen
class Tick:
    price: int


TICKS = Topic("ticks", Tick)


@schema("first_mistakes.event")
@attrs.frozen
class Event:
    at: datetime | None = None


async def forever(ctx: Context) -> None:
    ctx.ready()
    await ctx.wait_stopping()


def crash_of(component):
    """What *component* crashed with, or what its start raised."""

    async def main():
        async with open_store("memory:") as store, open_supervisor("desk", store=store, max_restarts=0) as desk:
            child = await desk.start(component, name="child", restart=Restart.TEMPORARY)
            await trio.sleep(1)
            await desk.stop()
            return child.last_error

    return simulate(main, seed=1)


# ---------------------------------------------------------------- no Trio


async def ask_guard():
    return await Guard("venue")(forever)(None)


async def ask_supervisor():
    async with open_supervisor("desk"):
        pass


async def ask_store():
    async with open_store("memory:"):
        pass


async def ask_mode():
    current_mode()


async def ask_scope():
    with mode_scope("desk"):
        pass


async def ask_service():
    await run_service(Service("desk", [ChildSpec(forever, name="child")], store="memory:"))


@pytest.mark.parametrize("main", [ask_guard, ask_supervisor, ask_store, ask_mode, ask_scope, ask_service])
def test_asyncio_instead_of_trio_is_named_with_the_way_out(main):
    """The words of Trio speak of a run context, which says nothing to somebody who comes from asyncio."""
    with pytest.raises(RuntimeError, match=r"no trio\.run here.*trio\.run\(main\).*blocking portal"):
        asyncio.run(main())


@pytest.mark.parametrize(
    "settings", [{}, {"retry": Retry(OSError)}, {"breaker": CircuitBreaker("venue")}, {"attempt_timeout": 1.0}]
)
def test_guard_that_worked_under_trio_names_what_is_missing_elsewhere(settings):
    """It looked for its run when it was used first; it is asked again in each other one, and where there is none."""
    guard = Guard("venue", **settings)

    @guard
    async def price():
        return 1

    assert trio.run(price) == 1
    with pytest.raises(RuntimeError, match=r"no trio\.run here.*blocking portal"):
        asyncio.run(price())
    with pytest.raises(RuntimeError, match=r"no trio\.run here"):
        price().send(None)
    assert trio.run(price) == 1


def test_asking_outside_of_any_loop_is_named():
    """The same at module level."""
    with pytest.raises(RuntimeError, match=r"no trio\.run here"):
        current_mode()


def test_simulate_of_a_sync_function_says_so():
    """Awaiting its result would say what Python says of an int."""

    def main():
        return 1

    with pytest.raises(
        TypeError, match=r"simulate\(\) wants an async function, but .*main\(\) gave 1; write `async def`"
    ):
        simulate(main, seed=1)


def test_simulate_of_a_coroutine_says_to_pass_the_function():
    """A coroutine that is not awaited would warn besides."""

    async def main(): ...

    with pytest.raises(TypeError, match=r"pass the function itself: simulate\(.*main, \*args, seed=…\)"):
        simulate(main(), seed=1)


def test_run_inside_of_a_run_names_run_service():
    """Whoever has a Trio program wants the other one."""

    async def main():
        run(Service("desk", store="memory:"))

    with pytest.raises(RuntimeError, match=r"write `await run_service\(service\)`"):
        trio.run(main)


def test_run_of_what_is_no_service_says_so():
    """Not with an attribute that a list has not."""
    with pytest.raises(TypeError, match=r"takes a Service, got \[\]"):
        run([])


# ---------------------------------------------------------------- forgotten words


@pytest.mark.parametrize("open_it", [lambda: open_supervisor("desk"), lambda: open_store("memory:")])
def test_with_in_place_of_async_with_says_so(open_it):
    """The message of Python names a class of ours that nobody knows."""
    with pytest.raises(TypeError, match=r"open_(supervisor|store)\(\) .* `async with`, not `with`"):
        with open_it():
            pass


def test_block_that_is_never_entered_says_so():
    """What is not entered yet is nothing to work with, and its class is none that anybody knows."""

    async def main():
        manager = open_supervisor("desk")
        with pytest.raises(
            AttributeError, match=r"which has no 'start': write `async with open_supervisor\(\.\.\.\) as it:`"
        ):
            await manager.start(forever, name="a")
        with pytest.raises(TypeError, match=r"open_supervisor\(\) .* `async with`, not `await`"):
            await manager
        assert not hasattr(manager, "__wrapped__")

    trio.run(main)


def test_state_before_it_is_there_says_since_when_it_is():
    """It comes from the store, or from its class; `__init__` is too early, and any other name is just unknown."""

    @schema("first_mistakes.count")
    @attrs.define
    class Count:
        number: int = 0

    class Counter(Component[Count]):
        def __init__(self):
            self.number = self.state.number

    class Misspelt(Component[Count]):
        async def run(self, ctx):
            self.stat.number += 1

    with pytest.raises(AttributeError, match=r"^Counter has no state yet: it is set after __init__\(\) and before run"):
        Counter()
    with pytest.raises(AttributeError, match=r"^'Misspelt' object has no attribute 'stat'$"):
        crash_of(Misspelt)


def test_retry_that_decorates_by_itself_says_to_name_the_errors():
    """As with other libraries; here there is no default for what is tried again."""
    with pytest.raises(TypeError, match=r"write @Retry\(on=OSError\)$"):

        @Retry
        async def price(): ...


def test_subscribe_in_a_with_says_so():
    """The same for the blocks of a context."""

    async def component(ctx):
        with ctx.subscribe(TICKS):
            pass

    with pytest.raises(TypeError, match=r"subscribe\(\) .* `async with`"):
        crash_of(component)


def test_guard_that_decorates_by_itself_says_to_give_a_name():
    """A guard is made first."""
    with pytest.raises(TypeError, match=r"write `@Guard\('…'\)`"):

        @Guard
        async def price(): ...


def test_schema_that_decorates_by_itself_says_to_give_a_name():
    """A schema has a name, which stays when the class is renamed."""
    with pytest.raises(TypeError, match=r"write `@schema\('…'\)`"):

        @schema
        @attrs.define
        class State: ...


# ---------------------------------------------------------------- service


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"name": ""}, ValueError, "the name of a supervisor is not empty"),
        ({"name": 3}, TypeError, "got 3"),
        (
            {"children": ChildSpec(forever, name="a")},
            TypeError,
            r"children of service 'desk' are a list, .* got ChildSpec",
        ),
        ({"children": [ChildSpec(forever, name="a")] * 2}, ConfigError, "has a child 'a' already"),
        ({"children": [ChildSpec(forever, name="a", requires=["b"])]}, ConfigError, "requires 'b'"),
        ({"children": [ChildSpec(forever, name="a", requires=["a"])]}, ConfigError, "requires itself"),
        ({"stor": "memory:"}, TypeError, r"no setting 'stor' \(did you mean 'store'\?\)"),
        ({"max_restarts": "3"}, TypeError, "max_restarts is a whole number, got '3'"),
        ({"backoff": 3}, TypeError, "backoff is a Backoff, or None, got 3"),
        ({"store": "desk.db"}, StoreError, "as in 'sqlite:desk.db'"),
        ({"instruments": print}, TypeError, "instruments of service 'desk' are a list"),
    ],
)
def test_service_that_cannot_work_is_refused_where_it_is_made(arguments, error, words):
    """Not when it runs, with its sockets open and its store held."""
    given = {"name": "desk", "store": "memory:", **arguments}

    with pytest.raises(error, match=words):
        Service(given.pop("name"), given.pop("children", ()), **given)


# ---------------------------------------------------------------- components


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda ctx: ctx.count(-1), TypeError, "the name of a counter of 'desk/child' is a text, got -1"),
        (lambda ctx: ctx.count("fills", -1), ValueError, r"count\('fills', -1\) .* gauge\(\)"),
        (lambda ctx: ctx.count("fills", 1.5), TypeError, r"count\('fills', 1\.5\) .* whole number"),
        (lambda ctx: ctx.count("fills", True), TypeError, "whole number"),
        (lambda ctx: ctx.gauge(1.5, "position"), TypeError, "the name of a gauge of 'desk/child' is a text, got 1.5"),
        (lambda ctx: ctx.gauge("position", "long"), TypeError, r"gauge\('position', 'long'\) .* number"),
        (lambda ctx: ctx.gauge("position", None), TypeError, "number"),
    ],
)
def test_number_that_is_none_is_refused_where_it_is_given(call, error, words):
    """It would break everybody's numbers, when they are read."""

    async def component(ctx):
        ctx.ready()
        call(ctx)

    crash = crash_of(component)

    with pytest.raises(error, match=words):
        raise crash


def test_gauge_of_a_decimal_is_its_value():
    """Money is decimal, and its number is wanted all the same."""

    async def component(ctx):
        ctx.ready()
        ctx.gauge("position", Decimal("1.5"))
        ctx.gauge("orders", 2)
        await ctx.wait_stopping()

    async def main():
        async with open_supervisor("desk") as desk:
            child = await desk.start(component, name="child")
            gauges = dict(child.gauges)
            await desk.stop()
        return gauges

    assert simulate(main, seed=1) == {"position": 1.5, "orders": 2}


def test_record_in_a_function_says_to_write_a_class():
    """A function has no state that an event could change."""

    async def component(ctx):
        ctx.ready()
        await ctx.record(Event())

    with pytest.raises(TypeError, match=r"it is a function.*class .*\(Component\[State\]\)"):
        raise crash_of(component)


@pytest.mark.parametrize(
    ("state_type", "words"),
    [
        (dict, "write @attrs.define above a class that has it as a field"),
        (Decimal, "write @attrs.define above a class that has it as a field"),
        (type("Books", (), {}), "write @attrs.define above class Books"),
    ],
)
def test_state_that_is_no_attrs_class_says_what_to_write(state_type, words):
    """A class of one's own is made one; a dict becomes a field of one."""

    class Ledger(Component[state_type]):
        async def run(self, ctx): ...

    with pytest.raises(SchemaError, match=words):
        crash_of(Ledger)


def test_state_with_a_default_that_all_share_is_refused():
    """The first states of two components would be one list."""

    @attrs.define
    class Books:
        fills: list[int] = []  # noqa: RUF008 - that is the mistake

    class Ledger(Component[Books]):
        async def run(self, ctx): ...

    with pytest.raises(SchemaError, match=r"Books\.fills .* share one list; write attrs\.field\(factory=list\)"):
        crash_of(Ledger)


def test_naive_datetime_says_where_to_get_one():
    """The wall time of a component is its context's, in a simulation, too."""

    @attrs.define
    class Books:
        at: datetime | None = None

    class Ledger(Component[Books]):
        async def run(self, ctx):
            ctx.ready()
            self.state.at = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the mistake
            await ctx.create_checkpoint()

    with pytest.raises(
        SchemaError, match=r"expected a datetime with a time zone, as ctx\.utcnow\(\) gives, got .* @ \$\.at"
    ):
        raise crash_of(Ledger)


def test_two_topics_of_one_name_in_one_component_are_refused():
    """The second subscription would read the mailbox of the first."""
    other = Topic("ticks", Event)

    async def component(ctx):
        async with ctx.subscribe(TICKS), ctx.subscribe(other):
            ctx.ready()

    with pytest.raises(ConfigError, match="two topics of this tree have the name 'ticks'"):
        crash_of(component)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"symbl": "BTC/USD"}, r"must fit Options: .*unknown field 'symbl'.*the keys of Options are symbol, limit"),
        ({"symbol": 3}, r"must fit Options: expected str, got int 3 @ \$\.symbol"),
        ({}, r"must fit Options: required field missing @ \$\.symbol"),
    ],
)
def test_wrong_options_are_named_in_their_own_words(given, words):
    """They were not saved, and are not restored."""

    @attrs.frozen
    class Options:
        symbol: str
        limit: float = 0.5

    class Feed(Component[None]):
        options_type = Options

        async def run(self, ctx): ...

    async def main():
        async with open_supervisor("desk") as desk:
            await desk.start(Feed, name="feed", options=given)

    with pytest.raises(ConfigError, match=rf"^options of child 'feed' {words}"):
        simulate(main, seed=1)


def test_options_that_are_made_already_are_refused_with_what_is_wanted():
    """The class is the component's, and what is given is the mapping that it is made from."""
    with pytest.raises(
        TypeError, match=r"is a mapping, as a service.toml has it, got \('BTC',\); its options_type is made"
    ):
        ChildSpec(forever, name="feed", options=("BTC",))


# ---------------------------------------------------------------- a name in place of a member


async def hold_a_name():
    with mode_scope("desk") as desk:
        desk.hold("SAFE", reason="maintenance")


async def require_a_name():
    require("OPEN")


async def ask_a_name():
    allows("OPEN")


@pytest.mark.parametrize(
    ("main", "words"),
    [
        (hold_a_name, "mode is a Mode, got 'SAFE'; write Mode.SAFE"),
        (require_a_name, "needs is a Capability, got 'OPEN'; write Capability.OPEN"),
        (ask_a_name, "needs is a Capability, got 'OPEN'; write Capability.OPEN"),
    ],
)
def test_name_in_place_of_a_member_says_which_member(main, words):
    """Configuration files have names; Python has members."""
    with pytest.raises(TypeError) as caught:
        trio.run(main)

    assert str(caught.value) == words


def test_name_in_place_of_a_member_of_a_child_says_which_member():
    """Also in another case, and when there is none of that name."""
    with pytest.raises(
        TypeError, match=r"restart of child 'a' is a Restart, got 'permanent'; write Restart\.PERMANENT$"
    ):
        ChildSpec(forever, name="a", restart="permanent")
    with pytest.raises(
        TypeError, match=r"got 3; there are Criticality\.OPTIONAL, Criticality\.ESSENTIAL, Criticality\.CRIT"
    ):
        ChildSpec(forever, name="a", criticality=3)

    async def component(ctx):
        async with ctx.subscribe(TICKS, overflow="conflate"):
            ctx.ready()

    with pytest.raises(TypeError, match=r"overflow is an Overflow, got 'conflate'; write Overflow\.CONFLATE"):
        crash_of(component)
    assert {Overflow.CONFLATE, Mode.SAFE, Capability.OPEN, Restart.PERMANENT}  # the words above are names that exist
