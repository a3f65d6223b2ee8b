"""What a mode costs: a read at several depths, and a change that cascades to a thousand scopes.

A read has to cost the same at any depth; the baselines are an attribute, which it
ends in, and a call that does nothing.  A cascade is one
``hold()`` or ``release()`` above a thousand scopes: bare ones, with nobody watching and with a watcher on each, and those of a
supervisor's children: without and with a ModePolicy, and where somebody observes the event of each.  Ten thousand children show
for how long one such step keeps others waiting.
"""

import contextlib
import time
from collections.abc import Callable

import trio

from benchmarks._harness import measure
from benchmarks._report import Report
from genesis_trio import (
    Capability,
    ChildSpec,
    Context,
    Mode,
    ModePolicy,
    allows,
    current_mode,
    current_scope,
    mode_scope,
    observe,
    open_supervisor,
    require,
)
from genesis_trio.modes import ModeScope

DEPTHS = (1, 10, 100)
SCOPES = 1000
REPEATS = 50

READS = {
    "an attribute": "scope.mask",
    "a call of nothing": "nothing()",
    "scope.mode": "scope.mode",
    "scope.allows(OPEN)": "scope.allows(OPEN)",
    "scope.require(OPEN)": "scope.require(OPEN)",
    "current_mode()": "current_mode()",
    "allows(OPEN)": "allows(OPEN)",
    "require(OPEN)": "require(OPEN)",
}


def nothing() -> None:
    """What a call costs that does nothing at all."""


async def reads(report: Report, depth: int) -> None:
    """One row for each way to read, in a scope that is *depth* levels below the root."""
    with contextlib.ExitStack() as levels:
        for _ in range(depth):
            levels.enter_context(mode_scope("level"))
        names = {
            "scope": current_scope(),
            "OPEN": Capability.OPEN,
            "nothing": nothing,
            "current_mode": current_mode,
            "allows": allows,
            "require": require,
        }
        for name, values in (await measure(READS, names, rounds=15)).items():
            report.add(f"{name}, depth {depth}", values)


def cascade(shape: str, watched: bool) -> list[float]:
    """Milliseconds from `hold` to its return, with a thousand scopes below."""

    async def main() -> list[float]:
        top = ModeScope("top", current_scope(), current_scope().tree)
        parent = top
        told: list[Mode] = []
        for number in range(SCOPES):
            scope = ModeScope(f"s{number}", parent if shape == "deep" else top, top.tree)
            parent = scope
            if watched:
                scope.watch(told.append)
        took = []
        for _ in range(REPEATS):
            took.append(one(lambda: top.hold(Mode.SAFE, owner="x", reason="r")))
            took.append(one(lambda: top.clear("x", "r", by="benchmark")))
        assert len(told) == (2 * REPEATS * SCOPES if watched else 0)
        return took

    return trio.run(main)


def children(count: int, policy: ModePolicy | None, *, observed: bool = False) -> list[float]:
    """Milliseconds from `hold` on a supervisor of *count* children, all of which go on, to its return."""

    async def main() -> list[float]:
        took = []
        hooks = observe(lambda _: None) if observed else contextlib.nullcontext()
        async with open_supervisor("desk", mode_policy=policy) as desk:
            await desk.start_all([ChildSpec(waiting, name=f"c{number}") for number in range(count)])
            with hooks:
                for _ in range(REPEATS):
                    took.append(one(lambda: desk.scope.hold(Mode.SAFE, owner="x", reason="r")))
                    took.append(one(lambda: desk.scope.clear("x", "r", by="benchmark")))
            await desk.stop()
        return took

    return trio.run(main)


async def waiting(ctx: Context) -> None:
    ctx.ready()
    await ctx.wait_stopping()


def one(change: Callable[[], object]) -> float:
    begin = time.perf_counter_ns()
    change()
    return (time.perf_counter_ns() - begin) / 1e6


if __name__ == "__main__":
    report = Report("Reading a mode", unit="nanoseconds", baseline="an attribute, depth 1")
    for depth in DEPTHS:
        trio.run(reads, report, depth)
    report.print()
    report = Report(f"A change above {SCOPES} scopes", unit="milliseconds", baseline="wide")
    for shape in ("wide", "deep"):
        report.add(shape, cascade(shape, watched=False))
        report.add(f"{shape}, all watched", cascade(shape, watched=True))
    for count in (SCOPES, 10 * SCOPES):
        report.add(f"{count} children", children(count, None))
        report.add(f"{count} children, with a ModePolicy", children(count, ModePolicy()))
        report.add(f"{count} children, observed", children(count, ModePolicy(), observed=True))
    report.print()
