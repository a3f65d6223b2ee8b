"""What leaving a loop over messages, or its subscription, means for the message in hand."""

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.persistence.opening import open_store
from genesis_trio.persistence.schema import schema
from genesis_trio.supervision.component import Component
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import NUMBERS, context_of, desk_with
from supervision.desk import EXACT


class Leaver:
    """It leaves its loop at the first message, works on, and crashes where *crashes_at* says, in its first generation."""

    def __init__(self, crashes_at="", *, batches=False):
        self.crashes_at = crashes_at
        self.batches = batches
        self.got = []

    def at(self, ctx, where):
        if ctx.generation == 1 and where == self.crashes_at:
            raise OSError(where)

    async def __call__(self, ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            async for item in inbox.batches() if self.batches else inbox:
                self.got.append(item)
                self.at(ctx, "loop")
                break
            await trio.lowlevel.checkpoint()
            self.at(ctx, "block")
        await trio.lowlevel.checkpoint()
        self.at(ctx, "after")
        async with ctx.subscribe(NUMBERS) as inbox:
            async for item in inbox:
                self.got.append(item)


@pytest.mark.parametrize(
    ("crashes_at", "expected"),
    [
        ("", [1, 2]),
        ("loop", [1, 1, 2]),
        ("block", [1, 1, 2]),  # break asks for nothing: it is in hand as long as the block is not left
        ("after", [1, 2]),  # the block was left without an error: it is handled
    ],
)
async def test_message_left_by_break_is_in_hand_until_its_block_is_left(crashes_at, expected, autojump_clock):
    """Until then a crash brings it again; after that it does not."""
    leaver = Leaver(crashes_at)
    async with desk_with(leaver) as (_, ctx):
        for number in (1, 2):
            ctx.publish(NUMBERS, number)
        await trio.sleep(1)
        assert leaver.got == expected


@pytest.mark.parametrize(
    ("crashes_at", "expected"), [("", [[1, 2], 3]), ("block", [[1, 2], [1], 2, 3]), ("after", [[1, 2], [3]])]
)
async def test_batch_left_by_break_is_one_thing(crashes_at, expected, autojump_clock):
    """The whole batch is in hand, and handled, together, however much of it was looked at."""
    leaver = Leaver(crashes_at, batches=True)
    async with desk_with(leaver) as (_, ctx):
        for number in (1, 2):
            ctx.publish(NUMBERS, number)
        await trio.testing.wait_all_tasks_blocked()
        ctx.publish(NUMBERS, 3)
        await trio.sleep(1)
        assert leaver.got == expected


async def test_message_left_by_break_is_handled_once_another_loop_asks(autojump_clock):
    """A second loop in the same block begins by asking for the next one."""
    got = []

    async def component(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            async for number in inbox:
                got.append(number)
                break
            async for number in inbox:
                got.append(number)
                if ctx.generation == 1:
                    raise OSError

    async with desk_with(component) as (_, ctx):
        for number in (1, 2):
            ctx.publish(NUMBERS, number)
        await trio.sleep(1)
        assert got == [1, 2, 2]


async def test_message_left_by_a_timeout_of_ones_own_comes_again_and_never_dies(autojump_clock):
    """A cancelled reader did not crash: what it had in hand is not counted against, however often that happens."""
    got = []

    async def component(ctx):
        ctx.ready()
        for _ in range(5):
            with trio.move_on_after(1):
                async with ctx.subscribe(NUMBERS) as inbox:
                    async for number in inbox:
                        got.append(number)
                        await trio.sleep(2)
        async with ctx.subscribe(NUMBERS) as inbox:
            assert inbox.dead_letters == ()
            got.append(await anext(inbox))
            await ctx.wait_stopping()

    async with desk_with(component) as (_, ctx):
        ctx.publish(NUMBERS, 1)
        await trio.sleep(10)
        assert got == [1] * 6


async def test_message_that_raises_in_its_own_block_dies_the_third_time(autojump_clock):
    """An error that the component handles around its subscription counts as a crash on the message."""
    got = []

    async def component(ctx):
        ctx.ready()
        while not ctx.stopping:
            try:
                async with ctx.subscribe(NUMBERS) as inbox:
                    async for number in inbox:
                        got.append(number)
                        if number == 1:
                            raise OSError
            except OSError:
                pass

    async with desk_with(component) as (_, ctx):
        for number in (1, 2):
            ctx.publish(NUMBERS, number)
        await trio.sleep(1)
        assert got == [1, 1, 1, 2]


@schema("leaving-counted", version=1)
@attrs.define
class Counted:
    seen: list[int] = attrs.Factory(list)


class Counter(Component[Counted]):
    async def run(self, ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            async for number in inbox:
                self.state.seen.append(number)
                break
        if ctx.generation == 1:
            await ctx.create_checkpoint()  # the block was left: this is a safe point, and the message is in it
            raise OSError
        await ctx.wait_stopping()


async def test_message_left_with_its_block_is_part_of_the_next_saved_state(autojump_clock):
    """State and position agree: the message is in the state, and does not come again."""
    async with open_store("memory:") as store, open_supervisor("desk", store=store, backoff=EXACT) as desk:
        child = await desk.start(Counter, name="counter")
        ctx = await context_of(desk)
        for number in (1, 2):
            ctx.publish(NUMBERS, number)
        await trio.sleep(1)
        assert child.incarnation.component.state.seen == [1, 2]
        await desk.stop()
