"""One child of a supervisor: one task, one incarnation after the other.

::

                 ┌───────────────── mode admits it ─────────────────┐
                 ▼                                                  │
    start ──► STARTING ──ready()──► READY ──mode──► STOPPING ──► SUSPENDED
                 ▲  │                │ │
                 │  └────crash───────┘ └──returned, stop()──► STOPPED
                 │         ▼
                 ├────── BACKOFF     within its restarts
                 └────── PARKED      over them: holds a cause, gets a trial

The task is shielded: an outer cancellation reaches a child only through its supervisor, which stops the
children one after the other.
"""

import math
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio import events
from genesis_trio._members import check_member
from genesis_trio.errors import StartTimeoutError
from genesis_trio.events import describe_error, emit
from genesis_trio.modes import Mode, admits
from genesis_trio.modes._values import ALL
from genesis_trio.supervision._aftermath import Aftermath
from genesis_trio.supervision._away import go_away, release, take_over
from genesis_trio.supervision._child_state import Ask
from genesis_trio.supervision._exits import CRASHED, DONE, FATAL, Exit, classify
from genesis_trio.supervision._incarnation import Incarnation
from genesis_trio.supervision._words import kept_from_starting, why
from genesis_trio.supervision.component import ChildSpec, Lifecycle, Restart

if TYPE_CHECKING:
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Child"]


#: Where nothing is refused there is no refusal to look for; most crashes are in such a mode.
_ALLOWS_ALL = ALL.value


class Child(Aftermath):
    """One child, as its supervisor and everybody else see it.

    Attributes:
        name: Its name in its supervisor.
        path: Its path in the tree.
        spec: How it is made and kept.
        scope: Its mode scope.
        status: Where it is in its life.
        generation: The number of its present or last incarnation, from 1; 0 before the first.
        restarts: How many incarnations followed another one.
        last_error: What ended its last failed incarnation, or None.
    """

    __slots__ = ()

    def __init__(self, supervisor: "Supervisor", spec: ChildSpec, *, options: Any, raises: bool) -> None:
        super().__init__(supervisor, spec, options=options, raises=raises)
        self._remember()
        take_over(self)
        self.scope.resident = self

    def __repr__(self) -> str:
        return f"<Child {self.path!r} {self.status.name}, generation {self.generation}>"

    # ------------------------------------------------------------ by hand

    @trio.lowlevel.enable_ki_protection
    async def wait(self, status: Lifecycle) -> None:
        """Wait until it is in *status*; a status that it was in for less than a step is not missed.

        Raises:
            RuntimeError: it has ended and does not live again, so it never will be.
            TypeError: *status* is no `Lifecycle`, so that it would wait for ever.

        Trio checkpoint: always.
        Cancellation: passes.
        """
        check_member("status", status, Lifecycle)
        await trio.lowlevel.checkpoint()
        was_there = False

        def decided() -> bool:
            nonlocal was_there
            was_there = was_there or self.status is status
            return was_there or self._is_closed or (self.is_finished and self.supervisor.is_stopping)

        await self.wait_until(decided)
        if not was_there:
            raise RuntimeError(
                f"{self.path!r} has ended for good and will not be {status.name} any more; its last error: "
                f"{describe_error(self.last_error) if self.last_error is not None else 'none'}"
            )

    @trio.lowlevel.enable_ki_protection
    async def stop(self) -> None:
        """Stop it for good: gracefully, then by cancellation; its mailboxes are closed.

        Returns once it has ended, or when the supervisor's ``shutdown_timeout`` is over, which is
        reported as `ChildUnstopped`.

        Trio checkpoint: always.
        Cancellation: passes; the stop goes on.
        """
        await trio.lowlevel.checkpoint()
        if self.is_finished:
            if not self._is_closed:  # then they are closed, or another one has them
                self._close_mailboxes()
            return
        deadline = trio.current_time() + self.supervisor.shutdown_timeout
        done = trio.Event()

        async def stop() -> None:
            await self._stop_for_good(deadline)
            done.set()

        self.supervisor.start_service(stop)  # whoever asked for it may be cancelled
        await done.wait()

    async def _stop_for_good(self, deadline: float) -> None:
        await self.supervisor.stop_child(self, deadline)
        if self.is_finished:
            await self._stopped_by_hand()
        elif self.status is Lifecycle.STOPPING:
            self.supervisor.start_service(self._stopped_late)

    async def _stopped_late(self) -> None:
        await self.wait_finished()
        if self.is_finished:  # nobody has let it live again
            await self._stopped_by_hand()

    async def _stopped_by_hand(self) -> None:
        self.tree.scope.clear_owned(self.path, "stopped by hand")
        await self._save("stop")
        self._close_mailboxes()

    @trio.lowlevel.enable_ki_protection
    async def restart(self) -> None:
        """Start a new incarnation now, whatever its state; returns once it is ready.

        A running one is stopped first, with its state saved.  As after a crash, its group and those that require it restart with
        it, in their order.  It costs no budget, and waits for no delay.  A parked child gets its trial, and is no longer parked once
        it is ready; a stopped one lives again.  One that the mode does not admit, or refused what it crashed on, stays suspended, and
        starts anew once it may.

        Raises:
            Exception: the error of the new incarnation, if it is not ready before it crashes.
            RuntimeError: it was stopped meanwhile, or its supervisor is stopping.

        Trio checkpoint: always.
        Cancellation: passes; the restart goes on.
        """
        await trio.lowlevel.checkpoint()
        before = self.generation
        self.forget_crashes()
        if self._asked is Ask.STOP:
            await self.wait_finished()  # it lives again once it has stopped
        if self.status is Lifecycle.SUSPENDED:
            if self.is_refused():
                return
            mode = self._mode_for_trial() if self.failed_when_suspended else self.scope.mode
            if not admits(mode, self.spec.criticality):
                return
        self._by_hand = True
        if self.is_finished:
            self.supervisor.revive(self)
        if self.status is Lifecycle.SUSPENDED or not self.supervisor.groups.by_hand(self):
            self.ask(Ask.RESTART)
        elif self.status is Lifecycle.PARKED or self.status is Lifecycle.STOPPED:
            self._set(Lifecycle.BACKOFF)  # it has its place in the order of its group

        def decided() -> bool:
            if self.status is Lifecycle.STOPPED and self._asked is Ask.STOP:
                return True
            if self.status is Lifecycle.READY or self.status is Lifecycle.STOPPED:
                return self.generation > before
            if self.status is Lifecycle.SUSPENDED and self._asked is None:
                return True  # it stopped for the restart, and the mode has changed meanwhile
            return self.generation > before and self.status in (
                Lifecycle.BACKOFF,
                Lifecycle.PARKED,
                Lifecycle.SUSPENDED,
            )

        await self.wait_until(decided)
        if self.generation == before and self.status is not Lifecycle.SUSPENDED:
            raise RuntimeError(
                f"{self.path!r} was stopped before it had restarted; call restart() again to let it live"
            )
        if (self.status in (Lifecycle.BACKOFF, Lifecycle.PARKED) or self.refused) and self.last_error is not None:
            raise self.last_error

    def why(self) -> str:
        """In words: what it does, where it waits and for whom, and what last went wrong."""
        return why(self)

    # ------------------------------------------------------------ its task

    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """The child's task."""
        # Each wait is shielded, by a scope of its own: one around them all would be paid by every child that runs.
        try:
            while self._may_start() or await self._wait_for_turn():
                incarnation = self._begin()
                error: BaseException | None = None
                try:
                    with incarnation.scope:
                        try:
                            await incarnation.run()
                            incarnation.has_returned()
                        except BaseException as raised:
                            incarnation.note_cut(raised)
                            raise
                    incarnation.has_left()
                except BaseException as raised:  # noqa: ASYNC103 - classified, and raised by the supervisor
                    # Nothing is swallowed: what is not the component's own is classified as FATAL, and raised by the supervisor.
                    error = raised
                end = self._end(incarnation, error)
                if end.how is CRASHED and end.error is not None:
                    if self._after_crash(end.error):
                        return
                else:
                    with trio.CancelScope(shield=True):
                        if await self._is_over(end):
                            return
                # A restart without delay must not be a loop that lets nobody else run.
                await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            self._finish()

    def _finish(self) -> None:
        if self.status is not Lifecycle.STOPPED:
            self._set(Lifecycle.STOPPED)
        self.is_finished = True
        self.tell_watchers()
        self.supervisor.child_finished(self)
        if self.is_over():
            if self.part is None:
                self.supervisor.forget(self)
            else:
                self.ask_for_save("stop")  # its last state is to be on disk first

    def _may_start(self) -> bool:
        """True if nothing stands in its way, as mostly; False if `_wait_for_turn` has to look closer."""
        return (
            self._asked is None
            and self._gate is None
            and self._start_gate is None
            and (self._due == -math.inf or trio.current_time() >= self._due)
            and not self.refused
            and admits(self.scope.mode, self.spec.criticality)
        )

    async def _wait_for_turn(self) -> bool:
        """Wait until it may start; False if it shall stop instead."""
        while True:
            self._poked = poked = trio.Event()
            if self._asked is Ask.STOP:
                self._poked = None
                self._stopped("stopped")
                return False
            if self._asked is Ask.RESTART:
                self._due, self._gate, self._asked = -math.inf, None, None
            wake_at = math.inf
            if trio.current_time() < self._due:
                wake_at = self._due
            elif self._gate is not None and not self._gate.is_set():
                pass
            elif self.is_refused():
                if self.status is not Lifecycle.SUSPENDED:
                    self._suspend()
            elif not admits(self.scope.mode, self.spec.criticality) and not self._may_try():
                if self.status not in (Lifecycle.SUSPENDED, Lifecycle.PARKED):
                    self._suspend()
                wake_at = self._trial_at
            else:
                wake_at = self._ask_gate()
                if wake_at == -math.inf:
                    self._poked = None
                    return True
            with trio.CancelScope(deadline=wake_at, shield=True):
                await poked.wait()

    def _ask_gate(self) -> float:
        """-inf if the breaker over it lets it start; otherwise when to ask again."""
        if self._start_gate is None:
            return -math.inf
        opens_at = self._start_gate.opens_at()
        if opens_at > -math.inf and self.status not in (Lifecycle.BACKOFF, Lifecycle.PARKED):
            self._set(Lifecycle.BACKOFF)
        return opens_at

    def _begin(self) -> Incarnation:
        """Make the next incarnation."""
        self._asked = None
        self._gate = None
        self.refused = 0
        self.supervisor.groups.stopped_well.discard(self)
        self.generation += 1
        if self.generation > self.generation_before + 1:
            self.restarts += 1
        if self._parked_hold is not None:
            self._is_trial = True
            if self.tree.hooks:
                emit(self.tree, events.ChildTrial, child=self.path)
        incarnation = self.incarnation = Incarnation(self, self.generation)
        self._set(Lifecycle.STARTING)
        self._keep()
        if self.tree.hooks:
            emit(self.tree, events.ChildStarting, child=self.path, generation=self.generation)
        return incarnation

    def _end(self, incarnation: Incarnation, error: BaseException | None) -> Exit:
        """How the *incarnation* ended, with everything put in order for what follows."""
        if self._asked is None and self.supervisor.groups.is_to_restart(self):
            self._asked = Ask.GROUP  # by hand, and its group has not come to it yet: it is replaced, however it ended
        asked = incarnation.stopping or self._asked is Ask.GROUP
        end = classify(error, asked=asked, ready=incarnation.is_ready)
        self.refused = 0 if self.scope.mask == _ALLOWS_ALL else self._refused_at(end)
        if end.how is DONE:
            incarnation.ready(None)  # whoever waits for it may go on
        self.incarnation = None
        self._ready_at = incarnation.ready_at
        has_crashed = end.how is CRASHED
        # Where the mode is to blame, the message in hand is not.
        is_own_crash = has_crashed and not self.refused
        if is_own_crash and self.poison is not None:
            self.poison.crashed(self.mailboxes.values())
        if self.recovery is not None and incarnation.component is not None:
            self.recovery.ended(incarnation, end)
        incarnation.finish(error if is_own_crash else None)
        if self._start_gate is not None:
            if has_crashed and end.error is not None:
                self._start_gate.crashed(end.error)
            else:
                self._start_gate.ended()
        if end.error is not None and end.how is not FATAL:
            self.last_error = end.error
        return end

    # ------------------------------------------------------------ what its supervisor and its mode want

    def mode_changed(self, mode: Mode) -> None:
        """The mode of its scope is *mode* now."""
        if self.refused or admits(mode, self.spec.criticality):
            self._poke()
        elif self.incarnation is not None and not self.incarnation.stopping:
            self.failed_when_suspended = self.is_failing()
            self.ask(Ask.SUSPEND)

    def give_up_start(self) -> None:
        """The breaker over it has kept it from starting for too long; whoever starts it is told."""
        self.first_error = StartTimeoutError(kept_from_starting(self))
        self.ask(Ask.STOP)

    def begin_anew(self) -> None:
        """It was stopped, and is to live again."""
        self.is_finished = self.has_ended = False
        self._asked = None
        self._due = -math.inf
        self.refused = 0

    def cut_short(self, reason: str) -> None:
        """Cancel what runs of it now."""
        self.ask(Ask.STOP)
        if self.incarnation is not None:
            self.incarnation.cut_short(reason)

    def close(self, *, goes_away: bool = False) -> None:
        """Its supervisor is gone, or it is no child any more; if it *goes away*, the next one of its path has its mailboxes."""
        if goes_away and self.spec.restart is not Restart.TEMPORARY:
            go_away(self)
        else:
            release(self)
        self.scope.detach()
        self._is_closed = True
        self.tell_watchers()

    # ------------------------------------------------------------ its group

    async def stop_for_group(self) -> None:
        """End the running incarnation; the next one begins when the group opens the gate."""
        self.join_group()
        stops_already = self.status is Lifecycle.STOPPING
        if not (self.failed_when_suspended if stops_already else self.is_failing()):
            self.supervisor.groups.stopped_well.add(self)
        self.ask(Ask.GROUP)
        await self.wait_until(lambda: self.incarnation is None and self.status is not Lifecycle.STOPPING)

    def join_group(self) -> None:
        """Start when the group opens the gate: also if somebody restarts it by hand, and it has not begun yet."""
        self.hold_gate()
        if self._asked is Ask.RESTART:
            self._asked = None
            if self.incarnation is None:
                self._set(Lifecycle.BACKOFF)  # it has ended in this step, and was about to start

    @property
    def due(self) -> float:
        """When it may start, as far as its backoff is concerned."""
        return self._due

    @property
    def trial_at(self) -> float:
        """When it is tried though its mode does not admit it; infinity if it is not."""
        return self._trial_at

    @property
    def is_restarted_by_hand(self) -> bool:
        """True while somebody who restarted it by hand waits for it."""
        return self._by_hand

    def hold_gate(self) -> None:
        """Do not start before `open_gate`, even when the backoff is over."""
        if self._gate is None or self._gate.is_set():
            self._gate = trio.Event()

    def forget_delay(self) -> None:
        """Somebody restarts it by hand: it starts as soon as its gate is open."""
        self._due = -math.inf

    def open_gate(self) -> None:
        if self._gate is not None:
            self._gate.set()
            self._poke()
