"""The writer and time: commits that are slow, or do not come back within commit_timeout."""

import math

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from genesis_trio import open_store
from genesis_trio.errors import OutcomeUnknownError, PoisonedError, StoreError
from genesis_trio.testing import open_store_on
from persistence.desk import HeldEngine, Ledger, book

A = "desk/ledger"


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

        await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, 1)
            nursery.start_soon(work, 2)  # in the same step, so they share a commit
            await engine.wait_entered()
            nursery.start_soon(work, 3)

        with pytest.raises(PoisonedError):
            await book(store, ledger, 4)
        with pytest.raises(PoisonedError, match="has not come back"):
            await store.list_checkpoints()
        engine.let_go()

    assert [type(outcomes[number]) for number in (1, 2, 3)] == [OutcomeUnknownError, OutcomeUnknownError, PoisonedError]
    assert "did not come back within 0.05 s" in str(outcomes[1])
    assert isinstance(store.poisoned, PoisonedError)
    assert isinstance(store.poisoned.__cause__, OutcomeUnknownError)
    # It came back in the end, and is durable: whoever was told that it is unknown had nothing applied.
    assert ledger.entries == []
    assert len(engine.read_records("main", A)) == 2
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
