"""What a supervised child costs: memory beside a bare task, the time from a crash to READY, and a thousand crashes at once.

Memory is the difference that ten thousand of them make, after a collection, counted by `tracemalloc`: everything that is
made when they start, in Trio and here, but for the `ChildSpec` of each, which its user has made and holds before.  Both
run the same function, which waits for ever.  A bare task can be neither stopped nor restarted by itself, and has no name
of its own, no mode and no number; so "a task with a scope" shows how much of the difference is the one thing that no
child can do without: a `trio.CancelScope` of its own, in a context of its own.

The rival of a restart is the shortest loop that does the same by hand: a task that catches the error and calls the
function again in a new cancel scope, after a Trio checkpoint.

In the storm all children crash in one scheduler step, and each takes 10 ms to be ready again.  Meanwhile a task that wants
to run each millisecond asks the supervisor how things are: the longest wait is between two of its answers.
"""

import argparse
import contextvars
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from benchmarks._report import Report
from genesis_trio import Backoff, ChildSpec, Context, ModePolicy, Restart, open_supervisor

CHILDREN = 10_000
CRASHES = 500
ROUNDS = 7
IN_A_STORM = 1_000
START_UP = 0.01
AT_ONCE = Backoff(base_delay=0.0, jitter="none")


async def forever(ctx: Context) -> None:
    ctx.ready()
    await trio.sleep_forever()


async def bare(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    task_status.started()
    await trio.sleep_forever()


WHOSE: contextvars.ContextVar[object] = contextvars.ContextVar("whose")


async def scoped() -> None:
    """The least that can be stopped by itself and knows who it is."""
    WHOSE.set(object())
    with trio.CancelScope():
        await bare()


async def in_memory(start: Callable[[], Awaitable[None]], count: int) -> float:
    """Bytes for each of *count* that are there after *start* and were not before."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await start()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / count


async def memory_of_tasks(fn: Callable[[], Awaitable[None]], count: int) -> float:
    async with trio.open_nursery() as nursery:

        async def start() -> None:
            for _ in range(count):
                nursery.start_soon(fn)

        took = await in_memory(start, count)
        nursery.cancel_scope.cancel()
    return took


async def memory_of_children(count: int) -> float:
    # Without a grace they are cancelled at once in the end, which is not measured.
    specs = [ChildSpec(forever, name=f"c{number}", stop_grace=0.0) for number in range(count)]
    async with open_supervisor("desk") as desk:

        async def start() -> None:
            await desk.start_all(specs)

        took = await in_memory(start, count)
        await desk.stop()
    return took


async def storm() -> tuple[float, float]:
    """Milliseconds from a crash of all children to the last one READY, and the longest that an answer took meanwhile."""
    crash = trio.Event()
    waits: list[float] = []

    async def component(ctx: Context) -> None:
        await trio.sleep(START_UP)
        ctx.ready()
        if ctx.generation == 1:
            await crash.wait()
            raise CrashError
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=AT_ONCE, mode_policy=ModePolicy()) as desk:
        await desk.start_all([ChildSpec(component, name=f"c{number}") for number in range(IN_A_STORM)])
        began = answered = time.perf_counter()
        crash.set()
        while desk.statistics().restarts < IN_A_STORM or desk.statistics().ready < IN_A_STORM:
            await trio.sleep(0.001)
            now = time.perf_counter()
            waits.append(now - answered)
            answered = now
        took = answered - began
        await desk.stop()
    return took * 1000, max(waits) * 1000


class CrashError(Exception):
    """The one that is restarted from."""


async def supervised() -> list[float]:
    """Microseconds from the raise in one run to ``ctx.ready()`` in the next."""
    times: list[float] = []
    raised_at = 0

    async def component(ctx: Context) -> None:
        nonlocal raised_at
        ctx.ready()
        if raised_at:
            times.append((time.perf_counter_ns() - raised_at) / 1000)
        await trio.lowlevel.checkpoint()
        if len(times) < CRASHES:
            raised_at = time.perf_counter_ns()
            raise CrashError

    limits = {"max_restarts": CRASHES + 1, "within": 1000.0, "backoff": AT_ONCE}
    async with open_supervisor("desk", **limits) as desk:
        await desk.start(component, name="x", restart=Restart.TRANSIENT)
    return times


async def by_hand() -> list[float]:
    """The same of a loop in one task, each run in a cancel scope, as a restart by hand needs it to be stoppable."""
    times: list[float] = []
    raised_at = 0
    ready = trio.Event()

    async def component() -> None:
        nonlocal raised_at
        ready.set()
        if raised_at:
            times.append((time.perf_counter_ns() - raised_at) / 1000)
        await trio.lowlevel.checkpoint()
        if len(times) < CRASHES:
            raised_at = time.perf_counter_ns()
            raise CrashError

    async def restarting() -> None:
        while True:
            try:
                with trio.CancelScope():
                    await component()
                return
            except CrashError:
                await trio.lowlevel.checkpoint()  # a restart loop without one could never be cancelled

    async with trio.open_nursery() as nursery:
        nursery.start_soon(restarting)
    return times


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def restarts(rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Microseconds from a crash to READY, the median of each round; the two in turn."""
    found: dict[str, list[float]] = {"a loop by hand": [], "a supervised child": []}
    for _ in range(rounds):
        found["a loop by hand"].append(median(trio.run(by_hand)))
        found["a supervised child"].append(median(trio.run(supervised)))
    return found


def memory(count: int = CHILDREN) -> dict[str, list[float]]:
    """Bytes of one of *count*."""
    tracemalloc.start()
    try:
        return {
            "a bare task": [trio.run(memory_of_tasks, bare, count)],
            "a task with a scope": [trio.run(memory_of_tasks, scoped, count)],
            "a supervised child": [trio.run(memory_of_children, count)],
        }
    finally:
        tracemalloc.stop()


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).add_argument("--json", action="store_true")
    report = Report("From a crash to READY, without delay", unit="microseconds", baseline="a loop by hand")
    for name, values in restarts().items():
        report.add(name, values)
    report.print()

    # Before the storm: what that leaves in free lists would be nobody's here.
    report = Report(f"Memory of one of {CHILDREN}", unit="bytes", baseline="a bare task")
    for name, values in memory().items():
        report.add(name, values)
    report.print()

    report = Report(
        f"{IN_A_STORM} crashes at once, {START_UP * 1000:g} ms until ready",
        unit="milliseconds",
        baseline="all are READY",
    )
    storms = [trio.run(storm) for _ in range(ROUNDS)]
    report.add("all are READY", [took for took, _ in storms])
    report.add("the longest wait for an answer", [wait for _, wait in storms])
    report.print()
