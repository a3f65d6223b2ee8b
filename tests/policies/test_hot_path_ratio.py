"""Guards stay cheap: ratios to a bare call of the same run, the best of several measurements."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The aims of the first five are 3.0, 3.4, 4.0 and twice 3.0; what is measured stands in docs/decisions/0004.  A machine
# that does other things at the same time needs a little room.
LIMITS = {
    "@guard": 3.2,
    "@guard with a mode": 3.6,
    "guard.execute": 4.2,
    "@breaker": 3.2,
    "@retry": 3.2,
    "rejected": 0.9,
    "one failure and one retry": 2.2,
}
# One bad moment is no regression: measured again, and only what is too slow every time is.
MEASUREMENTS = 8


def measure() -> dict[str, float]:
    """The ratios in an interpreter of their own, as in a user's program.

    Not in this one: while coverage watches any thread, such as one that Trio keeps for ten seconds for its next
    blocking call, Python 3.12 stops at each line of all threads, also of those that nobody watches (3.7 instead of 2.8).
    """
    program = [sys.executable, "-m", "tests.policies.hot_path"]
    return json.loads(subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
@pytest.mark.untraced  # the process that measures, too
def test_guard_stays_within_its_limits() -> None:
    """Breaker, retry and counters cost at most 3.2 times a bare await, and trouble little more than by hand."""
    best = dict.fromkeys(LIMITS, float("inf"))
    for _ in range(MEASUREMENTS):
        found = measure()
        best = {name: min(best[name], found[name]) for name in best}
        if all(best[name] <= limit for name, limit in LIMITS.items()):
            break

    assert {name: ratio for name, ratio in best.items() if ratio > LIMITS[name]} == {}
