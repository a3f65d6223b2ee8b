"""Mailboxes of nested children while their host is down: they do what those of the host itself do, and nothing in them is lost."""

import pytest
import trio
import trio.testing

from genesis_trio import (
    Criticality,
    Lifecycle,
    MailboxFullError,
    Mode,
    NoResponderError,
    Overflow,
    Restart,
    Topic,
    observe,
    open_supervisor,
)
from genesis_trio.messaging.requests import PATIENCE
from messaging.nested import SLOW, Host, Sending, go_down, receivers
from messaging.parts import NUMBERS, TICKS, Reader, Tick, context_of, stuck
from supervision.desk import Log


async def test_crash_of_a_host_loses_nothing_that_waits_is_in_hand_or_comes_meanwhile(autojump_clock):
    """As with a child of the root: the next one of its path goes on where the last one was cut."""

    async def slow(ctx, item):
        if item == 1 and host.crashes is first:
            await trio.sleep_forever()

    reader = Reader(NUMBERS, work=slow)
    host = Host(reader)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        first = host.crashes
        ctx = await context_of(desk)
        for number in range(4):
            ctx.publish(NUMBERS, number)
        await go_down(host, child)
        ctx.publish(NUMBERS, 4)
        await trio.sleep(5)
        ctx.publish(NUMBERS, 5)
        await child.wait(Lifecycle.READY)
        assert trio.current_time() == 10
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [0, 1, 1, 2, 3, 4, 5]
        assert reader.subscription.statistics().redelivered == 1
        assert receivers(desk) == 1
        await desk.stop()


async def test_host_that_is_down_holds_senders_back_until_its_child_reads_again(autojump_clock):
    """Also while it stops, and while it starts: a sender goes on in the step in which there is room."""

    async def slow_start(ctx):
        if ctx.generation > 1:
            await trio.sleep(3)

    async def slow_end(ctx):
        ctx.ready()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)

    async def first_stuck(ctx, item):
        if host.crashes is first:
            await trio.sleep_forever()

    reader = Reader(NUMBERS, work=first_stuck, capacity=2)
    host = Host(slow_end, reader, before=slow_start)
    sending = Sending(range(8))
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        first = host.crashes
        await desk.start(sending, name="sending")
        await trio.sleep(1)
        assert sending.times == [0, 0, 0]  # one in hand, two wait
        await go_down(host, child)
        assert trio.current_time() == 3
        await child.wait(Lifecycle.READY)
        assert trio.current_time() == 16
        await trio.sleep(1)
        assert sending.times == [0, 0, 0] + [16] * 5
        assert reader.got == [0, *range(8)]
        await desk.stop()


async def test_nested_child_that_comes_back_slowly_holds_senders_back_until_it_reads(autojump_clock):
    """It is between restarts, and this is no first start."""
    got = []

    async def slow(ctx):
        async with ctx.subscribe(NUMBERS, capacity=2) as numbers:
            if sending.times:
                await trio.sleep(3)
            ctx.ready()
            async for number in numbers:
                got.append(number)

    host = Host(slow)
    sending = Sending(range(4))
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        await go_down(host, child)
        await desk.start(sending, name="sending")
        await child.wait(Lifecycle.READY)
        await trio.sleep(1)
        assert (sending.times, got) == ([0, 0, 13, 13], [0, 1, 2, 3])
        await desk.stop()


async def test_host_that_is_down_refuses_what_its_child_would_refuse(autojump_clock):
    """REJECT: whoever sends learns it, and nothing that was taken is lost."""
    reader = Reader(NUMBERS, capacity=2, overflow=Overflow.REJECT)
    host = Host(reader)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        ctx = await context_of(desk)
        await go_down(host, child)
        await ctx.send(NUMBERS, 0)
        await ctx.send(NUMBERS, 1)
        with pytest.raises(MailboxFullError) as caught:
            await ctx.send(NUMBERS, 2)
        assert caught.value.mailboxes == ("desk/host/inner/n0",)
        await child.wait(Lifecycle.READY)
        await ctx.send(NUMBERS, 2, retry_of=caught.value)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [0, 1, 2]
        await desk.stop()


@pytest.mark.parametrize(
    ("overflow", "got"),
    [
        (Overflow.DROP_OLDEST, [Tick("a", 3), Tick("b", 4)]),
        (Overflow.CONFLATE, [Tick("a", 3), Tick("b", 4)]),
    ],
)
async def test_host_that_is_down_keeps_the_newest_where_its_child_would(overflow, got, autojump_clock):
    """What was dropped or replaced meanwhile is counted in the one mailbox."""
    reader = Reader(TICKS, capacity=2, overflow=overflow)
    host = Host(reader)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        ctx = await context_of(desk)
        await go_down(host, child)
        for price in range(1, 5):
            ctx.publish(TICKS, Tick("ab"[price % 2 == 0], price))
        await child.wait(Lifecycle.READY)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == got
        assert reader.subscription.statistics().dropped == 2
        await desk.stop()


async def test_host_that_crashes_until_it_is_parked_keeps_the_newest_and_holds_nobody_back(autojump_clock):
    """Its nested mailboxes are those of a parked child; the trial brings what is left of them."""

    async def fails(ctx):
        if 1 < ctx.generation < 4:
            await trio.sleep(1)
            raise OSError

    reader = Reader(NUMBERS, capacity=2)
    host = Host(reader, before=fails)
    sending = Sending(range(6))
    async with open_supervisor("desk", max_restarts=2, **SLOW) as desk:
        child = await desk.start(host, name="host", unpark_after=100.0, criticality=Criticality.OPTIONAL)
        await go_down(host, child)
        await desk.start(sending, name="sending")
        await child.wait(Lifecycle.PARKED)
        assert trio.current_time() == 22
        await trio.sleep(1)
        assert sending.times == [0, 0] + [22] * 4
        await child.wait(Lifecycle.READY)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [4, 5]
        assert reader.subscription.statistics().missed == 4
        await desk.stop()


async def test_nested_child_that_cannot_start_in_a_crash_loop_keeps_its_mailbox(autojump_clock):
    """Each start() that fails takes its child back; what waits for it, and what comes meanwhile, waits for the next one."""
    got = []

    async def reader(ctx):
        async with ctx.subscribe(NUMBERS) as numbers:
            if 0 < len(runs) < 3:
                runs.append(ctx.generation)
                raise OSError
            runs.append(ctx.generation)
            ctx.ready()
            async for number in numbers:
                got.append(number)

    runs = []
    host = Host(reader)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        ctx = await context_of(desk)
        await go_down(host, child)
        for number in range(4):
            ctx.publish(NUMBERS, number)
            await trio.sleep(8)
        assert (len(runs), trio.current_time()) == (4, 32)
        assert got == [0, 1, 2, 3]
        assert receivers(desk) == 1
        await desk.stop()


async def test_suspended_host_keeps_the_newest_of_its_nested_mailboxes(autojump_clock):
    """Until the mode admits it again."""
    reader = Reader(NUMBERS, capacity=2)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(Host(reader), name="host", criticality=Criticality.OPTIONAL)
        ctx = await context_of(desk)
        with desk.scope.hold(Mode.SAFE, owner="test", reason="r"):
            await child.wait(Lifecycle.SUSPENDED)
            for number in range(5):
                await ctx.send(NUMBERS, number)
        await child.wait(Lifecycle.READY)
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [3, 4]
        assert reader.subscription.statistics().missed == 3
        await desk.stop()


async def test_restart_by_hand_of_a_host_loses_nothing(autojump_clock):
    """Its nested supervisor stops in good order, and the block is left without an error."""
    reader = Reader(NUMBERS)
    before = []

    async def publishes(ctx):
        before.append(ctx.generation)
        sender.publish(NUMBERS, ctx.generation)

    host = Host(reader, before=publishes)
    async with open_supervisor("desk") as desk:
        sender = await context_of(desk)
        child = await desk.start(host, name="host")
        await child.restart()
        await trio.testing.wait_all_tasks_blocked()
        assert (before, reader.got) == ([1, 2], [2])  # the first was sent before there was a mailbox
        await desk.stop()


async def test_restart_by_hand_of_a_host_that_ends_in_good_order_keeps_what_waits(autojump_clock):
    """Its block is left without an error, since its children have stopped; that is not the end of them."""

    async def slow(ctx, item):
        await trio.sleep(1)

    async def host(ctx):
        async with open_supervisor("inner") as inner:
            await inner.start(reader, name="reader")
            ctx.ready()

    reader = Reader(NUMBERS, work=slow)
    async with open_supervisor("desk") as desk:
        child = await desk.start(host, name="host")
        ctx = await context_of(desk)
        for number in range(3):
            ctx.publish(NUMBERS, number)
        await trio.sleep(0.5)
        await child.restart()
        await trio.sleep(5)
        assert reader.got == [0, 1, 2]
        await desk.stop()


async def test_what_starts_with_a_nested_child_is_not_held_back_by_its_mailbox(autojump_clock):
    """It could wait for ever: the child starts after it."""

    async def opening(ctx):
        if before == [1]:
            await ctx.send(NUMBERS, 100)
        ctx.ready()
        await ctx.wait_stopping()

    async def host_sends(ctx):
        before[:] = [ctx.generation - 1]
        if ctx.generation > 1:
            await ctx.send(NUMBERS, 99)

    async def first_stuck(ctx, item):
        if before == [0]:
            await trio.sleep_forever()

    before = []
    reader = Reader(NUMBERS, work=first_stuck, capacity=2)
    host = Host(opening, reader, before=host_sends)
    sending = Sending(range(6))
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        await desk.start(sending, name="sending")
        await trio.sleep(1)
        await go_down(host, child)
        await child.wait(Lifecycle.READY)
        await trio.testing.wait_all_tasks_blocked()
        assert trio.current_time() == 11
        assert sorted(reader.got) == [0, *range(6), 99, 100]
        assert reader.got[:5] == [0, 0, 1, 2, 99]
        await desk.stop()


async def test_what_stops_with_a_nested_child_is_not_held_back_by_its_mailbox(autojump_clock):
    """Its reader has stopped before it: it would wait until it is cancelled."""

    async def feed(ctx):
        ctx.ready()
        number = 0
        while not ctx.stopping:
            await ctx.send(NUMBERS, number)
            number += 1
            await trio.sleep(0.25)
        ends.append((ctx.path, trio.current_time()))

    ends = []
    reader = Reader(NUMBERS, work=stuck, capacity=1)
    host = Host(feed, reader, stop_grace=2.125)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        await trio.sleep(1.125)
        await go_down(host, child)
        assert ends == [("desk/host/inner/n0", 3.375)]
        await desk.stop()


async def test_hosts_nested_two_deep_keep_the_mailboxes_below_them(autojump_clock):
    """The outer host makes another inner one, which makes another reader: it has the mailbox of the first."""
    reader = Reader(NUMBERS, capacity=2)
    inner = Host(reader)
    outer = Host(inner)
    sending = Sending(range(6), every=1.0)
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(outer, name="host")
        await go_down(outer, child)
        await desk.start(sending, name="sending")
        await trio.sleep(9.5)
        assert sending.times == [0, 1]
        await trio.sleep(10)
        assert reader.got == list(range(6))
        assert receivers(desk) == 1
        await go_down(outer, child)
        assert receivers(desk) == 1
        await child.stop()
        assert receivers(desk) == 0
        await desk.stop()


async def test_inner_host_that_is_down_when_the_outer_one_crashes_keeps_its_mailboxes(autojump_clock):
    """The mailbox waits through both outages, and holds back as long as the outer one lasts."""
    reader = Reader(NUMBERS, capacity=1)
    inner = Host(reader)

    async def outer(ctx):
        async with open_supervisor("inner", **SLOW) as venue:
            await venue.start(inner, name="host")
            ctx.ready()
            if ctx.generation == 1:
                inner.crash()
                await trio.sleep(5)
                raise OSError
            await ctx.wait_stopping()

    sending = Sending(range(3))
    async with open_supervisor("desk", **SLOW) as desk:
        await desk.start(outer, name="outer")
        await trio.sleep(1)
        await desk.start(sending, name="sending")
        await trio.sleep(20)
        assert sending.times == [1, 15, 15]
        assert reader.got == [0, 1, 2]
        await desk.stop()


async def test_inner_host_that_is_down_when_the_outer_one_is_parked_holds_nobody_back(autojump_clock):
    """What waits for it does as all that is below a parked child: the newest is kept."""
    reader = Reader(NUMBERS, capacity=1)
    inner = Host(reader)

    async def outer(ctx):
        async with open_supervisor("inner", **SLOW) as venue:
            await venue.start(inner, name="host")
            ctx.ready()
            inner.crash()
            await trio.sleep(5)
            raise OSError

    sending = Sending(range(3))
    async with open_supervisor("desk", max_restarts=0) as desk:
        await desk.start(outer, name="outer", unpark_after=None, criticality=Criticality.OPTIONAL)
        await trio.sleep(1)
        await desk.start(sending, name="sending")
        await trio.sleep(9)
        assert sending.times == [1, 5, 5]
        await desk.stop()


async def test_nested_child_that_had_ended_holds_nobody_back_while_its_host_is_down(autojump_clock):
    """Nobody waited for it before, either."""

    async def ends(ctx):
        async with ctx.subscribe(NUMBERS, capacity=1):
            ctx.ready()

    host = Host(ends, restart=Restart.TRANSIENT)
    sending = Sending(range(3))
    async with open_supervisor("desk", **SLOW) as desk:
        child = await desk.start(host, name="host")
        await go_down(host, child)
        assert receivers(desk) == 1
        await desk.start(sending, name="sending")
        await trio.sleep(1)
        assert sending.times == [0, 0, 0]
        await desk.stop()


async def test_nested_message_that_crashes_its_host_three_times_is_put_aside_without_a_store(autojump_clock):
    """The crashes are counted in the mailbox, which is the same one each time."""

    async def bad(ctx, item):
        if item == 1:
            raise OSError

    async def host(ctx):
        async with open_supervisor("inner", max_restarts=0) as inner:
            await inner.start(reader, name="reader", escalate=True)
            ctx.ready()

    reader = Reader(NUMBERS, work=bad)
    async with open_supervisor("desk", max_restarts=5, **SLOW) as desk:
        await desk.start(host, name="host")
        ctx = await context_of(desk)
        for number in range(3):
            ctx.publish(NUMBERS, number)
        await trio.sleep(60)
        assert reader.got == [0, 1, 1, 1, 2]
        assert reader.subscription.dead_letters == (1,)
        await desk.stop()


QUESTIONS = Topic("messaging.nested.questions", str)


async def answering(ctx):
    async with ctx.requests(QUESTIONS) as requests:
        ctx.ready()
        async for request in requests:
            request.reply(request.message.upper())


async def test_request_to_a_nested_child_waits_for_its_host_as_long_as_it_takes(autojump_clock):
    """Like one to a child of the root, and not only for the 30 s that anybody may take to come for the first time."""
    host = Host(answering)
    log = Log()
    with observe(log):
        async with open_supervisor("desk", max_restarts=0) as desk:
            child = await desk.start(host, name="host", unpark_after=100.0, criticality=Criticality.OPTIONAL)
            ctx = await context_of(desk)
            assert await ctx.request(QUESTIONS, "first") == "FIRST"
            await go_down(host, child, Lifecycle.PARKED)
            assert await ctx.request(QUESTIONS, "second") == "SECOND"
            (parked,) = log.named("child_parked")
            assert trio.current_time() == parked.retry_after > PATIENCE
            await desk.stop()


async def test_request_to_a_nested_child_fails_when_its_host_is_stopped_by_hand(autojump_clock):
    """Nobody else is going to answer it."""
    host = Host(answering)
    async with open_supervisor("desk", **SLOW) as desk, trio.open_nursery() as nursery:
        child = await desk.start(host, name="host")
        ctx = await context_of(desk)
        await go_down(host, child)
        nursery.start_soon(child.stop)
        with pytest.raises(NoResponderError, match="'desk/host/inner/n0', the last one to answer"):
            await ctx.request(QUESTIONS, "second")
        assert trio.current_time() == 0
        await desk.stop()
