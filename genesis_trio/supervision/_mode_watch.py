"""Failing children become a mode: the automatic cause of a supervisor."""

import math
from typing import TYPE_CHECKING

import trio

from genesis_trio.modes import Criticality, Hold, Mode, ModePolicy, ModeScope, admits
from genesis_trio.supervision._breaker_watch import is_open
from genesis_trio.supervision._hysteresis import ModeMeter
from genesis_trio.supervision.component import Lifecycle

if TYPE_CHECKING:
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["AUTOMATIC_REASON", "PARKED_REASON", "ModeWatch"]

# The causes that failing children lead to; all others are somebody's decision.
AUTOMATIC_REASON = "automatic: children are failing"
PARKED_REASON = "parked: it waits for its trial, or for `genesis restart`"

MOST_NAMES = 3  # of failing children in a message; `genesis status` has all


class ModeWatch:
    """Holds the cause that the share and the weight of failing children demand.

    It looks at the children that have changed, not at all of them: a thousand that stop one after the other would otherwise
    be looked at a million times.
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
        self._bad: dict[str, Mode] = {}  # those of them that demand a mode, each by itself
        self._starting: dict[
            ChildState, None
        ] = {}  # for the first time: after its timeout it counts, though nothing changes
        self._depending: dict[ChildState, None] = {}  # on a breaker that is open: time alone changes that

    def changed(self, child: "ChildState") -> None:
        """The status or the health of *child* changed."""
        self._to_look_at[child] = None
        self._changed.set()

    async def serve(self) -> None:
        for child in self._supervisor.children.values():
            self.changed(child)
        while True:
            self._changed = trio.Event()
            self._look()
            self._apply(self._meter.update(trio.current_time(), self.failing()))
            with trio.move_on_at(min(self._meter.wakes_at, self._next_start_timeout(), self._next_half_open())):
                await self._changed.wait()

    def _look(self) -> None:
        """Look at what has changed, and at those that time changes."""
        changed, self._to_look_at = self._to_look_at, {}
        for child in {**changed, **self._starting, **self._depending}:
            is_here = self._supervisor.children.get(child.name) is child
            left = not is_here or (child.has_left() and not _is_suspended_by_failures(child))
            (self._present.discard if left else self._present.add)(child)
            starting = is_here and left and not child.was_ready and child.status is Lifecycle.STARTING
            _note(self._starting, child, starting)
            self._note_failing(child, not left and child.is_failing())
            _note(self._depending, child, is_here and any(is_open(breaker) for breaker in child.breakers))

    def demanded_above(self, criticality: Criticality) -> Mode:
        """What failing children that are more critical than *criticality* demand, each by itself."""
        return max(
            (self._demanded(child) for child in self._failing if child.spec.criticality > criticality),
            default=Mode.NORMAL,
        )

    def _demanded(self, child: "ChildState") -> Mode:
        if child.spec.criticality is Criticality.ESSENTIAL:
            return self._policy.essential_failure
        return self._policy.critical_failure if child.spec.criticality is Criticality.CRITICAL else Mode.NORMAL

    def _note_failing(self, child: "ChildState", is_so: bool) -> None:
        _note(self._failing, child, is_so)
        demanded = self._demanded(child) if is_so else Mode.NORMAL
        if demanded is not Mode.NORMAL:
            self._bad[child.path] = demanded
        elif child.path in self._bad and self._is_latest(child):
            del self._bad[child.path]

    def _is_latest(self, child: "ChildState") -> bool:
        """False if its name is another child's by now, which is looked at by itself."""
        return self._supervisor.children.get(child.name, child) is child

    def failing(self) -> dict[str, Mode]:
        """What is bad now, and the mode that each demands."""
        policy, failing = self._policy, self._failing
        # Kept up to date in _look(): of thousands that are bad, few change at a time.
        bad = dict(self._bad)
        # One of two children is half of them and still only one child, which has a rule of its own.
        if len(failing) >= 2:
            share = len(failing) / len(self._present)
            if share >= policy.safe_at:
                bad["share for SAFE"] = Mode.SAFE
            if share >= policy.emergency_at:
                bad["share for EMERGENCY"] = Mode.EMERGENCY
        return bad

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
        return min(
            (child.first_started_at + child.spec.start_timeout for child in self._starting), default=float("inf")
        )

    def _next_half_open(self) -> float:
        """When a breaker that children depend on lets a probe through, at the earliest."""
        breakers = {breaker for child in self._depending for breaker in child.breakers}
        waits = [breaker.statistics().retry_after for breaker in breakers if is_open(breaker)]
        return trio.current_time() + min(waits, default=float("inf"))

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
    return child.status is Lifecycle.SUSPENDED and admits(_mode_by_decision(child.scope), child.spec.criticality)


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
