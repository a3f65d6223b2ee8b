"""What comes back from files of SQLite that a kill left, or that lack something: the end of the log, the head beside it."""

import shutil
from pathlib import Path

import pytest

from genesis_trio import open_store
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._envelope import Root
from genesis_trio.persistence._head import HeadFile
from genesis_trio.persistence.effects import EffectStatus
from persistence.desk import Fill, Ledger, Note, saved_twice

A = "desk/ledger"


def copied(source: Path, target: Path) -> str:
    """The files of a store as they are now: what a kill leaves, without the end of the process."""
    target.mkdir()
    for ending in ("", "-wal", ".head"):
        shutil.copy(f"{source}{ending}", f"{target / source.name}{ending}")
    return f"sqlite:{target / source.name}"


@pytest.fixture
async def killed(tmp_path):
    """The files of a store that was killed after two cuts, six records, two effects and a latch."""
    path = tmp_path / "whole" / "desk.db"
    async with open_store(f"sqlite:{path}") as store:
        await store.create_checkpoint({"first": Note("x")})
        await store._writer.read(store._ledger.engine._write_back)
        await saved_twice(store)
        await store.begin_effect(A, "order 1")
        await store.put_control("latch", b"x").wait()
        copied(path, tmp_path / "killed")
    return tmp_path / "killed" / "desk.db"


async def test_shortened_nothing_is_lost_by_a_kill(killed):
    """Everything that was acknowledged is there after a kill; nothing is told, as nothing is wrong."""
    async with open_store(f"sqlite:{killed}") as store:
        assert store.damage == ()
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state.entries, loaded.lost) == ([1, 2, 3, 4, 5, 6], 0)
        assert (await store.begin_effect(A, "order 1")).status is EffectStatus.UNKNOWN
        assert dict(await store.read_control()) == {"latch": b"x"}
        assert (await store.verify()).ok


async def test_shortened_log_is_noticed_and_named(killed, events):
    """With the end of the WAL gone, SQLite is content; the head beside it tells what is missing."""
    wal = killed.with_name("desk.db-wal")
    wal.write_bytes(wal.read_bytes()[:-1])
    async with open_store(f"sqlite:{killed}") as store:
        assert any("the end of the log is missing: 1 commits with 0 records" in text for text in store.damage)
        assert (await store.load(A, Ledger, make=Ledger)).state.entries == [1, 2, 3, 4, 5, 6]
        assert dict(await store.read_control()) == {}

    assert [event.name for event in events].count("store_damaged") == 1


async def test_shortened_log_counts_and_names_what_is_gone(killed):
    """Checkpoints that are gone are named, records cannot be told apart, and numbers are not used again."""
    killed.with_name("desk.db-wal").unlink()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("with 6 records, and 2 saved checkpoints" in text for text in store.damage)
        with pytest.raises(CorruptError, match="nothing of 'desk/ledger' is in the store"):
            await store.load(A, Ledger, make=Ledger)
        with pytest.raises(CorruptError):
            await store.restore_latest(A, Ledger)
        restored = await store.restore_latest("first", Note)
        assert (restored.state, restored.lost) == (Note("x"), None)
        assert restored.fell_back_from == ("cp-000003", "cp-000002")
        # An intent may be among what is gone.
        assert (await store.begin_effect("first", "order 9")).status is EffectStatus.UNKNOWN
        info = await store.create_checkpoint({"first": Note("y")})
        assert info.id == "cp-000004"
        assert (await store.restore_latest("first", Note)).lost == 0

    async with open_store(f"sqlite:{killed}") as store:
        assert not (await store.verify()).ok
        with pytest.raises(CorruptError):
            await store.load(A, Ledger, make=Ledger)
        await store.accept_damage()
        assert (await store.load(A, Ledger, make=Ledger)).state == Ledger()
        assert (await store.begin_effect("first", "order 10")).status is EffectStatus.NEW
        assert (await store.verify()).ok


async def test_shortened_at_any_point_is_noticed(killed, tmp_path):
    """Wherever the WAL is cut off, what is missing is told: never silently, never with a wrong state."""
    data = killed.with_name("desk.db-wal").read_bytes()
    for number, cut in enumerate(range(0, len(data), 1777)):
        url = copied(killed, tmp_path / f"cut {number}")
        (tmp_path / f"cut {number}" / "desk.db-wal").write_bytes(data[:cut])
        async with open_store(url) as store:
            assert any("the end of the log is missing" in text for text in store.damage)
            try:
                loaded = await store.load(A, Ledger, make=Ledger)
            except CorruptError:
                continue
            assert loaded.state.entries == [1, 2, 3, 4, 5, 6][: len(loaded.state.entries)]


async def test_shortened_database_without_its_beginning_is_not_a_fresh_one(killed):
    """A store whose database is gone, but not its head, has lost everything: it is not a new store."""
    killed.unlink()
    killed.with_name("desk.db-wal").unlink()
    async with open_store(f"sqlite:{killed}") as store:
        with pytest.raises(CorruptError, match="acknowledged data is missing"):
            await store.restore_latest(A, Ledger)


async def test_head_file_that_was_not_copied_is_told(killed):
    """Without the head beside it a shortened log would not be noticed; that is told, and nothing else is in doubt."""
    killed.with_name("desk.db.head").unlink()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("copy all files of a store" in text for text in store.damage)
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state.entries, loaded.lost) == ([1, 2, 3, 4, 5, 6], 0)
        await store.append(A, [Fill(7)])
    async with open_store(f"sqlite:{killed}") as store:
        assert store.damage == ()


async def test_head_file_with_nothing_left_is_told(killed):
    """A head file of which nothing can be read is as good as none."""
    killed.with_name("desk.db.head").write_bytes(b"\xff" * 8192)
    async with open_store(f"sqlite:{killed}") as store:
        assert any("copy all files of a store" in text for text in store.damage)
        report = await store.verify()
        assert any("desk.db.head" in problem for problem in report.problems)


async def test_head_file_that_differs_is_told(killed):
    """Two heads of the same moment that say different things are told; a head that is no root as well."""
    file = HeadFile(str(killed.with_name("desk.db.head")))
    root = Root.unpack(file.read())
    root.rows_sum += 1
    file.write(root.pack())
    file.close()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("two heads of the store differ" in text for text in store.damage)
    file = HeadFile(str(killed.with_name("desk.db.head")))
    file.write(b"valid for the file, and no root")
    file.close()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("outside of the database: the head of the store is damaged" in text for text in store.damage)


async def test_recovery_wal_of_another_moment_is_a_store_error_or_told(killed, tmp_path):
    """A database and a WAL that do not belong together never give a wrong state silently."""
    whole = tmp_path / "whole" / "desk.db"
    shutil.copy(killed.with_name("desk.db-wal"), whole.with_name("desk.db-wal"))
    try:
        async with open_store(f"sqlite:{whole}") as store:
            loaded = await store.load(A, Ledger, make=Ledger)
            assert store.damage or loaded.lost != 0 or loaded.state.entries == [1, 2, 3, 4, 5, 6]
    except StoreError:
        pass
