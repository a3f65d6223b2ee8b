"""What a tree does, and tells, when its store is in trouble."""

import errno

import pytest
import trio

from genesis_trio import Component, Mode, PoisonedError, StoreError, observe, open_store, open_supervisor
from genesis_trio.testing import FaultyEngine, open_store_on
from persistence.damage import damage_newest
from persistence.desk import Fill, Ledger, Note
from supervision.desk import open_desk

EIO = OSError(errno.EIO, "input/output error")
TROUBLE = {"store_full", "store_poisoned"}


async def test_full_disk_is_told_once_holds_safe_until_there_is_room(autojump_clock):
    """One event, whoever watches; SAFE while nothing but what makes safe is written; NORMAL once writing goes on."""
    engine = FaultyEngine()
    outer, inner = [], []
    with observe(outer.append):
        async with open_store_on(engine) as store, open_supervisor("desk", store=store) as desk:
            with observe(inner.append):
                engine.fill()
                with pytest.raises(StoreError, match="full"):
                    await store.append("desk/ledger", [Fill(1)])
                assert desk.scope.mode is Mode.SAFE
                assert "full" in desk.scope.why()

                await trio.sleep(5)
                assert desk.scope.mode is Mode.SAFE
                engine.make_room()
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
        async with open_store_on(engine) as store, open_supervisor("desk", store=store) as desk:
            engine.fail(EIO)
            with pytest.raises((PoisonedError, StoreError)):
                await store.append("desk/ledger", [Fill(1)])
            await trio.sleep(60)
            assert desk.scope.mode is Mode.SAFE
            await desk.stop()

    assert [event.name for event in events if event.name in TROUBLE] == ["store_poisoned"]


class Noted(Component[Note]):
    async def run(self, ctx):
        ctx.ready()
        seen.append(self.state.text)
        self.state.text += "."
        await ctx.create_checkpoint()
        await ctx.wait_stopping()


seen = []


async def run_once(store, then=lambda desk: None):
    """Start the component, look, stop; the mode and its causes as they were."""
    async with open_supervisor("desk", store=store) as desk:
        await desk.start(Noted, name="noted")
        mode, why = desk.scope.mode, desk.scope.why()
        then(desk)
        await desk.stop()
    return mode, why


async def test_state_that_came_back_older_holds_safe_until_somebody_looked(autojump_clock):
    """Nobody may add risk on books that lack something; what came back whole holds nothing."""
    seen.clear()
    async with open_store("memory:") as store:
        assert (await run_once(store))[0] is Mode.NORMAL
        assert (await run_once(store))[0] is Mode.NORMAL
        damage_newest(store, "desk/noted")

        def clear(desk):
            (cause,) = desk.scope.causes
            desk.scope.clear("store", cause.reason, by="ana")
            assert desk.scope.mode is Mode.NORMAL

        mode, why = await run_once(store, clear)

    assert mode is Mode.SAFE
    assert "desk/noted came back older than it was" in why
    assert len(seen) == 3 and seen[2] != seen[1] + "."


async def test_state_that_the_journal_makes_whole_holds_nothing(autojump_clock):
    """Falling back to an older saved checkpoint is no loss where the records behind it are all there."""

    class Books(Component[Ledger]):
        async def run(self, ctx):
            ctx.ready()
            for quantity in (1, 2):
                await ctx.record(Fill(quantity), key=str(quantity))
                await ctx.create_checkpoint()
            await ctx.wait_stopping()

    async with open_store("memory:") as store:
        for _ in range(2):
            async with open_supervisor("desk", store=store) as desk:
                await desk.start(Books, name="books")
                await trio.sleep(1)
                assert desk.scope.mode is Mode.NORMAL
                await desk.stop()
            damage_newest(store, "desk/books")


async def test_store_trouble_holds_safe(autojump_clock):
    """A store that acknowledges nothing more is a cause."""
    async with open_store("memory:") as store, open_desk(store) as desk:
        for tell in store.on_trouble:
            tell(StoreError("disk gone"))
        assert desk.scope.mode is Mode.SAFE
        assert "disk gone" in desk.scope.why()
