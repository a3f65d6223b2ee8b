"""Failing children become a mode: the automatic cause of a supervisor."""

from typing import TYPE_CHECKING

import trio

from genesis_trio.modes import Criticality, Hold, Mode, ModePolicy
from genesis_trio.supervision._breaker_watch import is_open
from genesis_trio.supervision._hysteresis import ModeMeter

if TYPE_CHECKING:
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["ModeWatch"]

REASON = "automatic: children are failing"


class ModeWatch:
    """Holds the cause that the share and the weight of failing children demand."""

    def __init__(self, supervisor: "Supervisor", policy: ModePolicy) -> None:
        self._supervisor = supervisor
        self._policy = policy
        self._meter = ModeMeter(policy)
        self._hold: Hold | None = None
        self._changed = trio.Event()

    def changed(self) -> None:
        """The status or the health of a child changed."""
        self._changed.set()

    async def serve(self) -> None:
        while True:
            self._changed = trio.Event()
            self._apply(self._meter.update(trio.current_time(), self.failing()))
            with trio.move_on_at(min(self._meter.wakes_at, self._next_start_timeout(), self._next_half_open())):
                await self._changed.wait()

    def failing(self) -> dict[str, Mode]:
        """What is bad now, and the mode that each demands."""
        policy = self._policy
        present = [child for child in self._supervisor.children.values() if not child.has_left()]
        failing = [child for child in present if child.is_failing()]
        bad: dict[str, Mode] = {}
        for child in failing:
            demanded = Mode.NORMAL
            if child.spec.criticality is Criticality.ESSENTIAL:
                demanded = policy.essential_failure
            elif child.spec.criticality is Criticality.CRITICAL:
                demanded = policy.critical_failure
            if demanded is not Mode.NORMAL:
                bad[child.path] = demanded
        # One of two children is half of them and still only one child, which has a rule of its own.
        if len(failing) >= 2:
            share = len(failing) / len(present)
            if share >= policy.safe_at:
                bad["share for SAFE"] = Mode.SAFE
            if share >= policy.emergency_at:
                bad["share for EMERGENCY"] = Mode.EMERGENCY
        return bad

    def _next_start_timeout(self) -> float:
        """When a child that is in its first start begins to count, at the earliest."""
        ends = [
            child.first_started_at + child.spec.start_timeout
            for child in self._supervisor.children.values()
            if not child.was_ready and child.has_left() and not child.finished.is_set()
        ]
        now = trio.current_time()
        return min((end for end in ends if end > now), default=float("inf"))

    def _next_half_open(self) -> float:
        """When a breaker that children depend on lets a probe through, at the earliest: time alone does that."""
        breakers = {breaker for child in self._supervisor.children.values() for breaker in child.breakers}
        waits = [breaker.statistics().retry_after for breaker in breakers if is_open(breaker)]
        return trio.current_time() + min(waits, default=float("inf"))

    def _apply(self, mode: Mode) -> None:
        scope = self._supervisor.scope
        if mode is not Mode.NORMAL:
            if self._hold is None or not self._hold.is_held or self._hold.mode is not mode:
                self._hold = scope.hold(mode, owner=self._supervisor.path, reason=REASON)
        elif self._hold is not None:
            self._hold.release()
            self._hold = None
