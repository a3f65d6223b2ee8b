"""A crash loses nothing, and a message that crashes its reader again and again is put aside."""

import trio
import trio.testing

from genesis_trio.events import observe
from genesis_trio.supervision.component import Lifecycle
from messaging.parts import NUMBERS, Reader, desk_with, stuck
from supervision.desk import Log


async def test_crash_loses_nothing_and_redelivers_the_message_in_hand(autojump_clock):
    """What waits and what is in hand survives the reader; the sender notices nothing."""

    async def once(ctx, item):
        if item == 2 and ctx.generation == 1:
            raise OSError

    reader = Reader(NUMBERS, work=once)
    async with desk_with(reader) as (_, ctx):
        for n in range(5):
            ctx.publish(NUMBERS, n)
        await trio.sleep(1)
        assert reader.got == [0, 1, 2, 2, 3, 4]
        assert reader.subscription.statistics().redelivered == 1


async def test_crash_three_times_on_a_message_puts_it_aside(autojump_clock):
    """A poisoned message does not park its reader for ever."""
    log = Log()

    async def bad(ctx, item):
        if item == 1:
            raise OSError

    reader = Reader(NUMBERS, work=bad)
    with observe(log):
        async with desk_with(reader) as (child, ctx):
            for n in range(3):
                ctx.publish(NUMBERS, n)
            await trio.sleep(2)
            assert reader.got == [0, 1, 1, 1, 2]
            assert reader.subscription.dead_letters == (1,)
            assert child.status is Lifecycle.READY
    (dead,) = log.named("message_dead")
    assert (dead.child, dead.topic, dead.position) == ("desk/reader", "numbers", 2)


async def test_cancellation_is_no_crash_on_a_message(autojump_clock):
    """Restarts by hand in the middle of a message never put it aside."""
    reader = Reader(NUMBERS, work=stuck)
    async with desk_with(reader, stop_grace=0) as (child, ctx):
        ctx.publish(NUMBERS, 7)
        for _ in range(5):
            await trio.testing.wait_all_tasks_blocked()
            await child.restart()
        await trio.testing.wait_all_tasks_blocked()
        assert reader.got == [7] * 6
        assert reader.subscription.dead_letters == ()


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

    async with desk_with(component) as (_, ctx):
        ctx.publish(NUMBERS, 1)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [1, 1]
