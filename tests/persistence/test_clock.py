"""A wall clock that jumps backwards between two runs changes nothing but what is written down as the time."""

from datetime import UTC, datetime, timedelta

import pytest

from genesis_trio import open_store
from persistence.desk import Fill, Ledger, book

A = "desk/ledger"
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch):
    """The wall time as the store is told it; a run never sees it jump, the next one may."""
    times = [NOON]
    monkeypatch.setattr("genesis_trio.persistence.store.utcnow", lambda: times[0])
    monkeypatch.setattr("genesis_trio.persistence.opening.utcnow", lambda: times[0])
    return times


async def run(url, ledger, number):
    async with open_store(url) as store:
        await book(store, ledger, number, key=f"trade {number}")
        return await store.create_checkpoint({A: ledger})


async def test_clock_that_went_back_leaves_the_order_of_what_is_saved(url, clock):
    """Newest is what was saved last, by its number; sequences, keys and recovery never ask for the time."""
    ledger = Ledger()
    await run(url, ledger, 1)
    clock[0] = NOON - timedelta(days=400)
    second = await run(url, ledger, 2)
    async with open_store(url) as store:
        assert [info.sequence for info in await store.list_checkpoints()] == [2, 1]
        assert (await store.restore_latest(A, Ledger)).info.id == second.id
        assert store.statistics().newest[A] == clock[0]
        assert await book(store, ledger, 3, key="trade 3") == [3]
        assert await book(store, ledger, 1, key="trade 1") == [1]
        async with store.replay(A, Fill) as records:
            assert [sequence async for sequence, _ in records] == [1, 2, 3]
        assert await store.prune(keep=1) == 1
        assert [info.id for info in await store.list_checkpoints()] == [second.id]
        assert (await store.verify()).ok


async def test_clock_that_went_back_restores_by_what_was_written_down(url, clock):
    """A time finds the last one saved of those that claim to be at or before it."""
    ledger = Ledger()
    await run(url, ledger, 1)
    clock[0] = NOON - timedelta(hours=2)
    await run(url, ledger, 2)
    async with open_store(url) as store:
        await store.rewind(NOON - timedelta(hours=1))
        assert (await store.restore_latest(A, Ledger)).state.entries == [1, 2]
        await store.rewind(NOON + timedelta(hours=1))
        assert (await store.list_checkpoints())[0].components == (A,)
        assert (await store.restore_latest(A, Ledger)).state.entries == [1, 2]
