"""What a child is made of, how it is, and what is asked of it; `Child` does the rest.

A child is one object, since there may be thousands, and its behaviour stands in layers, each of which knows those before it:
`ChildState` here, `Parking` in ``_parking``, `Aftermath` in ``_aftermath``, and `Child` in ``child``, with the task itself.
"""

import enum
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio import events
from genesis_trio._empty import EMPTY
from genesis_trio.events import emit
from genesis_trio.messaging.mailbox import Entry, Mailbox
from genesis_trio.messaging.topic import Intake
from genesis_trio.modes import Hold, ModeScope
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.supervision._away import follow, release
from genesis_trio.supervision._breaker_watch import is_open
from genesis_trio.supervision._budget import RestartBudget
from genesis_trio.supervision._captured import CapturedPart
from genesis_trio.supervision._control import ChildRecord
from genesis_trio.supervision._inbox import SavedMailbox, decode_entries, merge_inboxes
from genesis_trio.supervision._incarnation import Incarnation
from genesis_trio.supervision._poison import Poison
from genesis_trio.supervision._start_gate import StartGate
from genesis_trio.supervision.component import ChildSpec, Lifecycle, Restart

if TYPE_CHECKING:
    from genesis_trio.supervision._recovery import StateRecovery
    from genesis_trio.supervision._tree import ServiceTree
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Ask", "ChildState"]

#: Looked at in each change of a status: on Python 3.11 a member that is read from its enum costs a call.
_STOPPED = Lifecycle.STOPPED


class Ask(enum.IntEnum):
    """What somebody wants of a child; the greater one wins."""

    SUSPEND = 1  # the mode does not admit it
    GROUP = 2  # its group restarts
    RESTART = 3  # by hand
    STOP = 4


class ChildState:
    """The fields of a child, its health, its mailboxes, and what is kept of it for a later process."""

    __slots__ = (
        "__weakref__",
        "_asked",
        "_by_hand",
        "_due",
        "_gate",
        "_is_closed",
        "_is_forgotten",
        "_is_trial",
        "_known_budget",
        "_parked_hold",
        "_poked",
        "_ready_at",
        "_start_gate",
        "_trial_at",
        "_watchers",
        "away",
        "breakers",
        "capture_wanted",
        "comes_back",
        "complaints",
        "counters",
        "failed_when_suspended",
        "first_error",
        "first_started_at",
        "gauges",
        "generation",
        "generation_before",
        "has_ended",
        "incarnation",
        "is_finished",
        "last_error",
        "mailboxes",
        "options",
        "part",
        "poison",
        "raises",
        "recovery",
        "refused",
        "restarts",
        "scope",
        "sender_prefix",
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
        self.spec: ChildSpec = spec
        self.options = options
        self.scope: ModeScope = ModeScope(spec.name, supervisor.scope, self.tree)
        self.scope.owner = self.scope.path
        self.status: Lifecycle = Lifecycle.STARTING
        self.generation: int = 0
        self.restarts: int = 0
        self.last_error: BaseException | None = None
        self.incarnation: Incarnation | None = None
        #: True when its task has ended.
        self.is_finished = False
        #: It ended by itself, and nothing follows.
        self.has_ended = False
        self.complaints: dict[object, str] = EMPTY
        self.counters: dict[str, int] = EMPTY
        self.gauges: dict[str, float] = EMPTY
        # Messages and state
        self.mailboxes: dict[str, Mailbox] = EMPTY
        self.unopened: dict[str, SavedMailbox] = EMPTY  # saved mailboxes that nobody has subscribed to yet, or again
        #: By path, those that were nested in it and went away with its last run: their mailboxes wait for the next one.
        self.away: dict[str, ChildState] = EMPTY
        #: It has the mailboxes of one that went away.
        self.comes_back = False
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
        self._known_budget: RestartBudget | None = None
        self._ready_at = math.inf  # of the last run
        # Parking
        self._parked_hold: Hold | None = None
        self._is_trial = False
        self._by_hand = False
        #: Suspended while it was failing: that counts until it was ready again.
        self.failed_when_suspended = False
        #: What its mode refused its last run, which crashed on that, as bits of capabilities: it waits until they are allowed.
        self.refused = 0
        self._start_gate = StartGate(spec.breaker, self.scope) if spec.breaker is not None else None
        #: What it depends on, in the order in which that was learned.
        self.breakers: tuple[CircuitBreaker, ...] = () if spec.breaker is None else (spec.breaker,)
        #: The generation before its first one in this process.
        self.generation_before = 0
        self._is_forgotten = False
        self._is_closed = False
        self.sender_prefix = self.tree.sender_prefix
        #: Only where mailboxes keep what was handled.
        self.poison = Poison() if self.is_saved else None
        self.recovery = self._make_recovery()
        self._watchers: tuple[Callable[[], None], ...] = ()

    # ------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def path(self) -> str:
        return self.scope.path

    @property
    def seed(self) -> str:
        """What the randomness of its incarnations is derived from."""
        return f"{self.supervisor.seed}/{self.spec.name}"

    @property
    def _budget(self) -> RestartBudget:
        """What is left of its restarts: made when that is first asked for, after a crash."""
        if self._known_budget is None:
            self._known_budget = RestartBudget(
                max_restarts=self.supervisor.max_restarts,
                within=self.supervisor.within,
                backoff=self.supervisor.backoff,
                unpark_after=self.spec.unpark_after,
                rng=self.supervisor.rng,
            )
        return self._known_budget

    @property
    def is_saved(self) -> bool:
        """True if its state is part of saved checkpoints."""
        return self.tree.store is not None and self.spec.state_type is not None

    @property
    def messages_limit(self) -> int | None:
        """How many handled messages may wait for a save."""
        saver = self.tree.saver
        return saver.messages_limit(self) if saver is not None and self.is_saved else None

    def ask_for_save(self, reason: str) -> None:
        if self.tree.saver is not None:
            self.tree.saver.request(reason)

    def _make_recovery(self) -> "StateRecovery | None":
        if self.tree.store is None or not self.is_saved:
            return None
        # Whoever has no store need not load what goes with it.
        from genesis_trio.supervision._recovery import StateRecovery

        return StateRecovery(self, self.tree.store)

    def has_begun(self) -> bool:
        """True if whoever starts it may go on: it is ready, or nobody knows when it will be."""
        return self.first_error is not None or self.status in (
            Lifecycle.READY,
            Lifecycle.SUSPENDED,
            Lifecycle.PARKED,
            Lifecycle.STOPPED,
        )

    async def wait_begun(self) -> bool:
        """Wait until `has_begun`, and return True; False if the breaker over it has kept it from that for its ``start_timeout``."""
        limit = self.first_started_at + self.spec.start_timeout if self._start_gate is not None else math.inf
        with trio.move_on_at(limit):
            await self.wait_until(self.has_begun)
            return True
        # One that was let through at the end has the time of its own start.
        begun = False

        def decided() -> bool:
            nonlocal begun
            begun = begun or self.has_begun()
            return begun or self.status is Lifecycle.BACKOFF

        await self.wait_until(decided)
        return begun

    def is_failing(self) -> bool:
        """True if it counts as failing for the mode of its supervisor."""
        if self.status is Lifecycle.READY:
            return bool(self.complaints) or any(is_open(breaker) for breaker in self.breakers)
        if self.status is Lifecycle.SUSPENDED:
            return self.failed_when_suspended
        if self.status is Lifecycle.STOPPING:
            # Or the mode that failures led to falls while those it suspends take their time to stop.
            return self.failed_when_suspended and self._asked in (Ask.SUSPEND, Ask.GROUP)
        return not self.has_left()

    def has_left(self) -> bool:
        """True if it is not part of the share of failing children."""
        if self.status is Lifecycle.STOPPED:
            return True
        if self.status is Lifecycle.SUSPENDED:
            return not self.failed_when_suspended
        return self._is_first_start() and trio.current_time() < self.first_started_at + self.spec.start_timeout

    def _is_first_start(self) -> bool:
        return (
            not self.was_ready and self.status is Lifecycle.STARTING and self.generation == self.generation_before + 1
        )

    # ------------------------------------------------------------ its status

    def intake(self) -> Intake:
        """What its mailboxes do when they are full: only who is ready or between restarts holds back a sender."""
        status, asked = self.status, self._asked if self.status is Lifecycle.STOPPING else None
        if status is Lifecycle.PARKED or status is Lifecycle.SUSPENDED or asked is Ask.SUSPEND or self.has_ended:
            return Intake.KEEP_NEWEST
        if status is Lifecycle.STOPPED or asked is Ask.STOP:
            host = self._stops_with()
            return Intake.TAKE_ALL if host is None else host.intake()
        return Intake.TAKE_ALL if self._is_first_start() and not self.comes_back else Intake.HOLD_BACK

    def peers(self) -> str:
        """The path of what stops and starts with it, if that is more than itself: the outermost host that is down or comes back."""
        host = self.supervisor.host
        if host is None:
            return ""
        is_down = self._stops_with() is not None or (self.comes_back and not self.was_ready)
        return host.child.peers() or (host.child.path if is_down else "")

    def _stops_with(self) -> "ChildState | None":
        """Its host, if that takes it along and may run again."""
        host = self.supervisor.host
        return host.child if host is not None and self.supervisor.goes_away else None

    def _set(self, status: Lifecycle) -> None:
        self.status = status
        if self.mailboxes or self.away:
            self.set_intake()
        if status is _STOPPED and self._stops_with() is None:
            # Where all stop, who asked is stopped as well, in its turn.
            self.tree.bus.stop_answering(self.path, for_good=not self.supervisor.is_stopping)
        if self._watchers:
            self.tell_watchers()
        self.supervisor.health_changed(self)

    def set_intake(self) -> None:
        """Let its mailboxes, and those of what went away with its last run, do what fits its status."""
        intake, peers = self.intake(), self.peers()
        for mailbox in self.mailboxes.values():
            mailbox.set_intake(intake, peers)
        if self.away:
            # Once it is ready, nobody knows whether those come back, and so nobody waits for them.
            of_away = Intake.TAKE_ALL if self.status is Lifecycle.READY else intake
            for child in self.away.values():
                follow(child, of_away, peers or self.path)

    def tell_watchers(self) -> None:
        """Let those that wait for something of it look again."""
        for judge in self._watchers:
            judge()

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition*, which is judged at each change of the status."""
        arrived = trio.Event()

        def judge() -> None:
            if condition():
                arrived.set()

        judge()
        self._watchers += (judge,)
        try:
            await arrived.wait()
        finally:
            self._watchers = tuple(watcher for watcher in self._watchers if watcher is not judge)

    async def wait_finished(self) -> None:
        """Wait until its task has ended."""
        await self.wait_until(lambda: self.is_finished)

    # ------------------------------------------------------------ asking it

    def ask(self, ask: Ask, *, deadline: float = math.inf) -> None:
        """Ask it for something; a running incarnation begins to stop."""
        if self._asked is None or ask > self._asked:
            self._asked = ask
        if self.incarnation is not None:
            self.incarnation.begin_stop(deadline)
            if self.status is not Lifecycle.STOPPING:
                self._set(Lifecycle.STOPPING)
            else:
                self.set_intake()  # it stopped for a restart, and now for good
        self._poke()

    def _poke(self) -> None:
        """Let it look again whether it may start."""
        if self._poked is not None:
            self._poked.set()

    # ------------------------------------------------------------ mailboxes and state

    def line_up(self, saved: dict[str, SavedMailbox], *, is_older: bool = False) -> None:
        """Set the mailboxes to the positions of the state that was just restored; what is no longer here comes from an older one."""
        for key, mailbox in self.mailboxes.items():
            if mailbox.keeps_handled:
                mailbox.give_back(crashed=False, to=saved[key].settled if key in saved else 0)
                if is_older and key in saved:
                    mailbox.come_again(decode_entries(mailbox, saved[key]))
        merged, _ = merge_inboxes(saved, self.unopened)  # what was set aside may be in no save yet
        self.unopened = {key: box.up_to(box.settled) for key, box in merged.items() if key not in self.mailboxes}

    def delivered(self) -> int:
        """How many messages its readers were given, redelivered ones included."""
        return sum(mailbox.delivered for mailbox in self.mailboxes.values())

    def positions(self) -> dict[str, int]:
        """For each mailbox that is saved, the position that the reader has come to."""
        found = {mailbox.key: mailbox.settled for mailbox in self.mailboxes.values() if mailbox.keeps_handled}
        for key, saved in self.unopened.items():
            found.setdefault(key, saved.settled)
        return found

    def origins(self) -> Iterator[str]:
        """Where the messages came from that it may get in this process, again or for the first time; in two mailboxes one has one."""
        for mailbox in self.mailboxes.values():
            yield from (entry.origin for entry in mailbox.entries_after(-1))
        for box in self.unopened.values():
            yield from (entry[2] for entry in box.entries)
        yield from self.tree.bus.origins()

    def covered(self, part: CapturedPart) -> None:
        """*part* is durable: messages before its positions are not needed again."""
        for key, position in part.positions.items():
            mailbox = self.mailboxes.get(key)
            if mailbox is not None:
                mailbox.covered(position)
        if self.poison is not None and self.poison.covered(part.positions):
            self._keep()
        if self.recovery is not None:
            self.recovery.saved(part.body)
        if part is self.part and self.is_over():
            self.supervisor.forget(self)

    def is_over(self) -> bool:
        """True if it has ended and does not come back: TEMPORARY, and nobody requires it."""
        return (
            self.is_finished
            and self.spec.restart is Restart.TEMPORARY
            and self.name not in self.supervisor.required
            and not self.supervisor.is_stopping
        )

    def message_died(self, entry: Entry) -> None:
        if self.tree.hooks:
            emit(self.tree, events.MessageDead, child=self.path, topic=entry.topic.name, position=entry.position)

    def _close_mailboxes(self) -> None:
        release(self)
        self.mailboxes = self.away = EMPTY

    async def _save(self, reason: str) -> None:
        if self.is_saved and self.tree.saver is not None:
            await self.tree.saver.save(reason)

    # ------------------------------------------------------------ what outlives the process

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
                poison=self.poison.counts if self.poison is not None else {},
                batches=self.poison.batches if self.poison is not None else {},
            )
            control.put_child(self.path, record)

    def forget(self) -> None:
        """It never was: nothing of it is kept for a later process."""
        self._is_forgotten = True
        if self.tree.control is not None:
            self.tree.control.forget_child(self.path)

    def start_otherwise(self) -> None:
        """It starts from another state: its budget begins anew."""
        self._budget.begin_anew()
        self._keep()

    def forget_crashes(self) -> None:
        """The restart delay starts anew."""
        if self._budget.in_a_row:
            self._budget.forget_row()
            self._keep()
