"""How often one child may still be restarted, how long it waits before, and how long it is parked.  Plain numbers."""

import math
import random
from collections.abc import Iterable

from genesis_trio.supervision.backoff import Backoff

__all__ = ["RestartBudget"]

MAX_UNPARK_AFTER = 600.0
UNPARK_JITTER = 0.1


class RestartBudget:
    """The crashes of one child.  Times are of any one clock, in seconds.

    Attributes:
        in_a_row: Crashes without a healthy time between them.
        unpark_after: For how long it is parked next time, before jitter; None: until somebody restarts it.
    """

    __slots__ = (
        "_backoff",
        "_crashes",
        "_delay",
        "_first_unpark_after",
        "_max_restarts",
        "_rng",
        "_within",
        "in_a_row",
        "unpark_after",
    )

    def __init__(
        self, *, max_restarts: int, within: float, backoff: Backoff, unpark_after: float | None, rng: random.Random
    ) -> None:
        self.in_a_row = 0
        self.unpark_after = unpark_after
        self._first_unpark_after = unpark_after
        self._max_restarts = max_restarts
        self._within = within
        self._backoff = backoff
        self._rng = rng
        self._crashes: list[float] = []  # few; an empty deque takes ten times the room
        self._delay = 0.0

    def charge(self, now: float, *, was_ready: bool = True) -> bool:
        """Count a crash; False if the budget is used up.

        Until the child *was ready* nothing is forgiven with time: whoever waits for its first start would wait without end
        for one that crashes more slowly than the window forgets.
        """
        crashes = self._crashes
        if was_ready and crashes and crashes[0] <= now - self._within:
            crashes[:] = [at for at in crashes if at > now - self._within]
        if len(crashes) >= self._max_restarts:
            return False
        crashes.append(now)
        return True

    def next_delay(self) -> float:
        """Seconds until the next restart; one more in a row."""
        self.in_a_row += 1
        self._delay = self._backoff.delay(self.in_a_row, previous=self._delay, rng=self._rng)
        return self._delay

    def forget_row(self) -> None:
        """It was healthy: the delay starts anew."""
        self.in_a_row = 0
        self._delay = 0.0

    def park(self) -> float:
        """Begin anew with no crash counted; seconds until its trial."""
        self._crashes.clear()
        return self.next_trial()

    def begin_anew(self) -> None:
        """It starts from another state: what the one before did does not count."""
        self._crashes.clear()
        self.forget_row()

    def next_trial(self) -> float:
        """Seconds until its next trial, twice as long each time; infinity for by hand."""
        if self.unpark_after is None:
            return math.inf
        wait = self.unpark_after * (1.0 + self._rng.uniform(-UNPARK_JITTER, UNPARK_JITTER))
        self.unpark_after = max(self.unpark_after, min(MAX_UNPARK_AFTER, self.unpark_after * 2))
        return wait

    def forget_parking(self) -> None:
        """It has proved itself."""
        self.unpark_after = self._first_unpark_after

    def counted(self, now: float) -> tuple[float, ...]:
        """For each crash that still counts, the seconds until it no longer does."""
        return tuple(left for at in self._crashes if (left := at + self._within - now) > 0)

    def restore(self, counted: Iterable[float], *, in_a_row: int, now: float, away: float) -> None:
        """Take over what an earlier process has `counted`, *away* seconds ago; a changed window counts from its own length."""
        left = sorted(min(each, self._within) - away for each in counted)
        self._crashes = [now + each - self._within for each in left if each > 0]
        self.in_a_row = in_a_row
