"""What follows when a run has ended: nothing, a restart after a while, parking, or the end of the supervisor."""

import math

import trio

from genesis_trio import events
from genesis_trio.errors import CorruptError, SchemaError
from genesis_trio.events import describe_error, emit
from genesis_trio.supervision._child_state import Ask
from genesis_trio.supervision._exits import ESCALATE, FATAL, PARK, RETURNED, STOP, STOPPED, Exit, what_follows
from genesis_trio.supervision._parking import Parking
from genesis_trio.supervision.component import Lifecycle, Restart

__all__ = ["Aftermath"]


class Aftermath(Parking):
    """How a child goes on after a run."""

    __slots__ = ()

    async def _is_over(self, end: Exit) -> bool:
        """Decide what follows the *end* of a run that did not crash: True if nothing does."""
        if end.how is FATAL:
            assert end.error is not None
            self.supervisor.fatal(end.error)
            self._stopped("stopped")
            return True
        if end.how is STOPPED:
            return await self._after_stop(end)
        return await self._after_return(end)

    async def _after_stop(self, end: Exit) -> bool:
        if end.error is not None and self.tree.hooks:
            emit(self.tree, events.CrashWhileStopping, child=self.path, error=end.error)
        if self._asked is Ask.STOP or self._asked is None:
            self._stopped("stopped")
            return True
        if self._asked is Ask.GROUP and self.spec.restart is Restart.TEMPORARY and not self._by_hand:
            self._ended("temporary")  # it is stopped with its group, and does not come back with it
            return True
        if self._asked is Ask.SUSPEND:
            self._asked = None
            self._suspend()
        elif self._asked is Ask.GROUP:
            self._asked = None
            self._gate = trio.Event() if self._gate is None else self._gate
            self._set(Lifecycle.BACKOFF)
        await self._save("suspend" if self.status is Lifecycle.SUSPENDED else "restart")
        return False

    async def _after_return(self, end: Exit) -> bool:
        self._forget_parking()
        if self.spec.restart is Restart.PERMANENT and end.how is RETURNED:
            self._wait_backoff(trio.current_time(), None)
            self.supervisor.restart_group(self)
            await self._save("restart")
            return False
        self.tree.scope.clear_owned(self.path, "its owner ended")
        self._ended("done")
        return True

    def _after_crash(self, error: BaseException) -> bool:
        """Decide what follows a crash, within this step: True if nothing does."""
        if self.tree.hooks:
            emit(self.tree, events.ChildCrashed, child=self.path, generation=self.generation, error=error)
        if self.raises and not self.was_ready:
            self.first_error = error
            self._stopped("stopped")
            return True
        follows = what_follows(error, self.spec.rules)
        if self.spec.restart is Restart.TEMPORARY or follows is STOP:
            self._ended("temporary" if follows is not STOP else f"rule for {type(error).__name__}")
            return True
        if follows is ESCALATE:
            return self._escalate(error, f"its rules say so of {type(error).__name__}")
        now = trio.current_time()
        charged = self._start_gate is None or not self._start_gate.explains(error)
        if isinstance(error, (SchemaError, CorruptError)) or follows is PARK:
            self._park(error)  # another run would meet the same
        elif self.refused:
            self._suspend_refused()
        elif charged and self.supervisor.is_over_limit(now):
            return self._escalate(error, self.supervisor.crash_limit.in_words())
        elif self._is_trial or (charged and not self._budget.charge(now, was_ready=self.was_ready)):
            if self.spec.escalate:
                return self._escalate(error, "it used up its restarts")
            self._park(error)
        else:
            self._wait_backoff(now, error)
            self.supervisor.restart_group(self)
        return False

    def _escalate(self, error: BaseException, reason: str) -> bool:
        """End the supervisor with *error*."""
        error.add_note(f"child {self.path!r} escalated it: {reason}")
        if self.tree.hooks:
            emit(self.tree, events.ChildEscalated, child=self.path, reason=reason, error=error)
        self.supervisor.fatal(error)
        self._stopped("escalated")
        return True

    def _wait_backoff(self, now: float, error: BaseException | None) -> None:
        """Begin the delay after a crash with *error*; without one, after it returned."""
        budget = self._budget
        if now - self._ready_at >= self.supervisor.backoff.max_delay:
            budget.forget_row()  # it was up for so long; looked at now, since a task that waits for it costs more
        delay = budget.next_delay()
        self._due = now + delay if delay > 0 else -math.inf
        self._set(Lifecycle.BACKOFF)
        self._keep()
        if self.tree.hooks:
            reason = describe_error(error) if error is not None else "it returned"
            emit(self.tree, events.RestartScheduled, child=self.path, delay=delay, reason=reason)

    def _ended(self, reason: str) -> None:
        """It ended by itself, and nothing follows: nobody waits for it any more, but what waits for it stays.

        Where the supervisor stops, it is all taken: what waits then is part of the last saved checkpoint.
        """
        self.has_ended = True
        self._stopped(reason)

    def _stopped(self, reason: str) -> None:
        self._set(Lifecycle.STOPPED)
        if self.tree.hooks:
            emit(self.tree, events.ChildStopped, child=self.path, reason=reason)
