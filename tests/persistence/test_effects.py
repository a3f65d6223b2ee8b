"""Effects on the outside world: at most once, over restarts, and known for what they are."""

import pytest

from genesis_trio import open_store
from genesis_trio.errors import StoreError
from genesis_trio.persistence.effects import Effect, EffectStatus
from persistence.desk import Ledger

A = "desk/orders"
NEW = Effect(EffectStatus.NEW)
UNKNOWN = Effect(EffectStatus.UNKNOWN)


async def test_effect_new_one_is_written_down_before_it_happens(url):
    """The first to begin it is told that it is new; the intent is there after a crash."""
    async with open_store(url) as store:
        assert await store.begin_effect(A, "order 1") == NEW

    async with open_store(url) as store:
        assert await store.begin_effect(A, "order 1") == UNKNOWN


async def test_effect_result_is_told_again(url):
    """What is done stays done, with its result."""
    async with open_store(url) as store:
        await store.begin_effect(A, "order 1")
        await store.end_effect(A, "order 1", result=b"ack 7")
        await store.begin_effect(A, "order 2")
        await store.end_effect(A, "order 2", result=b"")

    async with open_store(url) as store:
        assert await store.begin_effect(A, "order 1") == Effect(EffectStatus.DONE, result=b"ack 7")
        assert await store.begin_effect(A, "order 2") == Effect(EffectStatus.DONE, result=b"")


async def test_effect_failure_is_told_again(url):
    """What failed stays failed, with its type and text."""
    async with open_store(url) as store:
        await store.begin_effect(A, "order 1")
        await store.end_effect(A, "order 1", failure=("VenueError", "no such «instrument»"))

    async with open_store(url) as store:
        assert await store.begin_effect(A, "order 1") == Effect(
            EffectStatus.FAILED, failure=("VenueError", "no such «instrument»")
        )


async def test_effect_that_was_never_sent_frees_its_key(url):
    """Forgetting makes the key new again."""
    async with open_store(url) as store:
        await store.begin_effect(A, "order 1")
        await store.forget_effect(A, "order 1")

        assert await store.begin_effect(A, "order 1") == NEW


async def test_effect_belongs_to_its_component(url):
    """The same key of another component is another effect."""
    async with open_store(url) as store:
        await store.begin_effect(A, "order 1")

        assert await store.begin_effect("other", "order 1") == NEW


async def test_effect_looked_at_again_writes_nothing(url):
    """Asking about a known effect costs no commit."""
    async with open_store(url) as store:
        await store.begin_effect(A, "order 1")
        before = store._ledger.root.commit
        await store.begin_effect(A, "order 1")

        assert store._ledger.root.commit == before


async def test_effect_wrong_order_is_refused(url):
    """An effect ends once, after it began."""
    async with open_store(url) as store:
        with pytest.raises(StoreError, match="'order 1' of 'desk/orders' was never begun"):
            await store.end_effect(A, "order 1", result=b"x")
        with pytest.raises(StoreError, match="was never begun"):
            await store.forget_effect(A, "order 1")
        await store.begin_effect(A, "order 1")
        with pytest.raises(ValueError, match="either a result or a failure"):
            await store.end_effect(A, "order 1")
        with pytest.raises(ValueError, match="either a result or a failure"):
            await store.end_effect(A, "order 1", result=b"x", failure=("E", "text"))
        await store.end_effect(A, "order 1", result=b"x")

        with pytest.raises(StoreError, match="has ended already"):
            await store.end_effect(A, "order 1", result=b"y")
        with pytest.raises(StoreError, match="has ended already"):
            await store.forget_effect(A, "order 1")
        with pytest.raises(ValueError, match="cannot be empty"):
            await store.begin_effect(A, "")


async def test_effect_stays_done_when_state_goes_back(url):
    """Going back to an older state undoes nothing outside: effects stay as they are."""
    async with open_store(url) as store:
        await store.create_checkpoint({A: Ledger()}, label="before")
        await store.begin_effect(A, "order 1")
        await store.end_effect(A, "order 1", result=b"ack")
        await store.rewind("before")

        assert (await store.begin_effect(A, "order 1")).status is EffectStatus.DONE
        assert (await store.verify()).ok


# ------------------------------------------------------------------ control state


async def test_control_is_there_after_reopening(url):
    """Control state is written at once, replaced, removed, and read back whole."""
    async with open_store(url) as store:
        for name, body in (("latch/b", b"1"), ("latch/a", b"1"), ("latch/b", b"2"), ("gone", b"x"), ("gone", None)):
            receipt = store.put_control(name, body)
            assert receipt.error is None
            await receipt.wait()
        assert dict(await store.read_control()) == {"latch/a": b"1", "latch/b": b"2"}

    async with open_store(url) as store:
        assert list((await store.read_control()).items()) == [("latch/a", b"1"), ("latch/b", b"2")]


async def test_control_is_queued_in_order_without_waiting(url):
    """Putting never waits; the last one wins, also in one commit, and leaving the block writes what is queued."""
    async with open_store(url) as store:
        receipts = [store.put_control("breaker", b"%d" % number) for number in range(5)]
        receipts.append(store.put_control("gone", b"x"))
        receipts.append(store.put_control("gone", None))
        assert not any(receipt.is_done for receipt in receipts)

    assert all(receipt.is_done and receipt.error is None for receipt in receipts)
    async with open_store(url) as store:
        assert dict(await store.read_control()) == {"breaker": b"4"}
        assert (await store.verify()).ok


async def test_control_that_does_not_change_is_not_written(url):
    """Putting what is there already costs no commit."""
    async with open_store(url) as store:
        await store.put_control("breaker", b"1").wait()
        before = store._ledger.root.commit
        await store.put_control("breaker", b"1").wait()
        await store.put_control("nobody", None).wait()

        assert store._ledger.root.commit == before


async def test_control_wants_a_name(url):
    """A name is text, and not empty."""
    async with open_store(url) as store:
        with pytest.raises(ValueError, match="control name"):
            store.put_control("", b"x")
