"""What a message costs from a feed over a strategy to a sink, against plain function calls and Trio's channels.

Each stage makes an object for the next one, as it would in a service.  Ours keep positions, hold what is in hand until the
reader asks for more, and would deliver it again after a crash; the rivals do none of that.
"""

import gc
import time
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from benchmarks._report import Report
from genesis_trio import Context, Restart, Topic, open_supervisor

MESSAGES = 100_000
NAIVE_MESSAGES = 10_000
REPEATS = 5
CAPACITY = 1024
CHUNK = 1000  # what the feed reads at once


@attrs.frozen
class Tick:
    number: int
    price: float


@attrs.frozen
class Signal:
    number: int
    price: float


Run = Callable[[int], Awaitable[None]]  # of so many messages

TICKS = Topic("ticks", Tick)
SIGNALS = Topic("signals", Signal)


def tick(number: int) -> Tick:
    return Tick(number, 1.0)


def decide(given: Tick) -> Signal:
    return Signal(given.number, given.price)


class Sink:
    """The last stage: it counts, and says when it has everything."""

    def __init__(self, messages: int) -> None:
        self.left = messages
        self.all_there = trio.Event()

    def take(self, message: Tick | Signal) -> None:
        self.left -= 1
        if not self.left:
            self.all_there.set()


# ------------------------------------------------------------------ rivals


async def plain_calls(messages: int) -> None:
    sink = Sink(messages)
    for number in range(messages):
        sink.take(decide(tick(number)))


async def awaited_calls(messages: int) -> None:
    sink = Sink(messages)

    async def feed(number: int) -> Tick:
        return tick(number)

    async def strategy(given: Tick) -> Signal:
        return decide(given)

    for number in range(messages):
        sink.take(await strategy(await feed(number)))


async def naive_channels(messages: int) -> None:
    sink = Sink(messages)
    send_tick, receive_tick = trio.open_memory_channel[Tick](CAPACITY)
    send_signal, receive_signal = trio.open_memory_channel[Signal](CAPACITY)

    async def feed() -> None:
        async with send_tick:
            for number in range(messages):
                await send_tick.send(tick(number))

    async def strategy() -> None:
        async with receive_tick, send_signal:
            async for given in receive_tick:
                await send_signal.send(decide(given))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        nursery.start_soon(strategy)
        async for signal in receive_signal:
            sink.take(signal)


# ------------------------------------------------------------------ ours


Stage = Callable[[Context], Awaitable[None]]
LastStage = Callable[[Context, Sink], Awaitable[None]]


def ours(feed: Callable[[Context, int], Awaitable[None]], *stages: Stage, sink: LastStage) -> Run:
    """A tree of these: *feed*, the *stages* between, and the *sink*."""

    async def run(messages: int) -> None:
        end = Sink(messages)

        async def source(ctx: Context) -> None:
            ctx.ready()
            await feed(ctx, messages)

        async with open_supervisor("desk") as desk:
            await desk.start(sink, end, name="sink")
            for number, stage in enumerate(stages):
                await desk.start(stage, name=f"stage-{number}")
            await desk.start(source, name="feed", restart=Restart.TRANSIENT)  # it has an end
            await end.all_there.wait()
            await desk.stop()

    return run


def one_by_one(topic: Topic[Any], capacity: int) -> LastStage:
    async def read(ctx: Context, sink: Sink) -> None:
        async with ctx.subscribe(topic, capacity=capacity) as inbox:
            ctx.ready()
            async for message in inbox:
                sink.take(message)

    return read


def in_batches(topic: Topic[Any], capacity: int) -> LastStage:
    async def read(ctx: Context, sink: Sink) -> None:
        async with ctx.subscribe(topic, capacity=capacity) as inbox:
            ctx.ready()
            async for batch in inbox.batches():
                for message in batch:
                    sink.take(message)

    return read


async def feed_one_by_one(ctx: Context, messages: int) -> None:
    for number in range(messages):
        await ctx.send(TICKS, tick(number))


async def strategy_one_by_one(ctx: Context) -> None:
    async with ctx.subscribe(TICKS, capacity=CAPACITY) as ticks:
        ctx.ready()
        async for given in ticks:
            await ctx.send(SIGNALS, decide(given))


async def feed_publishing(ctx: Context, messages: int) -> None:
    for first in range(0, messages, CHUNK):
        for number in range(first, min(first + CHUNK, messages)):
            ctx.publish(TICKS, tick(number))
        await trio.lowlevel.checkpoint()


async def strategy_publishing(ctx: Context) -> None:
    async with ctx.subscribe(TICKS, capacity=8 * CAPACITY) as ticks:
        ctx.ready()
        async for batch in ticks.batches():
            for given in batch:
                ctx.publish(SIGNALS, decide(given))


async def feed_all(ctx: Context, messages: int) -> None:
    for first in range(0, messages, CHUNK):
        await ctx.send_all(TICKS, [tick(number) for number in range(first, min(first + CHUNK, messages))])


async def strategy_all(ctx: Context) -> None:
    async with ctx.subscribe(TICKS, capacity=CAPACITY) as ticks:
        ctx.ready()
        async for batch in ticks.batches():
            await ctx.send_all(SIGNALS, [decide(given) for given in batch])


# ------------------------------------------------------------------ one hop, with room for all there is


async def channel_hop(messages: int) -> None:
    """`send_nowait` as much as was read at once, and `receive` one after the other."""
    sink = Sink(messages)
    send_tick, receive_tick = trio.open_memory_channel[Tick](messages)

    async def feed() -> None:
        async with send_tick:
            for first in range(0, messages, CHUNK):
                for number in range(first, min(first + CHUNK, messages)):
                    send_tick.send_nowait(tick(number))
                await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed)
        async for given in receive_tick:
            sink.take(given)


def measure(run: Run, messages: int) -> list[float]:
    """Nanoseconds of processor time for each message, so that other programs disturb less; making the tree is part of it."""
    found = []
    for _ in range(REPEATS):
        gc.collect()
        gc.freeze()  # what the other rows left is not to be looked at here
        begin = time.process_time_ns()
        trio.run(run, messages)
        found.append((time.process_time_ns() - begin) / messages)
        gc.unfreeze()
    return found


PIPELINES: dict[str, tuple[Run, int]] = {
    "plain calls": (plain_calls, MESSAGES),
    "awaited calls": (awaited_calls, MESSAGES),
    "Trio channels, naive": (naive_channels, NAIVE_MESSAGES),
    "send() and async for": (
        ours(feed_one_by_one, strategy_one_by_one, sink=one_by_one(SIGNALS, CAPACITY)),
        NAIVE_MESSAGES,
    ),
    "publish() and batches()": (
        ours(feed_publishing, strategy_publishing, sink=in_batches(SIGNALS, 8 * CAPACITY)),
        MESSAGES,
    ),
    "send_all() and batches()": (ours(feed_all, strategy_all, sink=in_batches(SIGNALS, 8 * CAPACITY)), MESSAGES),
}

HOPS: dict[str, tuple[Run, int]] = {
    "send_nowait() and receive": (channel_hop, NAIVE_MESSAGES),
    "publish() and async for": (ours(feed_publishing, sink=one_by_one(TICKS, NAIVE_MESSAGES)), NAIVE_MESSAGES),
    "publish() and batches()": (ours(feed_publishing, sink=in_batches(TICKS, NAIVE_MESSAGES)), NAIVE_MESSAGES),
}

if __name__ == "__main__":
    for title, rows in (
        ("One message through three stages", PIPELINES),
        ("One message from a feed to a reader", HOPS),
    ):
        report = Report(title, unit="nanoseconds", baseline=next(iter(rows)))
        for name, (run, messages) in rows.items():
            report.add(name, measure(run, messages))
        report.print()
