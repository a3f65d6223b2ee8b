"""What a supervised child costs: memory beside a bare task, and the time from a crash to READY.

Memory is the difference that ten thousand of them make, after a collection, counted by `tracemalloc`.  The rival of a
restart is the shortest loop that does the same by hand: a task that catches the error and calls the function again.
"""

import argparse
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable

import trio
import trio.testing

from benchmarks._report import Report
from genesis_trio import Backoff, ChildSpec, Context, Restart, open_supervisor

CHILDREN = 10_000
CRASHES = 500
ROUNDS = 7
AT_ONCE = Backoff(base_delay=0.0, jitter="none")


async def forever(ctx: Context) -> None:
    ctx.ready()
    await trio.sleep_forever()


async def bare(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    task_status.started()
    await trio.sleep_forever()


async def in_memory(start: Callable[[], Awaitable[None]]) -> float:
    """Bytes that are there after *start* and were not before."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    await start()
    await trio.testing.wait_all_tasks_blocked()
    gc.collect()
    return (tracemalloc.get_traced_memory()[0] - before) / CHILDREN


async def memory_of_tasks() -> float:
    async with trio.open_nursery() as nursery:

        async def start() -> None:
            for _ in range(CHILDREN):
                nursery.start_soon(bare)

        took = await in_memory(start)
        nursery.cancel_scope.cancel()
    return took


async def memory_of_children() -> float:
    # Without a grace they are cancelled at once in the end, which is not measured.
    specs = [ChildSpec(forever, name=f"c{number}", stop_grace=0.0) for number in range(CHILDREN)]
    async with open_supervisor("desk") as desk:

        async def start() -> None:
            await desk.start_all(specs)

        took = await in_memory(start)
        await desk.stop()
    return took


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


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).add_argument("--json", action="store_true")
    report = Report("From a crash to READY, without delay", unit="microseconds", baseline="a loop by hand")
    rounds: dict[str, list[float]] = {"a loop by hand": [], "a supervised child": []}
    for _ in range(ROUNDS):
        rounds["a loop by hand"].append(median(trio.run(by_hand)))
        rounds["a supervised child"].append(median(trio.run(supervised)))
    for name, values in rounds.items():
        report.add(name, values)
    report.print()

    report = Report(f"Memory of one of {CHILDREN}", unit="bytes", baseline="a bare task")
    tracemalloc.start()
    report.add("a bare task", [trio.run(memory_of_tasks)])
    report.add("a supervised child", [trio.run(memory_of_children)])
    report.print()
