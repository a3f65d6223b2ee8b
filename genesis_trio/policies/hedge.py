"""Hedged calls: start another copy of a call that is slower than usual, and take the first answer."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs
import trio

from genesis_trio._runtime import RunBound
from genesis_trio.policies import _check
from genesis_trio.policies._quantile import MovingQuantile
from genesis_trio.policies.budget import RetryBudget

T = TypeVar("T")


class Hedge(RunBound):
    """Start another copy of a call when the first one is slow; the first success wins.

    It cuts the slow tail of calls that may safely be made twice, at the price of a few more calls:
    with the default, those beyond the 95th percentile.  The other copies are cancelled when one
    has won; they count nowhere.

    A call that *fails* before its delay is over starts no copy: what to do about failures is `Retry`'s
    business.  When all copies have failed, the first one's own error is raised.

    One hedge learns from all guards that share it, so share it only between calls of one kind.

    Args:
        delay: Seconds after which the next copy starts; 0 starts all at once.  None means: the
            *quantile* of this hedge's own latencies.
        quantile: Between 0 and 1, used where *delay* is None.  Of the last 200 calls with 0.95; nothing
            is hedged before 20 calls are known (more for a higher quantile).
        max_hedges: Copies besides the first, each *delay* after the one before.
        budget: Each copy takes 1 from it when it starts; when it is used up, none starts, and the call
            goes on without.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks.
    """

    __slots__ = ("_delay", "_latencies", "_max_hedges", "_quantile", "budget")

    def __init__(
        self,
        *,
        delay: float | None = None,
        quantile: float | None = 0.95,
        max_hedges: int = 1,
        budget: RetryBudget | None = None,
    ) -> None:
        super().__init__()
        self._delay = None if delay is None else _check.number("Hedge", "delay", delay, least=0)
        self._quantile = None if quantile is None else _check.number("Hedge", "quantile", quantile, above=0, below=1)
        if self._delay is None and self._quantile is None:
            raise ValueError("Hedge(delay=None, quantile=None): one of them must say when another copy starts")
        self._max_hedges = _check.whole("Hedge", "max_hedges", max_hedges, least=1)
        if budget is not None and not isinstance(budget, RetryBudget):
            raise TypeError(f"Hedge(budget=…) wants a RetryBudget or None, got {budget!r}")
        self.budget = budget
        self._fresh()

    def _fresh(self) -> None:
        use_quantile = self._delay is None and self._quantile is not None
        self._latencies = MovingQuantile(self._quantile) if use_quantile and self._quantile is not None else None

    def _current_delay(self) -> float | None:
        """Seconds until another copy starts, or None while too little is known."""
        return self._delay if self._latencies is None else self._latencies.value()

    async def _call(self, attempt: Callable[[int, float], Awaitable[T]]) -> T:
        """Run ``attempt(0, delay)``, and ``attempt(1, delay)`` … when it is slow, until one of them succeeds.

        The first copy runs in the task of the caller, the others in tasks of their own.

        Raises:
            Exception: the first copy's own error, bare, when it fails before another copy started, or
                when all have failed.

        Trio checkpoint: always once a delay is known, else only what the attempt has.
        Cancellation: passes through, bare, when all copies have ended, if none has succeeded by then; no latency is
        learned from it.
        """
        self._enter_run()
        began = trio.current_time()
        delay = self._current_delay()
        if delay is None:
            value = await attempt(0, 0.0)
            ended = trio.current_time()
        else:
            race = _Race(attempt, delay, self._max_hedges, self.budget)
            value = await race.run()
            ended = race.won_at  # not now: the losers may have taken their time to end
        if self._latencies is not None:
            # From the start of the first copy, also where a later one won: its own, shorter time would pull the
            # quantile down, which would hedge more, which would pull it down again.
            self._latencies.add(ended - began)
        return value

    def __repr__(self) -> str:
        when = f"delay={self._delay:g}" if self._delay is not None else f"quantile={self._quantile:g}"
        return f"Hedge({when}, max_hedges={self._max_hedges})"


@attrs.define(eq=False)
class _Race(Generic[T]):
    """One hedged call: its copies, and how each of them ended."""

    attempt: Callable[[int, float], Awaitable[T]]
    delay: float
    max_hedges: int
    budget: RetryBudget | None
    running: int = 1  # copies started and not ended
    won: list[T] = attrs.field(factory=list)  # nothing, or the value of the first success
    won_at: float = 0.0
    first_error: Exception | None = None  # copy 0's
    fatal: BaseException | None = None  # Ctrl-C and its like: nobody's failure, ends the race
    # Set with our own cancellation of the race.  Its scope cannot tell: a nursery cancels it for any error.
    decided: bool = False

    async def run(self) -> T:
        stray: BaseException | None = None
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._start_others, nursery)
                await self._run_copy(0, nursery.cancel_scope)
        except BaseExceptionGroup as group:
            # A success stands, whatever the others did while they ended.  A cancellation of the caller comes again at its next
            # Trio checkpoint, as after any call that was just done.
            rest = group.split((trio.Cancelled, Exception))[1] if self.won else group
            stray = None if rest is None else _bare(rest)
            del rest
        error = stray if self.fatal is None else self.fatal
        if error is None and not self.won:
            error = self.first_error
        if error is not None:
            try:
                raise error
            finally:
                # The traceback holds this frame: without this it would be a cycle.
                self.first_error = self.fatal = None
                del error, stray
        return self.won[0]

    async def _start_others(self, nursery: trio.Nursery) -> None:
        for copy in range(1, self.max_hedges + 1):
            await trio.sleep(self.delay)
            # Once the first copy has failed, another would be a retry.
            if self.first_error is not None or (self.budget is not None and not self.budget._take()):
                return
            self.running += 1
            nursery.start_soon(self._run_copy, copy, nursery.cancel_scope)

    async def _run_copy(self, copy: int, race: trio.CancelScope) -> None:
        # Errors are kept, not raised into the nursery, so that the caller gets them bare.
        try:
            value = await self.attempt(copy, self.delay)
        except Exception as error:
            if not self.decided and trio.current_effective_deadline() == float("-inf"):
                # The caller is being cancelled; what fails then takes the cancellation's place, as it does without us.
                raise
            if copy == 0:
                self.first_error = error
        except BaseException as error:  # noqa: ASYNC103 - kept, and raised once the copies are gone
            self._pass_on(error)
        else:
            if not self.won:
                self.won.append(value)
                self.won_at = trio.current_time()
        self.running -= 1
        if self.won or self.fatal is not None or not self.running:
            self.decided = True
            race.cancel()

    def _pass_on(self, error: BaseException) -> None:
        """Re-raise what carries a cancellation; keep anything else that is not an Exception."""
        cancelled, rest = error.split(trio.Cancelled) if isinstance(error, BaseExceptionGroup) else (None, None)
        if cancelled is not None and self.won and (rest is None or isinstance(rest, ExceptionGroup)):
            # A loser that failed while it cleaned up: it counts nowhere, like the failure of a copy before.
            raise cancelled
        if cancelled is not None or isinstance(error, trio.Cancelled):
            raise error
        self.fatal = error


def _bare(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the nursery's group would have been without a nursery, where there is such a thing.

    `except trio.Cancelled` around a call must go on working, and an error that was raised in place
    of the cancellation comes alone.
    """
    _, rest = group.split(trio.Cancelled)
    if rest is not None:
        return rest.exceptions[0] if len(rest.exceptions) == 1 else group
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
