"""What a tree does, and tells, when its store is in trouble."""

import errno

import pytest
import trio

from genesis_trio import Mode, PoisonedError, StoreError, observe, open_supervisor
from persistence.desk import FaultyEngine, Fill, open_faulty

ENOSPC = OSError(errno.ENOSPC, "no space left on device")
EIO = OSError(errno.EIO, "input/output error")
TROUBLE = {"store_full", "store_poisoned"}


async def test_full_disk_is_told_once_holds_safe_until_there_is_room(autojump_clock):
    """One event, whoever watches; SAFE while nothing but what makes safe is written; NORMAL once writing goes on."""
    engine = FaultyEngine()
    outer, inner = [], []
    with observe(outer.append):
        async with open_faulty(engine) as store, open_supervisor("desk", store=store) as desk:
            with observe(inner.append):
                engine.failures, engine.room = [ENOSPC], False
                with pytest.raises(StoreError, match="full"):
                    await store.append("desk/ledger", [Fill(1)])
                assert desk.scope.mode is Mode.SAFE
                assert "full" in desk.scope.why()

                await trio.sleep(5)
                assert desk.scope.mode is Mode.SAFE
                engine.room = True
                await store.append("desk/ledger", [Fill(1)])
                await trio.sleep(0.2)
                assert desk.scope.mode is Mode.NORMAL
            await desk.stop()

    for seen in (outer, inner):
        assert [event.name for event in seen if event.name in TROUBLE] == ["store_full"]


async def test_poisoned_store_is_told_once_and_holds_safe_for_good(autojump_clock):
    """One event, and SAFE until somebody who has looked clears it."""
    engine = FaultyEngine()
    events = []
    with observe(events.append):
        async with open_faulty(engine) as store, open_supervisor("desk", store=store) as desk:
            engine.failures = [EIO]
            with pytest.raises((PoisonedError, StoreError)):
                await store.append("desk/ledger", [Fill(1)])
            await trio.sleep(60)
            assert desk.scope.mode is Mode.SAFE
            await desk.stop()

    assert [event.name for event in events if event.name in TROUBLE] == ["store_poisoned"]
