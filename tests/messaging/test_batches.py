"""Batches: all there is at once, and one by one after a crash."""

import pytest
import trio
import trio.testing

from genesis_trio.messaging.topic import Timer
from genesis_trio.supervision.component import Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import NUMBERS, context_of
from supervision.desk import EXACT


async def test_batches_hand_out_all_there_is_and_come_back_one_by_one(autojump_clock):
    """One Trio checkpoint for a batch; after a crash in it the culprit is found."""
    got = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            async for batch in inbox.batches():
                got.append(list(batch))
                if 2 in batch and ctx.generation < 3:
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
        assert got == [[0, 1, 2, 3], [0], [1], [2], [2], [3], [4, 5]]
        await desk.stop()


async def test_batches_poison_message_costs_no_more_restarts_than_alone(autojump_clock):
    """The batch that it crashed was its first crash: the usual three restarts are enough, and each other message is handled."""
    got = []
    inboxes = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            inboxes.append(inbox)
            ctx.ready()
            async for batch in inbox.batches():
                got.append(list(batch))
                if 1 in batch:
                    raise OSError

    async with open_supervisor("desk") as desk:
        child = await desk.start(component, name="reader")
        ctx = await context_of(desk)
        for n in range(3):
            ctx.publish(NUMBERS, n)
        await trio.sleep(2)
        ctx.publish(NUMBERS, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert got == [[0, 1, 2], [0], [1], [1], [2], [3]]
        assert tuple(inboxes[-1].dead_letters) == (1,)
        assert child.status is Lifecycle.READY
        await desk.stop()


async def test_batches_crash_counts_against_one_message_only(autojump_clock):
    """Who crashes first has the crash of the batch; another one of it has the whole of its three."""
    got = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            async for batch in inbox.batches():
                got.append(list(batch))
                if max(batch) > 0:
                    raise OSError

    async with open_supervisor("desk", backoff=EXACT, max_restarts=10, within=100.0) as desk:
        await desk.start(component, name="reader")
        ctx = await context_of(desk)
        for n in range(3):
            ctx.publish(NUMBERS, n)
        await trio.sleep(50)
        assert got == [[0, 1, 2], [0], [1], [1], [2], [2], [2]]
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
