"""Failing children become a mode: the automatic cause of a supervisor."""

import heapq
import itertools
import math
from typing import TYPE_CHECKING

import trio

from genesis_trio.modes import Criticality, Hold, Mode, ModePolicy, ModeScope, admits
from genesis_trio.supervision._breaker_watch import is_open
from genesis_trio.supervision._hysteresis import ModeMeter
from genesis_trio.supervision.component import Lifecycle

if TYPE_CHECKING:
    from genesis_trio.policies.breaker import CircuitBreaker
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["AUTOMATIC_REASON", "PARKED_REASON", "ModeWatch"]

# The causes that failing children lead to; all others are somebody's decision.
AUTOMATIC_REASON = "automatic: children are failing"
PARKED_REASON = "parked: it waits for its trial, or for `genesis restart`"

AT_ONCE = 500  # children looked at in one step: some two milliseconds
MOST_NAMES = 3  # of failing children in a message; `genesis status` has all


class ModeWatch:
    """Holds the cause that the share and the weight of failing children demand.

    It looks at the children that have changed, not at all of them: a thousand that stop one after the other would otherwise
    be looked at a million times.  And where thousands change at once, it lets others run between them.
    """

    def __init__(self, supervisor: "Supervisor", policy: ModePolicy) -> None:
        self._supervisor = supervisor
        self._policy = policy
        self._meter = ModeMeter(policy)
        self._hold: Hold | None = None
        self._changed = trio.Event()
        self._to_look_at: dict[ChildState, None] = {}
        # What was seen of the children, by what is true of them.
        self._present: set[ChildState] = set()
        self._failing: dict[ChildState, None] = {}
        self._failing_of = dict.fromkeys(Criticality, 0)
        # What time alone changes: a first start counts after its timeout, and a breaker that is open lets a probe through.
        self._starting: set[ChildState] = set()
        self._start_timeouts: list[tuple[float, int, ChildState]] = []  # the first one first
        self._number = itertools.count()  # so that two of one time are never compared further
        self._depending: dict[CircuitBreaker, dict[ChildState, None]] = {}  # on one that is open

    def changed(self, child: "ChildState") -> None:
        """The status or the health of *child* changed."""
        self._to_look_at[child] = None
        self._changed.set()

    async def serve(self) -> None:
        for child in self._supervisor.children.values():
            self.changed(child)
        while True:
            self._changed = trio.Event()
            await self._look()
            self._note_share()
            self._apply(self._meter.update(trio.current_time()))
            with trio.move_on_at(min(self._meter.wakes_at, self._next_start_timeout(), self._next_half_open())):
                await self._changed.wait()

    async def _look(self) -> None:
        """Look at what has changed, and at what time has changed."""
        changed, self._to_look_at = self._to_look_at, {}
        while self._next_start_timeout() <= trio.current_time():
            changed[heapq.heappop(self._start_timeouts)[2]] = None
        for breaker in [breaker for breaker in self._depending if not is_open(breaker)]:
            changed.update(self._depending.pop(breaker))
        for number, child in enumerate(changed, 1):
            self._look_at(child)
            if number % AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _look_at(self, child: "ChildState") -> None:
        is_here = self._supervisor.children.get(child.name) is child
        left = not is_here or (child.has_left() and not _is_suspended_by_failures(child))
        (self._present.discard if left else self._present.add)(child)
        self._note_starting(child, is_here and left and not child.was_ready and child.status is Lifecycle.STARTING)
        self._note_failing(child, not left and child.is_failing())
        for breaker in child.breakers:
            if is_here and is_open(breaker):
                self._depending.setdefault(breaker, {})[child] = None
            elif breaker in self._depending:
                self._depending[breaker].pop(child, None)

    def demanded_above(self, criticality: Criticality) -> Mode:
        """What failing children that are more critical than *criticality* demand, each by itself."""
        return max(
            (self._demanded(each) for each, count in self._failing_of.items() if each > criticality and count),
            default=Mode.NORMAL,
        )

    def _demanded(self, criticality: Criticality) -> Mode:
        if criticality is Criticality.ESSENTIAL:
            return self._policy.essential_failure
        return self._policy.critical_failure if criticality is Criticality.CRITICAL else Mode.NORMAL

    def _note_starting(self, child: "ChildState", is_so: bool) -> None:
        if not is_so:
            self._starting.discard(child)
        elif child not in self._starting:
            self._starting.add(child)
            due = child.first_started_at + child.spec.start_timeout
            heapq.heappush(self._start_timeouts, (due, next(self._number), child))

    def _note_failing(self, child: "ChildState", is_so: bool) -> None:
        criticality = child.spec.criticality
        if is_so is not (child in self._failing):
            self._failing_of[criticality] += 1 if is_so else -1
            _note(self._failing, child, is_so)
        demanded = self._demanded(criticality)
        # Its name may be another child's by now, which is looked at by itself.
        latest = self._supervisor.children.get(child.name, child)
        if demanded is not Mode.NORMAL and (is_so or latest is child or latest.spec.criticality is not criticality):
            self._meter.turn(trio.current_time(), (child.path, demanded), is_so)

    def _note_share(self) -> None:
        # One of two children is half of them and still only one child, which has a rule of its own.
        failing = len(self._failing)
        share = failing / len(self._present) if failing >= 2 else 0.0
        now = trio.current_time()
        self._meter.turn(now, ("share for SAFE", Mode.SAFE), share >= self._policy.safe_at)
        self._meter.turn(now, ("share for EMERGENCY", Mode.EMERGENCY), share >= self._policy.emergency_at)

    def _ends(self) -> str:
        """Who fails, and when the cause is released, in words."""
        names = [f"{child.path!r} ({child.status.name})" for child in self._failing]
        if len(names) > MOST_NAMES:
            names[MOST_NAMES:] = [f"{len(names) - MOST_NAMES} more"]
        wait = self._meter.falls_at - trio.current_time()
        if wait < math.inf:
            when = f"it falls by one step in {max(0.0, wait):.3g} s, if nothing more fails"
        else:
            when = f"it falls by one step once they have been well for {self._meter.hold_down:g} s"
        return f"failing: {', '.join(names)}; {when}" if names else when

    def _next_start_timeout(self) -> float:
        """When a child that is in its first start begins to count, at the earliest."""
        timeouts = self._start_timeouts
        while timeouts and timeouts[0][2] not in self._starting:
            heapq.heappop(timeouts)
        return timeouts[0][0] if timeouts else math.inf

    def _next_half_open(self) -> float:
        """When a breaker that children depend on lets a probe through, at the earliest."""
        waits = [breaker.statistics().retry_after for breaker in self._depending if is_open(breaker)]
        return trio.current_time() + min(waits, default=math.inf)

    def _apply(self, mode: Mode) -> None:
        scope = self._supervisor.scope
        if mode is not Mode.NORMAL:
            if self._hold is None or not self._hold.is_held or self._hold.mode is not mode:
                self._hold = scope.hold(mode, owner=self._supervisor.path, reason=AUTOMATIC_REASON)
                self._hold.ends = self._ends
        elif self._hold is not None:
            self._hold.release()
            self._hold = None


def _is_suspended_by_failures(child: "ChildState") -> bool:
    """True for a well child that would run if no other were failing: it stays in the share as one that is well.

    If it left, a mode that failures led to would make them a larger share of the rest, and so lead to the next mode.
    """
    if child.status is not Lifecycle.SUSPENDED:
        return False
    mode = _mode_by_decision(child.scope)
    return admits(mode, child.spec.criticality) and (mode is Mode.NORMAL or not child.refused)


def _mode_by_decision(scope: ModeScope | None) -> Mode:
    mode = Mode.NORMAL
    while scope is not None:
        for cause in scope.causes:
            if cause.reason not in (AUTOMATIC_REASON, PARKED_REASON):
                mode = max(mode, cause.mode)
        scope = scope.parent
    return mode


def _note(those: "dict[ChildState, None]", child: "ChildState", is_so: bool) -> None:
    if is_so:
        those[child] = None
    else:
        those.pop(child, None)
