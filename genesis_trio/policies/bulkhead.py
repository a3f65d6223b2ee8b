"""A limit on how many calls run at once, so that one slow dependency cannot take all there is."""

import attrs

from genesis_trio._runtime import RunBound
from genesis_trio.errors import BulkheadFullError
from genesis_trio.policies import _check
from genesis_trio.policies._fair_queue import FairQueue, Waiter


@attrs.frozen(kw_only=True)
class BulkheadStatistics:
    """What a `Bulkhead` does now, and has done in this run.

    Attributes:
        running: Places taken.
        waiting: Callers in the queue.
        refused: Callers that found all places taken and the queue full.
    """

    running: int
    waiting: int
    refused: int


class Bulkhead(RunBound):
    """Let at most *max_concurrent* calls run at once and at most *max_waiting* wait for a place.

    Who comes beyond that is refused with `BulkheadFullError`, at once.  The queue is fair: first
    come, first served, and a place that becomes free goes to the first who waits, never to one who
    comes at that moment.  Calls of guards whose ``needs`` is CANCEL or REDUCE do not queue behind
    others: they stand in front of them, and only calls of their own kind count against *max_waiting*
    for them.

    One bulkhead may serve many guards.

    Args:
        max_concurrent: Calls that run at the same time, at least 1.
        max_waiting: Callers that wait for a place; 0, the default, because a queue in front of a slow
            dependency only adds its own delay: ask for one when the calls come in bursts.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks.
    """

    __slots__ = ("_max_concurrent", "_max_waiting", "_queue", "_refused", "_running")

    def __init__(self, max_concurrent: int, *, max_waiting: int = 0) -> None:
        super().__init__()
        self._max_concurrent = _check.whole("Bulkhead", "max_concurrent", max_concurrent, least=1)
        self._max_waiting = _check.whole("Bulkhead", "max_waiting", max_waiting, least=0)
        self._fresh()

    def _fresh(self) -> None:
        self._running = 0  # places taken; those given to a waiter that has not run yet are among them
        self._queue = FairQueue()
        self._refused = 0

    def _try_enter(self) -> bool:
        """Take a place if one is free; False when not.

        Nobody is overtaken: a place that becomes free while somebody waits is never free.
        """
        self._enter_run()
        if self._running < self._max_concurrent:
            self._running += 1
            return True
        return False

    async def _enter(self, urgent: bool) -> None:
        """Take a place, waiting for one in the queue.

        Raises:
            BulkheadFullError: as many wait already as may.

        Trio checkpoint: only when it waits.
        Cancellation: the place in the queue is given up, and one that was given in the same moment goes
        to the next who waits.
        """
        if self._try_enter():
            return
        waiting = self._queue.before(urgent)
        if waiting >= self._max_waiting:
            self._refused += 1
            raise BulkheadFullError(
                f"bulkhead is full: {self._running} of max_concurrent={self._max_concurrent} calls are running and "
                f"{waiting} of max_waiting={self._max_waiting} are waiting; call later, or raise the limit that is too low"
            )
        waiter = Waiter(urgent)
        self._queue.join(waiter)
        try:
            await waiter.wake.wait()
        except BaseException:
            self._queue.leave(waiter)
            if waiter.granted:
                self._leave()
            raise

    def _leave(self) -> None:
        """Give a place back, to the first who waits if there is one.

        Trio checkpoint: never, so that it may stand in any cleanup.
        """
        waiter = self._queue.first()
        if waiter is None:
            self._running -= 1
            return
        self._queue.leave(waiter)
        waiter.granted = True
        waiter.wake.set()

    def statistics(self) -> BulkheadStatistics:
        """The numbers of the current ``trio.run``, as a frozen record.

        Trio checkpoint: never.
        """
        self._enter_run()
        return BulkheadStatistics(running=self._running, waiting=len(self._queue), refused=self._refused)

    def __repr__(self) -> str:
        return f"Bulkhead({self._max_concurrent}, max_waiting={self._max_waiting})"
