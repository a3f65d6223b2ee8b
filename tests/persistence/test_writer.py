"""The writer and its callers: whoever is cancelled, refused or fenced learns the truth, and the others of a batch theirs."""

import threading
from functools import partial

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis_trio import open_store
from genesis_trio.errors import FencedError, PoisonedError, SchemaError, StoreError
from genesis_trio.persistence import codec
from genesis_trio.testing import FaultyEngine, open_store_on
from persistence.desk import Fill, HeldEngine, Ledger, Note, book

A = "desk/ledger"


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


# ------------------------------------------------------------------ an apply that exits


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
