"""What is asked for by hand while something else is under way."""

import attrs
import pytest
import trio

from genesis_trio import Component, Lifecycle, Mode, open_store, open_supervisor
from supervision.desk import EXACT, forever


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
