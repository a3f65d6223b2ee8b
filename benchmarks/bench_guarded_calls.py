"""What a guard costs, as ratios to a bare ``await fn()`` (and to what one would write by hand) in the same run.

Tables: the healthy path of a function that never suspends, which shows the pure overhead; the same for one
with a single Trio checkpoint, the cheapest thing that a real call does; timeouts; failures; rejections.
Rivals take part where they are installed.  With --json one object a line.
"""

import functools
import importlib.util
import random
from importlib.metadata import version
from typing import Any

import trio
import trio.lowlevel

from benchmarks._harness import measure
from benchmarks._report import Report
from genesis_trio.errors import BreakerOpenError
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry

ROUNDS = 25


class VenueError(Exception):
    """What the failing functions raise."""


async def fast(x: int) -> int:
    """Never suspends."""
    return x


async def one_checkpoint(x: int) -> int:
    """The cheapest legal Trio operation."""
    await trio.lowlevel.checkpoint()
    return x


def retry() -> Retry:
    return Retry(VenueError, base_delay=0.0)


def guard(name: str = "venue", **policies: Any) -> Guard:
    return Guard(name, **{"retry": retry(), "breaker": CircuitBreaker("venue"), **policies})


def rivals(fn: Any) -> dict[str, Any]:
    """The same function under other libraries, each set up for the same work as far as it goes."""
    found: dict[str, Any] = {}
    if importlib.util.find_spec("stamina"):
        import stamina

        stamina.instrumentation.set_on_retry_hooks([])
        found[f"stamina {version('stamina')}: retry"] = stamina.retry(on=VenueError)(fn)
    if importlib.util.find_spec("tenacity"):
        import tenacity

        found[f"tenacity {version('tenacity')}: retry"] = tenacity.retry(sleep=trio.sleep)(fn)
    if importlib.util.find_spec("circuitbreaker"):
        import circuitbreaker

        found[f"circuitbreaker {version('circuitbreaker')}: breaker"] = circuitbreaker.circuit(fn)
    return found


async def healthy(title: str, fn: Any) -> Report:
    async def wrapper(x: int) -> Any:
        return await fn(x)

    def write(guard: Guard) -> Any:
        return guard(fn)

    bare = "bare await"
    names = {
        "fn": fn,
        "wrapper": wrapper,
        "guarded": write(guard()),
        "needs": write(guard(needs=Capability.OPEN, repeatable=True)),
        "breaker": write(guard(retry=None)),
        "execute": guard().execute,
        "alone_breaker": CircuitBreaker("venue")(fn),
        "alone_retry": retry()(fn),
    }
    statements = {
        bare: "await fn(1)",
        "any wrapper (the floor)": "await wrapper(1)",
        "@guard: breaker": "await breaker(1)",
        "@guard: breaker, retry": "await guarded(1)",
        "@guard: mode, breaker, retry": "await needs(1)",
        "guard.execute: breaker, retry": "await execute(fn, 1)",
        "@breaker alone": "await alone_breaker(1)",
        "@retry alone": "await alone_retry(1)",
    }
    for number, (name, function) in enumerate(rivals(fn).items()):
        names[f"rival{number}"] = function
        statements[name] = f"await rival{number}(1)"
    return report_of(title, await measure(statements, names, rounds=ROUNDS), bare)


async def timeouts() -> Report:
    async def by_hand(x: int) -> int:
        with trio.fail_after(30):
            return await fast(x)

    names = {
        "by_hand": by_hand,
        "guarded": guard(attempt_timeout=30.0)(fast),
        "total": guard(attempt_timeout=30.0, total_timeout=300.0)(fast),
    }
    statements = {
        "trio.fail_after": "await by_hand(1)",
        "@guard: attempt timeout": "await guarded(1)",
        "@guard: attempt and total timeout": "await total(1)",
    }
    return report_of("One call under a timeout", await measure(statements, names, rounds=ROUNDS), "trio.fail_after")


async def failures() -> Report:
    failing = False

    async def every_other_time() -> None:
        nonlocal failing
        failing = not failing
        if failing:
            raise VenueError

    async def bare_loop() -> None:
        for _ in range(4):
            try:
                return await every_other_time()
            except VenueError:
                await trio.lowlevel.checkpoint()
        raise AssertionError("one retry is enough")

    rng = random.Random()
    counts = dict.fromkeys(("calls", "successes", "failures", "retries", "in_a_row"), 0)

    async def by_hand() -> None:
        # What a careful author writes for the same promises, and no more: counters, a count of failures in a row for
        # a breaker, backoff with full jitter, no wait that the deadline does not leave the time for, a checkpoint.
        counts["calls"] += 1
        attempt = 0
        while True:
            try:
                await every_other_time()
            except VenueError:
                counts["failures"] += 1
                counts["in_a_row"] += 1
                attempt += 1
                if attempt > 3 or counts["in_a_row"] >= 3:
                    raise
                delay = rng.uniform(0.0, min(30.0, 0.0 * 2.0 ** (attempt - 1)))
                if delay >= trio.current_effective_deadline() - trio.current_time():
                    raise
                counts["retries"] += 1
                await trio.sleep(delay)
            else:
                counts["successes"] += 1
                counts["in_a_row"] = 0
                return

    names = {"bare_loop": bare_loop, "by_hand": by_hand, "guarded": guard()(every_other_time)}
    statements = {
        "a loop by hand": "await by_hand()",
        "a loop that only tries again": "await bare_loop()",
        "@guard: breaker, retry": "await guarded()",
    }
    return report_of(
        "One failure and one retry, without a delay", await measure(statements, names, rounds=ROUNDS), "a loop by hand"
    )


async def rejections() -> Report:
    async def refuse(x: int) -> None:
        raise VenueError

    async def refuse_in_words(x: int) -> None:
        left = 4.2
        raise BreakerOpenError(f"circuit breaker {'venue'!r} is open for {left:.6g} s", name="venue", retry_after=left)

    names: dict[str, Any] = {"refuse": refuse, "refuse_in_words": refuse_in_words}
    names |= {"VenueError": VenueError, "BreakerOpenError": BreakerOpenError}
    for name, policies in {"guarded": {}, "alone": {"retry": None}}.items():
        one = guard(**policies)
        names[name] = one(fast)
        await names[name](1)
        assert one.breaker is not None
        one.breaker.trip()
    call = functools.partial("try:\n    await {0}(1)\nexcept {1}:\n    pass".format)
    statements = {
        "raise and catch": call("refuse_in_words", "BreakerOpenError"),
        "raise and catch an error without words": call("refuse", "VenueError"),
        "@guard: breaker": call("alone", "BreakerOpenError"),
        "@guard: breaker, retry": call("guarded", "BreakerOpenError"),
    }
    return report_of(
        "One call rejected by an open breaker", await measure(statements, names, rounds=ROUNDS), "raise and catch"
    )


def report_of(title: str, rows: dict[str, list[float]], baseline: str) -> Report:
    report = Report(title, unit="nanoseconds", baseline=baseline)
    for name, values in rows.items():
        report.add(name, values)
    return report


async def main() -> None:
    for report in (
        await healthy("A healthy call that never suspends", fast),
        await healthy("A healthy call with one Trio checkpoint", one_checkpoint),
        await timeouts(),
        await failures(),
        await rejections(),
    ):
        report.print()


if __name__ == "__main__":
    trio.run(main)
