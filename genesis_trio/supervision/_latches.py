"""Latched causes on disk, so that a restart is no way around a kill switch."""

import json
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio.errors import GenesisError
from genesis_trio.events import LatchNotWritten, emit
from genesis_trio.modes import Capability, Mode, ModeCause, ModeScope

if TYPE_CHECKING:
    from genesis_trio.persistence.store import Receipt, Store
    from genesis_trio.supervision._tree import ServiceTree

__all__ = ["Latches"]

PREFIX = "latch/"


class Latches:
    """A `LatchLog` over a store's control state: one entry for each latched cause."""

    def __init__(self, tree: "ServiceTree", store: "Store") -> None:
        self._tree = tree
        self._store = store
        self._saved: dict[str, list[ModeCause]] = {}  # by scope; taken out when the scope is made
        self._under_way: deque[tuple[Receipt, ModeCause, Callable[[], None] | None]] = deque()
        self._arrived = trio.Event()
        self._settled = trio.Event()
        self._settled.set()

    async def load(self) -> None:
        """Read what was latched when the store was last in use."""
        for name, body in (await self._store.read_control()).items():
            if name.startswith(PREFIX):
                cause = _from_json(json.loads(body))
                self._saved.setdefault(cause.scope, []).append(cause)

    def restore(self, scope: ModeScope) -> None:
        """Hold again what was latched on *scope*; before anything in it starts."""
        for cause in self._saved.pop(scope.path, ()):
            scope._take(cause)

    # ------------------------------------------------------------ LatchLog

    def held(self, cause: ModeCause) -> None:
        self._put(cause, json.dumps(_as_json(cause), sort_keys=True).encode(), None)

    def released(self, cause: ModeCause, then: Callable[[], None]) -> None:
        self._put(cause, None, then)

    async def settled(self) -> None:
        await self._settled.wait()

    def _put(self, cause: ModeCause, body: bytes | None, then: Callable[[], None] | None) -> None:
        name = PREFIX + json.dumps([cause.scope, cause.owner, cause.reason])
        try:
            receipt = self._store.put_control(name, body)
        except GenesisError as error:
            self._not_written(cause, error)
            return
        self._under_way.append((receipt, cause, then))
        self._settled = trio.Event() if self._settled.is_set() else self._settled
        self._arrived.set()

    async def serve(self) -> None:
        """Follow what was put to its end, in order."""
        while True:
            while self._under_way:
                receipt, cause, then = self._under_way[0]
                try:
                    await receipt.wait()
                except GenesisError as error:
                    # What was tightened stays in effect; what was to be loosened stays held.
                    self._not_written(cause, error)
                else:
                    if then is not None:
                        then()
                self._under_way.popleft()
            self._settled.set()
            self._arrived = trio.Event()
            await self._arrived.wait()

    def _not_written(self, cause: ModeCause, error: GenesisError) -> None:
        if self._tree.hooks:
            emit(self._tree, LatchNotWritten, scope=cause.scope, owner=cause.owner, reason=cause.reason, error=error)


def _as_json(cause: ModeCause) -> dict[str, Any]:
    return {
        "scope": cause.scope,
        "owner": cause.owner,
        "reason": cause.reason,
        "mode": cause.mode.name,
        "since": cause.since.isoformat(),
        "capabilities": None if cause.capabilities is None else cause.capabilities.value,
    }


def _from_json(fields: dict[str, Any]) -> ModeCause:
    capabilities = fields["capabilities"]
    return ModeCause(
        scope=fields["scope"],
        owner=fields["owner"],
        reason=fields["reason"],
        mode=Mode[fields["mode"]],
        since=datetime.fromisoformat(fields["since"]),
        latched=True,
        capabilities=None if capabilities is None else Capability(capabilities),
    )
