"""A limit on how many calls begin in a span of time, as venues impose it."""

import attrs
import trio

from genesis_trio._runtime import RunBound
from genesis_trio.errors import RateLimitedError
from genesis_trio.policies import _check
from genesis_trio.policies._fair_queue import FairQueue, Waiter
from genesis_trio.policies._tokens import Bucket


@attrs.frozen(kw_only=True)
class RateLimitStatistics:
    """What a `RateLimit` does now, and has done in this run.

    Attributes:
        available: Calls that could begin now, the reserve among them.
        waiting: Callers in the queue.
        refused: Callers that could not wait.
    """

    available: int
    waiting: int
    refused: int


class RateLimit(RunBound):
    """Let *calls* calls begin every *per* seconds, evenly, after a burst of *burst*.

    A token bucket: *burst* tokens at first, one more every ``per / calls`` seconds up to *burst*, a
    token for each call.  ``RateLimit(10)`` lets 10 begin at once and then one every 0.1 seconds.  It is
    exact on Trio's clock, and stays so: no rounding adds up over time.

    The queue is fair.  The last *reserve* tokens are for guards whose ``needs`` is CANCEL or REDUCE: a
    flood of new orders never stands in the way of taking risk away.  Those calls do not queue behind
    others either.

    One rate limit may serve many guards.

    Args:
        calls: Calls in *per* seconds, at least 1.
        per: Seconds.
        burst: Calls that may begin at once after a pause; None means *calls*.
        reserve: Tokens of the burst that are kept for urgent calls, less than the burst.
        wait: Wait for a token; False raises `RateLimitedError` instead.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks.
    """

    __slots__ = ("_bucket", "_burst", "_calls", "_per", "_queue", "_refused", "_reserve", "_wait")

    def __init__(
        self, calls: int, *, per: float = 1.0, burst: int | None = None, reserve: int = 0, wait: bool = True
    ) -> None:
        super().__init__()
        self._calls = _check.whole("RateLimit", "calls", calls, least=1)
        self._per = _check.number("RateLimit", "per", per, above=0)
        self._burst = self._calls if burst is None else _check.whole("RateLimit", "burst", burst, least=1)
        self._reserve = _check.whole("RateLimit", "reserve", reserve, least=0)
        if self._reserve >= self._burst:
            raise ValueError(
                f"RateLimit(reserve={reserve!r}): the reserve must be less than the burst of {self._burst}, "
                f"or no call but the urgent ones could ever begin"
            )
        if not isinstance(wait, bool):
            raise TypeError(f"RateLimit(wait=…) wants True or False, got {wait!r}")
        self._wait = wait
        self._fresh()

    def _fresh(self) -> None:
        self._bucket = Bucket(calls=self._calls, per=self._per, burst=self._burst)
        self._queue = FairQueue()
        self._refused = 0

    def _try_take(self, urgent: bool) -> bool:
        """Take a token if there is one and nobody waits for it; False when not."""
        self._enter_run()
        return not self._queue.before(urgent) and self._bucket.take(trio.current_time(), self._keep(urgent))

    async def _take(self, urgent: bool) -> None:
        """Take a token, waiting for one in the queue.

        Raises:
            RateLimitedError: there is none now, and ``wait=False``.

        Trio checkpoint: only when it waits.
        Cancellation: the place in the queue is given up; no token is taken.
        """
        if self._try_take(urgent):
            return
        if not self._wait:
            self._refused += 1
            retry_after = self._bucket.ready_at(self._keep(urgent)) - trio.current_time()
            kept = f" (the last {self._reserve} are kept for urgent calls)" if self._reserve and not urgent else ""
            raise RateLimitedError(
                f"rate limit of {self._calls} calls in {self._per:g} s (burst {self._burst}) is used up{kept}; "
                f"the next call can begin in {retry_after:g} s",
                retry_after=retry_after,
            )
        waiter = Waiter(urgent)
        self._queue.join(waiter)
        try:
            await self._wait_turn(waiter)
        finally:
            # No Trio checkpoint between the token and here: a cancelled waiter has taken none.
            self._queue.leave(waiter)
            self._wake_first()

    async def _wait_turn(self, waiter: Waiter) -> None:
        # Only the first in the queue watches the clock.  It looks again when its time has come (an urgent call may have
        # taken the token), when a token was given back, and when it becomes the first.
        keep = self._keep(waiter.urgent)
        while True:
            is_first = self._queue.first() is waiter
            if is_first and self._bucket.take(trio.current_time(), keep):
                return
            waiter.wake = trio.Event()
            with trio.move_on_at(self._bucket.ready_at(keep) if is_first else float("inf")):
                await waiter.wake.wait()

    def _give_back(self) -> None:
        """Put back a token that was taken in this very step and not used, because the call was refused after all.

        Trio checkpoint: never.
        """
        self._bucket.give_back()
        self._wake_first()

    def _wake_first(self) -> None:
        first = self._queue.first()
        if first is not None:
            first.wake.set()

    def _keep(self, urgent: bool) -> int:
        return 0 if urgent else self._reserve

    def statistics(self) -> RateLimitStatistics:
        """The numbers of the current ``trio.run``, as a frozen record.

        Trio checkpoint: never.
        """
        self._enter_run()
        return RateLimitStatistics(
            available=self._bucket.available(trio.current_time()), waiting=len(self._queue), refused=self._refused
        )

    def __repr__(self) -> str:
        return f"RateLimit({self._calls}, per={self._per:g}, burst={self._burst}, reserve={self._reserve}, wait={self._wait})"
