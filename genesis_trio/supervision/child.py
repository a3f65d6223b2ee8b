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

import enum
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio.errors import CorruptError, SchemaError
from genesis_trio.events import (
    ChildCrashed,
    ChildEscalated,
    ChildParked,
    ChildReady,
    ChildStarting,
    ChildStopped,
    ChildSuspended,
    ChildTrial,
    ChildUnparked,
    CrashWhileStopping,
    MessageDead,
    RestartScheduled,
    describe_error,
    emit,
)
from genesis_trio.messaging.mailbox import Entry, Mailbox
from genesis_trio.modes import Criticality, Hold, Mode, ModeScope, admits
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.supervision._breaker_watch import is_open
from genesis_trio.supervision._budget import RestartBudget
from genesis_trio.supervision._control import ChildRecord
from genesis_trio.supervision._exits import Exit, How, classify, what_follows
from genesis_trio.supervision._inbox import SavedMailbox
from genesis_trio.supervision._incarnation import CapturedPart, Incarnation
from genesis_trio.supervision._poison import Poison
from genesis_trio.supervision._start_gate import StartGate
from genesis_trio.supervision._words import why
from genesis_trio.supervision.component import ChildSpec, Lifecycle, OnCrash, Restart

if TYPE_CHECKING:
    from genesis_trio.supervision._tree import ServiceTree
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Child"]

PARKED_REASON = "parked: it used up its restarts"


class Ask(enum.IntEnum):
    """What somebody wants of a child; the greater one wins."""

    SUSPEND = 1  # the mode does not admit it
    GROUP = 2  # its group restarts
    RESTART = 3  # by hand
    STOP = 4


class Child:
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

    __slots__ = (
        "__weakref__",
        "_asked",
        "_budget",
        "_by_hand",
        "_due",
        "_gate",
        "_is_forgotten",
        "_is_trial",
        "_parked_hold",
        "_poked",
        "_ready_at",
        "_start_gate",
        "_trial_at",
        "_unwatch_mode",
        "_watchers",
        "breakers",
        "capture_wanted",
        "complaints",
        "counters",
        "failed_when_suspended",
        "finished",
        "first_error",
        "first_started_at",
        "gauges",
        "generation",
        "generation_before",
        "incarnation",
        "last_error",
        "mailboxes",
        "name",
        "options",
        "part",
        "path",
        "poison",
        "raises",
        "restarts",
        "scope",
        "seed",
        "spec",
        "status",
        "supervisor",
        "tree",
        "unopened",
        "was_ready",
    )

    def __init__(self, supervisor: "Supervisor", spec: ChildSpec, *, options: Any, raises: bool) -> None:
        self.supervisor = supervisor
        self.tree: ServiceTree = supervisor.tree
        self.spec = spec
        self.name = spec.name
        self.path = f"{supervisor.path}/{spec.name}"
        self.options = options
        self.scope = ModeScope(spec.name, supervisor.scope, self.tree)
        self.scope.owner = self.path
        self.seed = f"{supervisor.seed}/{spec.name}"
        self.status = Lifecycle.STARTING
        self.generation = 0
        self.restarts = 0
        self.last_error: BaseException | None = None
        self.incarnation: Incarnation | None = None
        #: Set when its task has ended.
        self.finished = trio.Event()
        self.complaints: dict[object, str] = {}
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, float] = {}
        # Messages and state
        self.mailboxes: dict[str, Mailbox] = {}
        self.unopened: dict[str, SavedMailbox] = {}  # saved mailboxes that nobody has subscribed to yet
        self.part: CapturedPart | None = None
        self.capture_wanted = False
        # Its first start: start() wants an error, start_all() does not
        self.raises = raises
        self.first_error: BaseException | None = None
        self.was_ready = False
        self.first_started_at = trio.current_time()
        # Restarts
        self._asked: Ask | None = None
        self._due = -math.inf  # not before this time
        self._gate: trio.Event | None = None  # its group opens it
        self._trial_at = math.inf  # when it is tried, though the mode does not admit it
        self._poked: trio.Event | None = None  # while it waits for its turn
        self._budget = RestartBudget(
            max_restarts=supervisor.max_restarts,
            within=supervisor.within,
            backoff=supervisor.backoff,
            unpark_after=spec.unpark_after,
            rng=supervisor.rng,
        )
        self._ready_at = math.inf  # of the last run
        # Parking
        self._parked_hold: Hold | None = None
        self._is_trial = False
        self._by_hand = False
        #: Suspended while it was failing: that counts until it was ready again.
        self.failed_when_suspended = False
        self._start_gate = StartGate(spec.breaker) if spec.breaker is not None else None
        #: What it depends on, in the order in which that was learned.
        self.breakers: dict[CircuitBreaker, None] = {} if spec.breaker is None else {spec.breaker: None}
        #: The generation before its first one in this process.
        self.generation_before = 0
        self._is_forgotten = False
        self.poison = Poison()
        self._remember()
        self._watchers: dict[object, Callable[[], None]] = {}
        self._unwatch_mode = self.scope.watch(self._mode_changed)

    def __repr__(self) -> str:
        return f"<Child {self.path!r} {self.status.name}, generation {self.generation}>"

    # ------------------------------------------------------------ what it is

    @property
    def is_saved(self) -> bool:
        """True if its state is part of saved checkpoints."""
        return self.tree.store is not None and self.spec.state_type is not None

    @property
    def messages_limit(self) -> int | None:
        """How many handled messages may wait for a save."""
        return self.supervisor.messages_limit(self) if self.is_saved else None

    def ask_for_save(self, reason: str) -> None:
        if self.tree.saver is not None:
            self.tree.saver.request(reason)

    def is_failing(self) -> bool:
        """True if it counts as failing for the mode of its supervisor."""
        if self.status is Lifecycle.READY:
            return bool(self.complaints) or any(is_open(breaker) for breaker in self.breakers)
        if self.status is Lifecycle.SUSPENDED:
            return self.failed_when_suspended
        return not self.has_left() and self.status is not Lifecycle.STOPPING

    def has_left(self) -> bool:
        """True if it is not part of the share of failing children."""
        if self.status is Lifecycle.STOPPED:
            return True
        if self.status is Lifecycle.SUSPENDED:
            return not self.failed_when_suspended
        first_start = (
            not self.was_ready and self.status is Lifecycle.STARTING and self.generation == self.generation_before + 1
        )
        return first_start and trio.current_time() < self.first_started_at + self.spec.start_timeout

    # ------------------------------------------------------------ waiting for it

    @trio.lowlevel.enable_ki_protection
    async def wait(self, status: Lifecycle) -> None:
        """Wait until it is in *status*; a status that it was in for less than a step is not missed.

        Trio checkpoint: always.
        Cancellation: passes.
        """
        await trio.lowlevel.checkpoint()
        await self.wait_until(lambda: self.status is status)

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition*, which is judged at each change of the status."""
        arrived = trio.Event()

        def judge() -> None:
            if condition():
                arrived.set()

        judge()
        key = object()
        self._watchers[key] = judge
        try:
            await arrived.wait()
        finally:
            del self._watchers[key]

    def _set(self, status: Lifecycle) -> None:
        self.status = status
        holds_back = status not in (Lifecycle.PARKED, Lifecycle.SUSPENDED)
        for mailbox in self.mailboxes.values():
            if mailbox.holds_back is not holds_back:
                mailbox.set_holds_back(holds_back)
        if status is Lifecycle.STOPPED:
            # Where all stop, who asked is stopped as well, in its turn.
            self.tree.bus.stop_answering(self.path, for_good=not self.supervisor.is_stopping)
        for judge in list(self._watchers.values()):
            judge()
        self.supervisor.health_changed(self)

    # ------------------------------------------------------------ asking it

    def ask(self, ask: Ask, *, deadline: float = math.inf) -> None:
        """Ask it for something; a running incarnation begins to stop."""
        if self._asked is None or ask > self._asked:
            self._asked = ask
        if self.incarnation is not None:
            self.incarnation.begin_stop(deadline)
            if self.status is not Lifecycle.STOPPING:
                self._set(Lifecycle.STOPPING)
        self._poke()

    def _poke(self) -> None:
        """Let it look again whether it may start."""
        if self._poked is not None:
            self._poked.set()

    @trio.lowlevel.enable_ki_protection
    async def stop(self) -> None:
        """Stop it for good: gracefully, then by cancellation; its mailboxes are closed.

        Returns once it has ended, or when the supervisor's ``shutdown_timeout`` is over, which is
        reported as `ChildUnstopped`.

        Trio checkpoint: always.
        Cancellation: passes; the stop goes on.
        """
        await trio.lowlevel.checkpoint()
        if self.finished.is_set():
            self._close_mailboxes()
            return
        await self.supervisor.stop_child(self, trio.current_time() + self.supervisor.shutdown_timeout)
        if self.finished.is_set():
            self.tree.scope.clear_owned(self.path, "stopped by hand")
            await self._save("stop")
            self._close_mailboxes()

    def _close_mailboxes(self) -> None:
        for mailbox in self.mailboxes.values():
            self.tree.bus.close(mailbox)
        self.mailboxes.clear()

    @trio.lowlevel.enable_ki_protection
    async def restart(self) -> None:
        """Start a new incarnation now, whatever its state; returns once it is ready.

        A running one is stopped first, with its state saved.  It costs no budget.  A parked child gets its trial, and is no
        longer parked once it is ready; a stopped one lives again.

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
            await self.finished.wait()  # it lives again once it has stopped
        if self.finished.is_set():
            self.supervisor.revive(self)
        else:
            self._by_hand = True
            self.ask(Ask.RESTART)

        def decided() -> bool:
            if self.status is Lifecycle.STOPPED and self._asked is Ask.STOP:
                return True
            if self.status is Lifecycle.READY or self.status is Lifecycle.STOPPED:
                return self.generation > before
            return self.generation > before and self.status in (
                Lifecycle.BACKOFF,
                Lifecycle.PARKED,
                Lifecycle.SUSPENDED,
            )

        await self.wait_until(decided)
        if self.generation == before:
            raise RuntimeError(
                f"{self.path!r} was stopped before it had restarted; call restart() again to let it live"
            )
        if self.status in (Lifecycle.BACKOFF, Lifecycle.PARKED) and self.last_error is not None:
            raise self.last_error

    def _mode_changed(self, mode: Mode) -> None:
        if admits(mode, self.spec.criticality):
            self._poke()
        elif self.incarnation is not None and not self.incarnation.stopping:
            self.failed_when_suspended = self.is_failing()
            self.ask(Ask.SUSPEND)

    # ------------------------------------------------------------ its task

    @trio.lowlevel.enable_ki_protection
    async def live(self) -> None:
        """The child's task."""
        # Shielded all the time, by an incarnation's own scope while there is one: a second around it would be paid by each child.
        goes_on = False
        try:
            with trio.CancelScope(shield=True):
                goes_on = await self._wait_for_turn()
            while goes_on:
                self._poked = None
                end = await self._run_once()
                with trio.CancelScope(shield=True):
                    goes_on = not await self._is_over(end)
                    if goes_on:
                        # A restart without delay must not be a loop that lets nobody else run.
                        await trio.lowlevel.checkpoint()
                        goes_on = await self._wait_for_turn()
        finally:
            self._finish()

    def _finish(self) -> None:
        if self.status is not Lifecycle.STOPPED:
            self._set(Lifecycle.STOPPED)
        self.finished.set()
        self.supervisor.child_finished(self)

    async def _wait_for_turn(self) -> bool:
        """Wait until it may start; False if it shall stop instead."""
        while True:
            self._poked = poked = trio.Event()
            if self._asked is Ask.STOP:
                self._stopped("stopped")
                return False
            if self._asked is Ask.RESTART:
                self._due, self._gate, self._asked = -math.inf, None, None
            wake_at = math.inf
            if trio.current_time() < self._due:
                wake_at = self._due
            elif self._gate is not None and not self._gate.is_set():
                pass
            elif not admits(self.scope.mode, self.spec.criticality) and not self._may_try():
                if self.status not in (Lifecycle.SUSPENDED, Lifecycle.PARKED):
                    self._suspend()
                wake_at = self._trial_at
            else:
                wake_at = self._ask_gate()
                if wake_at == -math.inf:
                    return True
            with trio.move_on_at(wake_at):
                await poked.wait()

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
        if admits(self.supervisor.mode_for_trial(self), self.spec.criticality):
            return True
        self._trial_at = now + self.supervisor.recover_after
        return False

    def _ask_gate(self) -> float:
        """-inf if the breaker over it lets it start; otherwise when to ask again."""
        if self._start_gate is None:
            return -math.inf
        opens_at = self._start_gate.opens_at()
        if opens_at > -math.inf and self.status not in (Lifecycle.BACKOFF, Lifecycle.PARKED):
            self._set(Lifecycle.BACKOFF)
        return opens_at

    def _suspend(self) -> None:
        if self.status is Lifecycle.BACKOFF:
            self.failed_when_suspended = True
        is_tried = self.failed_when_suspended or self._parked_hold is not None
        self._trial_at = trio.current_time() + self._budget.next_trial() if is_tried else math.inf
        self._set(Lifecycle.SUSPENDED)
        if self.tree.hooks:
            emit(self.tree, ChildSuspended, child=self.path, mode=self.scope.mode.name)

    async def _run_once(self) -> Exit:
        """One incarnation, from its start to its end."""
        self._asked = None
        self._gate = None
        self.generation += 1
        if self.generation > self.generation_before + 1:
            self.restarts += 1
        if self._parked_hold is not None:
            self._is_trial = True
            if self.tree.hooks:
                emit(self.tree, ChildTrial, child=self.path)
        incarnation = self.incarnation = Incarnation(self, self.generation)
        self._set(Lifecycle.STARTING)
        self._keep()
        if self.tree.hooks:
            emit(self.tree, ChildStarting, child=self.path, generation=self.generation)
        error: BaseException | None = None
        try:
            await incarnation.run()
        except BaseException as raised:  # noqa: ASYNC103 - classified, and raised by the supervisor
            # Nothing is swallowed: what is not the component's own is classified as FATAL, and raised by the supervisor.
            error = raised
        asked = incarnation.stopping
        end = classify(error, asked=asked, ready=incarnation.is_ready)
        if end.how is How.DONE:
            incarnation.ready(None)  # whoever waits for it may go on
        self.incarnation = None
        self._ready_at = incarnation.ready_at
        if end.how is How.CRASHED:
            self.poison.crashed(self.mailboxes.values())
        incarnation.finish(error if end.how is How.CRASHED else None)
        if self._start_gate is not None:
            if end.how is How.CRASHED and end.error is not None:
                self._start_gate.crashed(end.error)
            else:
                self._start_gate.ended()
        if end.error is not None and end.how is not How.FATAL:
            self.last_error = end.error
        return end

    async def _is_over(self, end: Exit) -> bool:
        """Decide what follows the *end* of a run: True if nothing does."""
        if end.how is How.FATAL:
            assert end.error is not None
            self.supervisor.fatal(end.error)
            self._stopped("stopped")
            return True
        if end.how is How.STOPPED:
            return await self._after_stop(end)
        if end.how is How.DONE or end.how is How.RETURNED:
            return await self._after_return(end)
        assert end.error is not None
        return self._after_crash(end.error)

    async def _after_stop(self, end: Exit) -> bool:
        if end.error is not None and self.tree.hooks:
            emit(self.tree, CrashWhileStopping, child=self.path, error=end.error)
        if self._asked is Ask.STOP or self._asked is None:
            self._stopped("stopped")
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
        if self.spec.restart is Restart.PERMANENT and end.how is How.RETURNED:
            self._wait_backoff("it returned")
            self.supervisor.restart_group(self)
            await self._save("restart")
            return False
        self.tree.scope.clear_owned(self.path, "its owner ended")
        self._ended("done")
        return True

    def _after_crash(self, error: BaseException) -> bool:
        if self.tree.hooks:
            emit(self.tree, ChildCrashed, child=self.path, generation=self.generation, error=error)
        if self.raises and not self.was_ready:
            self.first_error = error
            self._stopped("stopped")
            return True
        follows = what_follows(error, self.spec.rules)
        if self.spec.restart is Restart.TEMPORARY or follows is OnCrash.STOP:
            self._ended("temporary" if follows is not OnCrash.STOP else f"rule for {type(error).__name__}")
            return True
        if follows is OnCrash.ESCALATE:
            return self._escalate(error, f"its rules say so of {type(error).__name__}")
        charged = self._start_gate is None or not self._start_gate.is_open()
        if isinstance(error, (SchemaError, CorruptError)) or follows is OnCrash.PARK:
            self._park(error)  # another run would meet the same
        elif charged and self.supervisor.is_over_limit():
            return self._escalate(error, self.supervisor.limit_in_words())
        elif self._is_trial or (charged and not self._budget.charge(trio.current_time())):
            if self.spec.escalate:
                return self._escalate(error, "it used up its restarts")
            self._park(error)
        else:
            self._wait_backoff(describe_error(error))
            self.supervisor.restart_group(self)
        return False

    def _escalate(self, error: BaseException, reason: str) -> bool:
        """End the supervisor with *error*."""
        error.add_note(f"child {self.path!r} escalated it: {reason}")
        if self.tree.hooks:
            emit(self.tree, ChildEscalated, child=self.path, reason=reason, error=error)
        self.supervisor.fatal(error)
        self._stopped("escalated")
        return True

    def _wait_backoff(self, reason: str) -> None:
        if trio.current_time() - self._ready_at >= self.supervisor.backoff.max_delay:
            self._budget.forget_row()  # it was up for so long; looked at now, since a task that waits for it costs more
        delay = self._budget.next_delay()
        self._due = trio.current_time() + delay
        self._set(Lifecycle.BACKOFF)
        self._keep()
        if self.tree.hooks:
            emit(self.tree, RestartScheduled, child=self.path, delay=delay, reason=reason)

    def _ended(self, reason: str) -> None:
        """It ended by itself, and nothing follows: nobody waits for it any more, but what waits for it stays.

        A supervisor that stops holds senders back to the end: what waits then is part of the last saved checkpoint.
        """
        self._stopped(reason)
        for mailbox in self.mailboxes.values():
            mailbox.set_holds_back(False)

    def _stopped(self, reason: str) -> None:
        self._set(Lifecycle.STOPPED)
        if self.tree.hooks:
            emit(self.tree, ChildStopped, child=self.path, reason=reason)

    async def _save(self, reason: str) -> None:
        if self.is_saved and self.tree.saver is not None:
            await self.tree.saver.save(reason)

    def begin_anew(self) -> None:
        """It was stopped, and is to live again."""
        self.finished = trio.Event()
        self._asked = None
        self._due = -math.inf

    def cut_short(self, reason: str) -> None:
        """Cancel what runs of it now."""
        self.ask(Ask.STOP)
        if self.incarnation is not None:
            self.incarnation.cut_short(reason)

    def forget(self) -> None:
        """It never was: nothing of it is kept for a later process."""
        self._is_forgotten = True
        if self.tree.control is not None:
            self.tree.control.forget_child(self.path)

    def close(self) -> None:
        """Its supervisor is gone, or it never was."""
        self._unwatch_mode()
        self._close_mailboxes()
        self.scope.detach()

    async def stop_for_group(self) -> None:
        """End the running incarnation; the next one begins when the group opens the gate."""
        self.hold_gate()
        self.ask(Ask.GROUP)
        await self.wait_until(lambda: self.incarnation is None and self.status is not Lifecycle.STOPPING)

    def why(self) -> str:
        """In words: what it does, where it waits and for whom, and what last went wrong."""
        return why(self)

    # ------------------------------------------------------------ what outlives the process

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
        self.poison.counts = record.poison
        if record.parked:
            self._hold_parking()
            if record.unpark_after is not None and self.spec.unpark_after is not None:
                self._budget.unpark_after = max(record.unpark_after, self.spec.unpark_after)

    def _keep(self) -> None:
        """Write what a later process has to know."""
        control = self.tree.control
        if control is not None and not self._is_forgotten:
            record = ChildRecord(
                generation=self.generation,
                crashes=self._budget.counted(trio.current_time()),
                in_a_row=self._budget.in_a_row,
                parked=self._parked_hold is not None,
                unpark_after=self._budget.unpark_after,
                poison=self.poison.counts,
            )
            control.put_child(self.path, record)

    # ------------------------------------------------------------ its group

    @property
    def due(self) -> float:
        """When its backoff is over."""
        return self._due

    def hold_gate(self) -> None:
        """Do not start before `open_gate`, even when the backoff is over."""
        if self._gate is None or self._gate.is_set():
            self._gate = trio.Event()

    def open_gate(self) -> None:
        if self._gate is not None:
            self._gate.set()
            self._poke()

    # ------------------------------------------------------------ parking

    def _park(self, error: BaseException) -> None:
        self._is_trial = False
        self._by_hand = False
        self._hold_parking()
        wait = self._budget.park()
        self._due = trio.current_time() + wait
        self._set(Lifecycle.PARKED)
        self._keep()
        if self.tree.hooks:
            emit(self.tree, ChildParked, child=self.path, retry_after=wait, error=error)

    def _hold_parking(self) -> None:
        demanded = {Criticality.ESSENTIAL: Mode.SAFE, Criticality.CRITICAL: Mode.EMERGENCY}.get(self.spec.criticality)
        if demanded is not None:
            self._parked_hold = self.supervisor.scope.hold(demanded, owner=self.path, reason=PARKED_REASON)
        elif self._parked_hold is None:
            # Parked all the same, though an OPTIONAL child holds nothing.
            self._parked_hold = _NO_HOLD

    def _forget_parking(self) -> None:
        hold, self._parked_hold = self._parked_hold, None
        self._is_trial = False
        self._budget.forget_parking()
        if hold is not None:
            self._keep()
            hold.release()
            if self.tree.hooks:
                emit(self.tree, ChildUnparked, child=self.path)
            self.supervisor.health_changed(self)

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

    # ------------------------------------------------------------ news from the incarnation

    def became_ready(self, incarnation: Incarnation) -> None:
        """It called ``ctx.ready()``."""
        self.was_ready = True
        comes_back, self.failed_when_suspended = self.failed_when_suspended, False
        self._set(Lifecycle.READY)
        if self.tree.hooks:
            emit(self.tree, ChildReady, child=self.path, generation=self.generation)
        if self._start_gate is not None:
            self._start_gate.ready()
        by_hand, self._by_hand = self._by_hand, False
        if self._parked_hold is not None:
            if by_hand:
                self._forget_parking()
            else:
                self.supervisor.start_service(lambda: self._prove(incarnation))
        elif comes_back:
            self.supervisor.start_service(lambda: self._prove(incarnation))

    def forget_crashes(self) -> None:
        """The restart delay starts anew."""
        if self._budget.in_a_row:
            self._budget.forget_row()
            self._keep()

    # ------------------------------------------------------------ mailboxes

    def line_up(self, saved: dict[str, SavedMailbox]) -> None:
        """Set the mailboxes to the positions of the state that was just restored."""
        for key, mailbox in self.mailboxes.items():
            if mailbox.keeps_handled:
                mailbox.give_back(crashed=False, to=saved[key].settled if key in saved else 0)
        self.unopened = {key: box for key, box in saved.items() if key not in self.mailboxes}

    def covered(self, part: CapturedPart) -> None:
        """*part* is durable: messages before its positions are not needed again."""
        for key, position in part.positions.items():
            mailbox = self.mailboxes.get(key)
            if mailbox is not None:
                mailbox.covered(position)
        if self.poison.covered(part.positions):
            self._keep()

    def message_died(self, entry: Entry) -> None:
        if self.tree.hooks:
            emit(self.tree, MessageDead, child=self.path, topic=entry.topic.name, position=entry.position)


class _NoHold:
    """What an OPTIONAL child holds while it is parked."""

    def release(self) -> None:
        """Nothing is held."""


_NO_HOLD: Any = _NoHold()
