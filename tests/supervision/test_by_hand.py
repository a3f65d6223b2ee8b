"""What is asked for by hand while something else is under way."""

import attrs
import trio

from genesis_trio import Component, open_store, open_supervisor


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
