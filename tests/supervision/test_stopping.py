"""Stopping: the order, the times, nested supervisors, and what goes through."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import ConfigError
from genesis_trio.events import observe
from genesis_trio.messaging.topic import Topic
from genesis_trio.modes import Mode, current_mode, current_scope
from genesis_trio.supervision.component import ChildSpec, Lifecycle, Restart
from genesis_trio.supervision.supervisor import open_supervisor
from genesis_trio.testing import simulate
from supervision.desk import EXACT, Log, forever


async def test_stop_is_in_reverse_order_one_after_the_other(autojump_clock):
    """The last one started has ended before the one before it is asked."""
    log = []

    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        log.append(("asked", ctx.name, trio.current_time()))
        await trio.sleep(1)
        log.append(("ended", ctx.name, trio.current_time()))

    async with open_supervisor("desk") as desk:
        for name in "abc":
            await desk.start(component, name=name)
        await desk.stop()
    assert log == [
        ("asked", "c", 0), ("ended", "c", 1),
        ("asked", "b", 1), ("ended", "b", 2),
        ("asked", "a", 2), ("ended", "a", 3),
    ]  # fmt: skip


async def test_outer_cancellation_stops_in_reverse_order_too(autojump_clock):
    """A cancellation from outside reaches the children only through their supervisor."""
    log = []

    async def component(ctx):
        ctx.ready()
        try:
            await trio.sleep_forever()
        finally:
            log.append((ctx.name, trio.current_time()))

    with trio.move_on_after(5) as outer:
        async with open_supervisor("desk") as desk:
            for name in "abc":
                await desk.start(component, name=name, stop_grace=1.0)
    assert outer.cancelled_caught
    assert log == [("c", 6), ("b", 7), ("a", 8)]


async def test_body_exception_is_raised_bare_after_the_children_ended(autojump_clock):
    """The block raises what its body raised, not a group."""
    ended = []

    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        ended.append(ctx.name)

    with pytest.raises(KeyError):
        async with open_supervisor("desk") as desk:
            await desk.start(component, name="x")
            raise KeyError("body")
    assert ended == ["x"]


async def test_block_waits_for_its_children(autojump_clock):
    """Leaving the block normally is like leaving a nursery."""

    async def job(ctx):
        ctx.ready()
        await trio.sleep(7)

    async with open_supervisor("desk") as desk:
        await desk.start(job, name="x", restart=Restart.TRANSIENT)
    assert trio.current_time() == 7


async def test_stop_hanging_child_is_named_holds_safe_and_the_next_is_stopped(autojump_clock):
    """Trio cannot abandon a task: what does not end in time is reported, and waited for by the block."""
    log, modes = Log(), []

    async def stubborn(ctx):
        ctx.ready()
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async def last(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        modes.append(current_mode())

    with observe(log):
        async with open_supervisor("desk", shutdown_timeout=10) as desk:
            await desk.start(last, name="last")
            await desk.start(stubborn, name="stubborn")
            await desk.stop()
            assert trio.current_time() == 10
    (unstopped,) = log.named("child_unstopped")
    assert (unstopped.child, unstopped.waited, unstopped.time) == ("desk/stubborn", 10, 10)
    assert modes == [Mode.SAFE]
    assert trio.current_time() == 100


async def test_stop_by_hand_that_was_late_ends_with_the_child(autojump_clock):
    """What a stop by hand does happens once the child has ended; the cause that says it has not is cleared then."""
    trades = Topic("trades", int)

    async def stubborn(ctx):
        async with ctx.subscribe(trades):
            ctx.ready()
            ctx.scope.hold(Mode.SAFE, reason="in doubt")
            with trio.CancelScope(shield=True):
                await trio.sleep(15)

    async with open_supervisor("desk", shutdown_timeout=10) as desk:
        child = await desk.start(stubborn, name="stubborn", stop_grace=0)
        await child.stop()
        assert (trio.current_time(), child.status) == (10, Lifecycle.STOPPING)
        assert [cause.reason for cause in desk.scope.causes] == ["it did not stop in time"]
        await desk.scope.wait_for(lambda mode: mode is Mode.NORMAL)
        await trio.testing.wait_all_tasks_blocked()
        assert (trio.current_time(), child.status) == (15, Lifecycle.STOPPED)
        assert not child.scope.causes
        assert not child.mailboxes
        await desk.stop()


@pytest.mark.parametrize("seed", range(8))
def test_restart_by_hand_during_a_stop_is_no_stop_that_came_too_late(seed):
    """The child ends in time, whoever of the two that wait for it looks first."""
    log = Log()

    async def slow(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(2)

    async def main():
        with observe(log):
            async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
                child = await desk.start(slow, name="x")
                nursery.start_soon(child.stop)
                await trio.sleep(1)
                await child.restart()
                assert (trio.current_time(), child.status, desk.scope.mode) == (2, Lifecycle.READY, Mode.NORMAL)
                await desk.stop()

    simulate(main, seed=seed)
    assert not log.named("child_unstopped")


@pytest.mark.parametrize("in_group", [False, True])
async def test_crash_while_stopping_is_a_stop_and_an_event(in_group, autojump_clock):
    """What a child raises while it is stopped is last_error and an event, and no restart; also out of a nursery of its own."""
    log = Log()

    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        error = OSError("while stopping")
        raise ExceptionGroup("while stopping", [error]) if in_group else error

    with observe(log):
        async with open_supervisor("desk") as desk:
            child = await desk.start(component, name="x")
            await child.stop()
            assert child.status is Lifecycle.STOPPED
            assert str(child.last_error).startswith("while stopping")
    assert [event.name for event in log.named("crash_while_stopping", "child_crashed")] == ["crash_while_stopping"]


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("in_group", [False, True])
async def test_ctrl_c_in_a_child_goes_through_after_an_ordered_stop(fatal, in_group, autojump_clock):
    """Ctrl-C and SystemExit are not crashes: the others are stopped, then they are raised."""
    ended = []

    async def component(ctx):
        ctx.ready()
        try:
            await ctx.wait_stopping()
        finally:
            ended.append(ctx.name)

    async def interrupted(ctx):
        ctx.ready()
        await trio.sleep(1)
        if in_group:
            raise BaseExceptionGroup("", [fatal(), OSError()])
        raise fatal

    with pytest.raises(BaseExceptionGroup if in_group else fatal):
        async with open_supervisor("desk") as desk:
            await desk.start(component, name="a")
            await desk.start(component, name="b")
            await desk.start(interrupted, name="c")
            await trio.sleep_forever()
    assert ended == ["b", "a"]
    assert trio.current_time() == 1


async def test_crash_in_a_group_with_cancelled_is_a_crash(autojump_clock):
    """A child with a nursery of its own raises groups; the leaves decide."""

    async def component(ctx):
        ctx.ready()
        if ctx.generation == 1:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep(1)
                raise OSError("inside")
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", stop_grace=0)
        await trio.sleep(2)
        assert child.generation == 2
        assert isinstance(child.last_error, ExceptionGroup)
        await desk.stop()


async def test_stop_cancels_a_child_that_is_not_ready_at_once(autojump_clock):
    """The grace is for what a child has begun: one that is not ready has nothing in hand."""
    ended = []

    async def starting(ctx):
        try:
            await trio.sleep_forever()
        finally:
            ended.append((ctx.name, trio.current_time()))

    async def again(ctx):
        if ctx.generation == 1:
            ctx.ready()
            await trio.sleep(1)
            raise OSError
        await starting(ctx)

    async with open_supervisor("desk", backoff=EXACT) as desk, trio.open_nursery() as nursery:
        await desk.start(again, name="again")
        nursery.start_soon(desk.start_all, [ChildSpec(starting, name="first")])
        await trio.sleep(3)
        await desk.stop()
        assert trio.current_time() == 3
    assert ended == [("first", 3), ("again", 3)]


async def test_stop_leaves_a_child_that_reads_before_it_is_ready_its_grace(autojump_clock):
    """It has a message in hand, and that is finished."""
    trades = Topic("trades", int)
    handled = []

    async def reader(ctx):
        async with ctx.subscribe(trades) as inbox:
            async for trade in inbox:
                await trio.sleep(2)
                handled.append((trade, trio.current_time()))
                ctx.ready()

    async def writer(ctx):
        ctx.ready()
        ctx.publish(trades, 1)
        ctx.publish(trades, 2)
        await ctx.wait_stopping()

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        nursery.start_soon(desk.start_all, [ChildSpec(reader, name="reader")])
        await trio.testing.wait_all_tasks_blocked()
        await desk.start(writer, name="writer")
        await trio.sleep(1)
        await desk.stop()
    assert handled == [(1, 2)]


async def test_hurry_cancels_everything_at_once(autojump_clock):
    """A second signal does not wait for the grace."""
    async with open_supervisor("desk") as desk:
        for name in "ab":
            await desk.start(forever, name=name)
        desk.hurry()
    assert trio.current_time() == 0


# ---------------------------------------------------------------- nested


async def test_nested_supervisor_hangs_below_the_child_and_stops_with_it(autojump_clock):
    """Its scope hangs below the child's; its children end before the host does."""
    log = []

    async def leaf(ctx):
        ctx.ready()
        log.append((ctx.path, current_scope().path))
        await ctx.wait_stopping()
        log.append("leaf ended")

    async def host(ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(leaf, name="feed")
            ctx.ready()
        log.append("host ended")

    async with open_supervisor("desk") as desk:
        child = await desk.start(host, name="host")
        with desk.scope.hold(Mode.SAFE, reason="test"):
            assert child.scope.mode is Mode.SAFE
        await child.stop()
        assert log == [("desk/host/venue/feed", "desk/host/venue/feed"), "leaf ended", "host ended"]
    assert trio.current_time() == 0


async def test_nested_supervisor_that_stops_already_gets_what_is_left_of_a_later_stop(autojump_clock):
    """A stop that was begun without haste does not keep the whole tree beyond its time."""
    ended = []

    async def leaf(ctx):
        ctx.ready()
        try:
            await trio.sleep_forever()
        finally:
            ended.append((ctx.name, trio.current_time()))

    async def host(ctx):
        async with open_supervisor("venue") as venue:
            for name in "ab":
                await venue.start(leaf, name=name, stop_grace=20.0)
            ctx.ready()

    async with open_supervisor("desk", shutdown_timeout=5.0) as desk:
        child = await desk.start(host, name="host", stop_grace=0.5)
        with trio.move_on_after(1):
            await child.restart()  # its own stop would have 30 s
        await desk.stop()
        assert trio.current_time() == 6
    assert ended == [("b", 6), ("a", 6)]


async def test_nested_supervisor_with_a_store_of_its_own_is_refused(autojump_clock):
    """One tree, one store."""
    from genesis_trio.persistence.policy import CheckpointPolicy

    async def host(ctx):
        async with open_supervisor("venue", checkpoint=CheckpointPolicy()):
            pass

    async with open_supervisor("desk") as desk:
        with pytest.raises(ConfigError, match="topmost"):
            await desk.start(host, name="host")


def with_two_below(leaf):
    """A component with a supervisor of its own."""

    async def host(ctx):
        ctx.ready()
        async with open_supervisor("venue") as venue:
            for name in "ab":
                await venue.start(leaf, name=name, stop_grace=20.0)

    return host


async def test_hurry_reaches_the_children_of_nested_supervisors(autojump_clock):
    """Nobody's grace is waited for, however deep."""
    ended = []

    async def leaf(ctx):
        ctx.ready()
        try:
            await trio.sleep_forever()
        finally:
            ended.append((ctx.path, trio.current_time()))

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        await desk.start(with_two_below(with_two_below(leaf)), name="host", stop_grace=20.0)
        await trio.sleep(1)
        nursery.start_soon(desk.stop)
        await trio.sleep(2)
        desk.hurry()
    assert trio.current_time() == 3
    assert sorted(ended) == [(f"desk/host/venue/{one}/venue/{other}", 3) for one in "ab" for other in "ab"]
