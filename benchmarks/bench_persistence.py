"""What it costs to keep state, in microseconds for each record or state, beside the cheapest durable write there is.

The baseline appends the same bytes to a file from a Trio thread, and calls fdatasync.  All rows are measured
in turn within each repeat, because the latency of a disk drifts by more than what is compared here; trust the
ratios of one run.  Files are made in a temporary folder (TMPDIR chooses the disk).
"""

import itertools
import os
import statistics
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import perf_counter

import attrs
import trio

from benchmarks._report import Report
from genesis_trio import CheckpointPolicy, Component, Context, Store, Topic, open_store, open_supervisor, schema

REPEATS = 5
OPERATIONS = 200
COMPONENTS = 64
STATES = 100
LARGE = 25  # components of 100 KB
REPLAYED = 20_000


@schema("bench.fill")
@attrs.frozen
class Fill:
    """About 300 bytes, as an order event has."""

    quantity: int
    text: str = "x" * 260


@schema("bench.limit")
@attrs.define
class Limit:
    """About 300 bytes: what it costs to save it is the commit, not the state."""

    number: int = 0
    text: str = "x" * 260


@schema("bench.book")
@attrs.define
class Book:
    """About 10 KB."""

    number: int = 0
    levels: list[str] = attrs.Factory(lambda: ["12345.67 x 100"] * 600)


async def median_of(step: Callable[[int], Awaitable[object]]) -> float:
    """Microseconds of the median of many steps, one after the other."""
    taken = []
    for number in range(OPERATIONS):
        began = perf_counter()
        await step(number)
        taken.append(perf_counter() - began)
    return statistics.median(taken) * 1e6


async def raw(folder: Path) -> float:
    fd = os.open(folder / "raw", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    body = b"x" * 300

    def write() -> None:
        os.write(fd, body)
        os.fdatasync(fd)

    try:
        return await median_of(lambda number: trio.to_thread.run_sync(write))
    finally:
        os.close(fd)


def nothing(sequence: int) -> None:
    """What a component without state applies."""


async def record_alone(store: Store) -> float:
    return await median_of(lambda number: store.record("alone", Fill(number), key=None, apply=nothing))


async def record_with_key(store: Store) -> float:
    first = (await store.append("keys", [])) + 1
    return await median_of(
        lambda number: store.record("keys", Fill(number), key=f"desk/feed|{first + number:09}", apply=nothing)
    )


async def record_together(store: Store) -> float:
    async def work(name: str) -> None:
        for number in range(OPERATIONS):
            await store.record(name, Fill(number), key=None, apply=nothing)

    began = perf_counter()
    async with trio.open_nursery() as nursery:
        for number in range(COMPONENTS):
            nursery.start_soon(work, f"together/{number}")
    return (perf_counter() - began) * 1e6 / (COMPONENTS * OPERATIONS)


@schema("bench.history")
@attrs.define
class History:
    """About 100 KB."""

    number: int = 0
    levels: list[str] = attrs.Factory(lambda: ["12345.67 x 100"] * 6000)


class Historian(Component[History]):
    """Changes its state for each message, and waits in a subscription otherwise: clean without saying so."""

    def __init__(self, topic: Topic[int]) -> None:
        self.topic = topic

    async def run(self, ctx: Context) -> None:
        async with ctx.subscribe(self.topic) as numbers:
            ctx.ready()
            async for number in numbers:
                self.state.number += number


async def publisher(ctx: Context) -> None:
    ctx.ready()
    await ctx.wait_stopping()


async def stall(folder: Path, repeat: int) -> float:
    """Microseconds for which the loop stands still for one cut of 25 components of 100 KB, of which 2 changed."""
    topics = [Topic(f"history{number}", int) for number in range(LARGE)]
    quiet = CheckpointPolicy(every=None, messages=None)
    async with (
        open_store(f"sqlite:{folder / f'stall{repeat}.db'}") as store,
        open_supervisor("desk", store=store, checkpoint=quiet) as desk,
    ):
        for number, topic in enumerate(topics):
            await desk.start(Historian, topic, name=f"historian{number}")
        context = (await desk.start(publisher, name="publisher")).incarnation.context
        await desk.create_checkpoint()
        stalls = []
        for number in range(LARGE):
            for topic in (topics[number], topics[(number + 1) % LARGE]):
                context.publish(topic, 1)
            await trio.sleep(0.01)
            stalls.append((await desk.create_checkpoint()).stall)
        await desk.stop()
    return statistics.median(stalls) * 1e6


async def save_together(store: Store, repeat: int, cls: type = Book) -> float:
    states = {f"cut/{number}": cls(repeat * STATES + number) for number in range(STATES)}
    began = perf_counter()
    await store.create_checkpoint(states)
    return (perf_counter() - began) * 1e6 / STATES


async def save_apart(store: Store, repeat: int, cls: type = Book) -> float:
    states = {f"apart/{number}": cls(repeat * STATES + number) for number in range(STATES)}
    began = perf_counter()
    for name, state in states.items():
        await store.create_checkpoint({name: state})
    return (perf_counter() - began) * 1e6 / STATES


async def replay(store: Store) -> float:
    began = perf_counter()
    count = 0
    async with store.replay("replayed", Fill) as records:
        async for _ in records:
            count += 1
    assert count == REPLAYED
    return (perf_counter() - began) * 1e6 / count


RAW = "append + fdatasync"
ALONE = "record, one component, p50"
WITH_KEY = "record with a key, p50"
TOGETHER = f"record, {COMPONENTS} components"
ONE_CUT = f"{STATES} states of 300 bytes, one cut"
CUTS = f"{STATES} states of 300 bytes, {STATES} cuts"
REPLAY = "replay"
STALL = f"stall of a cut, 2 of {LARGE} changed"


async def main(report: Report) -> None:
    rows: dict[str, list[float]] = {}
    repeats = itertools.count()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with open_store(f"sqlite:{folder / 'bench.db'}") as store:
            await store.append("replayed", [Fill(number) for number in range(REPLAYED)])
            for _ in range(REPEATS):
                for label, measure in (
                    (RAW, lambda: raw(folder)),
                    (ALONE, lambda: record_alone(store)),
                    (WITH_KEY, lambda: record_with_key(store)),
                    (TOGETHER, lambda: record_together(store)),
                    (f"{STATES} states of 10 KB, one cut", lambda: save_together(store, next(repeats))),
                    (f"{STATES} states of 10 KB, {STATES} cuts", lambda: save_apart(store, next(repeats))),
                    (ONE_CUT, lambda: save_together(store, next(repeats), Limit)),
                    (CUTS, lambda: save_apart(store, next(repeats), Limit)),
                    (REPLAY, lambda: replay(store)),
                    (STALL, lambda: stall(folder, next(repeats))),
                ):
                    rows.setdefault(label, []).append(await measure())
    for label, values in rows.items():
        report.add(label, values)


def goals(report: Report) -> list[dict[str, object]]:
    """What was promised, from the best of the repeats: a quiet moment of the disk for each."""
    best = {name: min(values) for name, values in report.rows.items()}
    at_most = {
        "a record, in appends with fdatasync": (best[ALONE] / best[RAW], 2),
        "a record with a key, in appends with fdatasync": (best[WITH_KEY] / best[RAW], 2),
        "a million records replayed, in seconds": (best[REPLAY], 10),
        "the loop's stall, in milliseconds": (best[STALL] / 1e3, 5),
    }
    at_least = {
        f"{COMPONENTS} components, times as fast as one": (best[ALONE] / best[TOGETHER], 15),
        f"{STATES} states in one cut, times as fast as in {STATES}": (best[CUTS] / best[ONE_CUT], 20),
    }
    return [
        *(
            {"what": what, "found": found, "at most": goal, "met": found <= goal}
            for what, (found, goal) in at_most.items()
        ),
        *(
            {"what": what, "found": found, "at least": goal, "met": found >= goal}
            for what, (found, goal) in at_least.items()
        ),
    ]


if __name__ == "__main__":
    found = Report("Persistence", unit="microseconds for each record or state", baseline=RAW)
    trio.run(main, found)
    found.print(goals=goals(found))
