"""How a supervisor stops: its children one after the other, in the reverse order of their first start, then the last cut."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from genesis_trio import events
from genesis_trio._interrupts import undisturbed
from genesis_trio.events import emit
from genesis_trio.modes import Mode
from genesis_trio.supervision._away import stay_known
from genesis_trio.supervision._child_state import Ask
from genesis_trio.supervision._waiting import where_it_hangs

if TYPE_CHECKING:
    from genesis_trio.supervision._incarnation import Incarnation
    from genesis_trio.supervision.child import Child
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Stopping"]

#: What a child may take to end once its stop is hopelessly late: so that one that hangs does not spoil it for the rest.
LAST_GRACE = 0.1


def _where(child: "Child") -> str:
    task = child.incarnation.task if child.incarnation is not None else None
    return where_it_hangs(task)[1] if task is not None else ""


class Stopping:
    """The stop of one supervisor."""

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self.is_saved = False
        self._last_cut = trio.Lock()
        self._waits: dict[trio.CancelScope, Child] = {}

    async def stop_child(self, child: "Child", deadline: float) -> None:
        """Ask *child* to stop and wait until it has, at most until *deadline*, which is reported."""
        supervisor = self._supervisor
        began = trio.current_time()
        child.ask(Ask.STOP, deadline=deadline)
        with trio.move_on_at(max(deadline, began + LAST_GRACE)) as wait:
            self._waits[wait] = child
            try:
                await child.wait_finished()
            finally:
                del self._waits[wait]
        # Not whether it is finished: somebody may have let it live again since.
        if wait.cancelled_caught:
            waited = trio.current_time() - began
            if supervisor.tree.hooks:
                emit(supervisor.tree, events.ChildUnstopped, child=child.path, waited=waited, where=_where(child))
            hold = supervisor.scope.hold(Mode.SAFE, owner=child.path, reason="it did not stop in time")

            async def until_it_has() -> None:
                await child.wait_finished()
                hold.release()

            supervisor.start_service(until_it_has)

    async def undo(self, children: "Sequence[Child]") -> None:
        """Whoever started *children* was cancelled: stop them in reverse order, and let their names be free again.

        Shielded, and bounded by ``shutdown_timeout``.  A child that has not ended by then stays; and all do where the
        supervisor stops, which is going to stop them.
        """
        supervisor = self._supervisor
        if supervisor.is_stopping:
            return
        deadline = trio.current_time() + supervisor.shutdown_timeout
        with trio.CancelScope(shield=True):
            for child in reversed(children):
                if not child.is_finished:
                    await self.stop_child(child, deadline)
            if supervisor.tree.saver is not None and any(child.part is not None for child in children):
                await supervisor.tree.saver.save("stop")
        for child in children:
            if child.is_finished:
                supervisor.forget(child)

    def hasten(self, deadline: float) -> None:
        """The child that it lives in is to be gone by *deadline*, which is sooner than what it was given before."""
        last = max(deadline, trio.current_time() + LAST_GRACE)
        for wait, child in self._waits.items():
            child.ask(Ask.STOP, deadline=deadline)
            wait.deadline = min(wait.deadline, last)

    async def stop(self, deadline: float) -> None:
        """Stop all children, each with what is left until *deadline*, and save the last cut."""
        supervisor = self._supervisor
        host = supervisor.host
        supervisor.is_stopping = True
        for child in reversed(list(supervisor.children.values())):
            if child.is_finished:
                child.tell_watchers()  # it does not live again
            elif child.name not in supervisor._starting.unlaunched:
                await self.stop_child(child, deadline if host is None else min(deadline, host.stop_deadline))
        # Two may stop it, and what is left of the block waits for the last cut, whoever takes it.
        async with self._last_cut:
            if not self.is_saved:
                self.is_saved = True
                if supervisor.tree.saver is not None:
                    await supervisor.tree.saver.save("stop")

    def hurry(self) -> None:
        """Cancel every child that is still running, and those of supervisors inside of them."""
        self._supervisor.is_stopping = True
        for child in reversed(list(self._supervisor.children.values())):
            child.cut_short("hurried")

    def join(self, host: "Incarnation") -> None:
        """A nested supervisor begins to stop when *host*, the child that it lives in, is asked to."""
        host.nested = (*host.nested, self)  # in this step: a hurry has to find it

        async def stop_with_host() -> None:
            try:
                await host.wait_stopping()
                self._supervisor.goes_away = True
                await self.stop(trio.current_time() + self._supervisor.shutdown_timeout)
            finally:
                host.nested = tuple(nested for nested in host.nested if nested is not self)

        self._supervisor.start_service(stop_with_host)

    async def close(self) -> None:
        """Stop what still runs, with the last cut saved, and end the services; Ctrl-C meanwhile is raised when all is done."""
        await undisturbed(self._close, self._supervisor.interrupted)

    async def _close(self) -> None:
        """Runs shielded, bounded by the times it keeps."""
        supervisor = self._supervisor
        await self.stop(trio.current_time() + supervisor.shutdown_timeout)
        await supervisor.wait_finished()
        await supervisor.entries.finished()
        if supervisor.tree.latches is not None and supervisor.host is None:
            await supervisor.tree.latches.finished()
        await supervisor.services.close()
        if supervisor.tree.saver is not None and supervisor.host is None:
            await supervisor.tree.saver.prune_rest()
        for child in supervisor.children.values():
            supervisor.tree.children.pop(child.path, None)
            if supervisor.host is not None:
                stay_known(child)
            supervisor.tree.child_is_none_any_more()  # its host may run again, with another one of its name
            child.close(goes_away=supervisor.goes_away)
        supervisor.scope.detach()
        if supervisor.host is None:
            supervisor.tree.close()
