"""Whom a full mailbox holds back, and what it does otherwise: for each thing that its child may be doing."""

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import (
    Component,
    Criticality,
    Lifecycle,
    MailboxFullError,
    Mode,
    Overflow,
    Topic,
    open_store,
    open_supervisor,
    schema,
)
from messaging.parts import NUMBERS, Reader, context_of
from supervision.desk import EXACT

KEEP_ALL = pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.REJECT])


async def put(ctx, numbers, how):
    for number in numbers:
        if how == "send":
            await ctx.send(NUMBERS, number)
        else:
            ctx.publish(NUMBERS, number)


def waiting(child):
    (mailbox,) = child.mailboxes.values()
    return [entry.message for entry in mailbox.entries_after(0)]


@KEEP_ALL
@pytest.mark.parametrize("how", ["send", "publish"])
async def test_first_start_holds_nobody_back_and_loses_nothing(how, overflow, autojump_clock):
    """Who takes long to get ready delays no feed; what it gets meanwhile it gets in full."""
    got = []

    async def slow_to_start(ctx):
        async with ctx.subscribe(NUMBERS, capacity=2, overflow=overflow) as inbox:
            await trio.sleep(10)
            ctx.ready()
            await trio.sleep(10)
            async for number in inbox:
                got.append(number)

    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        ctx = await context_of(desk)
        nursery.start_soon(lambda: desk.start(slow_to_start, name="reader"))
        await trio.sleep(1)
        await put(ctx, range(5), how)
        assert trio.current_time() == 1
        await trio.sleep(10)  # it is ready, and reads nothing yet
        with pytest.raises(MailboxFullError):
            ctx.publish(NUMBERS, 5)
        await trio.sleep(10)
        assert got == [0, 1, 2, 3, 4]
        inbox = desk.children["reader"].mailboxes["numbers"].statistics()
        assert (inbox.missed, inbox.dropped) == (0, 0)
        await desk.stop()


async def test_start_of_a_restart_holds_senders_back(autojump_clock):
    """A child between restarts was ready before: that it crashed loses nothing, and its mailbox does not grow."""

    async def reader(ctx):
        async with ctx.subscribe(NUMBERS, capacity=1) as inbox:
            if ctx.generation > 1:
                await trio.sleep(10)
            ctx.ready()
            async for _ in inbox:
                if ctx.generation == 1:
                    raise OSError

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        await ctx.send(NUMBERS, 0)
        await child.wait(Lifecycle.BACKOFF)
        with pytest.raises(MailboxFullError):
            await put(ctx, (1, 2), "publish")
        await child.wait(Lifecycle.STARTING)
        with pytest.raises(MailboxFullError):
            ctx.publish(NUMBERS, 2)
        await desk.stop()


@KEEP_ALL
async def test_stop_by_hand_holds_nobody_back(overflow, autojump_clock):
    """Nobody is going to read it: its mailbox ends with it."""

    async def slow(ctx, item):
        await trio.sleep(10)

    reader = Reader(NUMBERS, work=slow, capacity=1, overflow=overflow)
    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        child = await desk.start(reader, name="reader", stop_grace=20.0)
        ctx = await context_of(desk)
        await ctx.send(NUMBERS, 0)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(child.stop)
        await child.wait(Lifecycle.STOPPING)
        await put(ctx, range(1, 4), "send")
        assert trio.current_time() == 0
        await child.wait(Lifecycle.STOPPED)
        assert reader.got == [0]
        await desk.stop()


async def test_restart_by_hand_holds_senders_back_until_it_becomes_a_stop(autojump_clock):
    """Stopping for a restart is between restarts; a stop that is asked for meanwhile lets senders go."""
    sent = []

    async def slow(ctx, item):
        await trio.sleep(10)

    reader = Reader(NUMBERS, work=slow, capacity=1)
    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        child = await desk.start(reader, name="reader", stop_grace=20.0)
        ctx = await context_of(desk)

        async def send():
            for number in range(4):
                await ctx.send(NUMBERS, number)
                sent.append((number, trio.current_time()))

        async def restart():
            with pytest.raises(RuntimeError, match="was stopped before it had restarted"):
                await child.restart()

        nursery.start_soon(send)
        await trio.sleep(1)
        nursery.start_soon(restart)
        await trio.sleep(1)
        assert [number for number, _ in sent] == [0, 1]
        nursery.start_soon(child.stop)
        await trio.sleep(1)
        assert sent[2:] == [(2, 2.0), (3, 2.0)]
        await desk.stop()


async def test_suspended_child_keeps_the_newest_from_its_stop_on(autojump_clock):
    """What it misses is counted while it still works on its last message."""

    async def slow(ctx, item):
        await trio.sleep(10)

    reader = Reader(NUMBERS, work=slow, capacity=2)
    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="reader", criticality=Criticality.OPTIONAL, stop_grace=20.0)
        ctx = await context_of(desk)
        await ctx.send(NUMBERS, 0)
        await trio.testing.wait_all_tasks_blocked()
        with desk.scope.hold(Mode.SAFE, owner="test", reason="r"):
            assert child.status is Lifecycle.STOPPING
            await put(ctx, range(1, 5), "publish")
            assert child.mailboxes["numbers"].statistics().missed == 2
            await child.wait(Lifecycle.SUSPENDED)
            assert waiting(child) == [3, 4]
        await desk.stop()


async def test_parked_child_keeps_the_newest_also_of_what_a_crash_brought_back(autojump_clock):
    """A full mailbox and a message in hand are more than there is room for: the oldest go, and are counted."""

    async def bad(ctx, item):
        await trio.sleep(1)
        raise OSError

    reader = Reader(NUMBERS, work=bad, capacity=2)
    async with open_supervisor("desk", max_restarts=0) as desk:
        child = await desk.start(reader, name="reader", unpark_after=None)
        ctx = await context_of(desk)
        await put(ctx, [0], "send")
        await trio.testing.wait_all_tasks_blocked()
        await put(ctx, [1, 2], "send")
        await child.wait(Lifecycle.PARKED)
        assert waiting(child) == [0, 1, 2]  # nobody has to give way yet
        ctx.publish(NUMBERS, 3)
        assert waiting(child) == [2, 3]
        assert child.mailboxes["numbers"].statistics().missed == 2
        await desk.stop()


@schema("intake.book", version=1)
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)


FILLS = Topic("intake.fills", int)


class Ledger(Component[Book]):
    def __init__(self, seen):
        self.seen = seen

    async def run(self, ctx):
        async with ctx.subscribe(FILLS, capacity=1) as fills:
            ctx.ready()
            async for fill in fills:
                await trio.sleep(1)
                self.state.numbers.append(fill)
                self.seen[:] = self.state.numbers


async def test_stop_of_the_supervisor_holds_nobody_back_and_saves_everything(autojump_clock):
    """Who is stopped later sends on, ends in good order, and its messages are there in the next process."""
    seen = []
    ends = []

    async def gateway(ctx):
        ctx.ready()
        await ctx.wait_stopping()

    async def feed(ctx):
        ctx.ready()
        number = 0
        await trio.sleep(0.1)  # the ledger is there
        while not ctx.stopping:
            await ctx.send(FILLS, number)
            number += 1
            await trio.sleep(0.25)
        ends.append((number, trio.current_time()))

    async def slow_to_stop(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(3)

    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store) as desk:
            await desk.start(feed, name="feed")
            await desk.start(slow_to_stop, name="between")  # stops after the ledger, and before the feed
            await desk.start(Ledger, seen, name="ledger")
            await trio.sleep(2.1)
            await desk.stop()
        ((sent, _),) = ends
        assert len(seen) < sent
        async with open_supervisor("desk", store=store) as desk:
            await desk.start(Ledger, seen, name="ledger")
            await trio.sleep(60)
            assert seen == list(range(sent))
            await desk.stop()
