"""Mailboxes of nested children that do not come back: whoever ends them, nobody waits for them any longer."""

import trio
import trio.testing

from genesis_trio import (
    Lifecycle,
    observe,
    open_supervisor,
)
from messaging.nested import SLOW, Host, Sending, go_down, receivers
from messaging.parts import NUMBERS, Reader, stuck
from supervision.desk import Log


async def test_host_that_comes_back_without_the_child_lets_its_senders_go_at_once(autojump_clock):
    """And releases the mailbox once it has been READY for its start_timeout: somebody may start the child late."""

    async def comes_and_goes(ctx):
        async with open_supervisor("inner") as inner:
            if ctx.generation == 1:
                await inner.start(reader, name="reader")
            ctx.ready()
            await crash.wait()
            if ctx.generation == 1:
                raise OSError
            await trio.sleep_forever()

    crash = trio.Event()
    log = Log()
    reader = Reader(NUMBERS, capacity=1)
    sending = Sending(range(4))
    with observe(log):
        async with open_supervisor("desk", **SLOW) as desk:
            child = await desk.start(comes_and_goes, name="host", start_timeout=20.0)
            crash.set()
            await child.wait(Lifecycle.BACKOFF)
            await desk.start(sending, name="sending")
            await child.wait(Lifecycle.READY)
            assert trio.current_time() == 10
            await trio.sleep(19)
            assert sending.times == [0, 10, 10, 10]
            assert receivers(desk) == 1
            await trio.sleep(1.5)
            assert receivers(desk) == 0
            assert child.away == {}
            (closed,) = log.named("mailbox_closed")
            assert (closed.time, closed.child, closed.mailbox) == (30, "desk/host/inner/reader", "numbers")
            assert (closed.lost, closed.kept) == (4, 0)
            await desk.stop()


async def test_child_that_a_ready_host_starts_late_gets_everything(autojump_clock):
    """A host may be READY before it starts its children; they have its start_timeout."""

    async def late(ctx):
        ctx.ready()
        async with open_supervisor("inner") as inner:
            await trio.sleep(5)
            await inner.start(reader, name="reader")
            await trio.sleep(5)
            if ctx.generation == 1:
                raise OSError
            await trio.sleep_forever()

    reader = Reader(NUMBERS, capacity=2)
    sending = Sending(range(30), every=1.0)
    async with open_supervisor("desk", **SLOW) as desk:
        await desk.start(late, name="host", start_timeout=6.0)
        await trio.sleep(5.5)
        await desk.start(sending, name="sending")
        await trio.sleep(60)
        assert reader.got == list(range(30))
        assert receivers(desk) == 1
        await desk.stop()


async def test_stop_by_hand_of_a_host_closes_the_mailboxes_in_it(autojump_clock):
    """Like its own: nobody waits for it, and nothing more is taken."""
    reader = Reader(NUMBERS, work=stuck, capacity=1)
    host = Host(reader)
    sending = Sending(range(4))
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        await desk.start(sending, name="sending")
        await trio.sleep(1)
        assert sending.times == [0, 0]
        await child.stop()
        assert receivers(desk) == 0
        await trio.sleep(1)
        assert sending.times == [0, 0, 1, 1]
        await desk.stop()


async def test_stop_by_hand_of_a_host_that_is_down_closes_the_mailboxes_of_its_children(autojump_clock):
    """A sender that waits for their room goes on."""
    host = Host(Reader(NUMBERS, capacity=1))
    sending = Sending(range(3))
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        await go_down(host, child)
        await desk.start(sending, name="sending")
        await trio.sleep(1)
        await child.stop()
        await trio.testing.wait_all_tasks_blocked()
        assert (sending.times, receivers(desk)) == ([0, 1, 1], 0)
        await desk.stop()


async def test_host_that_stops_its_nested_supervisor_closes_the_mailboxes_in_it(autojump_clock):
    """It ends the block by itself, and lives on: that is no outage."""

    async def ends_it(ctx):
        async with open_supervisor("inner") as inner:
            await inner.start(Reader(NUMBERS, capacity=1), name="reader")
            ctx.ready()
            await trio.sleep(1)
            await inner.stop()
        assert receivers(desk) == 0
        await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        await desk.start(ends_it, name="host")
        assert receivers(desk) == 1
        await trio.sleep(2)
        assert receivers(desk) == 0
        await desk.stop()


async def test_host_that_goes_on_after_its_nested_supervisor_failed_waits_its_start_timeout(autojump_clock):
    """An error ended the block, and the host may open it anew; then nobody waits any longer."""

    async def goes_on(ctx):
        ctx.ready()
        try:
            async with open_supervisor("inner") as inner:
                await inner.start(Reader(NUMBERS, capacity=1), name="reader", stop_grace=0.0)
                await trio.sleep(1)
                raise OSError
        except OSError:
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        await desk.start(goes_on, name="host", start_timeout=5.0)
        await trio.sleep(5.9)
        assert receivers(desk) == 1
        await trio.sleep(0.2)
        assert receivers(desk) == 0
        await desk.stop()


async def test_nested_child_that_goes_away_anew_has_its_own_time_to_come_back(autojump_clock):
    """The wait that began with the host's own start is for the one that went away before."""

    async def host(ctx):
        ctx.ready()
        if ctx.generation == 2:
            await trio.sleep(3)
        try:
            async with open_supervisor("inner") as inner:
                await inner.start(Reader(NUMBERS, capacity=1), name="reader", stop_grace=0.0)
                await trio.sleep(1)
                raise OSError
        except OSError:
            if ctx.generation == 1:
                raise
            await ctx.wait_stopping()

    async with open_supervisor("desk", **SLOW) as desk:
        await desk.start(host, name="host", start_timeout=5.0)
        await trio.sleep(19.9)  # down from 1 to 11, without the child from 15 on
        assert receivers(desk) == 1
        await trio.sleep(0.2)
        assert receivers(desk) == 0
        await desk.stop()
