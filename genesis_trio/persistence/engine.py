"""What a storage engine is: bytes in, bytes out, atomic, durable and fenced.

An engine knows nothing about states, schemas or digests.  It keeps three kinds of bytes for each
*scope*, and one small *head*:

======== ============================ ==========================================================
records  (component, sequence)        the journal: only ever added at the end, read in order
rows     (kind, component, key)       small things that change, read one by one or in key order
parts    digest                       large things that never change, found by their digest
head     one for each scope           replaced in every write, together with the rest of it
======== ============================ ==========================================================

Every write is one transaction: all of it is durable when the method returns, or none of it is
there.  Every write carries the *token* that `acquire` gave out, and is refused with `FencedError`
once another holder has a newer one, in the same transaction.

Methods are synchronous, and at most one runs at a time; they need not be safe for two threads,
but must not care which thread calls them.

Errors: `OSError` with ``ENOSPC`` or ``EDQUOT`` says that there is no room (nothing was written, and the
engine goes on working); any other `OSError` says that the medium failed, after which the store
acknowledges nothing more.  `CorruptError` says that bytes cannot be read back, `StoreError`
everything else.  No other exceptions leave an engine.
"""

import abc
from collections.abc import Mapping, Sequence
from typing import ClassVar

import attrs

__all__ = ["Batch", "Promise", "Record", "Row", "StoreEngine"]


@attrs.frozen(slots=True)
class Promise:
    """What survives what, from settings that were read back; None where the engine does not say.

    Attributes:
        kill: What was acknowledged survives ``kill -9`` of the process.
        power_cut: It survives that the machine stops.
        disk_loss: It survives that the medium is gone.
        because: The settings, in words.
    """

    kill: bool | None = None
    power_cut: bool | None = None
    disk_loss: bool | None = None
    because: str = "the engine does not say"

    def __str__(self) -> str:
        words = {True: "yes", False: "no", None: "unknown"}
        return (
            f"survives: kill -9 {words[self.kill]}, power cut {words[self.power_cut]}, disk loss {words[self.disk_loss]} "
            f"({self.because})"
        )


@attrs.frozen(slots=True)
class Record:
    """One entry of a component's journal."""

    component: str
    sequence: int
    body: bytes


@attrs.frozen(slots=True)
class Row:
    """One small thing that can change; a *body* of None removes it."""

    kind: str
    component: str
    key: str
    body: bytes | None


@attrs.frozen(slots=True)
class Batch:
    """What one write consists of, besides parts: the new head, records for the end, rows to replace."""

    head: bytes
    records: Sequence[Record] = ()
    rows: Sequence[Row] = ()


class StoreEngine(abc.ABC):
    """Base of storage engines; plugins register a subclass under the entry point group ``genesis_trio.engines``.

    The name of the entry point is the scheme: ``postgresql`` serves ``open_store("postgresql:…")``.
    `genesis_trio.testing.engines.EngineConformance` is the suite that an engine has to pass.

    Attributes:
        blocking: False if the methods never wait for anything (all in memory); they are then called
            in the event loop, without a thread.
        keeps_witness: True if `read_witness` answers once something was written.
    """

    blocking: ClassVar[bool] = True
    keeps_witness: ClassVar[bool] = False

    @classmethod
    @abc.abstractmethod
    def open(cls, location: str) -> "StoreEngine":
        """Open what *location*, the URL after its scheme, stands for; make it when it is not there.

        Raises:
            StoreError: in use by somebody else (the message says who), foreign, or of a newer format.
        """

    @abc.abstractmethod
    def acquire(self, scope: str, holder: str) -> int:
        """Become the only writer of *scope* and return a token greater than all before; *holder* says who it is."""

    @abc.abstractmethod
    def renew(self, scope: str, token: int) -> None:
        """Stay the holder; `FencedError` when that is over.  An engine whose hold cannot expire only checks."""

    @abc.abstractmethod
    def release(self, scope: str, token: int) -> None:
        """Let the next holder in at once.  With an old token nothing happens: the next one is here already."""

    @abc.abstractmethod
    def append(self, scope: str, token: int, batch: Batch) -> int:
        """Write *batch*; return the position of the last record in the log of all components.

        Positions grow by one with every record, over all components, and are never used again.
        """

    @abc.abstractmethod
    def commit_cut(self, scope: str, token: int, parts: Mapping[bytes, bytes], batch: Batch) -> int:
        """Write *batch* and *parts* (digest to bytes) as `append` does; a part that is there already is replaced."""

    @abc.abstractmethod
    def remove(
        self,
        scope: str,
        token: int,
        batch: Batch,
        *,
        parts: Sequence[bytes] = (),
        records: Mapping[str, int] | None = None,
    ) -> None:
        """Write *batch* and remove *parts*, and for each component in *records* its records up to that sequence."""

    @abc.abstractmethod
    def read_head(self, scope: str) -> bytes | None:
        """The head of the last write; None when nothing was ever written."""

    @abc.abstractmethod
    def read_witness(self, scope: str) -> bytes | None:
        """The newest head that the engine remembers *outside* of what it commits, or None.

        It shows that the end of a log is missing.  An empty one says that nothing had been committed yet.  An engine
        whose medium cannot lose the end of what it acknowledged returns None.
        """

    @abc.abstractmethod
    def read_records(
        self, scope: str, component: str, *, after: int = 0, start: int = 0, limit: int = 1024
    ) -> Sequence[tuple[int, Record]]:
        """At most *limit* records of *component* with a sequence above *after*, in order, each with its position.

        *start* is a position that the first of them cannot lie before: a hint which may be ignored.
        """

    @abc.abstractmethod
    def read_rows(
        self,
        scope: str,
        kind: str,
        component: str | None = None,
        *,
        after: tuple[str, str] | None = None,
        limit: int = 1024,
    ) -> Sequence[Row]:
        """At most *limit* rows of *kind*, of one component or of all, by component and key, those behind *after*.

        The order is that of the UTF-8 bytes.  With a *component*, *after* is an address of that component.
        """

    @abc.abstractmethod
    def read_row(self, scope: str, kind: str, component: str, key: str) -> bytes | None:
        """The body of one row, or None."""

    @abc.abstractmethod
    def read_part(self, scope: str, digest: bytes) -> bytes | None:
        """The bytes of one part, or None."""

    @abc.abstractmethod
    def list_parts(self, scope: str) -> Sequence[bytes]:
        """The digests of all parts."""

    @abc.abstractmethod
    def close(self) -> None:
        """Give everything back; idempotent."""

    # -- what an engine may leave as it is

    def idle(self) -> None:
        """Do what is better done while nobody waits; called when no write came for a while, and now and then."""

    def relieve(self) -> bool:
        """There is no room: give up a reserve, so that a little more can be written.  False if there is none."""
        return False

    def recover_room(self, size: int) -> bool:
        """Build a reserve for one more save of *size* bytes; False while there is no room for it."""
        return True

    def quarantine(self, scope: str, name: str, body: bytes) -> str:
        """Put damaged bytes aside, where they disturb nobody and are not lost; return where that is."""
        return ""

    def promise(self) -> Promise:
        """What survives what, as it is set now."""
        return Promise()

    def check(self) -> Sequence[str]:
        """Read everything that only the engine can read, and name the problems."""
        return ()
