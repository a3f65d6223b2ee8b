"""The keys of what was recorded: given ones are known for ever, default ones for as long as their message can come again."""

import os
from contextlib import suppress

import pytest
import trio

from genesis_trio import (
    CheckpointPolicy,
    Component,
    Overflow,
    open_store,
    open_supervisor,
)
from genesis_trio.errors import SchemaError
from messaging.parts import context_of
from persistence.damage import damage_newest
from supervision.booking import LEDGER, NUMBERS, PRICES, Book, Booked, Ledger, keys, records, save_and_shorten
from supervision.desk import EXACT, killed, open_desk, state_of


async def save_and_book_three(desk, *, holds=(), label=None):
    """Save a ledger while its three messages wait; then it books them, as far as it gets with *holds*."""
    gate = trio.Event()
    await desk.start(Ledger, gate, holds, name="ledger")
    ctx = await context_of(desk)
    for number in (1, 2, 3):
        ctx.publish(NUMBERS, number)
    await desk.create_checkpoint(label=label)
    gate.set()
    await trio.sleep(1)


async def test_given_keys_alone_are_written_and_stay(url, autojump_clock):
    """A default key is in its record, and goes with it; a given key stays."""

    class Both(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NUMBERS) as numbers:
                async for number in numbers:
                    await ctx.record(Booked(number))
                    await ctx.record(Booked(number), key=f"trade {number}")

    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Both, name="ledger")
        ctx = await context_of(desk)
        for number in range(1, 6):
            ctx.publish(NUMBERS, number)
        await trio.sleep(1)
        trades = [f"trade {number}" for number in range(1, 6)]
        assert keys(store) == trades
        assert len(records(store)) == store.statistics().journal[LEDGER] == 10
        await save_and_shorten(desk, store, times=1)
        assert (store.statistics().journal[LEDGER], store.statistics().keys[LEDGER]) == (0, 5)
        assert keys(store) == trades
        assert records(store) == []
        ctx.publish(NUMBERS, 6)
        await trio.sleep(1)
        assert state_of(child).booked == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
        assert (await store.verify()).ok
    async with open_store(url) as store:
        assert await store.record(LEDGER, Booked(9), key="trade 1", apply=print) == 2
        assert (await store.verify()).ok


async def test_message_that_comes_again_after_a_crash_is_booked_once(url, autojump_clock):
    """A save that includes its record, and not the message, has both; nothing else is kept for it."""
    gate = trio.Event()
    async with open_store(url) as store:
        async with open_desk(store, backoff=EXACT) as desk:
            child = await desk.start(Ledger, gate, (), (2,), name="ledger")
            ctx = await context_of(desk)
            for number in (1, 2, 3):
                ctx.publish(NUMBERS, number)
            await trio.sleep(1)
            assert child.generation == 2
            await save_and_shorten(desk, store)
            assert keys(store) == records(store) == []

            gate.set()
            await trio.sleep(1)
            assert state_of(child).booked == [1, 2, 3]
            assert state_of(child).handled == 3
            await save_and_shorten(desk, store)
            assert keys(store) == records(store) == []


@pytest.mark.parametrize("again", [1, 3])
async def test_message_that_comes_again_after_a_kill_is_booked_once(url, again, autojump_clock):
    """However often the process is killed before the message is handled, it is booked once."""
    async with open_store(url) as store, open_desk(store) as desk:
        await save_and_book_three(desk, holds=(2,))  # 2 is recorded, and in hand
        url = killed(url)
    for _ in range(again):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(Ledger, trio.Event(), (2,), name="ledger")
            assert state_of(child).booked == [1, 2]
            await save_and_shorten(desk, store)
            assert keys(store) == records(store) == []
            url = killed(url)
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Ledger, name="ledger")
        await trio.sleep(1)
        assert state_of(child).booked == [1, 2, 3]


async def test_records_stay_for_the_oldest_checkpoint_that_is_kept(url, autojump_clock):
    """Whoever falls back to it gets its messages again, with the records of them applied: none is booked twice."""
    async with open_store(url) as store, open_desk(store) as desk:
        await save_and_book_three(desk, label="before")
        await save_and_shorten(desk, store)
        assert len(records(store)) == 3
        damage_newest(store, LEDGER)
        url = killed(url)
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Ledger, name="ledger")
        await trio.sleep(1)
        assert state_of(child).booked == [1, 2, 3]
        assert state_of(child).handled == 3


async def test_keys_are_free_after_a_restore_of_an_older_checkpoint(url, autojump_clock):
    """What was recorded later is void: its messages come again, and are booked again."""
    async with open_store(url) as store, open_desk(store) as desk:
        await save_and_book_three(desk, label="before")
        await save_and_shorten(desk, store)
    for _ in range(2):
        async with open_store(url) as store, open_desk(store, restore="before") as desk:
            child = await desk.start(Ledger, name="ledger")
            await trio.sleep(1)
            assert state_of(child).booked == [1, 2, 3]
            await save_and_shorten(desk, store)
            assert (await store.verify()).ok


async def test_message_in_two_mailboxes_is_booked_once(url, autojump_clock):
    """A message is one, in however many mailboxes of its reader it is."""

    class Twice(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NUMBERS):
                pass
            async with ctx.subscribe(NUMBERS, PRICES) as inbox:
                async for number in inbox:
                    await ctx.record(Booked(number))
                    if number == 2:
                        break
            await ctx.create_checkpoint()
            await store.prune(keep=1)
            await store.shorten_journal()
            async with ctx.subscribe(NUMBERS) as inbox:
                async for number in inbox:
                    await ctx.record(Booked(number))

    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Twice, name="ledger")
        ctx = await context_of(desk)
        await trio.sleep(1)
        ctx.publish(NUMBERS, 1)
        ctx.publish(NUMBERS, 2)
        await trio.sleep(1)
        assert state_of(child).booked == [1, 2]


async def test_message_that_was_left_in_hand_is_booked_once(url, autojump_clock):
    """Whoever leaves a mailbox by an error and waits at another one still has the message, and gets it again."""

    class Leaving(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            with suppress(OSError):
                async with ctx.subscribe(NUMBERS) as numbers:
                    async for number in numbers:
                        await ctx.record(Booked(number))
                        raise OSError("boom")
            async with ctx.subscribe(PRICES) as prices:
                async for _ in prices:
                    break
            async with ctx.subscribe(NUMBERS) as numbers:
                async for number in numbers:
                    await ctx.record(Booked(number))

    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Leaving, name="ledger")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        await trio.sleep(1)
        await save_and_shorten(desk, store)
        ctx.publish(PRICES, 5)
        await trio.sleep(1)
        assert state_of(child).booked == [1]


@pytest.mark.parametrize("trouble", ["cancelled", "refused"])
async def test_keys_are_not_used_up_by_what_was_not_recorded(url, trouble, autojump_clock):
    """A record that is tried again after nothing was written has the key that it has when all goes well."""

    class Trying(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NUMBERS) as numbers:
                async for number in numbers:
                    if ctx.generation == 1 and trouble == "cancelled":
                        with trio.CancelScope() as scope:
                            scope.cancel()
                            await ctx.record(Booked(number))
                    elif ctx.generation == 1:
                        with pytest.raises(SchemaError):
                            await ctx.record(Booked("one"))
                    await ctx.record(Booked(number))
                    await ctx.record(Booked(number, 1))
                    if ctx.generation == 1:
                        raise OSError("boom")

    async with open_store(url) as store:
        async with open_desk(store, backoff=EXACT) as desk:
            child = await desk.start(Trying, name="ledger")
            (await context_of(desk)).publish(NUMBERS, 1)
            await trio.sleep(1)
            assert child.generation == 2
            assert state_of(child).count == 2


@pytest.mark.parametrize("overflow", [Overflow.CONFLATE, Overflow.DROP_OLDEST])
async def test_message_that_a_topic_tells_again_is_booked_once(url, overflow, autojump_clock):
    """A new reader gets the newest price again, and books it no second time."""

    class Prices(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(PRICES, overflow=overflow) as prices:
                async for price in prices:
                    await ctx.record(Booked(price))

    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Prices, name="ledger")
        ctx = await context_of(desk)
        for price in (1, 2, 3):
            ctx.publish(PRICES, price)
            await trio.sleep(1)
        await save_and_shorten(desk, store)
        for _ in range(2):
            await child.restart()
            await trio.sleep(1)
            assert state_of(child).booked == [1, 2, 3]
        await child.stop()
        await child.restart()
        await trio.sleep(1)
        assert state_of(child).booked == [1, 2, 3]


@pytest.mark.slow
@pytest.mark.untraced
async def test_keys_and_file_stay_bounded_however_much_is_recorded(url, autojump_clock):
    """40,000 records by default keys: what is on disk at the end is what was there after half of them."""
    each, period, periods = 500, 4, 20

    class Busy(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NUMBERS) as numbers:
                async for number in numbers:
                    async with trio.open_nursery() as nursery:
                        for part in range(1, each + 1):
                            nursery.start_soon(ctx.record, Booked(number, part))

    policy = CheckpointPolicy(every=None, messages=period, keep=2)
    sizes, counts = [], []
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
        child = await desk.start(Busy, name="ledger")
        ctx = await context_of(desk)
        for number in range(1, period * periods + 1):
            await ctx.send(NUMBERS, number)
            await trio.sleep(1)
            if number % period == 0:
                sizes.append(os.path.getsize(url.removeprefix("sqlite:")))
                counts.append((len(keys(store)), len(records(store))))
        assert state_of(child).count == each * period * periods
        # Never more than the messages of three periods, one of which is under way.
        assert max(max(pair) for pair in counts) <= 3 * period * each
        # Half: all of it is in the log of the database alone for the first third.
        assert max(sizes) <= 1.1 * max(sizes[: periods // 2])
        assert (await store.verify()).ok
        await desk.stop()
