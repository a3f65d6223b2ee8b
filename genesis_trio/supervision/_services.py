"""The tasks of a supervisor beside its children: what watches, saves and restarts them."""

import contextvars
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from genesis_trio._runtime import _TREE
from genesis_trio.modes import _SCOPE, ModeScope

__all__ = ["Services"]


class Services:
    """Every task of one supervisor is started here, and those that are no children end here."""

    def __init__(self, scope: ModeScope, nursery: trio.Nursery) -> None:
        self._scope = scope
        self._nursery = nursery
        self._running: dict[trio.CancelScope, None] = {}
        self._ended = trio.Event()

    def spawn(self, fn: Callable[[], Awaitable[None]], scope: ModeScope, name: str) -> None:
        """Start a task in the context of *scope*: Trio gives a task its spawner's, which may be another tree's."""
        context = contextvars.copy_context()
        context.run(_SCOPE.set, scope)
        context.run(_TREE.set, scope.tree)
        context.run(lambda: self._nursery.start_soon(fn, name=name))

    def start(self, fn: Callable[[], Awaitable[None]]) -> trio.CancelScope:
        """Run *fn* until it ends, its scope is cancelled, or the supervisor is closed."""
        scope = trio.CancelScope(shield=True)
        self._running[scope] = None
        serve = partial(self._serve, scope, fn)
        self.spawn(serve, self._scope, f"{self._scope.path} {getattr(fn, '__qualname__', fn)}")
        return scope

    @trio.lowlevel.enable_ki_protection
    async def _serve(self, scope: trio.CancelScope, fn: Callable[[], Awaitable[None]]) -> None:
        try:
            with scope:
                await fn()
        finally:
            self._running.pop(scope, None)
            self._ended.set()

    def cancel_body(self, reason: str) -> None:
        """Cancel the nursery: the children and services are shielded, so this reaches the body of the block."""
        self._nursery.cancel_scope.cancel(reason=reason)

    async def close(self) -> None:
        """Cancel what runs, and wait until it has ended."""
        for scope in list(self._running):
            scope.cancel(reason=f"supervisor {self._scope.path!r} is closed")
        # Here and not in the nursery, which would hand out a Ctrl-C in a group.
        while self._running:
            self._ended = trio.Event()
            await self._ended.wait()
