"""Topics that keep the newest message: what a new reader of an old mailbox is told."""

import attrs
import pytest
import trio

from genesis_trio import Backoff, CheckpointPolicy, Component, Overflow, Topic, open_store, open_supervisor, schema


@attrs.frozen
class Price:
    symbol: str
    value: int


PRICES = Topic("prices", Price, key=lambda price: price.symbol, latest=True)

KINDS = [Overflow.CONFLATE, Overflow.DROP_OLDEST, Overflow.BLOCK, Overflow.REJECT]


async def publish(ctx):
    for value in (1, 2):
        ctx.publish(PRICES, Price("A", value))
    ctx.publish(PRICES, Price("B", 7))
    ctx.ready()
    await ctx.wait_stopping()


async def read_twice(overflow, store=None, component=None):
    """What the first reader is told, and what its successor is told."""
    told = []

    async def read(ctx):
        seen = []
        told.append(seen)
        async with ctx.subscribe(PRICES, overflow=overflow) as prices:
            ctx.ready()
            async for price in prices:
                seen.append((price.symbol, price.value))

    class Saved(Component[Count]):
        async def run(self, ctx):
            await read(ctx)

    backoff = Backoff(base_delay=0.1, jitter="none")
    async with open_supervisor("desk", store=store, backoff=backoff) as desk:
        await desk.start(publish, name="publisher")
        child = await desk.start(read if store is None else Saved, name="reader")
        await trio.sleep(1)
        await child.restart()
        await trio.sleep(1)
        await desk.stop()
    return told


@attrs.define
class Count:
    n: int = 0


@pytest.mark.parametrize("overflow", KINDS)
async def test_latest_new_reader_of_old_mailbox_gets_newest_again(overflow, autojump_clock):
    """What the predecessor knew went with it, so its successor is told the newest message of each key."""
    assert await read_twice(overflow) == [[("A", 2), ("B", 7)], [("A", 2), ("B", 7)]]


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.REJECT])
async def test_latest_saved_reader_gets_nothing_again(overflow, autojump_clock):
    """A state that came back with its position has those messages in it already."""
    async with open_store("memory:") as store:
        assert await read_twice(overflow, store) == [[("A", 2), ("B", 7)], []]


async def publish_once(ctx, values):
    for symbol, value in values.items():
        ctx.publish(PRICES, Price(symbol, value))
    ctx.ready()
    await ctx.wait_stopping()


@schema("latest.book")
@attrs.define
class Book:
    values: list[int] = attrs.Factory(list)


class Keeping(Component[Book]):
    """Reads prices in the runs named *reads*, or in all; `crash` ends a run."""

    def __init__(self, reads=()):
        self.reads = reads
        self.crash = trio.Event()

    async def run(self, ctx):
        async with trio.open_nursery() as nursery:
            if not self.reads or ctx.generation in self.reads:
                nursery.start_soon(self.read, ctx)
            ctx.ready()
            await self.crash.wait()
            raise OSError("down")

    async def read(self, ctx):
        async with ctx.subscribe(PRICES) as prices:
            async for price in prices:
                self.state.values.append(price.value)


async def test_latest_restored_mailbox_gets_what_was_sent_before_it_was_opened(autojump_clock):
    """What a later process publishes once, before the reader is started, is new to its mailbox from the disk."""
    async with open_store("memory:") as store:
        for values in ({"A": 1, "B": 2}, {"A": 3, "C": 4}):
            async with open_supervisor("desk", store=store) as desk:
                await desk.start(publish_once, values, name="publisher")
                reader = await desk.start(Keeping, name="reader")
                await trio.sleep(1)
                state = reader.incarnation.component.state
                await desk.create_checkpoint()
                await desk.stop()

    assert state.values == [1, 2, 3, 4]


async def test_latest_mailbox_that_was_set_aside_gets_only_what_it_has_not_seen(autojump_clock):
    """Nobody opened it in the second run, so it was closed; A was handled before that, B came twice meanwhile."""
    backoff = Backoff(base_delay=1.0, multiplier=1.0, jitter="none")
    quiet = CheckpointPolicy(every=None, messages=None)
    async with (
        open_store("memory:") as store,
        open_supervisor("desk", store=store, checkpoint=quiet, backoff=backoff) as desk,
    ):
        await desk.start(publish_once, {"A": 1, "B": 2}, name="publisher")
        reader = await desk.start(Keeping, (1, 3), name="reader", start_timeout=10.0)
        await trio.sleep(1)
        await desk.create_checkpoint()
        reader.incarnation.component.crash.set()
        await trio.sleep(20)
        await desk.start(publish_once, {"B": 3}, name="second")
        await desk.start(publish_once, {"B": 4}, name="third")
        reader.incarnation.component.crash.set()
        await trio.sleep(5)
        assert reader.incarnation.component.state.values == [1, 2, 4]
        await desk.stop()


async def test_latest_message_that_waits_is_not_told_twice(autojump_clock):
    """A newest message that the predecessor had in hand comes back once."""
    told = []

    async def read(ctx):
        async with ctx.subscribe(PRICES, overflow=Overflow.CONFLATE) as prices:
            ctx.ready()
            async for price in prices:
                told.append(price.value)
                if len(told) == 1:
                    raise OSError("once")

    async def publish_one(ctx):
        ctx.publish(PRICES, Price("A", 1))
        ctx.ready()
        await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        await desk.start(publish_one, name="publisher")
        await desk.start(read, name="reader")
        await trio.sleep(5)
        await desk.stop()

    assert told == [1, 1]


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.REJECT])
async def test_latest_new_reader_of_a_small_mailbox_gets_every_key(overflow, autojump_clock):
    """What a mailbox is handed when it opens has no sender who could wait, so it may be more than the capacity."""
    told = []

    async def publish_ten(ctx):
        for number in range(10):
            ctx.publish(PRICES, Price(str(number), number))
        ctx.ready()
        await ctx.wait_stopping()

    async def read(ctx):
        async with ctx.subscribe(PRICES, capacity=3, overflow=overflow) as prices:
            ctx.ready()
            async for price in prices:
                told.append(price.value)
                statistics.append(prices.statistics())

    statistics = []
    async with open_supervisor("desk") as desk:
        await desk.start(publish_ten, name="publisher")
        await desk.start(read, name="reader")
        await trio.sleep(1)
        await desk.stop()

    assert told == list(range(10))
    assert (statistics[-1].refused, statistics[-1].dropped) == (0, 0)
