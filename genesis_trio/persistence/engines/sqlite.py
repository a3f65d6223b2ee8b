"""One SQLite file: the default engine, for one process on one machine.

Settings, each for a reason that was measured:

- WAL with ``synchronous=FULL``: no acknowledged row is lost when power fails; with NORMAL most cuts lose some.
- The journal is a log in the order of writing, without an index: 64 components in one commit then touch
  one page, not 64.  A reader filters by component from a position that its saved checkpoint remembers.
- One connection, ``locking_mode=EXCLUSIVE``: two connections that write can damage the WAL in SQLite
  before 3.51.3, and without shared memory there is no ``-shm`` file to lose.
- ``flock`` on a file beside it says who holds the store; the kernel frees it when the process dies, however it dies.
- Large parts are cut into pieces: one row of 5 MB costs twice the time of twenty rows.
- The WAL is written back while nobody waits, not inside somebody's commit, and is then written again from its
  beginning: a commit into a file that does not grow takes half the time (benchmarks/bench_persistence.py).
- A reserve of disk space lies beside the file and is given up when the disk is full.

Files of ``sqlite:desk.db``: ``desk.db``, ``desk.db-wal``, ``desk.db.lock``, ``desk.db.head``,
``desk.db.reserve``, ``desk.db.quarantine/``.  They belong together: copy all of them, while nobody has the store open.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from genesis_trio.errors import FencedError, StoreError
from genesis_trio.persistence._filesystem import IN_MEMORY, filesystem_of
from genesis_trio.persistence._head import HeadFile
from genesis_trio.persistence.engine import Batch, Promise, Record, Row, StoreEngine
from genesis_trio.persistence.engines._place import (
    OpenFiles,
    make_private,
    refuse_foreign_file,
    refuse_name,
    refuse_place,
    sync_folder,
)
from genesis_trio.persistence.engines._sqlite_errors import as_store_errors

__all__ = ["SqliteEngine"]

APPLICATION_ID = 0x47545231  # "GTR1", in the file's header
FORMAT = 1
PAGE_SIZE = 4096
SYNCHRONOUS_FULL = 2
PIECE = 256 * 1024
WAL_LIMIT = 4 * 1024 * 1024  # bytes since it was written back, then it is again at the next idle moment
WAL_HARD_LIMIT = 4 * WAL_LIMIT  # then it is even though somebody waits; a longer file is cut to this
PAGES_OF_A_COMMIT = 4  # that change in any case: the head of the store and of a component, the journal, the keys
RESERVE = 2 * WAL_LIMIT
SYNC_HEAD_EVERY = 64  # commits without an idle moment
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)

_SCHEMA = f"""
create table scope(name text primary key, token integer not null, holder text not null, head blob,
                   position integer not null default 0) without rowid;
create table journal(position integer primary key, scope text not null, component text not null, sequence integer not null,
                     body blob not null);
create table row(scope text, kind text, component text, key text, body blob not null,
                 primary key(scope, kind, component, key)) without rowid;
create table part(number integer primary key, scope text not null, digest blob not null, piece integer not null,
                  body blob not null);
create unique index part_by_digest on part(scope, digest, piece);
pragma application_id = {APPLICATION_ID};
pragma user_version = {FORMAT};
"""


class SqliteEngine(StoreEngine):
    """An engine over one SQLite file; see the module for its settings.  Use `open`."""

    keeps_witness: ClassVar[bool] = True

    @classmethod
    def open(cls, location: str) -> "SqliteEngine":
        refuse_name(location)
        return cls(location)

    def __init__(self, path: str, *, reserve: int = RESERVE) -> None:
        self.path = os.path.abspath(path)
        self._connection: sqlite3.Connection | None = None
        self._head: HeadFile | None = None
        self._lock = -1
        self._files = OpenFiles([])
        self._reserve_size = reserve
        self._unsynced = 0
        self._not_written_back = 0  # bytes in the WAL, estimated: SQLite does not tell before it writes back
        self._position = 0  # of the last record; kept apart from the journal, whose last record may be removed
        try:
            with as_store_errors(self.path):
                folder = os.path.dirname(self.path)
                os.makedirs(folder, mode=0o700, exist_ok=True)
                refuse_place(self.path, folder)
                # Before the file is opened: closing it again would give up the locks that SQLite may have on it here.
                self._take_lock()
                refuse_foreign_file(self.path, APPLICATION_ID)
                make_private(self.path)
                self._open_database()
                self._open_head()
                sync_folder(folder)
                self._files = OpenFiles([self.path, self.path + "-wal"])
        except BaseException:
            self.close()
            raise
        self.recover_room(0)

    # -- opening

    def _take_lock(self) -> None:
        self._lock = os.open(self.path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._lock, 500, 0).decode(errors="replace").strip() or "another process"
            raise StoreError(
                f"the store {self.path} is in use by {holder}; a store has one holder at a time: stop that one first"
            ) from None

    def _open_database(self) -> None:
        # Made here, so that the file and the WAL beside it are never readable by others, whatever the umask is.
        os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=64)
        self._connection = connection
        # A flipped bit may leave text that cannot be decoded; the digest over it then says that it is damaged.
        connection.text_factory = partial(str, encoding="utf-8", errors="replace")
        connection.execute(f"pragma page_size = {PAGE_SIZE}")
        connection.execute("pragma locking_mode = exclusive")
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute("pragma wal_autocheckpoint = 0")
        connection.execute(f"pragma journal_size_limit = {WAL_HARD_LIMIT}")
        connection.execute("pragma trusted_schema = off")
        settings = {name: self._pragma(name) for name in ("journal_mode", "synchronous", "locking_mode")}
        if settings != {"journal_mode": "wal", "synchronous": SYNCHRONOUS_FULL, "locking_mode": "exclusive"}:
            raise StoreError(f"SQLite does not accept the settings that make {self.path} durable; it has {settings}")
        application, version = self._pragma("application_id"), self._pragma("user_version")
        if application == 0 and not connection.execute("select 1 from sqlite_master").fetchone():
            with self._transaction():
                for statement in _SCHEMA.split(";"):
                    connection.execute(statement)
        elif application != APPLICATION_ID:
            raise StoreError(
                f"{self.path} is an SQLite file of another program (application id {application}), not a store"
            )
        elif version > FORMAT:
            raise StoreError(
                f"{self.path} has format {version}, which is newer than this code ({FORMAT}); run the newer genesis_trio"
            )
        (self._position,) = connection.execute("select coalesce(max(position), 0) from scope").fetchone()

    def _open_head(self) -> None:
        self._head = HeadFile(self.path + ".head")
        written = self._db.execute("select 1 from scope where head is not null").fetchone() is not None
        if self._head.read() is None and not written:
            # Power may fail between the first commit and its head: that is not a head which somebody took away.
            self._head.write(b"")
            self._head.sync()

    def _pragma(self, name: str) -> Any:
        return self._db.execute(f"pragma {name}").fetchone()[0]

    @property
    def _db(self) -> sqlite3.Connection:
        if self._connection is None:
            raise StoreError(f"the store {self.path} is closed")
        return self._connection

    # -- writing

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._db
        with as_store_errors(self.path):
            try:
                connection.execute("begin immediate")
                yield connection
                connection.execute("commit")
                # After the commit: what was acknowledged was in its place when it was.
                self._files.check()
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    if connection.in_transaction:
                        connection.execute("rollback")
                raise

    def acquire(self, scope: str, holder: str) -> int:
        with self._transaction() as connection:
            connection.execute(
                "insert into scope(name, token, holder) values(?, 1, ?) "
                "on conflict(name) do update set token = token + 1, holder = excluded.holder",
                (scope, holder),
            )
            (token,) = connection.execute("select token from scope where name = ?", (scope,)).fetchone()
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, holder.encode(), 0)
        return int(token)

    def renew(self, scope: str, token: int) -> None:
        with self._transaction() as connection:
            self._check_token(connection, scope, token)

    def release(self, scope: str, token: int) -> None:
        """Nothing to do: the hold is the lock, which goes with `close`."""

    def _check_token(self, connection: sqlite3.Connection, scope: str, token: int) -> None:
        found = connection.execute("select token, holder from scope where name = ?", (scope,)).fetchone()
        if found is None or found[0] != token:
            newest, holder = found if found is not None else ("none", "nobody")
            raise FencedError(
                f"scope {scope!r} was taken over by {holder}: this holder's token is {token}, the newest is {newest}; "
                f"stop acting"
            )

    def append(self, scope: str, token: int, batch: Batch) -> int:
        return self.commit_cut(scope, token, {}, batch)

    def commit_cut(self, scope: str, token: int, parts: Mapping[bytes, bytes], batch: Batch) -> int:
        position = self._position + len(batch.records)
        with self._transaction() as connection:
            self._write(connection, scope, token, batch, position)
            if parts:
                connection.executemany(
                    "delete from part where scope = ? and digest = ?", [(scope, digest) for digest in parts]
                )
                connection.executemany(
                    "insert into part(scope, digest, piece, body) values(?, ?, ?, ?)",
                    (
                        (scope, digest, number, body[begin : begin + PIECE])
                        for digest, body in parts.items()
                        for number, begin in enumerate(range(0, max(len(body), 1), PIECE))
                    ),
                )
        self._position = position
        self._remember(batch, sum(map(len, parts.values())))
        return position

    def remove(
        self,
        scope: str,
        token: int,
        batch: Batch,
        *,
        parts: Sequence[bytes] = (),
        records: Mapping[str, int] | None = None,
    ) -> None:
        position = self._position + len(batch.records)
        with self._transaction() as connection:
            self._write(connection, scope, token, batch, position)
            connection.executemany(
                "delete from part where scope = ? and digest = ?", [(scope, digest) for digest in parts]
            )
            # There is no index by component: without an end the whole log would be read for its first few records.
            connection.executemany(
                "delete from journal where scope = ? and component = ? and sequence <= ? and position <= coalesce("
                "(select position from journal where scope = ? and component = ? and sequence = ? order by position limit 1), "
                "9223372036854775807)",
                [(scope, component, upto) * 2 for component, upto in (records or {}).items()],
            )
        self._position = position
        self._remember(batch, len(parts) * PIECE)

    def _write(self, connection: sqlite3.Connection, scope: str, token: int, batch: Batch, position: int) -> None:
        changed = connection.execute(
            "update scope set head = ?, position = ? where name = ? and token = ?", (batch.head, position, scope, token)
        )
        if changed.rowcount != 1:
            self._check_token(connection, scope, token)
        if batch.records:
            connection.executemany(
                "insert into journal values(?, ?, ?, ?, ?)",
                [
                    (at, scope, record.component, record.sequence, record.body)
                    for at, record in enumerate(batch.records, self._position + 1)
                ],
            )
        connection.executemany(
            "delete from row where scope = ? and kind = ? and component = ? and key = ?",
            [(scope, row.kind, row.component, row.key) for row in batch.rows if row.body is None],
        )
        connection.executemany(
            "insert or replace into row values(?, ?, ?, ?, ?)",
            [(scope, row.kind, row.component, row.key, row.body) for row in batch.rows if row.body is not None],
        )

    def _remember(self, batch: Batch, size: int) -> None:
        # After the commit and before anybody hears of it: a copy of what is on disk, never ahead of it.
        size += sum(len(record.body) for record in batch.records) + len(batch.rows) * PAGE_SIZE // 4
        self._not_written_back += size + PAGES_OF_A_COMMIT * PAGE_SIZE
        try:
            self._remember_head(batch.head)
            if self._not_written_back > WAL_HARD_LIMIT:
                self._write_back()
        except OSError as error:
            # No room is an answer that says that nothing was written.  It was: the head is written again with the
            # next commit, and the WAL is written back once there is room.
            if error.errno not in NO_ROOM:
                raise

    def _remember_head(self, head: bytes) -> None:
        assert self._head is not None
        is_first = not self._head.read()
        self._head.write(head)
        self._unsynced += 1
        if is_first or self._unsynced >= SYNC_HEAD_EVERY:
            self._sync_head()

    def _sync_head(self) -> None:
        if self._head is not None and self._unsynced:
            self._unsynced = 0
            self._head.sync()

    # -- reading

    def read_head(self, scope: str) -> bytes | None:
        with as_store_errors(self.path):
            found = self._db.execute("select head from scope where name = ?", (scope,)).fetchone()
        return _as_bytes(found[0]) if found is not None and found[0] is not None else None

    def read_witness(self, scope: str) -> bytes | None:
        return self._head.read() if self._head is not None else None

    def read_records(
        self, scope: str, component: str, *, after: int = 0, start: int = 0, limit: int = 1024
    ) -> Sequence[tuple[int, Record]]:
        with as_store_errors(self.path):
            found = self._db.execute(
                "select position, sequence, body from journal "
                "where position >= ? and component = ? and scope = ? and sequence > ? order by position limit ?",
                (start, component, scope, after, limit),
            ).fetchall()
        return [(position, Record(component, _as_int(sequence), _as_bytes(body))) for position, sequence, body in found]

    def read_rows(
        self,
        scope: str,
        kind: str,
        component: str | None = None,
        *,
        after: tuple[str, str] | None = None,
        limit: int = 1024,
    ) -> Sequence[Row]:
        wanted, values = "scope = ? and kind = ?", [scope, kind]
        if component is not None:
            wanted, values = wanted + " and component = ?", [*values, component]
        if after is not None and component is not None:
            # Not the pair: SQLite would find the component by its index, and then read all keys from the first.
            wanted, values = wanted + " and key > ?", [*values, after[1]]
        elif after is not None:
            wanted, values = wanted + " and (component, key) > (?, ?)", [*values, *after]
        with as_store_errors(self.path):
            found = self._db.execute(
                f"select component, key, body from row where {wanted} order by component, key limit ?", (*values, limit)
            ).fetchall()
        return [Row(kind, _as_text(of), _as_text(key), _as_bytes(body)) for of, key, body in found]

    def read_row(self, scope: str, kind: str, component: str, key: str) -> bytes | None:
        with as_store_errors(self.path):
            found = self._db.execute(
                "select body from row where scope = ? and kind = ? and component = ? and key = ?",
                (scope, kind, component, key),
            ).fetchone()
        return _as_bytes(found[0]) if found is not None else None

    def read_part(self, scope: str, digest: bytes) -> bytes | None:
        with as_store_errors(self.path):
            found = self._db.execute(
                "select body from part where scope = ? and digest = ? order by piece", (scope, digest)
            ).fetchall()
        return b"".join(_as_bytes(body) for (body,) in found) if found else None

    def list_parts(self, scope: str) -> Sequence[bytes]:
        with as_store_errors(self.path):
            found = self._db.execute(
                "select distinct digest from part where scope = ? order by digest", (scope,)
            ).fetchall()
        return [_as_bytes(digest) for (digest,) in found]

    def promise(self) -> Promise:
        with as_store_errors(self.path):
            mode, level = self._pragma("journal_mode"), self._pragma("synchronous")
        place = filesystem_of(self.path)
        synced = mode == "wal" and level >= SYNCHRONOUS_FULL and place not in IN_MEMORY
        settings = f"journal_mode {mode}, synchronous {level}, on {place or 'an unknown file system'}, one copy"
        return Promise(kill=True, power_cut=synced, disk_loss=False, because=settings)

    def check(self) -> Sequence[str]:
        problems = []
        with as_store_errors(self.path):
            for (text,) in self._db.execute("pragma integrity_check").fetchall():
                if text != "ok":
                    problems.append(f"SQLite: {text}")
        if self._head is not None and self._head.was_damaged:
            problems.append(f"a slot of {self.path}.head was damaged when it was opened; the other one was used")
        return problems

    # -- housekeeping

    def _write_back(self, mode: str = "passive") -> None:
        # Passive is whole here, as nobody else reads; and unlike truncate it leaves the file to be written again.
        with as_store_errors(self.path):
            self._db.execute(f"pragma wal_checkpoint({mode})").fetchone()
        self._not_written_back = 0

    def idle(self) -> None:
        with as_store_errors(self.path):
            self._sync_head()
        if self._not_written_back > WAL_LIMIT:
            self._write_back()

    def relieve(self) -> bool:
        try:
            os.unlink(self.path + ".reserve")
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError, StoreError):
            self._write_back("truncate")
        return True

    def recover_room(self, size: int) -> bool:
        # Room for the WAL of one more save and for the pages that it is then written back to.
        wanted = max(self._reserve_size, 3 * size)
        path = self.path + ".reserve"
        with contextlib.suppress(FileNotFoundError):
            if os.stat(path).st_size >= wanted:
                return True
        fd = -1
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.posix_fallocate(fd, 0, wanted)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(path)
            return False
        finally:
            if fd >= 0:
                os.close(fd)
        return True

    def quarantine(self, scope: str, name: str, body: bytes) -> str:
        folder = self.path + ".quarantine"
        os.makedirs(folder, mode=0o700, exist_ok=True)
        readable = re.sub(r"[^A-Za-z0-9._-]", "_", name)[:100]
        path = os.path.join(folder, f"{readable}-{hashlib.blake2b(body, digest_size=4).hexdigest()}")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(body)
        return path

    def close(self) -> None:
        # Each step in its own block: the lock is given back whatever fails before it.
        try:
            if self._head is not None:
                with contextlib.suppress(OSError):
                    self._sync_head()
                self._head.close()
                self._head = None
            if self._connection is not None:
                connection, self._connection = self._connection, None
                with contextlib.suppress(sqlite3.Error):
                    connection.close()
        finally:
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1


# A flipped bit may also change the type of a column.  What comes of it here is damaged bytes like any other, which
# fail their digest; the rest of the page stays readable.


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else repr(value).encode()


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _as_int(value: object) -> int:
    return value if isinstance(value, int) else -1
