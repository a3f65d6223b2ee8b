"""Measure what takes nanoseconds: statements, unrolled into loops, all in turn within each round.

A call of 50 nanoseconds cannot be timed by itself, and a shared machine drifts by more than what is compared
here.  So each statement is written ten times into an async loop, the loops run one after the other, and that is
repeated; the best round of each is the one least disturbed by others, and ratios of one run are what to trust.
"""

import gc
import itertools
import textwrap
from collections.abc import Awaitable, Callable, Iterator, Mapping
from time import perf_counter_ns
from typing import Any

UNROLLED = 10

Loop = Callable[[Iterator[None]], Awaitable[int]]


def _compile(statement: str, names: Mapping[str, Any]) -> Loop:
    body = textwrap.indent(textwrap.dedent(statement), " " * 8) + "\n"
    text = (
        "async def loop(times):\n"
        "    start = perf_counter_ns()\n"
        "    for _ in times:\n"
        f"{body * UNROLLED}"
        "    return perf_counter_ns() - start\n"
    )
    namespace = {**names, "perf_counter_ns": perf_counter_ns}
    exec(compile(text, f"<benchmark {statement[:40]!r}>", "exec"), namespace)
    return namespace["loop"]


async def _times_for(loop: Loop, nanoseconds: float) -> int:
    """How often *loop* goes round in about so many nanoseconds."""
    times = 1
    while True:
        took = await loop(itertools.repeat(None, times))
        if took > nanoseconds / 4 or times > 1_000_000:
            return max(1, int(times * nanoseconds / max(took, 1)))
        times *= 4


async def measure(
    statements: Mapping[str, str], names: Mapping[str, Any], *, rounds: int = 25, milliseconds: float = 4.0
) -> dict[str, list[float]]:
    """Nanoseconds of each of the named *statements*, one number a round; *names* are what they use."""
    loops = {name: _compile(statement, names) for name, statement in statements.items()}
    times = {name: await _times_for(loop, milliseconds * 1e6) for name, loop in loops.items()}
    found: dict[str, list[float]] = {name: [] for name in loops}
    gc.collect()
    gc.freeze()
    try:
        for _ in range(rounds):
            for name, loop in loops.items():
                took = await loop(itertools.repeat(None, times[name]))
                found[name].append(took / (times[name] * UNROLLED))
    finally:
        gc.unfreeze()
    return found
