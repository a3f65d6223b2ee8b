"""What a full mailbox does with one more message, and whom it holds back."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import MailboxFullError
from genesis_trio.messaging.topic import MailboxStatistics, Overflow
from genesis_trio.supervision.component import Lifecycle, OnCrash, Restart
from genesis_trio.supervision.supervisor import open_supervisor
from genesis_trio.testing import simulate
from messaging.parts import LETTERS, NUMBERS, TICKS, Reader, Tick, context_of, desk_with, stuck
from supervision.desk import EXACT

#: After a crash, too, nothing follows.
ENDS = {Exception: OnCrash.STOP}


async def test_block_send_waits_for_room_and_publish_raises(autojump_clock):
    """BLOCK holds the sender back; what cannot wait is told."""
    log = []

    async def slow(ctx, item):
        await trio.sleep(1)

    reader = Reader(NUMBERS, work=slow, capacity=2)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        for n in range(5):
            await ctx.send(NUMBERS, n)
            log.append((n, trio.current_time()))
        assert log == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)]
        with pytest.raises(
            MailboxFullError, match=r"'numbers' was refused by the full mailbox of 'desk/reader' \(2 of 2\)"
        ):
            ctx.publish(NUMBERS, 9)
        await trio.sleep(10)
        assert reader.got == [0, 1, 2, 3, 4]
        await desk.stop()


async def test_block_senders_are_served_in_their_order(autojump_clock):
    """Who came first gets the room first; a cancelled one gives its turn on."""
    done = []

    async def slow(ctx, item):
        await trio.sleep(1)

    reader = Reader(NUMBERS, work=slow, capacity=1)
    async with desk_with(reader) as (_, ctx):

        async def send(n, limit):
            with trio.move_on_after(limit):
                await ctx.send(NUMBERS, n)
                done.append(n)

        async with trio.open_nursery() as nursery:
            for n in range(6):
                nursery.start_soon(send, n, 0.5 if n == 3 else 100)
                await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(20)
        assert done == [0, 1, 2, 4, 5]
        assert reader.got == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("seed", range(12))
def test_block_sender_who_comes_when_there_is_room_stands_behind_who_waits(seed):
    """The room belongs to the one who was woken for it, whatever the order in which the scheduler runs them."""
    got = []

    async def main():
        async def reader(ctx):
            started = trio.current_time()
            async with ctx.subscribe(NUMBERS, capacity=1) as inbox:
                ctx.ready()
                async for item in inbox:
                    got.append(item)
                    await trio.sleep_until(started + 1 + item)

        async def send_at(ctx, delay, number):
            await trio.sleep(delay)
            await trio.lowlevel.checkpoint()  # as the reader does, before it takes the next message
            await ctx.send(NUMBERS, number)

        async with desk_with(reader) as (_, ctx):
            async with trio.open_nursery() as nursery:
                for number, delay in enumerate((0, 0.1, 0.2, 0.3, 1)):
                    nursery.start_soon(send_at, ctx, delay, number)
            await trio.sleep(10)

    simulate(main, seed=seed)
    assert got == [0, 1, 2, 3, 4]


async def test_block_sender_that_waits_for_another_mailbox_gives_the_room_on(autojump_clock):
    """Two mailboxes are full; who was woken by the one that has room still waits for the other, and the next one takes the room."""

    async def a_second(ctx, item):
        await trio.sleep(1)

    async def for_ever(ctx, item):
        await ctx.wait_stopping()

    quick = Reader(NUMBERS, LETTERS, work=a_second, capacity=1)
    stuck = Reader(NUMBERS, work=for_ever, capacity=1)
    async with open_supervisor("desk") as desk:
        await desk.start(quick, name="quick")
        await desk.start(stuck, name="stuck")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 0)
        await trio.testing.wait_all_tasks_blocked()
        ctx.publish(NUMBERS, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.send, NUMBERS, 2)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(ctx.send, LETTERS, "a")
            await trio.sleep(5)
            assert quick.got == [0, 1, "a"]
            nursery.cancel_scope.cancel()
        await desk.stop()


async def test_reject_serves_the_others_first(autojump_clock):
    """The error names who refused; everybody else has the message."""
    full = Reader(NUMBERS, work=stuck, capacity=1, overflow=Overflow.REJECT)
    other = Reader(NUMBERS)
    async with open_supervisor("desk") as desk:
        await desk.start(full, name="full", stop_grace=0)
        await desk.start(other, name="other")
        ctx = await context_of(desk)
        await ctx.send(NUMBERS, 1)
        await trio.testing.wait_all_tasks_blocked()
        await ctx.send(NUMBERS, 2)
        with pytest.raises(MailboxFullError, match="desk/full"):
            await ctx.send(NUMBERS, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert other.got == [1, 2, 3]
        await desk.stop()


async def test_drop_oldest_keeps_the_newest_and_counts(autojump_clock):
    """A slow reader of prices sees fresh ones."""
    reader = Reader(NUMBERS, capacity=2, overflow=Overflow.DROP_OLDEST)
    async with desk_with(reader) as (_, ctx):
        for n in range(5):
            ctx.publish(NUMBERS, n)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [3, 4]
        assert reader.subscription.statistics() == MailboxStatistics(
            waiting=0, delivered=2, dropped=3, missed=0, redelivered=0, dead=0
        )


async def test_conflate_keeps_the_newest_of_each_key_in_order_of_update(autojump_clock):
    """An update takes the position of its arrival."""
    reader = Reader(TICKS, overflow=Overflow.CONFLATE, capacity=2)
    async with desk_with(reader) as (_, ctx):
        for tick in (Tick("a", 1), Tick("b", 1), Tick("a", 2), Tick("c", 1)):
            ctx.publish(TICKS, tick)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [Tick("a", 2), Tick("c", 1)]
        assert reader.subscription.statistics().dropped == 2


async def test_conflate_crash_redelivers_and_later_updates_follow(autojump_clock):
    """What was in hand comes again before what came after it."""

    async def once(ctx, item):
        if ctx.generation == 1:
            ctx.publish(TICKS, Tick("b", 2))
            raise OSError

    reader = Reader(TICKS, overflow=Overflow.CONFLATE, work=once)
    async with desk_with(reader) as (_, ctx):
        ctx.publish(TICKS, Tick("a", 1))
        await trio.sleep(1)
        assert reader.got == [Tick("a", 1), Tick("a", 1), Tick("b", 2)]


@pytest.mark.parametrize("error", [None, OSError("down")])
async def test_reader_that_ended_holds_nobody_back_and_lives_again_with_the_newest(error, autojump_clock):
    """Only a reader that is READY or between restarts makes a sender wait; one that has ended misses what has no room."""
    lives = 0

    async def reader(ctx):
        nonlocal lives
        lives += 1
        async with ctx.subscribe(NUMBERS, capacity=2) as inbox:
            ctx.ready()
            if lives == 1:
                await trio.sleep(3)
                if error is not None:
                    raise error
                return
            async for number in inbox:
                got.append(number)

    got = []
    async with desk_with(reader, restart=Restart.TRANSIENT, rules=ENDS) as (child, ctx):
        for number in range(3):
            await ctx.send(NUMBERS, number)
        assert trio.current_time() == 3  # the third one waited for the end
        assert child.status is Lifecycle.STOPPED
        for number in range(3, 6):
            await ctx.send(NUMBERS, number)
        ctx.publish(NUMBERS, 6)
        assert trio.current_time() == 3

        await child.restart()
        await trio.sleep(1)
        assert got == [5, 6]


async def test_reader_that_ended_and_is_stopped_by_hand_has_no_mailbox_any_more(autojump_clock):
    """A mailbox lives until ``child.stop()``, also that of a child that had ended before."""
    lives = 0

    async def reader(ctx):
        nonlocal lives
        lives += 1
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            if lives == 1:
                return
            async for number in inbox:
                got.append(number)

    got = []
    async with desk_with(reader, restart=Restart.TRANSIENT, rules=ENDS) as (child, ctx):
        await child.wait(Lifecycle.STOPPED)
        ctx.publish(NUMBERS, 1)
        await child.stop()
        ctx.publish(NUMBERS, 2)
        await child.restart()
        ctx.publish(NUMBERS, 3)
        await trio.sleep(1)
        assert got == [3]


async def test_parked_reader_holds_nobody_back_and_counts_what_it_misses(autojump_clock):
    """Its mailbox keeps the newest of the unhandled."""

    async def bad(ctx, item):
        raise OSError

    reader = Reader(NUMBERS, work=bad, capacity=2)
    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        child = await desk.start(reader, name="reader", unpark_after=None)
        ctx = await context_of(desk)
        await ctx.send(NUMBERS, 1)
        await child.wait(Lifecycle.PARKED)
        with trio.fail_after(0.1):
            for n in range(2, 6):
                await ctx.send(NUMBERS, n)
        mailbox = child.mailboxes["numbers"]
        assert [entry.message for entry in mailbox.entries_after(0)] == [4, 5]
        assert mailbox.statistics().missed == 3
        await desk.stop()
