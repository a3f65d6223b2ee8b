"""What is asked for by hand while something else is under way."""

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import Backoff, ChildSpec, Component, Lifecycle, Mode, Strategy, Topic, open_store, open_supervisor
from supervision.desk import EXACT, forever

TICKS = Topic("by-hand.ticks", int)


@attrs.define
class Count:
    n: int = 0


def noting(log):
    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        log.append((ctx.name, trio.current_time()))

    return component


async def test_stop_asked_for_by_a_child_stops_all(autojump_clock):
    """A child that asks for the stop is stopped while it waits for it; those before it are stopped all the same."""
    log = []

    async def kill_switch(ctx):
        ctx.ready()
        await trio.sleep(1)
        await desk.stop()

    with trio.fail_after(60):
        async with open_supervisor("desk") as desk:
            await desk.start(noting(log), name="first")
            await desk.start(kill_switch, name="switch", stop_grace=2.0)
            await desk.start(noting(log), name="last")

    assert log == [("last", 1), ("first", 3)]


async def test_stop_that_is_cancelled_goes_on(autojump_clock):
    """Whoever gives up waiting for a stop has begun it all the same."""
    log = []

    async def slow(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(2)
        log.append((ctx.name, trio.current_time()))

    async with open_supervisor("desk") as desk:
        for name in "ab":
            await desk.start(slow, name=name)
        with trio.move_on_after(1):
            await desk.stop()
        await trio.sleep(9)
        assert log == [("b", 2), ("a", 4)]


async def test_stop_saves_once_however_often_it_is_asked_for(autojump_clock):
    """Two that stop at once, and a third when the block is left, wait for one and the same last cut."""

    class Counter(Component[Count]):
        async def run(self, ctx):
            ctx.ready()
            await ctx.wait_stopping()
            self.state.n += 1

    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store) as desk:
            await desk.start(Counter, name="counter")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(desk.stop)
                nursery.start_soon(desk.stop)
        await desk.stop()
        assert [info.reason for info in await store.list_checkpoints()] == ["stop"]
        restored = await store.restore_latest("desk/counter", Count)
        assert restored is not None
        assert restored.state == Count(1)


async def lingering(ctx):
    ctx.ready()
    await ctx.wait_stopping()
    await trio.sleep(2)


async def test_restart_of_a_child_that_is_stopping_lets_it_live_again(autojump_clock):
    """A restart that comes after a stop waits for its end."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(lingering, name="x")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(child.stop)
            await trio.sleep(1)
            with trio.fail_after(60):
                await child.restart()
            assert trio.current_time() == 2
        assert child.status is Lifecycle.READY
        assert child.generation == 2
        await desk.stop()


async def test_restart_overtaken_by_a_stop_says_so(autojump_clock):
    """Whoever waits for a restart that will not come is told."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(lingering, name="x")
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def restart():
                with trio.fail_after(60), pytest.raises(RuntimeError, match="stopped"):
                    await child.restart()

            await trio.sleep(1)
            await child.stop()
        assert child.status is Lifecycle.STOPPED
        assert child.generation == 1


async def test_restart_three_at_once_end_with_one_ready(autojump_clock):
    """Restarts that come together are all answered."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(lingering, name="x")
        await child.stop()
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(child.restart)
        assert child.status is Lifecycle.READY
        await desk.stop()


async def test_restart_by_hand_unparks_at_once_and_costs_no_budget(autojump_clock):
    """child.restart() returns once READY; the parking cause is gone."""
    healed = False

    async def component(ctx):
        ctx.ready()
        if not healed:
            raise OSError
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", unpark_after=None)
        await child.wait(Lifecycle.PARKED)
        healed = True
        await child.restart()
        assert child.status is Lifecycle.READY
        assert desk.scope.mode is Mode.NORMAL
        before = child.generation
        await child.restart()
        assert (child.status, child.generation) == (Lifecycle.READY, before + 1)
        await desk.stop()


async def test_restart_by_hand_of_a_stopped_child_lets_it_live_again(autojump_clock):
    """A child stopped by hand stays stopped until somebody restarts it."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(forever, name="x", stop_grace=0)
        await child.stop()
        assert child.status is Lifecycle.STOPPED
        await child.restart()
        assert child.status is Lifecycle.READY
        await desk.stop()


async def test_restart_by_hand_that_crashes_raises_its_error(autojump_clock):
    """What keeps the new incarnation from being ready reaches whoever asked."""

    async def component(ctx):
        if ctx.generation > 1:
            raise OSError("second")
        ctx.ready()
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", stop_grace=0)
        with pytest.raises(OSError, match="second"):
            await child.restart()
        await desk.stop()


# ---------------------------------------------------------------- restart of those that require it


def part(log):
    async def component(ctx):
        log.append(("+", ctx.name, trio.current_time()))
        ctx.ready()
        await ctx.wait_stopping()
        log.append(("-", ctx.name, trio.current_time()))

    return component


@pytest.mark.parametrize("strategy", [Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE])
async def test_restart_by_hand_restarts_those_that_require_it(strategy, autojump_clock):
    """As after a crash: the closure of requires stops in reverse order and starts in order, at once, and nobody is charged."""
    log = []
    async with open_supervisor("desk", strategy=strategy, max_restarts=0, backoff=EXACT) as desk:
        specs = [
            ChildSpec(part(log), name="venue"),
            ChildSpec(part(log), name="feed", requires=("venue",)),
            ChildSpec(part(log), name="desk", requires=("feed",)),
        ]
        await desk.start(part(log), name="aside")
        venue, feed, book = await desk.start_all(specs)
        await trio.sleep(5)
        log.clear()

        await venue.restart()
        await book.wait(Lifecycle.READY)

        names = [(what, name) for what, name, _ in log]
        assert names == [("-", "desk"), ("-", "feed"), ("-", "venue"), ("+", "venue"), ("+", "feed"), ("+", "desk")]
        assert {time for *_, time in log} == {5.0}
        assert [child.generation for child in (venue, feed, book)] == [2, 2, 2]
        assert desk.children["aside"].generation == 1
        await desk.stop()


@pytest.mark.parametrize("before", ["stopped", "parked", "backoff"])
async def test_restart_by_hand_of_one_that_does_not_run_restarts_those_that_require_it(before, autojump_clock):
    """They hold what the last incarnation gave them, whatever has become of it since."""
    log = []

    async def venue(ctx):
        ctx.ready()
        if ctx.generation == 1 and before != "stopped":
            await trio.sleep(1)
            raise OSError("lost")
        await ctx.wait_stopping()

    restarts = 0 if before == "parked" else 3
    backoff = Backoff(base_delay=60.0, max_delay=60.0, jitter="none")
    async with open_supervisor("desk", max_restarts=restarts, within=600.0, backoff=backoff) as desk:
        specs = [ChildSpec(venue, name="venue"), ChildSpec(part(log), name="feed", requires=("venue",))]
        child, feed = await desk.start_all(specs)
        if before == "stopped":
            await child.stop()
        await trio.sleep(2)

        await child.restart()
        await feed.wait(Lifecycle.READY)

        assert trio.current_time() == 2
        assert child.status is Lifecycle.READY
        assert [child.generation, feed.generation] == [2, 2]
        assert desk.scope.causes == ()
        await desk.stop()


async def test_restart_by_hand_during_a_group_restart_joins_it(autojump_clock):
    """Nobody is restarted twice for it, and nobody waits for the backoff of the group."""
    log = []

    async def venue(ctx):
        ctx.ready()
        if ctx.generation == 1:
            await trio.sleep(1)
            raise OSError("lost")
        await ctx.wait_stopping()

    backoff = Backoff(base_delay=60.0, max_delay=60.0, jitter="none")
    async with open_supervisor("desk", within=600.0, backoff=backoff) as desk:
        specs = [ChildSpec(venue, name="venue"), ChildSpec(part(log), name="feed", requires=("venue",))]
        child, feed = await desk.start_all(specs)
        await trio.sleep(5)
        assert feed.status is Lifecycle.BACKOFF

        await feed.restart()

        assert trio.current_time() == 5
        assert [child.generation, feed.generation] == [2, 2]
        await desk.stop()


async def test_restart_by_hand_of_a_suspended_child_does_not_wait_for_the_mode(autojump_clock):
    """Whoever restarts it has nothing to wait for: it starts anew when the mode admits it."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(forever, name="a")
        with desk.scope.hold(Mode.EMERGENCY, owner="test", reason="a test"):
            await child.wait(Lifecycle.SUSPENDED)
            with trio.fail_after(1):
                await child.restart()
            assert (child.status, child.generation) == (Lifecycle.SUSPENDED, 1)
        await child.wait(Lifecycle.READY)
        assert child.generation == 2
        await desk.stop()


async def test_restart_by_hand_overtaken_by_the_mode_ends_suspended(autojump_clock):
    """The mode changes while the old incarnation stops, so there is no new one to wait for."""

    async def slow_to_stop(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(1)

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        child = await desk.start(slow_to_stop, name="a")
        nursery.start_soon(child.restart)
        await trio.sleep(0.5)
        with desk.scope.hold(Mode.EMERGENCY, owner="test", reason="a test"):
            await trio.sleep(5)
            assert (child.status, child.generation) == (Lifecycle.SUSPENDED, 1)
            assert not nursery.child_tasks
        await desk.stop()


async def test_stop_by_hand_that_is_cancelled_goes_on_to_its_end(autojump_clock):
    """The cause that the child held clears and its mailboxes are closed, though nobody waits for its end any more."""

    async def reader(ctx):
        async with ctx.subscribe(TICKS):
            ctx.ready()
            ctx.scope.parent.hold(Mode.SAFE, owner=ctx.path, reason="as long as it lives")
            await ctx.wait_stopping()
            await trio.sleep(2)

    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="x")
        with trio.move_on_after(1):
            await child.stop()
        assert (trio.current_time(), child.status, desk.scope.mode) == (1, Lifecycle.STOPPING, Mode.SAFE)
        await child.wait(Lifecycle.STOPPED)
        await trio.testing.wait_all_tasks_blocked()
        assert (trio.current_time(), desk.scope.mode, dict(child.mailboxes)) == (2, Mode.NORMAL, {})


async def test_wait_for_a_status_that_cannot_come_any_more_is_told_so(autojump_clock):
    """Nobody waits for ever for a child whose supervisor stops; whatever it was in before has been seen."""
    waited = []

    async def wait_for(child, status):
        try:
            await child.wait(status)
        except RuntimeError as error:
            waited.append((status, str(error)))
        else:
            waited.append((status, ""))

    async with trio.open_nursery() as nursery:
        async with open_supervisor("desk") as desk:
            child = await desk.start(forever, name="x", stop_grace=0)
            ended = await desk.start(forever, name="y", stop_grace=0)
            await ended.stop()
            for status in (Lifecycle.PARKED, Lifecycle.STOPPING, Lifecycle.STOPPED):
                nursery.start_soon(wait_for, child, status)
            nursery.start_soon(wait_for, ended, Lifecycle.READY)  # it may be restarted by hand
            await trio.testing.wait_all_tasks_blocked()
            assert waited == []
            await desk.stop()
            with pytest.raises(RuntimeError, match="will not be BACKOFF any more"):
                await child.wait(Lifecycle.BACKOFF)
    assert sorted(waited, key=lambda each: each[0].name) == [
        (Lifecycle.PARKED, "'desk/x' has ended for good and will not be PARKED any more; its last error: none"),
        (Lifecycle.READY, "'desk/y' has ended for good and will not be READY any more; its last error: none"),
        (Lifecycle.STOPPED, ""),
        (Lifecycle.STOPPING, ""),
    ]
