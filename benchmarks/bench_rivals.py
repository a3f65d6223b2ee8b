"""What protection costs here and elsewhere: the same healthy call under each library, side by side in one process.

Each row is a function that never suspends, so that nothing but the library is measured; *overhead* is what a call
takes beyond the bare one.  Those that only retry or only break are combined to do the same work: retry, breaker.
They are set up as their documentation shows, with hooks and logging off, and run in turn within each round.

    pip install -e '.[bench]'
    python -m benchmarks.bench_rivals

Rivals that are not installed are left out and named.  With --json one object.
"""

import argparse
import json
import logging
import sys
from collections.abc import Awaitable, Callable
from importlib.metadata import PackageNotFoundError, version
from math import log10
from typing import Any

import trio

from benchmarks._harness import measure
from benchmarks._report import Report
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry

ROUNDS = 25
BARE = "bare await"
OURS = "genesis_trio: @guard with breaker, retry, counters"

# Our overhead in that of the rival, at most.
GOALS = {
    "pyfailsafe: retry and breaker": 1 / 3,
    "circuitbreaker: breaker only": 1 / 4,
    "stamina and circuitbreaker": 1 / 100,
    "tenacity and purgatory": 1 / 100,
}

Function = Callable[[int], Awaitable[int]]


class VenueError(Exception):
    """What each of them would retry and count."""


async def fast(x: int) -> int:
    """Never suspends."""
    return x


def ours() -> Function:
    return Guard("venue", retry=Retry(VenueError, max_retries=3), breaker=CircuitBreaker("venue"))(fast)


def pyfailsafe() -> Function:
    from failsafe import CircuitBreaker, Failsafe, RetryPolicy

    policies = Failsafe(retry_policy=RetryPolicy(allowed_retries=3), circuit_breaker=CircuitBreaker())

    async def run(x: int) -> int:
        return await policies.run(fast, x)

    # Called as it is meant to be; a function around it would be measured as well.
    run.bound = policies.run  # type: ignore[attr-defined]
    return run


def circuitbreaker() -> Function:
    import circuitbreaker

    return circuitbreaker.circuit(failure_threshold=3, expected_exception=VenueError)(fast)


def stamina_and_circuitbreaker() -> Function:
    import stamina

    stamina.instrumentation.set_on_retry_hooks([])
    return stamina.retry(on=VenueError, attempts=4)(circuitbreaker())


def tenacity_and_purgatory() -> Function:
    import tenacity
    from purgatory import AsyncCircuitBreakerFactory

    retry = tenacity.retry(
        retry=tenacity.retry_if_exception_type(VenueError), stop=tenacity.stop_after_attempt(4), sleep=trio.sleep
    )
    return retry(AsyncCircuitBreakerFactory()("venue")(fast))


RIVALS: dict[str, tuple[Callable[[], Function], tuple[str, ...]]] = {
    "pyfailsafe: retry and breaker": (pyfailsafe, ("pyfailsafe",)),
    "circuitbreaker: breaker only": (circuitbreaker, ("circuitbreaker",)),
    "stamina and circuitbreaker": (stamina_and_circuitbreaker, ("stamina", "circuitbreaker")),
    "tenacity and purgatory": (tenacity_and_purgatory, ("tenacity", "purgatory")),
}


async def compare() -> tuple[Report, dict[str, str], list[str]]:
    """The measurements, the versions of the rivals, and those that are missing."""
    names: dict[str, Any] = {"fast": fast, "ours": ours()}
    statements = {BARE: "await fast(1)", OURS: "await ours(1)"}
    versions: dict[str, str] = {}
    missing: list[str] = []
    for number, (title, (make, packages)) in enumerate(RIVALS.items()):
        try:
            versions |= {package: version(package) for package in packages}
            function = make()
            assert await function(1) == 1
        except (ImportError, PackageNotFoundError):
            missing.append(title)
            continue
        bound = getattr(function, "bound", None)
        names[f"rival{number}"] = bound or function
        statements[title] = f"await rival{number}(fast, 1)" if bound else f"await rival{number}(1)"
    report = Report("One healthy call under each library", unit="nanoseconds", baseline=BARE)
    for name, values in (await measure(statements, names, rounds=ROUNDS)).items():
        report.add(name, values)
    return report, versions, missing


def goals(report: Report) -> list[dict[str, Any]]:
    """For each rival our overhead in its own, and whether the goal is met."""
    best = {name: min(values) for name, values in report.rows.items()}
    mine = best[OURS] - best[BARE]
    return [
        {
            "rival": rival,
            "overhead": best[rival] - best[BARE],
            "ours": mine,
            "share": mine / (best[rival] - best[BARE]),
            "goal": goal,
            "met": mine <= goal * (best[rival] - best[BARE]),
        }
        for rival, goal in GOALS.items()
        if rival in best
    ]


def plot(report: Report) -> str:
    """The overheads as bars, each ten characters a factor of ten."""
    best = {name: min(values) for name, values in report.rows.items()}
    overheads = {name: value - best[BARE] for name, value in best.items() if name != BARE}
    width = max(len(name) for name in overheads)
    least = min(overheads.values())
    return "\n".join(
        f"  {name:{width}}  {'#' * round(10 + 10 * log10(value / least))} {value:,.0f} ns"
        for name, value in overheads.items()
    )


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    report, versions, missing = await compare()
    if arguments.json:
        print(json.dumps({**report.as_dict(), "rivals": versions, "missing": missing, "goals": goals(report)}))
        return
    report.print()
    if versions:
        print("Rivals: " + ", ".join(f"{name} {number}" for name, number in versions.items()) + "\n")
        print(f"Overhead, a factor of ten each ten characters\n{plot(report)}\n")
    for goal in goals(report):
        print(
            f"  {goal['share']:.4f} of the overhead of {goal['rival']}; the goal is {goal['goal']:.4f}: "
            f"{'met' if goal['met'] else 'MISSED'}"
        )
    for title in missing:
        print(f"  {title} is not installed: pip install 'genesis_trio[bench]'", file=sys.stderr)


if __name__ == "__main__":
    trio.run(main)
