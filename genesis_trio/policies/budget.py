"""A budget for retries: how much of the traffic may be repetition."""

import attrs
import trio

from genesis_trio._runtime import RunBound
from genesis_trio.policies import _check
from genesis_trio.policies._tokens import RetryTokens


@attrs.frozen(kw_only=True)
class BudgetStatistics:
    """What a `RetryBudget` has done in this run.

    Attributes:
        available: Retries that could be scheduled now.
        scheduled: Retries and hedges that were paid for.
        refused: Those that were not, because too little was left.
    """

    available: float
    scheduled: int
    refused: int


class RetryBudget(RunBound):
    """Let retries and hedges be at most a share of the calls, however many callers retry at once.

    Each call pays in *ratio*, each retry or hedge takes 1 at the moment it is *scheduled*: those
    that wait out their delay have paid already, or a thousand sleepers would pass and then strike
    together.  What was paid in expires after *window* seconds.  Besides there is a reserve for times
    of few calls: ``floor_per_second * window`` from the start, refilled at *floor_per_second*.

    With the defaults a fifth of the calls of the last 10 seconds may be repeated, and 10 a second
    whatever the traffic.  One budget may serve many guards: give one to all that call the same place.

    Args:
        ratio: Retries per call; 0 pays in nothing.
        floor_per_second: Retries per second that are always there; 0 for none.
        window: Seconds until what a call paid in expires.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks.
    """

    __slots__ = ("_refused", "_scheduled", "_settings", "_tokens")

    def __init__(self, *, ratio: float = 0.2, floor_per_second: float = 10.0, window: float = 10.0) -> None:
        super().__init__()
        self._settings = {
            "ratio": _check.number("RetryBudget", "ratio", ratio, least=0),
            "floor_per_second": _check.number("RetryBudget", "floor_per_second", floor_per_second, least=0),
            "window": _check.number("RetryBudget", "window", window, above=0),
        }
        self._fresh()

    def _fresh(self) -> None:
        self._tokens = RetryTokens(**self._settings)
        self._scheduled = 0
        self._refused = 0

    def _deposit(self) -> None:
        """A call begins; once a call, not once an attempt."""
        self._enter_run()
        self._tokens.deposit(trio.current_time())

    def _take(self) -> bool:
        """A retry or a hedge is about to be scheduled: pay for it, or learn that it must not be."""
        self._enter_run()
        if self._tokens.take(trio.current_time()):
            self._scheduled += 1
            return True
        self._refused += 1
        return False

    def statistics(self) -> BudgetStatistics:
        """The numbers of the current ``trio.run``, as a frozen record.

        Trio checkpoint: never.
        """
        self._enter_run()
        return BudgetStatistics(
            available=self._tokens.available(trio.current_time()), scheduled=self._scheduled, refused=self._refused
        )

    def __repr__(self) -> str:
        return f"RetryBudget({', '.join(f'{name}={value:g}' for name, value in self._settings.items())})"
