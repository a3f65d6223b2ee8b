"""Guards stay cheap: ratios to a bare call of the same run, the best of several measurements."""

import runpy
from pathlib import Path

import pytest
import trio

from genesis_trio.errors import BreakerOpenError
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry

HARNESS = Path(__file__).parents[2] / "benchmarks" / "_harness.py"
# The aims of the first five are 3.0, 3.4, 4.0 and twice 3.0; what is measured stands in docs/decisions/0004.  A machine
# that does other things at the same time needs a little room.
LIMITS = {
    "@guard": ("bare", 3.2),
    "@guard with a mode": ("bare", 3.6),
    "guard.execute": ("bare", 4.2),
    "@breaker": ("bare", 3.2),
    "@retry": ("bare", 3.2),
    "rejected": ("raised", 1.2),
    "one failure and one retry": ("by hand", 2.2),
}
# One bad moment is no regression: measured again, and only what is too slow every time is.
MEASUREMENTS = 8


async def measure() -> dict[str, float]:
    async def fast(x):
        return x

    async def refuse(x):
        raise BreakerOpenError(f"circuit breaker {'venue'!r} is open for {4.2:.6g} s", name="venue", retry_after=4.2)

    is_down = False

    async def every_other_time(x):
        nonlocal is_down
        is_down = not is_down
        if is_down:
            raise OSError
        return x

    async def by_hand(x):
        for _ in range(4):
            try:
                return await every_other_time(x)
            except OSError:
                await trio.lowlevel.checkpoint()
        raise AssertionError("one retry is enough")

    def guard(**policies):
        return Guard("venue", retry=Retry(OSError, base_delay=0.0), breaker=CircuitBreaker("venue"), **policies)

    closed = guard()
    rejected = closed(fast)
    await rejected(1)
    closed.breaker.trip()
    names = {
        "BreakerOpenError": BreakerOpenError,
        "refuse": refuse,
        "rejected": rejected,
        "by_hand": by_hand,
        "failing": guard()(every_other_time),
        "fast": fast,
        "guarded": guard()(fast),
        "needs": guard(needs=Capability.OPEN, repeatable=True)(fast),
        "execute": guard().execute,
        "breaker": CircuitBreaker("venue")(fast),
        "retry": Retry(OSError)(fast),
    }
    statements = {
        "bare": "await fast(1)",
        "@guard": "await guarded(1)",
        "@guard with a mode": "await needs(1)",
        "guard.execute": "await execute(fast, 1)",
        "@breaker": "await breaker(1)",
        "@retry": "await retry(1)",
        "raised": "try:\n    await refuse(1)\nexcept BreakerOpenError:\n    pass",
        "rejected": "try:\n    await rejected(1)\nexcept BreakerOpenError:\n    pass",
        "by hand": "await by_hand(1)",
        "one failure and one retry": "await failing(1)",
    }
    rows = await runpy.run_path(str(HARNESS))["measure"](statements, names, rounds=12, milliseconds=1.0)
    return {name: min(rows[name]) / min(rows[baseline]) for name, (baseline, _) in LIMITS.items()}


@pytest.mark.slow
@pytest.mark.untraced  # coverage would be called for our lines and not for those that they are compared with
def test_guard_stays_within_its_limits() -> None:
    """Breaker, retry and counters cost at most 3.2 times a bare await, and trouble little more than by hand."""
    best = dict.fromkeys(LIMITS, float("inf"))
    for _ in range(MEASUREMENTS):
        found = trio.run(measure)
        best = {name: min(best[name], found[name]) for name in best}
        if all(best[name] <= limit for name, (_, limit) in LIMITS.items()):
            break

    assert {name: ratio for name, ratio in best.items() if ratio > LIMITS[name][1]} == {}
