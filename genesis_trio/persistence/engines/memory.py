"""Everything in memory: for tests, simulations, and components whose state need not outlive the process.

``memory:`` is one store, which is gone when its block ends.  ``memory:desk`` has a name: what it holds
stays in the process until `MemoryEngine.forget`, so that a restart can be played without a disk.  A
named one can be open once at a time, like a file.
"""

import errno
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

from genesis_trio.errors import FencedError, StoreError
from genesis_trio.persistence.engine import Batch, Promise, Record, Row, StoreEngine

__all__ = ["MemoryEngine"]


@attrs.define
class _Table:
    bodies: dict[str, bytes] = attrs.Factory(dict)
    ordered: list[str] | None = None  # the keys in order, until one comes or goes

    def put(self, key: str, body: bytes | None) -> None:
        if (key in self.bodies) != (body is not None):
            self.ordered = None
        if body is None:
            self.bodies.pop(key, None)
        else:
            self.bodies[key] = body

    def in_order(self) -> list[str]:
        if self.ordered is None:
            self.ordered = sorted(self.bodies, key=str.encode)
        return self.ordered


@attrs.define
class _Scope:
    token: int = 0
    head: bytes | None = None
    position: int = 0
    journal: dict[str, list[tuple[int, Record]]] = attrs.Factory(dict)
    rows: dict[tuple[str, str], _Table] = attrs.Factory(dict)  # by kind and component
    parts: dict[bytes, bytes] = attrs.Factory(dict)


@attrs.define
class _Content:
    scopes: dict[str, _Scope] = attrs.Factory(dict)
    quarantine: dict[str, bytes] = attrs.Factory(dict)
    holder: str | None = None
    size: int = 0


class MemoryEngine(StoreEngine):
    """An engine over dictionaries.

    Args:
        capacity: Bytes that fit, for tests of a full medium; None means no limit.
    """

    blocking: ClassVar[bool] = False
    _named: ClassVar[dict[str, _Content]] = {}

    def __init__(self, content: _Content | None = None, *, capacity: int | None = None) -> None:
        self._content = content if content is not None else _Content()
        self._capacity = capacity
        self._closed = False

    @classmethod
    def open(cls, location: str) -> "MemoryEngine":
        if not location:
            return cls()
        content = cls._named.setdefault(location, _Content())
        if content.holder is not None:
            raise StoreError(f"memory:{location} is in use by {content.holder}; a store has one holder at a time")
        content.holder = "another block of this process"
        return cls(content)

    @classmethod
    def forget(cls, name: str) -> None:
        """Drop what ``memory:<name>`` holds; nothing happens when there is none."""
        cls._named.pop(name, None)

    def _scope(self, scope: str) -> _Scope:
        return self._content.scopes.setdefault(scope, _Scope())

    def _fenced(self, scope: str, token: int) -> _Scope:
        found = self._scope(scope)
        if found.token != token:
            raise FencedError(
                f"scope {scope!r} was taken over: this holder's token is {token}, the newest is {found.token}; stop acting"
            )
        return found

    def acquire(self, scope: str, holder: str) -> int:
        found = self._scope(scope)
        found.token += 1
        if self._content.holder is not None:
            self._content.holder = holder
        return found.token

    def renew(self, scope: str, token: int) -> None:
        self._fenced(scope, token)

    def release(self, scope: str, token: int) -> None:
        pass

    def append(self, scope: str, token: int, batch: Batch) -> int:
        return self.commit_cut(scope, token, {}, batch)

    def commit_cut(self, scope: str, token: int, parts: Mapping[bytes, bytes], batch: Batch) -> int:
        found = self._fenced(scope, token)
        self._charge(parts, batch)
        found.parts.update(parts)
        self._write(found, batch)
        return found.position

    def remove(
        self,
        scope: str,
        token: int,
        batch: Batch,
        *,
        parts: Sequence[bytes] = (),
        records: Mapping[str, int] | None = None,
    ) -> None:
        found = self._fenced(scope, token)
        self._charge({}, batch)
        for digest in parts:
            self._content.size -= len(found.parts.pop(digest, b""))
        for component, upto in (records or {}).items():
            entries = found.journal.get(component, [])
            found.journal[component] = [entry for entry in entries if entry[1].sequence > upto]
            self._content.size -= sum(len(entry[1].body) for entry in entries if entry[1].sequence <= upto)
        self._write(found, batch)

    def _charge(self, parts: Mapping[bytes, bytes], batch: Batch) -> None:
        size = sum(map(len, parts.values()))
        size += sum(len(record.body) for record in batch.records)
        size += sum(len(row.body) for row in batch.rows if row.body is not None)
        if self._capacity is not None and self._content.size + size > self._capacity:
            raise OSError(errno.ENOSPC, f"no room for {size} bytes: {self._content.size} of {self._capacity} are used")
        self._content.size += size

    def _write(self, scope: _Scope, batch: Batch) -> None:
        for record in batch.records:
            scope.position += 1
            scope.journal.setdefault(record.component, []).append((scope.position, record))
        for row in batch.rows:
            table = scope.rows.setdefault((row.kind, row.component), _Table())
            self._content.size -= len(table.bodies.get(row.key, b""))
            table.put(row.key, row.body)
        scope.head = batch.head

    def read_head(self, scope: str) -> bytes | None:
        return self._scope(scope).head

    def read_witness(self, scope: str) -> bytes | None:
        return None

    def read_records(
        self, scope: str, component: str, *, after: int = 0, start: int = 0, limit: int = 1024
    ) -> Sequence[tuple[int, Record]]:
        journal = self._scope(scope).journal.get(component, [])
        low, high = 0, len(journal)
        while low < high:
            middle = (low + high) // 2
            if journal[middle][1].sequence <= after:
                low = middle + 1
            else:
                high = middle
        return journal[low : low + limit]

    def read_rows(
        self,
        scope: str,
        kind: str,
        component: str | None = None,
        *,
        after: tuple[str, str] | None = None,
        limit: int = 1024,
    ) -> Sequence[Row]:
        found: list[Row] = []
        tables = self._scope(scope).rows
        components = sorted((each for of, each in tables if of == kind and component in (None, each)), key=str.encode)
        for each in components:
            if after is not None and each.encode() < after[0].encode():
                continue
            table = tables[kind, each]
            keys = table.in_order()
            begin = (
                bisect_right(keys, after[1].encode(), key=str.encode) if after is not None and each == after[0] else 0
            )
            found += [Row(kind, each, key, table.bodies[key]) for key in keys[begin : begin + limit - len(found)]]
            if len(found) == limit:
                break
        return found

    def read_row(self, scope: str, kind: str, component: str, key: str) -> bytes | None:
        return self._scope(scope).rows.get((kind, component), _Table()).bodies.get(key)

    def read_part(self, scope: str, digest: bytes) -> bytes | None:
        return self._scope(scope).parts.get(digest)

    def list_parts(self, scope: str) -> Sequence[bytes]:
        return sorted(self._scope(scope).parts)

    def promise(self) -> Promise:
        return Promise(kill=False, power_cut=False, disk_loss=False, because="it is all in memory")

    def quarantine(self, scope: str, name: str, body: bytes) -> str:
        self._content.quarantine[name] = body
        return f"the quarantine of this memory store, as {name!r}"

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._content.holder = None
