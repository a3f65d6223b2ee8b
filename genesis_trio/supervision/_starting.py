"""How a supervisor starts children: each once those that it requires have begun, and none where one cannot be.

A child has begun when it is READY, done, SUSPENDED or PARKED: in all but the first nobody knows when it will be READY, and
the tree degrades rather than wait for it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import trio

from genesis_trio.errors import StartTimeoutError
from genesis_trio.supervision._options import options_of
from genesis_trio.supervision._order import levels
from genesis_trio.supervision._settings import check_specs
from genesis_trio.supervision._words import kept_by_required
from genesis_trio.supervision.child import Child
from genesis_trio.supervision.component import ChildSpec, Lifecycle

if TYPE_CHECKING:
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["Starting"]


class Starting:
    """The starts of one supervisor.

    Attributes:
        unlaunched: Children that have no task yet, by name: a stop does not wait for them.
    """

    def __init__(self, supervisor: "Supervisor") -> None:
        self._supervisor = supervisor
        self.unlaunched: dict[str, Child] = {}

    async def start(self, spec: ChildSpec) -> Child:
        """See `Supervisor.start`."""
        supervisor = self._supervisor
        self._check([spec])
        (child,) = self._make([spec], raises=True)
        try:
            if not await self._wait_for_required(child):
                raise StartTimeoutError(kept_by_required(child))
            self._check_not_stopped([child])
            self._launch(child)
        finally:
            self._forget_unlaunched([child])
        try:
            if not await child.wait_begun():
                child.give_up_start()
            if child.first_error is not None:
                await child.wait_finished()
        except trio.Cancelled:
            await supervisor._stopping.undo([child])  # noqa: ASYNC102 - shields itself
            raise
        if child.first_error is not None:
            supervisor.forget(child)
            raise child.first_error
        if child.status is Lifecycle.STOPPED and not child.was_ready:
            raise RuntimeError(
                f"child {child.path!r} was stopped before it was ready; while its supervisor runs, restart() lets it live again"
            ) from child.last_error
        child.raises = False
        return child

    async def start_all(self, specs: Sequence[ChildSpec]) -> Sequence[Child]:
        """See `Supervisor.start_all`."""
        self._check(specs)
        order = levels({spec.name: spec.requires for spec in specs}, supervisor=self._supervisor.path)
        by_name = {spec.name: spec for spec in specs}
        made = self._make([by_name[name] for level in order for name in level], raises=False)
        children = {child.name: child for child in made}
        try:
            for names in order:
                # Those that a child of an earlier call keeps waiting keep nobody else of their level waiting.
                level = sorted((children[name] for name in names), key=lambda child: not self._may_launch(child))
                for child in level:
                    await self._wait_for_required(child)
                    self._check_not_stopped(made)
                    self._launch(child)
                for child in level:
                    await child.wait_begun()
        except trio.Cancelled:
            begun = [child for child in made if child.name not in self.unlaunched]
            await self._supervisor._stopping.undo(begun)  # noqa: ASYNC102 - shields itself
            raise
        finally:
            self._forget_unlaunched(made)
        return [children[spec.name] for spec in specs]

    def launch(self, child: Child) -> None:
        """Let the task of *child* begin."""
        self._supervisor.child_launched()
        child.first_started_at = trio.current_time()
        self._supervisor.services.spawn(child.live, child.scope, child.path)

    def _launch(self, child: Child) -> None:
        del self.unlaunched[child.name]
        self.launch(child)

    def _check(self, specs: Sequence[ChildSpec]) -> None:
        """Refuse what cannot be started; nothing has happened yet."""
        supervisor = self._supervisor
        if supervisor.is_stopping:
            raise RuntimeError(f"supervisor {supervisor.path!r} is stopping and starts no more children")
        check_specs(specs, supervisor.children, supervisor=supervisor.path)

    def _make(self, specs: Sequence[ChildSpec], *, raises: bool) -> list[Child]:
        supervisor = self._supervisor
        options = [options_of(spec) for spec in specs]
        children = [
            Child(supervisor, spec, options=option, raises=raises) for spec, option in zip(specs, options, strict=True)
        ]
        for child in children:
            supervisor.add(child)
            self.unlaunched[child.name] = child
        return children

    def _forget_unlaunched(self, children: Sequence[Child]) -> None:
        for child in children:
            if self.unlaunched.get(child.name) is child:
                del self.unlaunched[child.name]
                self._supervisor.forget(child)

    def _required(self, child: Child) -> list[Child]:
        siblings = self._supervisor.children
        return [siblings[name] for name in child.spec.requires if name in siblings]

    def _may_launch(self, child: Child) -> bool:
        return all(required.has_begun() for required in self._required(child))

    async def _wait_for_required(self, child: Child) -> bool:
        """Wait until what *child* requires has begun, and return True; False if that takes longer than its ``start_timeout``."""
        if self._may_launch(child):
            return True
        with trio.move_on_after(child.spec.start_timeout):
            for required in self._required(child):
                await required.wait_begun()
            return True
        return False

    def _check_not_stopped(self, children: Sequence[Child]) -> None:
        """Raise if the supervisor was stopped while some of *children* had not started."""
        left = ", ".join(child.name for child in children if child.name in self.unlaunched)
        if left and self._supervisor.is_stopping:
            raise RuntimeError(
                f"supervisor {self._supervisor.path!r} was stopped while it started children; not started: {left}"
            )
