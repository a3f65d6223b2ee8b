"""Who waits for whom, and where: in errors and in why()."""

import re

import pytest
import trio
import trio.testing

from genesis_trio import Capability, CircuitBreaker, Lifecycle, Mode, ModePolicy, require
from genesis_trio.errors import StartTimeoutError
from genesis_trio.supervision._waiting import where_it_waits
from genesis_trio.supervision.component import ChildSpec, OnCrash
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT


async def forever(ctx):
    ctx.ready()
    await trio.sleep_forever()


async def connect():
    await trio.sleep_forever()


async def stuck(ctx):
    await connect()


async def stuck_in_a_nursery(ctx):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connect)
        nursery.start_soon(connect)


def line(fn, offset=1):
    return fn.__code__.co_firstlineno + offset


WHERE = rf"stuck \(test_why\.py:{line(stuck)}\) > connect \(test_why\.py:{line(connect)}\) > sleep_forever"


async def test_start_timeout_names_the_frames_in_which_it_waited(autojump_clock):
    """From the component's own function down to what it called of Trio."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(StartTimeoutError, match=f"and waited in {WHERE}; it requires no other child"):
            await desk.start(stuck, name="x", start_timeout=3)
        assert trio.current_time() == 3
        await desk.stop()


async def test_start_timeout_in_a_nursery_names_the_task_that_was_cut(autojump_clock):
    """The cancellation of a nursery is in a group, or the nursery's own; either names a line of the component."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(StartTimeoutError, match=r"and waited in \w+ \(test_why\.py:\d+\)"):
            await desk.start(stuck_in_a_nursery, name="x", start_timeout=3)
        await desk.stop()


async def test_start_timeout_says_who_waits_for_whom(autojump_clock):
    """Upwards those that it requires, downwards those that have not begun because of it."""
    async with open_supervisor("desk", backoff=EXACT) as desk, trio.open_nursery() as nursery:
        specs = [
            ChildSpec(forever, name="ledger"),
            ChildSpec(stuck, name="feed", start_timeout=3, requires=["ledger"]),
            ChildSpec(forever, name="strategy", requires=["feed"]),
        ]
        nursery.start_soon(desk.start_all, specs)
        await trio.sleep(1)

        words = desk.why("feed")
        assert "it requires: 'ledger' is READY; waiting for it: 'strategy'" in words
        assert re.search(f"waits in {WHERE}", words)
        assert re.search(
            rf"it requires: 'feed' is STARTING in {WHERE} \(which requires: 'ledger' is READY\)", desk.why("strategy")
        )

        await trio.sleep(2.05)
        assert re.search("start_timeout=3 s.*waiting for it: 'strategy'", str(desk.children["feed"].last_error))
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            await desk.stop()


async def test_why_shows_each_place_once_and_takes_a_path(autojump_clock):
    """Two tasks at one line are one line of the answer; any child of the tree is found by its path."""

    async def host(ctx):
        async with open_supervisor("inner") as inner:
            await inner.start(pair, name="pair")
            await forever(ctx)

    async def pair(ctx):
        ctx.ready()
        await stuck_in_a_nursery(ctx)

    async with open_supervisor("desk") as desk:
        await desk.start(host, name="host")
        words = desk.why("desk/host/inner/pair")
        assert f"connect (test_why.py:{line(connect)}) > sleep_forever, 2 tasks" in words
        assert "'desk/host/inner/pair' is READY" in words
        await desk.stop()


async def test_why_names_an_open_breaker(autojump_clock):
    """A child that waits for its venue says so."""
    breaker = CircuitBreaker("why.venue", recovery_timeout=10.0)
    async with open_supervisor("desk") as desk:
        await desk.start(forever, name="x", breaker=breaker)
        breaker.isolate()
        assert "the circuit breaker 'why.venue' is open for another inf s" in desk.why("x")
        await desk.stop()


async def test_where_it_waits_ends_with_the_reader_of_an_async_generator(autojump_clock):
    """What it awaits inside cannot be seen from outside; the line that asks it for more can."""

    async def source():
        await connect()
        yield 1

    async def reader():
        async for _ in source():
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        (task,) = nursery.child_tasks
        assert where_it_waits(task).endswith(f"reader (test_why.py:{line(reader)})")
        nursery.cancel_scope.cancel()


async def test_why_unknown_child_lists_those_that_are_there(autojump_clock):
    """A typing error is answered with what exists."""
    async with open_supervisor("desk") as desk:
        await desk.start(forever, name="feed", stop_grace=0)
        with pytest.raises(LookupError, match="there are: feed"):
            desk.why("fed")
        await desk.stop()


@pytest.mark.parametrize(("depth", "told"), [(6, 7), (7, 7)])
async def test_why_of_a_deep_stack_tells_both_ends(depth, told, autojump_clock):
    """An HTTP client waits a dozen frames below the component; who calls it, and what it waits for, is of use."""

    async def descend(left):
        if left:
            await descend(left - 1)
        await trio.sleep_forever()

    async def component(ctx):
        ctx.ready()
        await descend(depth - 1)

    async with open_supervisor("desk") as desk:
        child = await desk.start(component, name="a")
        await trio.testing.wait_all_tasks_blocked()
        (where,) = re.findall("waits in (.*)", child.why())
        assert where.count("test_why.py") == told
        assert where.count(" > … > ") == depth - 6
        assert where.startswith("test_why_of_a_deep_stack") and where.endswith(" > sleep_forever")
        await desk.stop()


async def test_why_of_a_crash_in_a_nursery_says_what_is_in_the_group(autojump_clock):
    """Most components open a nursery, and "1 sub-exception" tells nobody what to repair; three are enough to begin with."""

    async def fail(error):
        raise error

    async def component(ctx):
        ctx.ready()
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as inner:
                inner.start_soon(fail, OSError("the venue hung up"))
            nursery.start_soon(fail, KeyError("never begun"))

    async def many(ctx):
        ctx.ready()
        raise ExceptionGroup("four symbols", [ValueError(symbol) for symbol in "abcd"])

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="component")
        other = await desk.start(many, name="many")
        await trio.sleep(0.01)
        assert "last error: ExceptionGroup: Exceptions from Trio nursery [OSError: the venue hung up]" in child.why()
        assert (
            "last error: ExceptionGroup: four symbols [ValueError: a; ValueError: b; ValueError: c; and 1 more]"
            in other.why()
        )
        await desk.stop()


@pytest.mark.parametrize(
    ("unpark_after", "expected"),
    [
        (30.0, r"its next start, a trial, is in \d+(\.\d)? s, or at once with `genesis restart desk/a`"),
        (None, r"its next start is by hand only: `genesis restart desk/a`"),
    ],
)
async def test_why_of_a_parked_child_says_what_it_waits_for(unpark_after, expected, autojump_clock):
    """Also when it was parked without a restart, as by a rule; and the cause that it holds claims nothing else."""

    async def component(ctx):
        ctx.ready()
        raise ValueError("bad configuration")

    async with open_supervisor("desk") as desk:
        child = await desk.start(component, name="a", unpark_after=unpark_after, rules={ValueError: OnCrash.PARK})
        await trio.sleep(1)
        assert re.search(expected, child.why())
        (cause,) = desk.scope.causes
        assert cause.reason == "parked: it waits for its trial, or for `genesis restart`"
        await desk.stop()


@pytest.mark.parametrize(
    ("unpark_after", "expected"),
    [
        (30.0, r"its next start, a trial, is in 2\d(\.\d)? s, or at once with `genesis restart desk/feed0`"),
        (None, r"its next start is by hand only: `genesis restart desk/feed0`"),
    ],
)
async def test_why_of_a_child_suspended_while_failing_says_how_it_comes_back(unpark_after, expected, autojump_clock):
    """It keeps the mode up and the mode keeps it out: without these words nothing would say how that ends."""

    async def sick(ctx):
        ctx.ready()
        with ctx.unhealthy("no prices"):
            await ctx.wait_stopping()

    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        for number in range(2):
            await desk.start(sick, name=f"feed{number}", unpark_after=unpark_after)
        await trio.sleep(5)
        assert desk.children["feed0"].status is Lifecycle.SUSPENDED
        assert re.search(f"it was failing when it was suspended; {expected}", desk.why("feed0"))
        await desk.stop()


async def test_why_of_a_child_suspended_while_well_speaks_of_the_mode_only(autojump_clock):
    """It waits for the mode; there is nothing to try and nothing to do by hand."""
    async with open_supervisor("desk") as desk:
        await desk.start(forever, name="feed", stop_grace=0)
        desk.scope.hold(Mode.EMERGENCY, owner="operator", reason="no trading today")
        await trio.sleep(1)
        assert "it is ESSENTIAL, and does not run in mode EMERGENCY" in desk.why("feed")
        assert "genesis restart" not in desk.why("feed")
        await desk.stop()


async def test_why_of_an_automatic_cause_says_who_fails_and_when_it_falls(autojump_clock):
    """Somebody whose order was refused wants to know whom to look at, and how long it takes."""

    async def feed(ctx):
        ctx.ready()
        with ctx.unhealthy("no prices"):
            await trio.sleep(3)
        await ctx.wait_stopping()

    async with open_supervisor("desk", mode_policy=ModePolicy(trigger_after=1.0, recover_after=5.0)) as desk:
        await desk.start(feed, name="feed")
        await trio.sleep(2)
        assert "failing: 'desk/feed' (READY); it falls by one step once they have been well for 5 s" in desk.scope.why()
        await trio.sleep(3)
        assert desk.scope.why().endswith(
            ": automatic: children are failing; it falls by one step in 3 s, if nothing more fails"
        )
        await trio.sleep(3.1)
        assert desk.scope.mode is Mode.NORMAL
        await desk.stop()


async def test_why_of_many_failing_children_names_some(autojump_clock):
    """A message that is logged for each refused order stays short."""

    async def sick(ctx):
        ctx.ready()
        with ctx.unhealthy("no prices"):
            await ctx.wait_stopping()

    async with open_supervisor("desk", mode_policy=ModePolicy(emergency_at=1.0)) as desk:
        for number in range(6):
            await desk.start(sick, name=f"sick-{number}")
        await trio.sleep(0.5)
        await desk.start(forever, name="well")
        await trio.sleep(1)
        assert (
            "failing: 'desk/sick-0' (READY), 'desk/sick-1' (READY), 'desk/sick-2' (READY), 3 more; it "
            in desk.scope.why()
        )
        await desk.stop()


async def test_why_of_a_trial_says_what_it_has_to_prove(autojump_clock):
    """It is READY and still holds its cause: that is no contradiction, and the words say why."""

    async def lame(ctx):
        ctx.ready()
        if ctx.generation == 1:
            raise ValueError("once")
        await ctx.wait_stopping()

    async with open_supervisor("desk", max_restarts=0, mode_policy=ModePolicy(recover_after=5.0)) as desk:
        child = await desk.start(lame, name="lame", unpark_after=10.0)
        await child.wait(Lifecycle.PARKED)
        assert "it clears once 'lame' has been READY for 5 s" in desk.scope.why()
        assert "its trial runs" not in desk.scope.why()
        await child.wait(Lifecycle.READY)
        assert "its trial runs, and it clears once 'lame' has been READY for 5 s" in desk.scope.why()
        await trio.sleep(5.1)
        assert desk.scope.mode is Mode.NORMAL
        await desk.stop()


@pytest.mark.parametrize("error", [None, OSError])
async def test_why_says_of_a_child_parked_by_a_refusal_that_its_own_cause_keeps_it_up(error, autojump_clock):
    """It holds the mode that refuses it, so no trial helps: it has to catch the refusal."""

    async def trader(ctx):
        ctx.ready()
        await trio.sleep(0.1)
        if ctx.generation == 1 or error is not None:
            raise OSError
        require(Capability.OPEN)

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        child = await desk.start(trader, name="trader")
        await child.wait_until(lambda: child.status is Lifecycle.PARKED and child.generation == 2)
        assert ("what parked it was a refusal by the mode, which its own cause keeps up" in desk.scope.why()) is (
            error is None
        )
        await desk.stop()
