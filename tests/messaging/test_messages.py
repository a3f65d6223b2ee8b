"""Topics, overflow, redelivery, batches and timers, as components see them."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import ConfigError, MailboxFullError
from genesis_trio.events import observe
from genesis_trio.messaging.topic import MailboxStatistics, Overflow, Timer, Topic
from genesis_trio.supervision.component import Lifecycle, OnCrash, Restart
from genesis_trio.supervision.supervisor import open_supervisor
from genesis_trio.testing import simulate
from messaging.parts import LATEST, LETTERS, NUMBERS, TICKS, Reader, Tick, context_of
from supervision.desk import EXACT, Log

#: After a crash, too, nothing follows.
ENDS = {Exception: OnCrash.STOP}

# ---------------------------------------------------------------- delivery


async def test_subscribe_several_topics_is_one_inbox_in_arrival_order(autojump_clock):
    """Messages of all topics come in the order in which they were sent."""
    reader = Reader(NUMBERS, LETTERS)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        for message in (1, "a", 2, "b"):
            ctx.publish(NUMBERS if isinstance(message, int) else LETTERS, message)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [1, "a", 2, "b"]
        await desk.stop()


async def test_publish_wrong_type_is_refused(autojump_clock):
    """A topic carries one type."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(TypeError, match=r"'numbers' carries int, got 'x'"):
            ctx.publish(NUMBERS, "x")
        await desk.stop()


async def test_topics_of_one_name_are_refused(autojump_clock):
    """Two topics with the same name would be mixed up in what is saved."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        with pytest.raises(ConfigError, match="module level"):
            ctx.publish(Topic("numbers", int), 1)
        await desk.stop()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [(("", int), ValueError), ((3, int), TypeError), (("x", 3), TypeError)],
)
def test_topic_wrong_arguments(arguments, error):
    """A topic has a name and a class."""
    with pytest.raises(error):
        Topic(*arguments)
    with pytest.raises(TypeError):
        Topic("x", int, key=3)


async def test_second_subscription_to_a_topic_is_refused(autojump_clock):
    """One child, one subscription a topic."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        async with ctx.subscribe(NUMBERS, LETTERS):
            with pytest.raises(ValueError, match="'letters' already"):
                async with ctx.subscribe(LETTERS):
                    pass
        with pytest.raises(ValueError, match="twice"):
            async with ctx.subscribe(LETTERS, LETTERS):
                pass
        await desk.stop()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"capacity": 0}, ValueError),
        ({"capacity": 1.5}, TypeError),
        ({"overflow": "block"}, TypeError),
        ({"every": 0}, ValueError),
        ({"max_age": -1}, ValueError),
        ({"overflow": Overflow.CONFLATE}, ConfigError),
    ],
)
async def test_subscribe_wrong_settings_are_refused(arguments, error, autojump_clock):
    """Wrong values at once, with the value."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(error):
            async with ctx.subscribe(NUMBERS, **arguments):
                pass
        with pytest.raises(ValueError, match="at least one topic"):
            async with ctx.subscribe():
                pass
        await desk.stop()


async def test_latest_hands_a_new_mailbox_the_newest_of_each_key(autojump_clock):
    """A late subscriber knows the present prices."""
    reader = Reader(LATEST)
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        for tick in (Tick("btc", 1), Tick("eth", 5), Tick("btc", 2)):
            ctx.publish(LATEST, tick)
        await desk.start(reader, name="reader")
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [Tick("eth", 5), Tick("btc", 2)]
        await desk.stop()


# ---------------------------------------------------------------- overflow


async def _stuck(ctx, item):
    await trio.sleep_forever()


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
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)

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
        await desk.stop()


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

        async with open_supervisor("desk") as desk:
            await desk.start(reader, name="reader")
            ctx = await context_of(desk)
            async with trio.open_nursery() as nursery:
                for number, delay in enumerate((0, 0.1, 0.2, 0.3, 1)):
                    nursery.start_soon(send_at, ctx, delay, number)
            await trio.sleep(10)
            await desk.stop()

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
    full = Reader(NUMBERS, work=_stuck, capacity=1, overflow=Overflow.REJECT)
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
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        for n in range(5):
            ctx.publish(NUMBERS, n)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [3, 4]
        assert reader.subscription.statistics() == MailboxStatistics(
            waiting=0, delivered=2, dropped=3, missed=0, redelivered=0, dead=0
        )
        await desk.stop()


async def test_conflate_keeps_the_newest_of_each_key_in_order_of_update(autojump_clock):
    """An update takes the position of its arrival."""
    reader = Reader(TICKS, overflow=Overflow.CONFLATE, capacity=2)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        for tick in (Tick("a", 1), Tick("b", 1), Tick("a", 2), Tick("c", 1)):
            ctx.publish(TICKS, tick)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [Tick("a", 2), Tick("c", 1)]
        assert reader.subscription.statistics().dropped == 2
        await desk.stop()


async def test_conflate_crash_redelivers_and_later_updates_follow(autojump_clock):
    """What was in hand comes again before what came after it."""

    async def once(ctx, item):
        if ctx.generation == 1:
            ctx.publish(TICKS, Tick("b", 2))
            raise OSError

    reader = Reader(TICKS, overflow=Overflow.CONFLATE, work=once)
    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        ctx.publish(TICKS, Tick("a", 1))
        await trio.sleep(1)
        assert reader.got == [Tick("a", 1), Tick("a", 1), Tick("b", 2)]
        await desk.stop()


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
    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="reader", restart=Restart.TRANSIENT, rules=ENDS)
        ctx = await context_of(desk)
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
        await desk.stop()


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
    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="reader", restart=Restart.TRANSIENT, rules=ENDS)
        ctx = await context_of(desk)
        await child.wait(Lifecycle.STOPPED)
        ctx.publish(NUMBERS, 1)
        await child.stop()
        ctx.publish(NUMBERS, 2)
        await child.restart()
        ctx.publish(NUMBERS, 3)
        await trio.sleep(1)
        assert got == [3]
        await desk.stop()


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


async def test_publish_from_a_thread_is_refused_and_says_how_to(autojump_clock):
    """A reader may only be woken in its run; the message tells the way there."""
    reader = Reader(NUMBERS)

    def in_a_thread():
        with pytest.raises(RuntimeError, match=r"'desk/sender'.*another thread.*from_thread.run_sync"):
            ctx.publish(NUMBERS, 1)
        trio.from_thread.run_sync(ctx.publish, NUMBERS, 2)

    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        await trio.to_thread.run_sync(in_a_thread)
        await trio.sleep(1)
        assert reader.got == [2]
        await desk.stop()


# ---------------------------------------------------------------- crashes


async def test_crash_loses_nothing_and_redelivers_the_message_in_hand(autojump_clock):
    """What waits and what is in hand survives the reader; the sender notices nothing."""

    async def once(ctx, item):
        if item == 2 and ctx.generation == 1:
            raise OSError

    reader = Reader(NUMBERS, work=once)
    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        for n in range(5):
            ctx.publish(NUMBERS, n)
        await trio.sleep(1)
        assert reader.got == [0, 1, 2, 2, 3, 4]
        assert reader.subscription.statistics().redelivered == 1
        await desk.stop()


async def test_crash_three_times_on_a_message_puts_it_aside(autojump_clock):
    """A poisoned message does not park its reader for ever."""
    log = Log()

    async def bad(ctx, item):
        if item == 1:
            raise OSError

    reader = Reader(NUMBERS, work=bad)
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            child = await desk.start(reader, name="reader")
            ctx = await context_of(desk)
            for n in range(3):
                ctx.publish(NUMBERS, n)
            await trio.sleep(2)
            assert reader.got == [0, 1, 1, 1, 2]
            assert reader.subscription.dead_letters == (1,)
            assert child.status is Lifecycle.READY
            await desk.stop()
    (dead,) = log.named("message_dead")
    assert (dead.child, dead.topic, dead.position) == ("desk/reader", "numbers", 2)


async def test_cancellation_is_no_crash_on_a_message(autojump_clock):
    """Restarts by hand in the middle of a message never put it aside."""
    reader = Reader(NUMBERS, work=_stuck)
    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="reader", stop_grace=0)
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 7)
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            await child.restart()
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [7] * 6
        assert reader.subscription.dead_letters == ()
        await desk.stop()


async def test_batches_hand_out_all_there_is_and_come_back_one_by_one(autojump_clock):
    """One Trio checkpoint for a batch; after a crash in it the culprit is found."""
    got = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            async for batch in inbox.batches():
                got.append(list(batch))
                if 2 in batch and ctx.generation < 4:
                    raise OSError

    async with open_supervisor("desk", backoff=EXACT, max_restarts=5) as desk:
        await desk.start(component, name="reader")
        ctx = await context_of(desk)
        for n in range(4):
            ctx.publish(NUMBERS, n)
        await trio.sleep(2)
        for n in range(4, 6):
            ctx.publish(NUMBERS, n)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [[0, 1, 2, 3], [0], [1], [2], [2], [2], [3], [4, 5]]
        await desk.stop()


async def test_batches_max_size(autojump_clock):
    """At most so many at a time; less than one is refused."""
    got = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            with pytest.raises(ValueError, match="at least 1"):
                inbox.batches(0)
            for size in (1.5, True, "2"):
                with pytest.raises(TypeError, match="a number of messages"):
                    inbox.batches(size)
            ctx.ready()
            async for batch in inbox.batches(2):
                got.append(list(batch))

    async with open_supervisor("desk") as desk:
        await desk.start(component, name="reader")
        ctx = await context_of(desk)
        for n in range(5):
            ctx.publish(NUMBERS, n)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [[0, 1], [2, 3], [4]]
        await desk.stop()


async def test_subscription_left_by_an_error_that_is_handled_comes_again(autojump_clock):
    """A component that catches its own error and subscribes again gets the message again."""
    got = []

    async def component(ctx):
        ctx.ready()
        while not ctx.stopping:
            try:
                async with ctx.subscribe(NUMBERS) as inbox:
                    async for n in inbox:
                        got.append(n)
                        if got == [1]:
                            raise OSError
            except OSError:
                pass

    async with open_supervisor("desk") as desk:
        await desk.start(component, name="reader")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [1, 1]
        await desk.stop()


# ---------------------------------------------------------------- timers and age


async def test_every_yields_timers_at_their_times(autojump_clock):
    """Exactly every second; a late reader gets one for those it missed."""
    times = []

    async def work(ctx, item):
        if isinstance(item, Timer):
            times.append(trio.current_time())
            if len(times) == 2:
                await trio.sleep(2.5)

    reader = Reader(NUMBERS, work=work, every=1.0)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        await trio.sleep(0.5)
        ctx.publish(NUMBERS, 1)
        await trio.sleep(5.7)
        assert times == [1, 2, 4.5, 5, 6]
        assert (reader.got[3].at - reader.got[2].at).total_seconds() == pytest.approx(2)
        await desk.stop()


async def test_batches_put_a_timer_first(autojump_clock):
    """A timer and messages that wait come together."""
    got = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS, every=1.0) as inbox:
            ctx.ready()
            await trio.sleep(1.5)
            async for batch in inbox.batches():
                got.append(batch)

    async with open_supervisor("desk") as desk:
        await desk.start(component, name="reader")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        await trio.sleep(1.6)
        assert isinstance(got[0][0], Timer)
        assert got[0][1:] == [1]
        await desk.stop()


async def test_max_age_makes_the_reader_count_as_failing_until_data_comes(autojump_clock):
    """Connected and silent is not healthy."""
    reader = Reader(NUMBERS, max_age=2.0)
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            child = await desk.start(reader, name="reader")
            ctx = await context_of(desk)
            await trio.sleep(1)
            ctx.publish(NUMBERS, 1)
            await trio.sleep(5)
            assert child.is_failing()
            ctx.publish(NUMBERS, 2)
            await trio.testing.wait_all_tasks_blocked()
            assert not child.is_failing()
            await desk.stop()
    assert [(event.time, bool(event.reason)) for event in log.named("health_changed")] == [(3, True), (6, False)]


async def test_heartbeat_waiting_on_an_empty_mailbox_is_no_silence(autojump_clock):
    """A reader that waits is alive; one that hangs on a message is not."""
    reader = Reader(NUMBERS, work=_stuck)
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(reader, name="reader", heartbeat_timeout=1.0)
        ctx = await context_of(desk)
        await trio.sleep(10)
        assert child.generation == 1
        ctx.publish(NUMBERS, 1)
        await child.wait(Lifecycle.BACKOFF)
        assert trio.current_time() == 11
        await desk.stop()


# ---------------------------------------------------------------- stopping


async def test_stopping_ends_iteration_after_the_message_in_hand(autojump_clock):
    """What still waits is not begun."""
    ended = []

    async def slow(ctx, item):
        await trio.sleep(1)
        ended.append(item)

    reader = Reader(NUMBERS, work=slow)
    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="reader")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        ctx.publish(NUMBERS, 2)
        await trio.testing.wait_all_tasks_blocked()
        await child.stop()
        assert trio.current_time() == 1
        assert ended == [1]
        assert child.last_error is None
        await desk.stop()


async def test_two_tasks_on_one_subscription_are_refused(autojump_clock):
    """One subscription, one task."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        async with ctx.subscribe(NUMBERS) as inbox, trio.open_nursery() as nursery:
            nursery.start_soon(inbox.__anext__)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await inbox.__anext__()
            nursery.cancel_scope.cancel()
        await desk.stop()
