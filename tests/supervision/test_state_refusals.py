"""What cannot be kept is refused before anything is written, with the component and the place in it."""

import enum
import math
import re
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import attrs
import pytest
import trio

from genesis_trio import CheckpointPolicy, Component, Topic, observe, open_store, open_supervisor, schema
from genesis_trio.errors import SchemaError
from supervision.desk import QUIET, Log, forever

NOTHING = Topic("refusals.nothing", int)
T = TypeVar("T")


@attrs.frozen
class Fill:
    quantity: int


@attrs.frozen
class PartialFill(Fill):
    left: int = 0


@attrs.frozen
class Fee:
    amount: int


@attrs.frozen
class Filled(Generic[T]):
    value: int


class Side(enum.Enum):
    BUY = "buy"


class Sized(Protocol):
    quantity: int


@schema("refusals.inner")
@attrs.define
class Inner:
    price: float = 0.0


@schema("refusals.outer")
@attrs.define
class Outer:
    inner: dict[str, Inner] = attrs.Factory(dict)


def state_that_applies(annotation):
    """A class of states whose ``apply`` is annotated so; with None it is not."""

    def apply(self, event):
        self.applied += 1

    if annotation is not None:
        apply.__annotations__["event"] = annotation
    return attrs.make_class("State", {"applied": attrs.field(type=int, default=0)}, class_body={"apply": apply})


async def outcome_of(state_class, event):
    """What `record` raises for *event*, and how many records there are then."""
    error = None

    class Recorder(Component[state_class]):
        async def run(self, ctx):
            nonlocal error
            ctx.ready()
            try:
                await ctx.record(event, key="k")
            except TypeError as raised:
                error = raised
            await ctx.wait_stopping()

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Recorder, name="ledger")
        await trio.sleep(1)
        await desk.stop()
        return error, store.statistics().records


@pytest.mark.parametrize(
    ("annotation", "event"),
    [
        (Fill, Fee(1)),
        (Fill | Side, Fee(1)),
        (PartialFill, Fill(1)),
        ("Fill", Fee(1)),
        (Filled[int], Fee(1)),
        (int, Fill(1)),
        (int, 1.5),
    ],
)
async def test_record_refuses_what_apply_is_not_annotated_with(annotation, event, autojump_clock):
    """Both classes are named, and nothing is written."""
    error, records = await outcome_of(state_that_applies(annotation), event)
    assert records == 0
    assert f"'desk/ledger' cannot record a {type(event).__name__}: State.apply() is annotated with" in str(error)
    assert "nothing was written" in str(error)


@pytest.mark.parametrize(
    ("annotation", "event"),
    [
        (None, Fee(1)),
        (Any, Fee(1)),
        (object, Fee(1)),
        (Fill | Any, Fee(1)),
        (Sized, Fee(1)),
        (T, Fee(1)),
        ("Nowhere", Fee(1)),
        (Fill, PartialFill(1)),
        (Fill | Fee, Fee(1)),
        (Side | None, Side.BUY),
        (float, 1),
    ],
)
async def test_record_takes_what_apply_may_take(annotation, event, autojump_clock):
    """Subclasses, members of a union, and anything where the annotation does not say."""
    assert await outcome_of(state_that_applies(annotation), event) == (None, 1)


async def test_record_of_a_generic_class_comes_back(autojump_clock):
    """An annotation such as ``Filled[int]`` is one with its class, also at replay."""
    state = state_that_applies(Filled[int])
    async with open_store("memory:") as store:
        await store.append("a", [Filled(1)])
        assert (await store.load("a", state, make=state)).replayed == 1


@pytest.mark.parametrize("by", ["safe_point", "create_checkpoint", "supervisor", "policy", "stop"])
async def test_cut_of_a_state_that_cannot_be_saved_names_component_and_field(by, autojump_clock):
    """Whoever asks for the cut is told whose state it is, and where in it."""
    text = r"the state of 'desk/holder': .*cannot be saved: .*@ \$\.inner\['EUR'\]\.price"
    raised = []

    class Holding(Component[Outer]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NOTHING) as inbox:
                self.state.inner["EUR"] = Inner("dear")
                if by in ("safe_point", "create_checkpoint"):
                    with pytest.raises(SchemaError, match=text):
                        await getattr(ctx, by)()
                    raised.append(by)
                async for _ in inbox:
                    pass

    log = Log()
    policy = CheckpointPolicy(every=5, messages=None)
    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
            await desk.start(Holding, name="holder")
            await trio.sleep(1)
            if by == "supervisor":
                with pytest.raises(SchemaError, match=text):
                    await desk.create_checkpoint()
            if by == "policy":
                await trio.sleep(6)
                assert log.named("checkpoint_failed")
            await desk.stop()
    for event in log.named("checkpoint_failed"):
        assert "the state of 'desk/holder'" in str(event.as_dict())
        assert "$.inner['EUR'].price" in str(event.as_dict())
    assert raised == ([by] if by in ("safe_point", "create_checkpoint") else [])


@attrs.define
class Quote:
    made: ClassVar[int] = 0
    price: float

    def __attrs_post_init__(self):
        Quote.made += 1
        if self.price < 0:
            raise ValueError("negative")


QUOTES = Topic("refusals.quotes", Quote)


def changed_quote(price):
    """A quote that was good when it was made."""
    quote = Quote(1.0)
    quote.price = price
    return quote


@attrs.define
class Heard:
    quotes: list[float] = attrs.Factory(list)


#: A price that cannot be encoded, and one that cannot be read back, with what is said of it.
BAD_PRICES = {"not encoded": (math.nan, r"nan @ \$.price"), "not read back": (-1.0, r"ValueError: negative @ \$")}


@pytest.mark.parametrize("bad", BAD_PRICES)
@pytest.mark.parametrize("by", ["supervisor", "policy", "stop"])
async def test_cut_with_a_message_that_cannot_be_saved_holds_all_the_rest(by, bad, autojump_clock):
    """One bad price keeps neither the other messages nor the other components from being saved."""
    price, reason = BAD_PRICES[bad]
    text = (
        r"a message on topic 'refusals.quotes' in the mailbox of 'desk/reader', sent as 'desk/feed@.*, and 1 more: .*"
        + reason
    )
    states = {}

    class Reader(Component[Heard]):
        async def run(self, ctx):
            states[ctx.name] = self.state
            async with ctx.subscribe(QUOTES) as inbox:
                ctx.ready()
                if not is_second:
                    await ctx.wait_stopping()  # what is sent waits
                async for quote in inbox:
                    self.state.quotes.append(quote.price)

    class Other(Component[Heard]):
        async def run(self, ctx):
            states[ctx.name] = self.state
            if not is_second:
                self.state.quotes.append(7.0)
            ctx.ready()
            await ctx.safe_point()
            await ctx.wait_stopping()

    async def feed(ctx):
        ctx.ready()
        for each in (1.0, price, 2.0, price, 3.0):
            ctx.publish(QUOTES, changed_quote(each))
        await ctx.wait_stopping()

    log = Log()
    policy = CheckpointPolicy(every=5, messages=None)
    with observe(log):
        async with open_store("memory:") as store:
            is_second = False
            async with open_supervisor("desk", store=store, checkpoint=policy) as desk:
                for name, component in (("reader", Reader), ("other", Other), ("feed", feed)):
                    await desk.start(component, name=name)
                if by == "supervisor":
                    with pytest.raises(SchemaError, match=text):
                        await desk.create_checkpoint()
                    assert not await store.list_checkpoints()
                if by == "policy":
                    await trio.sleep(6)
                    assert len(await store.list_checkpoints()) == 1
                await desk.stop()
            assert all(re.search(text, event.error) for event in log.named("checkpoint_failed"))
            # Once, and not at each cut; what is raised for somebody was told to nobody else.
            assert [event.reason for event in log.named("checkpoint_failed")] == [
                "periodic" if by == "policy" else "stop"
            ]
            is_second = True
            async with open_supervisor("desk", store=store, checkpoint=policy) as desk:
                await desk.start(Other, name="other")
                await desk.start(Reader, name="reader")
                await trio.sleep(1)
                await desk.stop()
    assert states == {"other": Heard([7.0]), "reader": Heard([1.0, 2.0, 3.0])}


@pytest.mark.parametrize("bad", BAD_PRICES)
async def test_message_that_cannot_be_saved_is_told_once(bad, autojump_clock):
    """Not at each cut that it waits at; again where it was good meanwhile, and for each that comes."""
    price, _ = BAD_PRICES[bad]
    first, second = changed_quote(price), changed_quote(price)

    class Reader(Component[Heard]):
        async def run(self, ctx):
            async with ctx.subscribe(QUOTES):
                ctx.ready()
                await ctx.wait_stopping()

    log = Log()

    async def cuts(count):
        """How many were told of in as many cuts, and how often a message was made to prove it."""
        told, Quote.made = len(log.named("checkpoint_failed")), 0
        for _ in range(count):
            await desk.tree.saver.save("periodic")
        return len(log.named("checkpoint_failed")) - told, Quote.made

    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            await desk.start(Reader, name="reader")
            feed = await desk.start(forever, name="feed")
            publish = feed.incarnation.context.publish
            publish(QUOTES, first)
            assert await cuts(3) == (1, 1 if bad == "not read back" else 0)
            publish(QUOTES, second)
            assert await cuts(3) == (1, 0)
            assert ", and" not in log.named("checkpoint_failed")[-1].error
            with pytest.raises(SchemaError, match=", and 1 more"):
                await desk.create_checkpoint()
            assert await cuts(3) == (0, 0)
            second.price = 1.0
            assert await cuts(2) == (0, 1)
            second.price = price
            assert await cuts(2) == (1, 0)
            await desk.stop()


async def test_message_that_waits_is_proved_at_one_cut_and_not_at_those_after_it(autojump_clock):
    """Unless it was changed meanwhile: what is saved then was never read back."""

    class Reader(Component[Heard]):
        async def run(self, ctx):
            async with ctx.subscribe(QUOTES):
                ctx.ready()
                await ctx.wait_stopping()

    quotes = [changed_quote(float(number)) for number in range(3)]

    async def feed(ctx):
        ctx.publish(QUOTES, quotes[0])
        ctx.publish(QUOTES, quotes[1])
        ctx.ready()
        await ctx.wait_stopping()

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:

        async def cut():
            Quote.made = 0
            await desk.create_checkpoint()
            return Quote.made

        await desk.start(Reader, name="reader")
        child = await desk.start(feed, name="feed")
        assert [await cut() for _ in range(3)] == [2, 0, 0]
        child.incarnation.context.publish(QUOTES, quotes[2])
        assert [await cut() for _ in range(2)] == [1, 0]
        quotes[0].price = 7.0
        assert [await cut() for _ in range(2)] == [1, 0]
        quotes[0].price = -7.0
        with pytest.raises(SchemaError, match="'refusals.quotes' in the mailbox of 'desk/reader'.*negative"):
            await cut()
        quotes[0].price = 7.0
        assert [await cut() for _ in range(2)] == [1, 0]
        await desk.stop()


@attrs.define
class Position:
    size: int = 0

    def __attrs_post_init__(self):
        if self.size < 0:
            raise ValueError("short")


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
@pytest.mark.parametrize("was_saved", [True, False])
async def test_cut_with_a_state_that_cannot_be_read_back_holds_all_the_rest(was_saved, url, tmp_path, autojump_clock):
    """It can be encoded, so that only the proof finds it: then the last one that was saved stands in for it."""
    go_wrong = trio.Event()

    class Wrong(Component[Position]):
        async def run(self, ctx):
            self.state.size += 1
            ctx.ready()
            await ctx.safe_point()
            await go_wrong.wait()
            self.state.size = -1
            await ctx.safe_point()
            await ctx.wait_stopping()

    class Right(Component[Position]):
        async def run(self, ctx):
            self.state.size += 1
            ctx.ready()
            await ctx.safe_point()
            await ctx.wait_stopping()

    log = Log()
    with observe(log):
        async with open_store(url if url == "memory:" else f"sqlite:{tmp_path}/store.db") as store:
            async with open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
                await desk.start(Wrong, name="wrong")
                if was_saved:
                    await desk.create_checkpoint()
                await desk.start(Right, name="right")
                go_wrong.set()
                await trio.sleep(1)
                with pytest.raises(SchemaError, match=r"the state of 'desk/wrong': .*ValueError: short") as caught:
                    await desk.create_checkpoint()
                assert caught.value.component == "desk/wrong"
                await desk.stop()
            (failed,) = log.named("checkpoint_failed")
            assert (failed.reason, "'desk/wrong'" in failed.error) == ("stop", True)
            right = await store.restore_latest("desk/right", Position)
            assert right is not None
            assert (right.state, right.info.reason) == (Position(1), "stop")
            assert right.info.components == (("desk/right", "desk/wrong") if was_saved else ("desk/right",))
            if was_saved:
                wrong = await store.restore("cp-000002", "desk/wrong", Position)
                assert wrong.state == Position(1)


async def test_store_names_the_component_whose_state_cannot_be_saved(autojump_clock):
    """Also where several are saved at once."""
    states = {"a": Outer(), "b": Outer({"EUR": Inner("dear")})}
    async with open_store("memory:") as store:
        with pytest.raises(SchemaError, match=r"the state of 'b': .* @ \$\.inner\['EUR'\]\.price"):
            await store.create_checkpoint(states)
        assert store.statistics().cuts == 0
