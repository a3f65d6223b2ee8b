"""Who restarts together.

A crash under ONE_FOR_ALL or REST_FOR_ONE, or of a child that others require, restarts a group: the others are stopped in
reverse order, then all start in the original order, each once those before it are ready.  A
crash meanwhile joins the group that is under way, so that nobody is restarted twice for one trouble.  A restart by hand
restarts the same group, but without a delay.
"""

import math
from typing import TYPE_CHECKING

import trio

from genesis_trio.supervision._limits import restarted_with
from genesis_trio.supervision.component import Lifecycle, Strategy

if TYPE_CHECKING:
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision.child import Child
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Groups"]


class Groups:
    """The group restarts of one supervisor; at most one is under way."""

    def __init__(self, supervisor: "Supervisor", strategy: Strategy) -> None:
        self._supervisor = supervisor
        self._strategy = strategy
        self._crashed: list[Child] = []
        self._under_way = False
        #: Those that were well when their group stopped them, and have not started again.
        self.stopped_well: set[ChildState] = set()
        #: Paths of those in the group that have ended, and begin again when all others have, too.
        self._away: set[str] = set()
        self._stopping_now: Child | None = None
        self._at_once = trio.Event()  # somebody restarts one of them by hand, and waits

    def _members(self, crashed: "list[Child]") -> "list[Child]":
        """The children that restart, in the order of first start."""
        children = self._supervisor.children
        # A temporary one that was stopped since it crashed is gone, and has no place in the order.
        first = [child.name for child in crashed if children.get(child.name) is child]
        if not first:
            return []
        requires = {name: child.spec.requires for name, child in children.items()}
        names = restarted_with(first, requires, self._strategy, list(children))
        return [children[name] for name in names if not children[name].is_finished]

    def crashed(self, child: "Child") -> None:
        """*child* waits for its restart; let its group restart with it."""
        if not self._is_alone(child):
            self._restart_with(child)

    def by_hand(self, child: "Child") -> bool:
        """Restart *child* with its group, and at once; False if it has none, and restarts by itself."""
        if self._supervisor.is_stopping or self._is_alone(child):
            return False
        self._at_once.set()
        self._restart_with(child)
        return True

    def is_to_restart(self, child: "Child") -> bool:
        """True if *child* restarts with the next group: one that runs was asked to by hand."""
        return child in self._crashed

    def _is_alone(self, child: "Child") -> bool:
        alone = self._strategy is Strategy.ONE_FOR_ONE and child.name not in self._supervisor.required
        if alone and not (self._under_way and child.spec.requires):
            return True  # it restarts by itself, and is not looked for among thousands
        return not self._under_way and self._members([child]) == [child]

    def _restart_with(self, child: "Child") -> None:
        self._crashed.append(child)
        child.hold_gate()
        if child.incarnation is None:
            self._is_away(child)
        if not self._under_way:
            self._under_way = True
            self._supervisor.start_service(self._restart)

    async def _restart(self) -> None:
        try:
            while self._crashed:
                members = self._members(self._crashed)
                self._crashed.clear()
                await self._stop_others(members)
                self._away = set()
                await self._wait_backoff(members)
                if not self._crashed:
                    await self._start(members)
                    self._at_once = trio.Event()
                if self._crashed:
                    # Whoever has not started yet starts with the next round.
                    self._crashed.extend(child for child in members if child.status is Lifecycle.BACKOFF)
        finally:
            self._under_way = False
            for child in self._supervisor.children.values():
                child.open_gate()

    async def _stop_others(self, members: "list[Child]") -> None:
        for child in reversed(members):
            if child.status in (Lifecycle.STARTING, Lifecycle.READY, Lifecycle.STOPPING):
                await self._stop(child)
            elif child.status is Lifecycle.BACKOFF:
                child.join_group()  # it crashed by itself before, and now has its place in the order
                self._is_away(child)

    async def _stop(self, child: "Child") -> None:
        bus = self._supervisor.tree.bus
        self._stopping_now = child
        bus.cut_off(child.path, self._away)
        try:
            await child.stop_for_group()
        finally:
            self._stopping_now = None
            bus.reconnect(child.path)
        self._is_away(child)

    def _is_away(self, child: "Child") -> None:
        """*child* begins again once its group has ended: whoever is to end has nothing more to wait for from it."""
        self._away.add(child.path)
        if self._stopping_now is not None:
            self._supervisor.tree.bus.cut_off(self._stopping_now.path, self._away)

    async def _wait_backoff(self, members: "list[Child]") -> None:
        if any(child.is_restarted_by_hand for child in members):
            self._at_once.set()  # it was asked before the group came to it
        due = max((child.due for child in members if child.status is Lifecycle.BACKOFF), default=-math.inf)
        if due > trio.current_time():
            with trio.move_on_at(due):
                await self._at_once.wait()
        if self._at_once.is_set():
            for child in members:
                child.forget_delay()

    async def _start(self, members: "list[Child]") -> None:
        for child in members:
            if child.status is not Lifecycle.BACKOFF:
                continue  # parked, suspended or stopped meanwhile
            before = child.generation
            child.open_gate()
            await child.wait_until(lambda child=child, before=before: _has_started(child, before))  # type: ignore[misc]
            if self._crashed:
                return


def _has_started(child: "Child", before: int) -> bool:
    if child.status in (Lifecycle.SUSPENDED, Lifecycle.PARKED, Lifecycle.STOPPED):
        return True
    return child.generation > before and child.status is not Lifecycle.STARTING
