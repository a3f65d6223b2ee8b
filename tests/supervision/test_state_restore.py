"""Going back to an older saved checkpoint: what was acknowledged before it was taken is there, what came later is void."""

import pytest
import trio

from genesis_trio import Component, open_store
from supervision.booking import NUMBERS, Book, Booked
from supervision.desk import open_desk, state_of


class Booking(Component[Book]):
    """Books a number each second, from what it has on; it shows its state nowhere."""

    async def run(self, ctx):
        ctx.ready()
        while len(self.state.booked) < 9:
            number = len(self.state.booked) + 1
            await ctx.record(Booked(number), key=f"trade {number}")
            await trio.sleep(1)
        await ctx.wait_stopping()


@pytest.mark.parametrize("by", ["id", "label", "datetime"])
async def test_restore_has_what_was_acknowledged_before_the_checkpoint(each_url, by, autojump_clock):
    """A checkpoint from before a component's first safe point brings all that was recorded until it was taken."""
    async with open_store(each_url) as store, open_desk(store) as desk:
        await desk.start(Booking, name="ledger")
        await trio.sleep(2.5)  # three are booked
        early = await desk.create_checkpoint(label="early")
        await trio.sleep(3)
        await desk.create_checkpoint()
    target = {"id": early.id, "label": "early", "datetime": early.created_at}[by]
    for _ in range(2):
        async with open_store(each_url) as store, open_desk(store, restore=target) as desk:
            child = await desk.start(Booking, name="ledger")
            assert state_of(child).booked[:3] == [1, 2, 3]
            await trio.sleep(20)
            assert state_of(child).booked == list(range(1, 10))  # the keys of what came later are free again
            await desk.create_checkpoint()
            await store.prune(keep=1)
            await store.shorten_journal()
            assert (await store.verify()).ok


async def test_restore_of_a_checkpoint_in_the_middle_of_a_message_books_it_once(each_url, autojump_clock):
    """What was recorded for the message in hand was acknowledged: the message comes again, and goes on behind it."""

    class Ledger(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NUMBERS) as numbers:
                async for number in numbers:
                    await ctx.record(Booked(number))
                    await trio.sleep(1)
                    await ctx.record(Booked(-number))
                    self.state.handled += 1

    async def feed(ctx):
        ctx.ready()
        if ctx.generation == 1:
            for number in (1, 2, 3):
                ctx.publish(NUMBERS, number)
        await ctx.wait_stopping()

    async with open_store(each_url) as store, open_desk(store) as desk:
        await desk.start(Ledger, name="ledger")
        await desk.start(feed, name="feed")
        await trio.sleep(1.5)
        await desk.create_checkpoint(label="middle")  # 2 is booked, and in hand
        await trio.sleep(5)
    for _ in range(2):
        async with open_store(each_url) as store, open_desk(store, restore="middle") as desk:
            child = await desk.start(Ledger, name="ledger")
            assert state_of(child).booked == [1, -1, 2]
            await trio.sleep(5)
            assert state_of(child).booked == [1, -1, 2, -2, 3, -3]
            assert state_of(child).handled == 3


async def test_restore_forwards_again_finds_what_was_acknowledged(each_url, autojump_clock):
    """From an older checkpoint, back to the one that it had left: its records count again, with their keys."""
    async with open_store(each_url) as store, open_desk(store) as desk:
        await desk.start(Booking, name="ledger")
        await trio.sleep(1.5)
        await desk.create_checkpoint(label="early")
        await trio.sleep(3)
        await desk.create_checkpoint(label="late")
    for label, booked in (("early", 2), ("late", 5), ("early", 2), ("late", 5)):
        async with open_store(each_url) as store, open_desk(store, restore=label) as desk:
            child = await desk.start(Booking, name="ledger")
            assert state_of(child).booked[:booked] == list(range(1, booked + 1))
            assert await store.record("desk/ledger", Booked(1), key="trade 2", apply=print) == 2
            await trio.sleep(20)
            assert state_of(child).booked == list(range(1, 10))
            assert (await store.verify()).ok


async def test_restore_after_a_kill_behind_a_restore(each_url, autojump_clock):
    """A second start behind a restore, before anything was saved, brings the same."""
    async with open_store(each_url) as store, open_desk(store) as desk:
        await desk.start(Booking, name="ledger")
        await trio.sleep(2.5)
        early = await desk.create_checkpoint()
        await trio.sleep(3)
    async with open_store(each_url) as store:
        await store.rewind(early.id)
        loaded = await store.load("desk/ledger", Book, make=Book)
        assert (loaded.state.booked, loaded.lost) == ([1, 2, 3], 0)
    async with open_store(each_url) as store:
        loaded = await store.load("desk/ledger", Book, make=Book)
        assert (loaded.state.booked, loaded.lost) == ([1, 2, 3], 0)
        assert loaded.fell_back_from == ()
