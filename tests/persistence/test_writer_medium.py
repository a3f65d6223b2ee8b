"""The writer over a medium that fails, or is full: nothing is acknowledged that is not so, and everybody is told."""

import errno
import threading

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis_trio import open_store
from genesis_trio.errors import PoisonedError, StoreError
from genesis_trio.persistence import _writer
from genesis_trio.testing import FaultyEngine, open_store_on
from persistence.desk import Fill, HeldEngine, Ledger, Note, book

A = "desk/ledger"
EIO = OSError(errno.EIO, "the medium failed")
ENOSPC = OSError(errno.ENOSPC, "no room")


# ------------------------------------------------------------------ a medium that fails


@pytest.mark.parametrize("blocking", [False, True])
@pytest.mark.parametrize("after_writing", [False, True])
async def test_writer_first_io_error_poisons(blocking, after_writing, events):
    """After one I/O error nothing is acknowledged any more, everybody is told, and reading works."""
    engine, ledger, told = FaultyEngine(), Ledger(), []
    engine.blocking = blocking
    async with open_store_on(engine) as store:
        store.on_trouble.append(told.append)
        await book(store, ledger, 1)
        info = await store.create_checkpoint({A: ledger})
        go_wrong = engine.lose_reply if after_writing else engine.fail
        go_wrong(EIO)

        with pytest.raises(PoisonedError, match="the medium failed") as caught:
            await book(store, ledger, 2)
        assert caught.value.__cause__ is EIO

        for call in (
            lambda: book(store, ledger, 3),
            lambda: store.create_checkpoint({A: ledger}),
            lambda: store.append(A, [Fill(1)]),
            lambda: store.begin_effect(A, "x"),
            lambda: store.rewind(info.id),
            store.put_control("latch", b"x").wait,
        ):
            with pytest.raises(PoisonedError, match="acknowledges nothing more"):
                await call()

        assert isinstance(store.poisoned, PoisonedError)
        assert told == [store.poisoned]
        assert store.statistics().poisoned
        assert ledger.entries == [1]
        assert (await store.restore_latest(A, Ledger)).state == Ledger(1, [1])
        assert len(await store.list_checkpoints()) == 1
    names = [event.name for event in events]
    assert names.count("store_poisoned") == 1
    assert names.count("checkpoint_failed") == 1


async def test_writer_poison_reaches_all_of_the_batch_and_all_that_wait():
    """Everybody in the failed commit and everybody behind it is refused; nothing is applied."""
    engine, ledger, outcomes = HeldEngine(), Ledger(), []
    async with open_store_on(engine) as store:
        engine.hold()
        engine.fail(EIO)

        async def work(number):
            with pytest.raises(PoisonedError):
                await book(store, ledger, number)
            outcomes.append(number)

        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            for number in range(3):  # in one step, so they share a commit
                nursery.start_soon(work, number)
            await engine.wait_entered()
            for number in range(3, 5):
                nursery.start_soon(work, number)
            await wait_all_tasks_blocked()
            engine.let_go()

    assert sorted(outcomes) == [0, 1, 2, 3, 4]
    assert ledger.entries == []
    assert engine.writes == 1


async def test_writer_error_while_reading_poisons():
    """A medium that fails when it is read is not trusted with new data either."""
    engine = FaultyEngine()

    def fail(scope, digest):
        raise EIO

    async with open_store_on(engine) as store:
        await store.create_checkpoint({"a": Note()})
        engine.read_part = fail
        with pytest.raises(PoisonedError, match="could not be read: .*the medium failed"):
            await store.restore_latest("a", Note)
        with pytest.raises(PoisonedError):
            await store.append(A, [Fill(1)])


async def test_writer_error_while_planning_poisons():
    """An I/O error that comes up before the write is one all the same."""
    engine = FaultyEngine()

    def fail(scope, kind, component, key):
        raise EIO

    async with open_store_on(engine) as store:
        await store.begin_effect(A, "order 1")
        engine.read_row = fail
        with pytest.raises(PoisonedError, match="the medium failed"):
            await store.begin_effect(A, "order 2")


async def test_writer_second_trouble_is_not_told_again():
    """The first error is the reason; what follows from it is not told a second time."""
    engine, told = FaultyEngine(), []

    def fail():
        raise EIO

    async with open_store_on(engine) as store:
        store.on_trouble.append(told.append)
        engine.fail(EIO)
        engine.idle = fail
        with pytest.raises(PoisonedError):
            await store.append(A, [Fill(1)])
        store._writer._poison(StoreError("another"))

    assert len(told) == 1


async def test_writer_any_unexpected_error_of_an_engine_poisons():
    """An engine that breaks its contract is not trusted any further."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store:
        engine.fail(RuntimeError("a bug in an engine"))
        with pytest.raises(PoisonedError, match="a bug in an engine"):
            await store.append(A, [Fill(1)])


async def test_writer_error_while_idle_poisons(autojump_clock):
    """The medium is not better when nobody waits: what idle work shows counts as well."""
    engine = FaultyEngine()

    def fail():
        raise EIO

    async with open_store_on(engine) as store:
        engine.idle = fail
        await store.append(A, [Fill(1)])
        await wait_all_tasks_blocked()

        assert isinstance(store.poisoned, PoisonedError)


async def test_writer_full_disk_or_refusal_while_idle(autojump_clock):
    """Idle work that has no room is left for later; an error of the content is not."""
    engine = FaultyEngine()
    errors = [ENOSPC, StoreError("strange")]

    def fail():
        raise errors.pop(0)

    async with open_store_on(engine) as store:
        engine.idle = fail
        await store.append(A, [Fill(1)])
        await wait_all_tasks_blocked()
        assert store.poisoned is None
        await store.append(A, [Fill(2)])
        await wait_all_tasks_blocked()
        assert isinstance(store.poisoned, PoisonedError)


async def test_writer_tidies_under_constant_load(monkeypatch):
    """The engine gets its idle work done now and then, though somebody always waits."""
    monkeypatch.setattr(_writer, "TIDY_EVERY", 5)
    engine, calls = FaultyEngine(), []
    engine.idle = lambda: calls.append(engine.writes)
    async with open_store_on(engine) as store:
        for number in range(12):
            await store.append(A, [Fill(number)])

    assert len(calls) == 2


async def test_writer_tidies_after_a_quiet_while(monkeypatch):
    """Idle work waits until nobody has come for a moment, and is then done once."""
    monkeypatch.setattr(_writer, "QUIET", 0.001)
    engine, called = FaultyEngine(), threading.Event()
    engine.idle = called.set
    async with open_store_on(engine) as store:
        await store.append(A, [Fill(1)])
        await trio.to_thread.run_sync(called.wait, 5)

    assert called.is_set()


async def test_writer_listener_that_fails_stops_nobody():
    """A listener that raises is logged; the others are told."""
    engine, told = FaultyEngine(), []

    def fail(error):
        raise ValueError("a listener")

    async with open_store_on(engine) as store:
        store.on_trouble[:] = [fail, told.append]
        engine.fail(EIO)
        with pytest.raises(PoisonedError):
            await store.append(A, [Fill(1)])

    assert len(told) == 1


# ------------------------------------------------------------------ a full disk


async def test_writer_full_disk_does_not_poison(autojump_clock, events):
    """A full disk is an error with what to do; the reserve lets state be saved once more; with room it goes on."""
    engine, ledger, told = FaultyEngine(), Ledger(), []
    async with open_store_on(engine) as store:
        store.on_trouble.append(told.append)
        await book(store, ledger, 1)
        engine.fill(saves=2)

        with pytest.raises(StoreError, match="its reserve was released, so state can be saved once more") as caught:
            await book(store, ledger, 2)
        assert type(caught.value) is StoreError
        assert caught.value.__cause__.errno == errno.ENOSPC
        assert store.poisoned is None and not store.statistics().room

        # What makes the service safe is written, what makes it work is not.
        with pytest.raises(StoreError, match="only saved checkpoints and what ends is still written"):
            await book(store, ledger, 2)
        info = await store.create_checkpoint({A: ledger})
        await store.put_control("latch", b"x").wait()
        assert ledger.entries == [1]

        await trio.sleep(1)
        with pytest.raises(StoreError, match="free some space"):
            await book(store, ledger, 2)
        engine.make_room()
        with pytest.raises(StoreError, match="free some space"):
            await book(store, ledger, 2)
        await trio.sleep(1)
        assert await book(store, ledger, 2) == [2]
        assert store.statistics().room
        assert (await store.restore_latest(A, Ledger)).info == info

    assert len(told) == 1 and type(told[0]) is StoreError
    assert [event.name for event in events if "full" in event.name] == ["store_full"]


async def test_writer_full_disk_is_told_to_all_of_the_batch():
    """Nothing of a commit that had no room was written, so nobody who shares it is acknowledged."""
    engine, ledger, outcomes = FaultyEngine(), Ledger(), []
    async with open_store_on(engine) as store:
        engine.fill()

        async def work(number):
            with pytest.raises(StoreError, match="nothing of this was written"):
                await book(store, ledger, number)
            outcomes.append(number)

        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            for number in range(3):  # in one step, so they share a commit
                nursery.start_soon(work, number)

    assert sorted(outcomes) == [0, 1, 2]
    assert ledger.entries == []


async def test_writer_save_that_finds_the_disk_full_uses_the_reserve(events):
    """What is written from the reserve is so at once: a service that stops, or a mode that it holds, comes no second time."""
    engine, ledger = FaultyEngine(), Ledger()
    async with open_store_on(engine) as store:
        await book(store, ledger, 1)
        engine.fill()
        refused = []

        async def one_more_record():
            with pytest.raises(StoreError, match="is full"):
                await book(store, ledger, 2)
            refused.append(2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(one_more_record)
            receipt = store.put_control("latch", b"held")
            info = await store.create_checkpoint({A: ledger})
            await receipt.wait()

        assert refused == [2] and ledger.entries == [1]
        assert (await store.restore_latest(A, Ledger)).info == info
        assert (await store.read_control())["latch"] == b"held"
        assert not store.statistics().room and store.poisoned is None
    assert [event.name for event in events if "full" in event.name] == ["store_full"]


async def test_writer_full_disk_without_a_reserve_says_so():
    """When not even the reserve helps, each save says that nothing is left."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store:
        engine.relieve()
        engine.fill()
        for _ in range(2):
            with pytest.raises(StoreError, match="no reserve is left"):
                await store.create_checkpoint({"a": Note()})
        engine.make_room()
        assert (await store.create_checkpoint({"a": Note()})).sequence == 1


async def test_writer_full_disk_of_sqlite_saves_once_more(tmp_path, monkeypatch):
    """With SQLite: the disk is full, nothing is lost, state is saved from the reserve, and reading goes on."""
    ledger = Ledger()
    async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
        await book(store, ledger, 1)
        connection = store._ledger.engine._db
        connection.execute("pragma max_page_count = 60")
        relieve = type(store._ledger.engine).relieve

        def release(engine):
            connection.execute("pragma max_page_count = 1000")  # what a deleted file does for the others of its disk
            return relieve(engine)

        monkeypatch.setattr(type(store._ledger.engine), "relieve", release)
        with pytest.raises(StoreError, match="is full"):
            for number in range(1000):
                await store.append(A, [Fill(number)] * 100)

        assert not (tmp_path / "desk.db.reserve").exists()
        await store.create_checkpoint({"big": Note("x" * 100_000)}, label="safe")
        report = await store.verify()
    assert report.ok
    async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
        assert len((await store.restore_latest("big", Note)).state.text) == 100_000
        assert (tmp_path / "desk.db.reserve").exists()
