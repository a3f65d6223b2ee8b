"""Who goes on though it was cancelled: named soon after, while it still does.

Trio cannot abandon a task.  One that was cancelled has mostly ended a moment later; one that swallows `trio.Cancelled`, shields itself
or sits in a thread goes on, and nobody would know why nothing moves until all the time of a stop is used up.
"""

from typing import TYPE_CHECKING

import trio

from genesis_trio import events
from genesis_trio.events import emit
from genesis_trio.supervision._waiting import where_it_hangs

if TYPE_CHECKING:
    from genesis_trio.supervision._incarnation import Incarnation
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["CutWatch"]

#: Seconds between a cancellation and the event.  Who needs longer to clean up is named as well, and that does no harm.
PATIENCE = 1.0


class CutWatch:
    """The cancellations that are to come, or have come, in the children of one supervisor; one task for all, while there are any."""

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self._due: dict[Incarnation, tuple[float, float]] = {}  # when to look at it, and when it is cancelled
        self._nap: trio.CancelScope | None = None

    def expect(self, incarnation: "Incarnation", at: float) -> None:
        """*incarnation* is cancelled at the time *at*, unless it is forgotten before."""
        self._due[incarnation] = (at + PATIENCE, at)
        if self._nap is None:
            self._nap = trio.CancelScope(deadline=at + PATIENCE)
            self._supervisor.start_service(self._serve)
        elif at + PATIENCE < self._nap.deadline:
            self._nap.deadline = at + PATIENCE

    def forget(self, incarnation: "Incarnation") -> None:
        """It was ready in time, or has ended."""
        if self._due.pop(incarnation, None) is not None and not self._due:
            self._due = {}  # ten thousand that started at once have left a large one

    async def _serve(self) -> None:
        while self._nap is not None:
            with self._nap:
                await trio.sleep_forever()
            now = trio.current_time()
            for incarnation, (due, at) in list(self._due.items()):
                if due <= now:
                    self._look(incarnation, now, at)
            first = min(self._due.values(), default=None)
            self._nap = trio.CancelScope(deadline=first[0]) if first is not None else None

    def _look(self, incarnation: "Incarnation", now: float, at: float) -> None:
        if incarnation.nested:
            # Its own children have the time that they have; whoever of them goes on is named by their supervisor.
            self._due[incarnation] = (now + PATIENCE, at)
            return
        del self._due[incarnation]
        tree, task = self._supervisor.tree, incarnation.task
        if tree.hooks and task is not None:
            name, where = where_it_hangs(task)
            path = incarnation.child.path
            emit(tree, events.CancellationIgnored, child=path, task=name, where=where, waited=now - at)
