"""Where a store may lie, and whose it is: what cannot keep its promise is refused before anything is made."""

import os
import shutil
import stat

import pytest

from genesis_trio import Mode, open_store, open_supervisor
from genesis_trio.errors import PoisonedError, StoreError
from genesis_trio.persistence import _filesystem
from genesis_trio.persistence.engines import _place, sqlite
from genesis_trio.persistence.engines.sqlite import SqliteEngine
from persistence.desk import Fill

MOUNTS = r"""
/dev/sda1 / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/export /data nfs4 rw 0 0
//server/share /data/win\040share cifs rw 0 0
/dev/sdb1 /data/local xfs rw 0 0
overlay /data/local overlay rw 0 0
broken
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "desk.db"


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/home/desk/desk.db", "ext4"),
        ("/run/desk.db", "tmpfs"),
        ("/runner/desk.db", "ext4"),
        ("/data", "nfs4"),
        ("/data/x/desk.db", "nfs4"),
        ("/data/win share/desk.db", "cifs"),
        ("/data/local/desk.db", "overlay"),
    ],
)
def test_filesystem_is_that_of_the_longest_mount_point(tmp_path, place, expected):
    """The innermost mount counts, and of two on the same point the later one."""
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS)

    assert _filesystem.filesystem_of(place, str(mounts)) == expected


def test_filesystem_without_a_list_of_mounts_is_unknown(tmp_path):
    """Elsewhere than on Linux nobody is refused for it."""
    assert _filesystem.filesystem_of("/x", str(tmp_path / "none")) == ""


@pytest.mark.parametrize("place", ["nfs4", "cifs", "fuse.sshfs"])
async def test_place_network_file_system_is_refused(path, monkeypatch, place):
    """A store on a network file system is refused with its type, and nothing is made there."""
    monkeypatch.setattr(_place, "filesystem_of", lambda folder: place)

    with pytest.raises(StoreError, match=rf"network file system \({place}\).*choose a local disk"):
        async with open_store(f"sqlite:{path}"):
            pass
    assert os.listdir(path.parent) == []


@pytest.mark.parametrize("ending", ["", ".lock", ".head", "-wal"])
async def test_place_symbolic_link_is_refused_with_what_it_names(path, ending):
    """A link would give the same store two sets of locks; what it points to is left alone."""
    target = path.parent / "target"
    target.write_bytes(b"")
    os.chmod(target, 0o640)
    os.symlink(target, f"{path}{ending}")

    with pytest.raises(StoreError, match=rf"desk.db{ending} is a symbolic link; name the file itself: .*target"):
        async with open_store(f"sqlite:{path}"):
            pass
    assert target.read_bytes() == b"" and stat.S_IMODE(target.stat().st_mode) == 0o640


async def test_place_link_to_a_folder_is_the_same_store(path, tmp_path):
    """Through a linked folder the files beside the store are the same ones, and so is its lock."""
    os.symlink(path.parent, tmp_path / "linked")
    async with open_store(f"sqlite:{path}"):
        with pytest.raises(StoreError, match="is in use by process"):
            async with open_store(f"sqlite:{tmp_path / 'linked' / 'desk.db'}"):
                pass


async def test_place_directory_is_refused(path):
    """A folder in the place of the file is named as one."""
    path.mkdir()

    with pytest.raises(StoreError, match="is a directory; a store is a file of its own"):
        async with open_store(f"sqlite:{path}"):
            pass


async def test_place_pipe_is_refused(path):
    """So is anything else that is no file."""
    os.mkfifo(path)

    with pytest.raises(StoreError, match="is no regular file"):
        async with open_store(f"sqlite:{path}"):
            pass


async def test_place_read_only_folder_is_a_store_error(path, monkeypatch):
    """What cannot be written is said before it is tried, with the folder."""
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(StoreError, match=f"nothing can be written in its folder {path.parent}"):
        async with open_store(f"sqlite:{path}"):
            pass


async def test_place_file_of_another_user_is_refused(path, monkeypatch):
    """Files that another user made are not opened by somebody else by accident."""
    async with open_store(f"sqlite:{path}"):
        pass
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)

    with pytest.raises(StoreError, match=r"belongs to user \d+, not to us .*run as its owner, or chown it"):
        async with open_store(f"sqlite:{path}"):
            pass


async def test_place_open_permissions_are_tightened(path):
    """Whatever others were allowed, they are no longer."""
    async with open_store(f"sqlite:{path}"):
        pass
    for ending in ("", ".lock", ".head"):
        os.chmod(f"{path}{ending}", 0o664)
    async with open_store(f"sqlite:{path}"):
        pass
    for ending in ("", ".lock", ".head"):
        assert stat.S_IMODE(os.stat(f"{path}{ending}").st_mode) == 0o600


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("///desk.db", "sqlite:///desk.db may mean two files; write sqlite:desk.db .* or sqlite:/desk.db"),
        ("//books/desk.db", "may mean two files; write sqlite:books/desk.db"),
        ("books/", "sqlite:books/ names a folder; name a file in it, as in sqlite:books/desk.db"),
        ("desk\0.db", "has a NUL character in it"),
    ],
)
async def test_place_location_that_is_no_name_is_refused(tmp_path, monkeypatch, location, message):
    """What other libraries read in another way, and what names no file, is not guessed at; nothing is made."""
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StoreError, match=message):
        async with open_store(f"sqlite:{location}"):
            pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["a b.db", "q?mode=ro&x=#1.db", "per%20cent.db", "ünï.db", "a;b'c.db", "file:x.db", "n\nl"]
)
async def test_place_any_file_name_is_taken_as_it_is(tmp_path, name):
    """A name is a name: nothing in it is an option, a comment or an escape."""
    for last in (1, 2):
        async with open_store(f"sqlite:{tmp_path / name}") as store:
            assert await store.append("a", [Fill(1)]) == last
    assert name in os.listdir(tmp_path)


# ------------------------------------------------------------------ files that go while they are open


def replace_by_a_copy(path):
    shutil.copy(path, f"{path}.copy")
    os.replace(f"{path}.copy", path)


@pytest.mark.parametrize(
    "take_away",
    [
        lambda path: shutil.rmtree(path.parent),
        lambda path: path.parent.rename(path.parent.with_name("moved")),
        lambda path: path.unlink(),
        lambda path: os.unlink(f"{path}-wal"),
        replace_by_a_copy,
    ],
    ids=["folder removed", "folder renamed", "file removed", "log removed", "file replaced"],
)
async def test_place_file_that_goes_while_it_is_open_ends_acknowledging(tmp_path, take_away):
    """What would be written to a file that nobody finds again is not acknowledged, and SAFE is held for it."""
    (tmp_path / "books").mkdir()
    path = tmp_path / "books" / "desk.db"
    async with open_store(f"sqlite:{path}") as store, open_supervisor("desk", store=store) as desk:
        await store.append("a", [Fill(1)])
        take_away(path)

        for _ in range(2):
            with pytest.raises(
                PoisonedError, match=rf"{path}(-wal)? was removed, renamed or replaced.*; stop the service"
            ):
                await store.append("a", [Fill(2)])
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()


# ------------------------------------------------------------------ the promise


async def test_promise_comes_from_settings_read_back(path, monkeypatch):
    """With FULL on a disk a power cut is survived, without it or in memory it is not, and one disk is never two."""
    async with open_store(f"sqlite:{path}") as store:
        monkeypatch.setattr(sqlite, "filesystem_of", lambda folder: "ext4")
        assert str(await store.read_promise()) == (
            "survives: kill -9 yes, power cut yes, disk loss no (journal_mode wal, synchronous 2, on ext4, one copy)"
        )
        monkeypatch.setattr(sqlite, "filesystem_of", lambda folder: "tmpfs")
        assert (await store.read_promise()).power_cut is False
        monkeypatch.setattr(sqlite, "filesystem_of", lambda folder: "")
        engine = store._ledger.engine
        assert isinstance(engine, SqliteEngine)
        engine._db.execute("pragma synchronous = normal")
        promise = await store.read_promise()
        assert (promise.kill, promise.power_cut) == (True, False)
        assert "synchronous 1, on an unknown file system" in promise.because


async def test_promise_of_memory_is_none_at_all():
    """What is in memory survives nothing, and an engine that does not say is not believed to keep anything."""
    from genesis_trio.persistence.engine import Promise

    async with open_store("memory:") as store:
        assert str(await store.read_promise()) == (
            "survives: kill -9 no, power cut no, disk loss no (it is all in memory)"
        )
    assert "kill -9 unknown" in str(Promise())
