"""Children that the mode keeps from running, or that used up their restarts: suspended, parked, tried, and back.

A parked child holds a cause on its supervisor: the tree degrades, it does not die.  After a while it gets one trial, and once
that has proved itself the cause clears.
"""

import math
from typing import Any

import trio

from genesis_trio import events
from genesis_trio.events import emit
from genesis_trio.modes import Criticality, Mode, ModeScope, admits
from genesis_trio.supervision._away import await_return
from genesis_trio.supervision._child_state import Ask, ChildState
from genesis_trio.supervision._exits import Exit, How, refused_by_mode
from genesis_trio.supervision._incarnation import Incarnation
from genesis_trio.supervision._mode_watch import AUTOMATIC_REASON, PARKED_REASON
from genesis_trio.supervision._unread import await_readers
from genesis_trio.supervision.component import Lifecycle

__all__ = ["Parking"]


class Parking(ChildState):
    """How a child stops running without being stopped, and how it comes back."""

    __slots__ = ()

    def _suspend(self) -> None:
        if self.status is Lifecycle.BACKOFF:
            self.failed_when_suspended = self not in self.supervisor.groups.stopped_well
        is_tried = self.failed_when_suspended or self._parked_hold is not None
        self._trial_at = trio.current_time() + self._budget.next_trial() if is_tried else math.inf
        self._set(Lifecycle.SUSPENDED)
        if self.tree.hooks:
            emit(self.tree, events.ChildSuspended, child=self.path, mode=self.scope.mode.name)

    def _refused_at(self, end: Exit) -> int:
        """What the run that came to this *end* crashed on, if that is what its mode does not allow, and the next run would meet it.

        Only where somebody else holds what refuses it: a cause of its own waits for its next run, and it would for that cause.
        """
        if end.how is not How.CRASHED or end.error is None:
            return 0
        refused = refused_by_mode(end.error) & ~self.scope.mask
        if not refused or any(f"{hold.owner}/".startswith(f"{self.path}/") for hold in self.scope.refusing(refused)):
            return 0
        return refused

    def is_refused(self) -> bool:
        """True while it waits for what its mode refused it."""
        return bool(self.refused & ~self.scope.mask)

    def _suspend_refused(self) -> None:
        # It got as far as the refusal, so it is no trouble of its own that the mode would have to wait for.
        self.failed_when_suspended = False
        self._by_hand = False
        self._suspend()

    def _may_try(self) -> bool:
        """True if it gets its trial though the mode does not admit it.

        Children that failed together have led to this mode together.  If each waited until the others were well, none would
        ever come back: so what it has failed into does not count against it.
        """
        if self._parked_hold is None and not self.failed_when_suspended:
            self._trial_at = math.inf
            return False
        now = trio.current_time()
        if self.status is Lifecycle.SUSPENDED and now < self._trial_at and not self._by_hand:
            return False
        if admits(self._mode_for_trial(), self.spec.criticality):
            return True
        self._trial_at = now + self.supervisor.recover_after
        return False

    def _mode_for_trial(self) -> Mode:
        """The mode without its own parking, and without what it and others that are no more critical have led to."""
        supervisor = self.supervisor
        own = {(self.path, PARKED_REASON), (supervisor.path, AUTOMATIC_REASON)}
        mode = Mode.NORMAL
        scope: ModeScope | None = self.scope
        while scope is not None:
            for cause in scope.causes:
                if scope is not supervisor.scope or (cause.owner, cause.reason) not in own:
                    mode = max(mode, cause.mode)
            scope = scope.parent
        if supervisor.mode_watch is not None:
            mode = max(mode, supervisor.mode_watch.demanded_above(self.spec.criticality))
        return mode

    def _park(self, error: BaseException) -> None:
        self._is_trial = False
        self._by_hand = False
        self._hold_parking()
        wait = self._budget.park()
        self._due = trio.current_time() + wait
        self._set(Lifecycle.PARKED)
        self._keep()
        if self.tree.hooks:
            emit(self.tree, events.ChildParked, child=self.path, retry_after=wait, error=error)

    def _hold_parking(self) -> None:
        demanded = {Criticality.ESSENTIAL: Mode.SAFE, Criticality.CRITICAL: Mode.EMERGENCY}.get(self.spec.criticality)
        if demanded is not None:
            self._parked_hold = self.supervisor.scope.hold(demanded, owner=self.path, reason=PARKED_REASON)
            self._parked_hold.ends = self._parking_ends
        elif self._parked_hold is None:
            # Parked all the same, though an OPTIONAL child holds nothing.
            self._parked_hold = _NO_HOLD

    def _parking_ends(self) -> str:
        """When its cause is released, in words."""
        proof = f"it clears once {self.name!r} has been READY for {self.supervisor.recover_after:g} s"
        if self.last_error is not None and refused_by_mode(self.last_error):
            proof += "; what parked it was a refusal by the mode, which its own cause keeps up: let it catch ModeRefusedError"
        return f"its trial runs, and {proof}" if self.status is Lifecycle.READY else proof

    def _forget_parking(self) -> None:
        hold, self._parked_hold = self._parked_hold, None
        self._is_trial = False
        self._budget.forget_parking()
        if hold is not None:
            self._keep()
            hold.release()
            if self.tree.hooks:
                emit(self.tree, events.ChildUnparked, child=self.path)
            self.supervisor.health_changed(self)

    def became_ready(self, incarnation: Incarnation) -> None:
        """It called ``ctx.ready()``."""
        self.was_ready = True
        comes_back, self.failed_when_suspended = self.failed_when_suspended, False
        self._set(Lifecycle.READY)
        if self.tree.hooks:
            emit(self.tree, events.ChildReady, child=self.path, generation=self.generation)
        if self._start_gate is not None:
            self._start_gate.ready()
        if self.away:
            self.supervisor.start_service(lambda: await_return(self, incarnation))
        if self.mailboxes and any(mailbox.awaits_reader for mailbox in self.mailboxes.values()):
            self.supervisor.start_service(lambda: await_readers(self, incarnation))
        if self.recovery is not None and incarnation.trial_part is not None:
            recovery = self.recovery
            self.supervisor.start_service(lambda: recovery.prove(incarnation))
        by_hand, self._by_hand = self._by_hand, False
        if self._parked_hold is not None:
            if by_hand:
                self._forget_parking()
            else:
                self.supervisor.start_service(lambda: self._prove(incarnation))
        elif comes_back:
            self.supervisor.start_service(lambda: self._prove(incarnation))

    async def _prove(self, incarnation: Incarnation) -> None:
        """A trial that stays ready for long enough is no longer parked."""
        await trio.sleep(self.supervisor.recover_after)
        if self.incarnation is not incarnation or self.status is not Lifecycle.READY:
            return
        if self.is_failing() and not admits(self.scope.mode, self.spec.criticality):
            self.failed_when_suspended = True  # ready, and not well: that was the trial
            self.ask(Ask.SUSPEND)
            return
        self._forget_parking()

    def _remember(self) -> None:
        """Go on where an earlier process ended; a child that was parked gets one trial, and its cause is held meanwhile."""
        control = self.tree.control
        if control is None:
            return
        if self.spec.breaker is not None:
            control.restore_breaker(self.spec.breaker)
        found = control.take_child(self.path)
        if found is None:
            return
        record, away = found
        self.generation = self.generation_before = record.generation
        # A record is written at each start and each crash; nothing for so long means that it was up.
        in_a_row = record.in_a_row if away < self.supervisor.backoff.max_delay else 0
        self._budget.restore(record.crashes, in_a_row=in_a_row, now=trio.current_time(), away=away)
        if self.poison is not None:
            self.poison.counts, self.poison.batches = record.poison, record.batches
        if record.parked:
            self._hold_parking()
            if record.unpark_after is not None and self.spec.unpark_after is not None:
                self._budget.unpark_after = max(record.unpark_after, self.spec.unpark_after)


class _NoHold:
    """What an OPTIONAL child holds while it is parked."""

    def release(self) -> None:
        """Nothing is held."""


_NO_HOLD: Any = _NoHold()
