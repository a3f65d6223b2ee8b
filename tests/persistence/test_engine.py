"""The two engines, by the suite that every engine has to pass, and what is particular about each."""

import errno
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from genesis_trio.errors import CorruptError, FencedError, StoreError
from genesis_trio.persistence.engine import Batch, Record, Row
from genesis_trio.persistence.engines import _sqlite_errors, sqlite
from genesis_trio.persistence.engines.memory import MemoryEngine
from genesis_trio.persistence.engines.sqlite import SqliteEngine
from genesis_trio.testing.engines import EngineConformance

SCOPE = "main"


class TestSqliteConformance(EngineConformance):
    @pytest.fixture(autouse=True)
    def _place(self, tmp_path):
        self.path = tmp_path / "desk.db"

    def open(self):
        return SqliteEngine.open(str(self.path))


class TestMemoryConformance(EngineConformance):
    @pytest.fixture(autouse=True)
    def _place(self):
        yield
        MemoryEngine.forget("conformance")

    def open(self):
        return MemoryEngine.open("conformance")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books" / "desk.db"


def write(path: Path, *, count: int = 1, size: int = 10) -> None:
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "a test")
    for sequence in range(1, count + 1):
        engine.append(SCOPE, token, Batch(b"head", [Record("a", sequence, bytes(size))]))
    engine.close()


# ------------------------------------------------------------------ memory


def test_memory_unnamed_stores_are_apart():
    """Each `memory:` is its own store."""
    first, second = MemoryEngine.open(""), MemoryEngine.open("")

    first.append(SCOPE, first.acquire(SCOPE, "one"), Batch(b"head"))

    assert second.read_head(SCOPE) is None


def test_memory_forgotten_name_starts_empty():
    """What a name held is gone once it is forgotten."""
    engine = MemoryEngine.open("gone")
    engine.append(SCOPE, engine.acquire(SCOPE, "one"), Batch(b"head"))
    engine.close()

    MemoryEngine.forget("gone")
    MemoryEngine.forget("gone")
    engine = MemoryEngine.open("gone")

    assert engine.read_head(SCOPE) is None
    engine.close()
    MemoryEngine.forget("gone")


def test_memory_beyond_its_capacity_is_full_and_writes_nothing():
    """A bounded memory engine runs full as a disk does: with ENOSPC, and all or nothing."""
    engine = MemoryEngine(capacity=100)
    token = engine.acquire(SCOPE, "one")
    engine.append(SCOPE, token, Batch(b"head", [Record("a", 1, bytes(60))], [Row("k", "a", "x", bytes(20))]))

    with pytest.raises(OSError) as caught:
        engine.append(SCOPE, token, Batch(b"late", [Record("a", 2, bytes(60))]))
    assert caught.value.errno == errno.ENOSPC
    assert engine.read_head(SCOPE) == b"head"

    engine.remove(SCOPE, token, Batch(b"removed", rows=[Row("k", "a", "x", None)]), records={"a": 1})
    engine.append(SCOPE, token, Batch(b"late", [Record("a", 2, bytes(60))]))
    assert engine.read_head(SCOPE) == b"late"


# ------------------------------------------------------------------ sqlite: the files


def test_sqlite_files_are_for_the_owner_alone(path):
    """Whatever the umask is, state is readable by its owner only, and a new folder is, too."""
    before = os.umask(0)
    try:
        engine = SqliteEngine.open(str(path))
        engine.append(SCOPE, engine.acquire(SCOPE, "one"), Batch(b"head", [Record("a", 1, b"x")]))
        engine.quarantine(SCOPE, "part", b"x")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
        engine.close()
    finally:
        os.umask(before)

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert modes == {
        "desk.db": 0o600,
        "desk.db-wal": 0o600,
        "desk.db.head": 0o600,
        "desk.db.lock": 0o600,
        "desk.db.reserve": 0o600,
        "desk.db.quarantine": 0o700,
    }


def test_sqlite_file_that_others_could_read_is_closed_to_them(path):
    """A file that was copied with too wide rights is made private when it is opened."""
    write(path)
    path.chmod(0o644)

    SqliteEngine.open(str(path)).close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_sqlite_settings_make_it_durable(path):
    """The settings that durability rests on are in force, as read back from SQLite."""
    engine = SqliteEngine.open(str(path))
    settings = {
        name: engine._pragma(name)
        for name in ("journal_mode", "synchronous", "locking_mode", "page_size", "wal_autocheckpoint")
    }
    engine.close()

    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "locking_mode": "exclusive",
        "page_size": 4096,
        "wal_autocheckpoint": 0,
    }


@pytest.mark.parametrize("location", ["", ":memory:"])
def test_sqlite_without_a_file_is_refused(location):
    """A place that is no file is refused, with the scheme that is meant."""
    with pytest.raises(StoreError, match="memory:"):
        SqliteEngine.open(location)


def test_sqlite_foreign_file_is_refused_and_left_alone(path):
    """A file that is no database is refused without being touched: neither its bytes nor who may read it."""
    path.parent.mkdir()
    path.write_bytes(b"not a database at all")
    path.chmod(0o644)

    with pytest.raises(CorruptError, match="is not a store"):
        SqliteEngine.open(str(path))

    assert path.read_bytes() == b"not a database at all"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("statement", ["create table theirs(x)", "pragma application_id = 7"])
def test_sqlite_database_of_another_program_is_refused_and_left_alone(path, statement):
    """An SQLite file with an id or with tables of its own is refused before a setting of it is changed."""
    path.parent.mkdir()
    with sqlite3.connect(path) as connection:
        connection.execute(statement)
    connection.close()
    path.chmod(0o644)
    before = path.read_bytes()

    with pytest.raises(StoreError, match="of another program.*; nothing in it was changed"):
        SqliteEngine.open(str(path))

    assert path.read_bytes() == before
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_sqlite_database_of_another_program_in_its_log_is_refused(path):
    """So is one whose tables are only in its log yet."""
    path.parent.mkdir()
    theirs = sqlite3.connect(path)
    theirs.execute("pragma journal_mode = wal")
    theirs.execute("pragma wal_autocheckpoint = 0")
    theirs.execute("create table theirs(x)")
    theirs.commit()
    copy = path.with_name("copy.db")
    for ending in ("", "-wal"):
        shutil.copy(f"{path}{ending}", f"{copy}{ending}")
    theirs.close()

    with pytest.raises(StoreError, match="of another program"):
        SqliteEngine.open(str(copy))


def test_sqlite_newer_format_is_refused(path):
    """A file of a newer format is refused, with both numbers."""
    write(path)
    with sqlite3.connect(path) as connection:
        connection.execute("pragma user_version = 7")
    connection.close()

    with pytest.raises(StoreError, match=r"format 7, which is newer than this code \(1\)"):
        SqliteEngine.open(str(path))


def test_sqlite_damaged_first_page_is_a_store_error(path):
    """Damage that SQLite itself sees is a CorruptError, never one of sqlite3."""
    write(path)
    data = bytearray(path.read_bytes())
    data[100:4096] = bytes(3996)
    path.write_bytes(data)

    with pytest.raises(StoreError):
        engine = SqliteEngine.open(str(path))
        try:
            engine.acquire(SCOPE, "one")
        finally:
            engine.close()


def test_sqlite_closed_engine_says_so(path):
    """What is called after closing gets a StoreError."""
    engine = SqliteEngine.open(str(path))
    engine.close()

    with pytest.raises(StoreError, match="is closed"):
        engine.read_head(SCOPE)
    assert engine.read_witness(SCOPE) is None


def test_sqlite_settings_refused_by_sqlite_are_an_error(path, monkeypatch):
    """When SQLite does not take the settings, the store is not opened."""
    monkeypatch.setattr(SqliteEngine, "_pragma", lambda self, name: "off")

    with pytest.raises(StoreError, match="does not accept the settings"):
        SqliteEngine.open(str(path))


# ------------------------------------------------------------------ sqlite: housekeeping


def written_back(engine, monkeypatch):
    """The modes in which the WAL of *engine* is written back from now on."""
    modes, write_back = [], engine._write_back

    def note(mode="passive"):
        modes.append(mode)
        write_back(mode)

    monkeypatch.setattr(engine, "_write_back", note)
    return modes


def test_sqlite_wal_is_written_back_when_idle(path, monkeypatch):
    """A WAL beyond its limit is written back at the next idle moment, one below it is left."""
    monkeypatch.setattr(sqlite, "WAL_LIMIT", 100_000)
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "one")
    modes = written_back(engine, monkeypatch)
    engine.append(SCOPE, token, Batch(b"head"))
    engine.idle()
    assert modes == []

    engine.commit_cut(SCOPE, token, {b"digest": bytes(300_000)}, Batch(b"head"))
    assert modes == []
    engine.idle()
    engine.idle()

    assert modes == ["passive"]
    assert path.stat().st_size > 300_000
    engine.close()


def test_sqlite_wal_does_not_grow_without_bound_under_constant_load(path, monkeypatch):
    """Without an idle moment the WAL is written back at its hard limit, and written again from its beginning."""
    monkeypatch.setattr(sqlite, "WAL_HARD_LIMIT", 200_000)
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "one")
    modes, sizes = written_back(engine, monkeypatch), []
    for sequence in range(1, 100):
        engine.append(SCOPE, token, Batch(b"head", [Record("a", sequence, bytes(10_000))]))
        sizes.append(path.with_name("desk.db-wal").stat().st_size)
    engine.close()

    assert len(modes) > 5
    assert max(sizes) < 600_000
    assert sizes[-1] == sizes[50] > 0


def test_sqlite_head_is_synced_under_constant_load(path, monkeypatch):
    """Without an idle moment the head is synced every so many commits."""
    syncs = []
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "one")
    monkeypatch.setattr(engine._head, "sync", lambda: syncs.append(len(syncs)))
    for _ in range(2 * sqlite.SYNC_HEAD_EVERY):
        engine.append(SCOPE, token, Batch(b"head"))
    assert len(syncs) == 2  # with the first commit, and after so many more
    engine.close()


def test_sqlite_new_store_is_in_its_folder_after_a_power_cut(path, monkeypatch):
    """Contents that are synced are of no use where the names of their files are not."""
    names = []
    fsync = os.fsync

    def watched(fd):
        fsync(fd)
        if os.readlink(f"/proc/self/fd/{fd}") == str(path.parent):
            names.append({each.name for each in path.parent.iterdir()})

    monkeypatch.setattr(os, "fsync", watched)
    engine = SqliteEngine.open(str(path))
    assert names == [{path.name + ending for ending in ("", "-wal", ".head", ".lock")}]
    engine.close()


def test_sqlite_head_outside_is_not_ahead_of_a_commit_that_was_refused(path):
    """Otherwise the next start would miss records that there never were."""
    engine = SqliteEngine.open(str(path))
    former = engine.acquire(SCOPE, "one")
    engine.append(SCOPE, former, Batch(b"head"))
    engine.acquire(SCOPE, "two")
    with pytest.raises(FencedError):
        engine.append(SCOPE, former, Batch(b"more"))
    with pytest.raises(FencedError):
        engine.commit_cut(SCOPE, former, {b"digest": b"body"}, Batch(b"more"))
    with pytest.raises(FencedError):
        engine.remove(SCOPE, former, Batch(b"more"))
    assert engine.read_witness(SCOPE) == engine.read_head(SCOPE) == b"head"
    engine.close()


def test_sqlite_new_store_has_a_head_on_disk_before_its_first_commit(path, monkeypatch):
    """Power that fails before the first head is written leaves no store without a head; the first commit syncs its own."""
    engine = SqliteEngine.open(str(path))
    assert engine.read_witness(SCOPE) == b""
    token = engine.acquire(SCOPE, "one")
    synced = []
    monkeypatch.setattr(engine._head, "sync", lambda: synced.append(engine.read_witness(SCOPE)))
    for number in range(3):
        engine.append(SCOPE, token, Batch(b"head %d" % number))
    assert synced == [b"head 0"]
    engine.close()

    engine = SqliteEngine.open(str(path))
    assert engine.read_witness(SCOPE) == b"head 2"
    engine.close()


@pytest.mark.parametrize("fails", ["head", "write back"])
def test_sqlite_no_room_after_the_commit_is_no_failure_of_it(path, monkeypatch, fails):
    """What was committed is never told to be not written, even when there is no room for what comes after it."""
    monkeypatch.setattr(sqlite, "WAL_HARD_LIMIT", 0)
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "one")

    def full(*_):
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patch:
        patch.setattr(engine._head if fails == "head" else engine, "write" if fails == "head" else "_write_back", full)
        assert engine.append(SCOPE, token, Batch(b"one", [Record("a", 1, b"x")])) == 1
    assert engine.append(SCOPE, token, Batch(b"two", [Record("a", 2, b"x")])) == 2
    assert [record.sequence for _, record in engine.read_records(SCOPE, "a")] == [1, 2]
    assert engine.read_witness(SCOPE) == b"two"
    engine.close()


def test_sqlite_error_of_the_medium_after_the_commit_is_told(path, monkeypatch):
    """Any other error behind the commit reaches the store, which then acknowledges nothing more."""
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "one")

    def broken(*_):
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(engine._head, "write", broken)
    with pytest.raises(OSError, match="broken"):
        engine.append(SCOPE, token, Batch(b"one"))
    engine.close()


def test_sqlite_reserve_grows_with_the_largest_save(path):
    """The reserve has room for one more save, however large that is, and is not built twice."""
    engine = SqliteEngine(str(path), reserve=100_000)
    reserve = Path(str(path) + ".reserve")
    assert reserve.stat().st_size == 100_000

    assert engine.recover_room(100)
    assert reserve.stat().st_size == 100_000
    assert engine.recover_room(1_000_000)
    assert reserve.stat().st_size == 3_000_000
    engine.close()


def test_sqlite_reserve_that_does_not_fit_is_no_error(path, monkeypatch):
    """When there is no room for the reserve, the store works without one."""

    def refuse(fd, begin, size):
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    engine = SqliteEngine.open(str(path))

    assert not Path(str(path) + ".reserve").exists()
    assert not engine.recover_room(0)
    assert not engine.relieve()
    engine.append(SCOPE, engine.acquire(SCOPE, "one"), Batch(b"head"))
    engine.close()


def test_sqlite_full_database_is_enospc_and_goes_on_reading(path):
    """A full disk is an OSError with ENOSPC; nothing was written, and reading works."""
    engine = SqliteEngine.open(str(path))
    token = engine.acquire(SCOPE, "one")
    engine.append(SCOPE, token, Batch(b"head", [Record("a", 1, b"x")]))
    engine._db.execute("pragma max_page_count = 20")

    with pytest.raises(OSError) as caught:
        engine.commit_cut(SCOPE, token, {b"digest": bytes(500_000)}, Batch(b"late"))

    assert caught.value.errno == errno.ENOSPC
    assert engine.read_head(SCOPE) == b"head" == engine.read_witness(SCOPE)
    assert engine.read_part(SCOPE, b"digest") is None
    engine.close()


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_FULL, errno.ENOSPC),
        (sqlite3.SQLITE_IOERR_FSYNC, errno.EIO),
        (sqlite3.SQLITE_READONLY, errno.EIO),
        (sqlite3.SQLITE_CANTOPEN, errno.EIO),
    ],
)
def test_sqlite_errors_of_the_medium_are_os_errors(code, expected):
    """What the medium did is an OSError, whose number says whether there is no room."""
    error = sqlite3.OperationalError("from SQLite")
    error.sqlite_errorcode = code

    translated = _sqlite_errors.translate("desk.db", error)

    assert isinstance(translated, OSError)
    assert translated.errno == expected
    assert "desk.db: from SQLite" in str(translated)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_CORRUPT, CorruptError),
        (sqlite3.SQLITE_NOTADB, CorruptError),
        (sqlite3.SQLITE_BUSY, StoreError),
        (sqlite3.SQLITE_ERROR, StoreError),
    ],
)
def test_sqlite_errors_of_the_content_are_store_errors(code, expected):
    """Everything else is a StoreError; damage is a CorruptError."""
    error = sqlite3.DatabaseError("from SQLite")
    error.sqlite_errorcode = code

    assert type(_sqlite_errors.translate("desk.db", error)) is expected
