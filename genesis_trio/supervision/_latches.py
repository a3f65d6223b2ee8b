"""Latched causes on disk, so that a restart is no way around a kill switch."""

import json
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio import events
from genesis_trio._runtime import Tree
from genesis_trio.errors import GenesisError, StoreError
from genesis_trio.events import describe_error, emit
from genesis_trio.modes import Capability, Mode, ModeCause
from genesis_trio.modes._causes import Latching

if TYPE_CHECKING:
    from genesis_trio.persistence.store import Receipt, Store

__all__ = ["Latches"]

PREFIX = "latch/"
NOTE = "entry/"

Note = tuple[str, str, str, str]  # of an entry action: scope, mode, owner, name


class Latches:
    """A `LatchLog` over a store's control state: one entry for each latched cause, one for each entry action."""

    def __init__(self, tree: Tree, store: "Store") -> None:
        self._tree = tree
        self._store = store
        # What is latched, by scope: also a scope that is made anew in the same process gets it back.
        self._latched: dict[str, dict[tuple[str, str], ModeCause]] = {}
        self._notes: dict[Note, str] = {}  # of earlier processes, until somebody asks for them
        self._under_way: deque[tuple[Receipt, str, Callable[[Exception | None], None]]] = deque()
        self._unwritten: dict[str, Exception] = {}
        self._arrived = trio.Event()
        self._settled = trio.Event()
        self._settled.set()

    async def load(self) -> None:
        """Read what was latched when the store was last in use."""
        for name, body in (await self._store.read_control()).items():
            if name.startswith(PREFIX):
                self._remember(_from_json(json.loads(body)))
            elif name.startswith(NOTE):
                scope, mode, owner, action = json.loads(name.removeprefix(NOTE))
                self._notes[scope, mode, owner, action] = body.decode()
        self._forget_old_notes()

    def _remember(self, cause: ModeCause) -> None:
        self._latched.setdefault(cause.scope, {})[cause.owner, cause.reason] = cause

    def _forget_old_notes(self) -> None:
        """A note is of use only while what led to it is latched: later the mode is entered anew."""
        for key in list(self._notes):
            scope, mode = key[0], Mode[key[1]]
            above = [path for path in self._latched if path == scope or scope.startswith(f"{path}/")]
            if not any(cause.mode >= mode for path in above for cause in self._latched[path].values()):
                del self._notes[key]
                self.write_note(key, None)

    # ------------------------------------------------------------ LatchLog

    def restore(self, scope: Latching) -> None:
        for cause in list(self._latched.get(scope.path, {}).values()):
            scope.restore(cause)

    def held(self, cause: ModeCause, then: Callable[[bool], None] | None = None) -> None:
        self._remember(cause)
        self._put(_name_of(cause), json.dumps(_as_json(cause), sort_keys=True).encode(), self._follow(cause, then))

    def released(self, cause: ModeCause, then: Callable[[bool], None]) -> None:
        def gone(is_written: bool) -> None:
            if is_written:
                self._latched.get(cause.scope, {}).pop((cause.owner, cause.reason), None)
                self._forget_old_notes()
            then(is_written)

        self._put(_name_of(cause), None, self._follow(cause, gone))

    def _follow(self, cause: ModeCause, then: Callable[[bool], None] | None) -> Callable[[Exception | None], None]:
        def end(error: Exception | None) -> None:
            if error is not None:
                # What was tightened stays in effect; what was to be loosened stays held.
                self._not_written(cause.scope, cause.owner, cause.reason, error)
            if then is not None:
                then(error is None)

        return end

    async def settled(self) -> None:
        await self._settled.wait()
        if self._unwritten:
            error = next(reversed(self._unwritten.values()))
            raise StoreError(
                f"{len(self._unwritten)} latched causes of {self._tree.name!r} are not on disk as they are in effect; "
                f"hold or clear them again once the store works: {describe_error(error)}"
            ) from error

    async def finished(self) -> None:
        """Return when nothing is under way any more, written or not."""
        await self._settled.wait()

    def read_note(self, key: Note) -> str | None:
        return self._notes.pop(key, None)

    def write_note(self, key: Note, state: str | None) -> None:
        scope, mode, owner, action = key

        def end(error: Exception | None) -> None:
            if error is not None:
                self._not_written(scope, owner, f"the entry action {action} for {mode}: {state}", error)

        self._put(NOTE + json.dumps(key), None if state is None else state.encode(), end)

    # ------------------------------------------------------------ writing

    def _put(self, name: str, body: bytes | None, end: Callable[[Exception | None], None]) -> None:
        try:
            receipt = self._store.put_control(name, body)
        except GenesisError as error:
            self._unwritten[name] = error
            end(error)
            return
        self._under_way.append((receipt, name, end))
        self._settled = trio.Event() if self._settled.is_set() else self._settled
        self._arrived.set()

    async def serve(self) -> None:
        """Follow what was put to its end, in order."""
        while True:
            while self._under_way:
                receipt, name, end = self._under_way[0]
                failure: Exception | None = None
                try:
                    await receipt.wait()
                except GenesisError as error:
                    failure = self._unwritten[name] = error
                else:
                    self._unwritten.pop(name, None)
                end(failure)
                self._under_way.popleft()
            self._settled.set()
            self._arrived = trio.Event()
            await self._arrived.wait()

    def _not_written(self, scope: str, owner: str, reason: str, error: Exception) -> None:
        if self._tree.hooks:
            emit(self._tree, events.LatchNotWritten, scope=scope, owner=owner, reason=reason, error=error)


def _name_of(cause: ModeCause) -> str:
    return PREFIX + json.dumps([cause.scope, cause.owner, cause.reason])


def _as_json(cause: ModeCause) -> dict[str, Any]:
    return {
        "scope": cause.scope,
        "owner": cause.owner,
        "reason": cause.reason,
        "mode": cause.mode.name,
        "since": cause.since.isoformat(),
        "expires": None if cause.expires is None else cause.expires.isoformat(),
        "capabilities": None if cause.capabilities is None else cause.capabilities.value,
    }


def _from_json(fields: dict[str, Any]) -> ModeCause:
    capabilities, expires = fields["capabilities"], fields["expires"]
    return ModeCause(
        scope=fields["scope"],
        owner=fields["owner"],
        reason=fields["reason"],
        mode=Mode[fields["mode"]],
        since=datetime.fromisoformat(fields["since"]),
        latched=True,
        expires=None if expires is None else datetime.fromisoformat(expires),
        capabilities=None if capabilities is None else Capability(capabilities),
    )
