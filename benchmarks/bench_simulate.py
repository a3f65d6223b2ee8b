"""What a simulated run costs: a crowd of sleeping tasks for a virtual hour, in real seconds.

The baseline is the same crowd under Trio's autojump clock without a seed, so the ratio is what
the order from a seed costs.
"""

import time
from collections.abc import Callable
from functools import partial

import trio
import trio.testing

from benchmarks._report import Report
from genesis_trio.testing import simulate

REPEATS = 5
TASKS = 10
WAKES_PER_TASK = 3600


async def crowd() -> None:
    """Ten tasks that wake once a virtual second for an hour."""

    async def wake() -> None:
        for _ in range(WAKES_PER_TASK):
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for _ in range(TASKS):
            nursery.start_soon(wake)


def measure(run: Callable[[], None]) -> float:
    """Real seconds that *run* takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def autojump() -> None:
    trio.run(crowd, clock=trio.testing.MockClock(autojump_threshold=0))


if __name__ == "__main__":
    report = Report("A virtual hour of ten tasks that wake once a second", unit="seconds", baseline="autojump")
    report.add("autojump", [measure(autojump) for _ in range(REPEATS)])
    report.add("simulate", [measure(partial(simulate, crowd, seed=1)) for _ in range(REPEATS)])
    report.print()
