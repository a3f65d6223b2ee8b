"""Opening a store: by URL, once at a time, and only what is named is loaded."""

import errno
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import trio

from genesis_trio import open_store
from genesis_trio.errors import CorruptError, PluginError, StoreError
from genesis_trio.persistence.engines.memory import MemoryEngine
from genesis_trio.persistence.opening import open_store_over
from genesis_trio.testing import FaultyEngine, open_store_on
from persistence.damage import rewrite_row
from persistence.desk import Fill, Note


class PluginEngine(MemoryEngine):
    """What a plugin might bring."""

    opened = []

    @classmethod
    def open(cls, location):
        cls.opened.append(location)
        return cls()


@pytest.fixture
def plugins(monkeypatch):
    """Entry points as a distribution would register them."""
    entries = []

    def entry_points(*, group):
        assert group == "genesis_trio.engines"
        return entries

    def add(name, value):
        entries.append(metadata.EntryPoint(name, value, "genesis_trio.engines"))

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    return add


async def test_opening_scheme_of_a_plugin_is_loaded_when_named(plugins):
    """A plugin serves its scheme; one that is not named is not even imported."""
    plugins("postgresql", "no_such_module:Engine")
    plugins("cloud", "persistence.test_opening:PluginEngine")
    PluginEngine.opened.clear()

    async with open_store("cloud:bucket:desk") as store:
        await store.append("a", [Fill(1)])

    assert __import__("persistence.test_opening", fromlist=["x"]).PluginEngine.opened == ["bucket:desk"]


async def test_opening_broken_plugin_names_plugin_and_reason(plugins):
    """A plugin that cannot be loaded is named with the reason, and so is one that is no engine."""
    plugins("postgresql", "no_such_module:Engine")
    plugins("list", "builtins:list")
    plugins("text", "string:digits")

    with pytest.raises(PluginError, match="'postgresql'.*no_such_module:Engine: ModuleNotFoundError"):
        async with open_store("postgresql:desk"):
            pass
    for scheme in ("list", "text"):
        with pytest.raises(PluginError, match=f"'{scheme}'.*no subclass of StoreEngine"):
            async with open_store(f"{scheme}:desk"):
                pass


class BrokenEngine(MemoryEngine):
    """What a plugin brings by mistake: its *location* says which."""

    @classmethod
    def open(cls, location):
        if location == "nothing":
            return {}
        raise {"bug": ZeroDivisionError("boom"), "in use": StoreError("in use"), "full": OSError(errno.ENOSPC, "full")}[
            location
        ]


@pytest.mark.parametrize(
    ("location", "kind", "words"),
    [
        ("nothing", PluginError, "engine 'cloud'.* opened 'nothing' as {}, which is no StoreEngine"),
        ("bug", PluginError, "engine 'cloud'.* failed to open 'bug'.*: ZeroDivisionError: boom"),
        ("in use", StoreError, "^in use$"),
        ("full", StoreError, "free some space"),
    ],
)
async def test_opening_engine_of_a_plugin_that_fails_is_named(plugins, location, kind, words):
    """A bug of an engine is told as the plugin's; what an engine may raise is told as it is."""
    plugins("cloud", "persistence.test_opening:BrokenEngine")

    with pytest.raises(kind, match=words):
        async with open_store(f"cloud:{location}"):
            pass


async def test_opening_engine_module_that_ends_the_process_is_a_broken_plugin(plugins, tmp_path, monkeypatch):
    """A module that calls sys.exit() when it is imported does not end the command without a word."""
    (tmp_path / "engine_that_exits.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins("cloud", "engine_that_exits:Engine")

    with pytest.raises(PluginError, match="'cloud'.*engine_that_exits:Engine: SystemExit: 3"):
        async with open_store("cloud:desk"):
            pass


async def test_opening_scheme_of_two_plugins_is_refused(plugins):
    """Where two packages bring one scheme, none is chosen by chance; the same one registered twice is one."""
    plugins("cloud", "persistence.test_opening:PluginEngine")
    plugins("cloud", "persistence.test_opening:PluginEngine")
    async with open_store("cloud:desk"):
        pass

    plugins("cloud", "persistence.test_opening:BrokenEngine")
    with pytest.raises(
        PluginError, match="several engines for the scheme 'cloud': .*PluginEngine of .*BrokenEngine of"
    ):
        async with open_store("cloud:desk"):
            pass


async def test_opening_unknown_scheme_is_a_store_error(plugins):
    """An unknown scheme is named, beside those that are installed."""
    plugins("cloud", "x:y")

    with pytest.raises(StoreError, match="'redis'; installed are cloud, memory, sqlite"):
        async with open_store("redis:desk"):
            pass
    with pytest.raises(StoreError, match="sqlite:desk.db"):
        async with open_store("desk.db"):
            pass


@pytest.mark.parametrize(
    ("url", "timeout", "error"),
    [
        (Path("desk.db"), 1.0, TypeError),
        ("memory:", "1", TypeError),
        ("memory:", True, TypeError),
        ("memory:", 0, ValueError),
        ("memory:", float("inf"), ValueError),
        ("memory:", float("nan"), ValueError),
    ],
)
async def test_opening_wrong_arguments_are_refused(url, timeout, error):
    """What cannot work is refused before anything is opened."""
    with pytest.raises(error):
        async with open_store(url, commit_timeout=timeout):
            pass


async def test_opening_twice_in_one_process_is_refused(url):
    """A store has one holder, also within a process; the message names it."""
    async with open_store(url) as store:
        await store.append("a", [Fill(1)])
        with pytest.raises(StoreError, match=f"in use by process {os.getpid()} on"):
            async with open_store(url):
                pass
        await store.append("a", [Fill(2)])

    async with open_store(url) as store:
        assert await store.append("a", []) == 2


async def test_opening_while_another_process_holds_it_is_refused(tmp_path):
    """A second process is told which process holds the store; when that one is killed it is free at once."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    script = (
        "import sys, trio\n"
        "from genesis_trio import open_store\n"
        "async def main():\n"
        f"    async with open_store({url!r}):\n"
        "        print('open', flush=True)\n"
        "        await trio.to_thread.run_sync(sys.stdin.read)\n"
        "trio.run(main)\n"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    ) as process:
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(StoreError, match=f"in use by process {process.pid} on"):
            async with open_store(url):
                pass
        process.kill()
        process.wait()

    async with open_store(url) as store:
        await store.append("a", [Fill(1)])


async def test_opening_cancelled_before_it_begins_opens_nothing(tmp_path):
    """A cancelled opening leaves no file and no lock."""
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_store(f"sqlite:{tmp_path / 'desk.db'}"):
            raise AssertionError("it was opened")

    assert scope.cancelled_caught
    assert list(tmp_path.iterdir()) == []


async def test_opening_failure_gives_the_lock_back(tmp_path):
    """A store that could not be opened is not held."""
    path = tmp_path / "desk.db"
    path.write_bytes(b"something else")
    for _ in range(2):
        with pytest.raises(CorruptError, match="is not a store"):
            async with open_store(f"sqlite:{path}"):
                pass
    path.unlink()

    async with open_store(f"sqlite:{path}") as store:
        await store.create_checkpoint({"a": Note()})


async def test_opening_on_a_full_disk_gives_up_the_reserve():
    """With a full disk a service comes up all the same: opening may use the reserve, and says so if there is none."""
    engine = FaultyEngine()
    acquire, errors = engine.acquire, [OSError(errno.ENOSPC, "no room"), None, OSError(errno.ENOSPC, "no room")]

    def fail_once(scope, holder):
        error = errors.pop(0)
        if error is not None:
            raise error
        return acquire(scope, holder)

    engine.acquire = fail_once
    async with open_store_on(engine):
        assert not engine.relieve()
    with pytest.raises(StoreError, match="cannot open the store testing:: .*no room; free some space on its disk"):
        async with open_store_on(engine):
            pass


async def test_opening_with_damage_on_a_full_disk_tells_of_it_again():
    """An incident that there is no room to write down is told now, and found again next time."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store:
        await store.create_checkpoint({"a": Note("x")})
        rewrite_row(store, "head", "a", "")
    engine.fail(OSError(errno.ENOSPC, "no room"))
    for _ in range(2):
        async with open_store_on(engine) as store:
            assert any("head of 'a' was lost" in text for text in store.damage)


async def test_opening_medium_that_cannot_be_read_is_a_store_error():
    """An I/O error while opening is a StoreError, and the engine is closed."""
    engine, closed = FaultyEngine(), []

    def fail(scope):
        raise OSError(errno.EIO, "the medium failed")

    engine.read_head, engine.close = fail, lambda: closed.append(True)
    with pytest.raises(StoreError, match="the medium failed"):
        async with open_store_on(engine):
            pass
    assert closed == [True]


async def test_opening_engine_without_room_for_its_file_is_a_store_error():
    """What an engine says about a full disk while it makes its file reaches nobody as a bare OSError."""

    def fail():
        raise OSError(errno.ENOSPC, "database or disk is full")

    with pytest.raises(StoreError, match="disk is full"):
        async with open_store_over(fail, "faulty:"):
            pass


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "give the user of this process the right"),
        (errno.EROFS, "mounted read-only: remount it"),
        (errno.EIO, r"look at its disk and its mount \(dmesg\)"),
    ],
)
async def test_opening_says_what_to_do_about_the_place(number, advice):
    """The store is named, with the reason and the next step."""

    def fail():
        raise OSError(number, "no", "desk.db")

    with pytest.raises(StoreError, match=rf"cannot open the store faulty:desk: .*'desk.db'; .*{advice}"):
        async with open_store_over(fail, "faulty:desk"):
            pass


async def test_opening_in_a_folder_that_cannot_be_made_is_a_store_error(tmp_path):
    """A place that cannot be made is named, with the reason."""
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(StoreError, match="cannot open the store sqlite:.*file/desk.db: .*"):
        async with open_store(f"sqlite:{tmp_path / 'file' / 'desk.db'}"):
            pass


async def test_opening_unnamed_memory_is_new_each_time():
    """`memory:` is gone at the end of its block."""
    for _ in range(2):
        async with open_store("memory:") as store:
            assert await store.append("a", [Fill(1)]) == 1


async def test_opening_relative_path_stays_where_it_was(tmp_path, monkeypatch):
    """A relative path is taken when the store is opened; changing the folder later does not move it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    async with open_store("sqlite:desk.db") as store:
        monkeypatch.chdir(tmp_path / "elsewhere")
        await store.append("a", [Fill(1)])
        store._ledger.engine.quarantine("main", "x", b"x")

    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_opening_loads_sqlite_and_codec_only_when_used():
    """Importing the store costs neither SQLite nor cattrs."""
    script = (
        "import sys\n"
        "before = set(sys.modules)\n"  # measuring coverage brings modules of its own
        "import genesis_trio.persistence.store, genesis_trio.persistence.opening\n"
        "new = set(sys.modules) - before\n"
        "print([name for name in ('sqlite3', 'cattrs', 'orjson', 'tomllib', 'importlib.metadata') if name in new])\n"
    )
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True)

    assert found.stdout == "[]\n"
