"""What goes wrong, and when: drawn from a seed before anything starts."""

import enum
import random

import attrs

__all__ = ["Fault", "FaultKind", "make_plan"]

#: The share of the window in which faults come; the rest is for recovery to show.
FIRST, LAST = 0.08, 0.85


class FaultKind(enum.Enum):
    """One way in which the outside fails."""

    NONSENSE = "nonsense"  # a tick that is none: the feed raises
    LINK_DOWN = "link down"  # every connection is dropped, new ones are refused for a while
    LOST_REPLY = "lost reply"  # the venue has the order, the desk does not know
    SILENCE = "silence"  # the market data hangs: connected, and nothing comes
    KILL = "kill"  # kill -9 of the desk, with an order in flight where there is one


@attrs.frozen
class Fault:
    """*kind* happens *at* seconds after the window began, in the market's time."""

    at: float
    kind: FaultKind


def make_plan(seed: int, *, window: float, kills: int) -> tuple[Fault, ...]:
    """One fault of each kind and *kills* kills, spread over a window of so many seconds, in an order drawn from *seed*."""
    rng = random.Random(seed)
    kinds = [kind for kind in FaultKind if kind is not FaultKind.KILL] + [FaultKind.KILL] * kills
    rng.shuffle(kinds)
    width = (LAST - FIRST) * window / len(kinds)
    return tuple(Fault(FIRST * window + width * (number + rng.random() / 2), kind) for number, kind in enumerate(kinds))
