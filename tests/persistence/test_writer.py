"""The writer when things go wrong: every caller learns the truth, and nothing is acknowledged that is not so."""

import errno
import math
import threading
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis_trio import open_store
from genesis_trio.errors import FencedError, OutcomeUnknownError, PoisonedError, SchemaError, StoreError
from genesis_trio.persistence import _writer
from genesis_trio.testing import FaultyEngine, open_store_on
from persistence.desk import Fill, HeldEngine, Ledger, Note, book

A = "desk/ledger"
EIO = OSError(errno.EIO, "the medium failed")
ENOSPC = OSError(errno.ENOSPC, "no room")


# ------------------------------------------------------------------ cancellation


async def test_writer_commit_under_way_is_not_cancelled():
    """Who is cancelled while the commit is under way learns its outcome, and is cancelled after it."""
    engine, ledger, log = HeldEngine(), Ledger(), []
    async with open_store_on(engine) as store:
        engine.hold()

        async def work():
            log.append(await book(store, ledger, 5))
            await trio.lowlevel.checkpoint()
            log.append("not reached")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await engine.wait_entered()
            nursery.cancel_scope.cancel()
            threading.Timer(0.02, engine.let_go).start()

        assert log == [[1]]
        assert ledger.entries == [5]


async def test_writer_queued_request_is_not_cancelled_either():
    """A request behind the commit under way is written, and its caller told, before the cancellation is seen."""
    engine, ledger, log = HeldEngine(), Ledger(), []
    async with open_store_on(engine) as store:
        engine.hold()

        async def work(quantity):
            log.extend(await book(store, ledger, quantity))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, 1)
            await engine.wait_entered()
            nursery.start_soon(work, 2)
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
            threading.Timer(0.02, engine.let_go).start()

        assert log == [1, 2]
        assert ledger.entries == [1, 2]


async def test_writer_outer_timeout_leaves_what_is_durable(autojump_clock):
    """A timeout around a record that was queued in time does not make it unknown."""
    ledger = Ledger()
    async with open_store("memory:") as store:
        with trio.move_on_after(0):
            await trio.lowlevel.checkpoint_if_cancelled()
            await book(store, ledger, 1)

        assert (await store.load(A, Ledger, make=Ledger)).state == ledger


async def test_writer_leaving_the_block_writes_what_is_queued(url):
    """What was queued when the block ends is written, even when it ends by cancellation."""
    with trio.CancelScope() as scope:
        async with open_store(url) as store:
            receipt = store.put_control("latch", b"x")
            scope.cancel()
            await trio.lowlevel.checkpoint()

    assert receipt.error is None and receipt.is_done
    async with open_store(url) as store:
        assert dict(await store.read_control()) == {"latch": b"x"}


async def test_writer_block_raises_the_error_of_its_body_bare(url):
    """No exception group is put around what the body raised."""
    with pytest.raises(ZeroDivisionError, match="mine"):
        async with open_store(url):
            raise ZeroDivisionError("mine")
    async with open_store(url):
        pass


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

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, 0)
            await engine.wait_entered()
            for number in range(1, 5):
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


# ------------------------------------------------------------------ somebody else took over


async def test_writer_fenced_store_stops_at_once():
    """When another holder has a newer token, every write is refused as fenced."""
    engine, told = FaultyEngine(), []
    async with open_store_on(engine) as store:
        store.on_trouble.append(told.append)
        engine.acquire("main", "another process")

        for _ in range(2):
            with pytest.raises(FencedError, match="was taken over"):
                await store.append(A, [Fill(1)])

        assert isinstance(store.poisoned, FencedError)
        assert told == [store.poisoned]


# ------------------------------------------------------------------ a commit that does not come back


async def test_writer_commit_that_does_not_come_back_is_unknown(events):
    """After commit_timeout its callers know that they do not know, those behind it that they were not written."""
    engine, ledger, outcomes = HeldEngine(), Ledger(), {}
    async with open_store_on(engine, commit_timeout=0.05) as store:
        engine.hold()

        async def work(number):
            try:
                await book(store, ledger, number)
            except StoreError as error:
                outcomes[number] = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, 1)
            await engine.wait_entered()
            nursery.start_soon(work, 2)

        with pytest.raises(PoisonedError):
            await book(store, ledger, 3)
        with pytest.raises(PoisonedError, match="has not come back"):
            await store.list_checkpoints()
        engine.let_go()

    assert type(outcomes[1]) is OutcomeUnknownError
    assert "did not come back within 0.05 s" in str(outcomes[1])
    assert type(outcomes[2]) is PoisonedError
    assert isinstance(store.poisoned, PoisonedError)
    assert isinstance(store.poisoned.__cause__, OutcomeUnknownError)
    # It came back in the end, and is durable: whoever was told that it is unknown had nothing applied.
    assert ledger.entries == []
    assert len(engine.read_records("main", A)) == 1
    assert [event.name for event in events] == ["store_poisoned"]


def take_seconds(store, *seconds):
    """Let the next blocking calls of the writer last so long."""
    real, left = store._writer._blocking, list(seconds)

    async def blocking(fn, *args):
        result = await real(fn, *args)
        await trio.sleep(left.pop(0) if left else 0)
        return result

    store._writer._blocking = blocking


async def book_at(store, ledger, quantity, begin, told):
    """Record a fill at *begin*; what its caller was told, and when."""
    await trio.sleep_until(begin)
    try:
        await book(store, ledger, quantity)
        told[quantity] = (trio.current_time() - begin, None)
    except StoreError as error:
        told[quantity] = (trio.current_time() - begin, type(error))


async def test_writer_commit_timeout_counts_from_when_each_was_queued(autojump_clock):
    """Nobody waits longer than commit_timeout, nor is given up earlier, whatever commits stand before."""
    ledger, told = Ledger(), {}
    async with open_store("memory:", commit_timeout=10) as store:
        take_seconds(store, 9.5, 9, 30)
        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            for quantity, queued in ((1, 0), (2, 9), (3, 12), (4, 21)):
                nursery.start_soon(book_at, store, ledger, quantity, begin + queued, told)

    assert told == {1: (9.5, None), 2: (9.5, None), 3: (10, OutcomeUnknownError), 4: (1, PoisonedError)}
    assert ledger.entries == [1, 2]


async def test_writer_commit_that_comes_back_at_its_deadline_is_one_or_the_other(autojump_clock):
    """In the step of the deadline either the commit counts, or it was given up: never both."""
    for _ in range(20):  # whichever of the two tasks Trio runs first
        ledger, told = Ledger(), {}
        async with open_store("memory:", commit_timeout=10) as store:
            take_seconds(store, 10)
            await book_at(store, ledger, 1, trio.current_time(), told)
            await trio.lowlevel.checkpoint()
            poisoned = store.poisoned is not None

        assert told == {1: (10.0, OutcomeUnknownError if poisoned else None)}
        assert ledger.entries == ([] if poisoned else [1])


async def test_writer_commit_timeout_covers_what_waits_behind_idle_work(autojump_clock):
    """A request that was queued while the engine tidies is refused in time: nothing of it was begun."""
    ledger, told = Ledger(), {}
    async with open_store("memory:", commit_timeout=10) as store:
        take_seconds(store, 0, 30)
        await book(store, ledger, 1)
        await book_at(store, ledger, 2, trio.current_time() + 5, told)

    assert told == {2: (10, PoisonedError)}
    assert ledger.entries == [1]


async def test_writer_waits_for_nothing_while_nothing_is_queued(autojump_clock):
    """An open store is no reason for virtual time to pass."""
    async with open_store("memory:") as store:
        await book(store, Ledger(), 1)
        await wait_all_tasks_blocked()
        assert store._writer._patience.deadline == math.inf


async def test_writer_receipt_tells_everybody_who_waits(autojump_clock):
    """Two tasks may wait for one receipt, and a third once it is settled."""
    log = []
    async with open_store("memory:") as store:
        take_seconds(store, 3)
        receipt = store.put_control("latch", b"x")

        async def work():
            await receipt.wait()
            log.append(trio.current_time() - begin)

        begin = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            nursery.start_soon(work)
        await work()

    assert log == [3, 3, 3]


class ExitNow(BaseException):
    """As SystemExit, which pytest would take for its own."""


async def test_writer_that_is_ended_by_an_apply_leaves_nobody_waiting():
    """An apply that exits ends the store with its error; who waits is refused, and the block is left."""
    engine, log = HeldEngine(), []

    def exits(sequence):
        raise ExitNow

    async def refused(store, quantity):
        with pytest.raises(PoisonedError, match="ExitNow"):
            await book(store, Ledger(), quantity)
        log.append(quantity)

    with pytest.RaisesGroup(ExitNow, allow_unwrapped=True, flatten_subgroups=True), trio.fail_after(5):
        async with open_store_on(engine) as store, trio.open_nursery() as nursery:
            engine.hold()
            nursery.start_soon(partial(store.record, A, Fill(1), key=None, apply=exits))
            await engine.wait_entered()
            nursery.start_soon(refused, store, 2)
            await wait_all_tasks_blocked()
            engine.let_go()

    assert log == [2]


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


# ------------------------------------------------------------------ one bad request


async def test_writer_bad_request_fails_alone():
    """An operation that cannot be planned leaves the others of its batch as they are."""
    engine, ledger, outcomes = HeldEngine(), Ledger(), []
    async with open_store_on(engine) as store:
        engine.hold()

        async def good(number):
            outcomes.extend(await book(store, ledger, number, key=f"trade {number}"))

        async def bad():
            with pytest.raises(StoreError, match="was never begun"):
                await store.end_effect(A, "nothing", result=b"x")
            outcomes.append("refused")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(good, 1)
            await engine.wait_entered()
            for task, *args in ((good, 2), (bad,), (good, 3)):
                nursery.start_soon(task, *args)
                await wait_all_tasks_blocked()
            engine.let_go()

        assert outcomes[0] == 1 and sorted(map(str, outcomes)) == ["1", "2", "3", "refused"]
        assert ledger.entries == [1, 2, 3]
        assert (await store.verify()).ok


async def test_writer_event_that_does_not_structure_back_fails_alone(monkeypatch):
    """An event whose bytes cannot be read is refused before anything of it is written."""
    from genesis_trio.persistence import codec

    real = codec.decode

    def decode(body, as_type):
        if b"666" in body:
            raise SchemaError("cannot be structured back")
        return real(body, as_type)

    async with open_store("memory:") as store:
        with monkeypatch.context() as patch:
            patch.setattr(codec, "decode", decode)
            with pytest.raises(SchemaError, match="cannot be structured back"):
                await store.append(A, [Fill(1), Fill(666)])
            with pytest.raises(SchemaError, match="cannot be structured back"):
                await store.create_checkpoint({"a": Note("666")})

        assert await store.append(A, [Fill(2)]) == 1
