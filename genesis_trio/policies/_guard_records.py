"""What is counted about a guard, and the record that tells it."""

import attrs

from genesis_trio.policies._course import RetryCounts
from genesis_trio.policies._lane import Lane


@attrs.frozen(kw_only=True)
class GuardStatistics:
    """What a `Guard` has done in this run.  Calls, but for *attempts*, *retries*, *timeouts* and *hedges*.

    Attributes:
        calls: That began; those still running are in none of the next four.
        successes: Returned a value of the function's or of ``reconcile``.
        failures: Raised, whether or not a fallback answered.
        cancelled: Were cancelled, or ended by Ctrl-C.
        rejected: Were refused before the first attempt.
        attempts: Calls of the function.
        retries: That were scheduled.
        retry_successes: Succeeded after a retry.
        exhausted: Failed although they could have been retried, because nothing was left: no retries, time or budget.
        timeouts: Attempts that took longer than ``attempt_timeout``.
        hedges: Copies besides the first.
    """

    calls: int
    successes: int
    failures: int
    cancelled: int
    rejected: int
    attempts: int
    retries: int
    retry_successes: int
    exhausted: int
    timeouts: int
    hedges: int


@attrs.define(eq=False)
class GuardCounts(RetryCounts):
    """What a guard counts besides what its lane does: calls that go another way than the fast path's to success."""

    calls: int = 0
    successes: int = 0
    failures: int = 0
    cancelled: int = 0
    rejected: int = 0
    timeouts: int = 0
    hedges: int = 0


class GuardLane(Lane):
    """The lane of a guard.

    Attributes:
        counts: What the lane does not count by itself.
    """

    __slots__ = ("counts",)

    def reset(self) -> None:
        """Close it, and forget the counts."""
        super().reset()
        self.counts = GuardCounts()

    def statistics(self) -> GuardStatistics:
        """All that is counted, added up."""
        counts = self.counts
        return GuardStatistics(
            calls=self.handed_out - self.again + self.refused + counts.calls,
            successes=self.succeeded + counts.successes,
            failures=counts.failures,
            cancelled=counts.cancelled,
            rejected=self.refused + counts.rejected,
            attempts=self.started,
            retries=counts.retries,
            retry_successes=counts.retry_successes,
            exhausted=counts.exhausted,
            timeouts=counts.timeouts,
            hedges=counts.hedges,
        )
