"""State, mailboxes and journal come back together, whatever crashes."""

import attrs
import pytest
import trio

from genesis_trio.errors import StoreError
from genesis_trio.events import observe
from genesis_trio.modes import Mode
from genesis_trio.persistence.opening import open_store
from genesis_trio.persistence.schema import schema
from genesis_trio.supervision.component import Component, Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from messaging.parts import context_of
from supervision.desk import EXACT, QUIET, Log, open_desk, state_of
from supervision.fills import FILLS, Book, Fill, Ledger


@pytest.mark.parametrize("url", ["memory:", "sqlite"])
@pytest.mark.parametrize("key", [True, False])
@pytest.mark.parametrize("where", ["before", "between", "after"])
@pytest.mark.parametrize("at", [1, 5, 10])
async def test_ten_fills_and_a_crash_anywhere_end_as_ten_fills(url, key, where, at, tmp_path, autojump_clock):
    """State, position and journal are one: nothing is lost, nothing counted twice, with given and with default keys."""
    if url == "sqlite":
        url = f"sqlite:{tmp_path / 'desk.db'}"
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET, backoff=EXACT) as desk:
        ledger = await desk.start(Ledger, {(1, at, where)}, key, name="ledger")
        ctx = await context_of(desk)
        for n in range(1, 11):
            await ctx.send(FILLS, Fill(f"t{n}", n))
            if n == 3:
                await desk.create_checkpoint()
        await trio.sleep(1)
        assert ledger.generation == 2
        await desk.stop()
        restored = await store.restore_latest("desk/ledger", Book)
        assert (restored.state.position, restored.state.handled) == (55, 10)


async def test_restart_of_the_process_brings_state_and_mailbox_back_together(url, autojump_clock):
    """What waited when the desk stopped is handled by the next one, once."""

    class Slow(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS) as fills:
                ctx.ready()
                async for fill in fills:
                    self.state.position += fill.quantity
                    await trio.sleep(1)
                    self.state.handled += 1

    for sends in (5, 0, 0):
        async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            await desk.start(Slow, name="ledger", stop_grace=0)
            ctx = await context_of(desk)
            for n in range(1, sends + 1):
                ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(2.5 if sends else 1.5)
            # The third message is in hand, cut in the middle: it is not in what is saved, and comes again.
            await desk.stop()
            state = (await store.restore_latest("desk/ledger", Book)).state
            assert state.position == sum(range(1, state.handled + 1))
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Slow, name="ledger", stop_grace=0)
        await trio.sleep(10)
        await desk.stop()
        state = (await store.restore_latest("desk/ledger", Book)).state
        assert (state.position, state.handled) == (15, 5)


async def test_suspend_and_resume_keep_the_state(autojump_clock):
    """A suspended child is saved, and resumes from that."""
    log = Log()
    with observe(log):
        async with open_store("memory:") as store, open_desk(store) as desk:
            child = await desk.start(Ledger, name="ledger")
            ctx = await context_of(desk)
            ctx.publish(FILLS, Fill("t1", 4))
            await trio.sleep(1)
            hold = child.scope.hold(Mode.EMERGENCY, reason="test")
            await child.wait(Lifecycle.SUSPENDED)
            await trio.sleep(1)
            hold.release()
            await child.wait(Lifecycle.READY)
            assert state_of(child) == Book(position=4, handled=1)
    assert [event.reason for event in log.named("checkpoint_saved")] == ["suspend", "stop"]


async def test_restore_an_older_checkpoint_by_label(url, autojump_clock):
    """Later records are superseded: never replayed, their keys free again."""
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start(Ledger, name="ledger")
        ctx = await context_of(desk)
        ctx.publish(FILLS, Fill("t1", 1))
        await trio.sleep(1)
        await desk.create_checkpoint(label="good")
        ctx.publish(FILLS, Fill("t2", 2))
        await trio.sleep(1)
    async with open_store(url) as store, open_desk(store, restore="good") as desk:
        child = await desk.start(Ledger, name="ledger")
        assert state_of(child).position == 1
        ctx = await context_of(desk)
        ctx.publish(FILLS, Fill("t2", 7))
        await trio.sleep(1)
        assert state_of(child).position == 8


# ------------------------------------------------------------------ recording


async def test_record_without_store_or_state_says_what_is_missing(autojump_clock):
    """The way out stands in the error."""
    async with open_supervisor("desk") as desk:
        ctx = await context_of(desk)
        with pytest.raises(StoreError, match="store=store"):
            await ctx.record(Fill("t", 1))
        with pytest.raises(StoreError, match="store=store"):
            await ctx.create_checkpoint()
        with pytest.raises(StoreError, match="store=store"):
            await desk.create_checkpoint()
        await desk.stop()
    async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
        ctx = await context_of(desk)
        with pytest.raises(TypeError, match="apply"):
            await ctx.record(Fill("t", 1))
        await desk.stop()


async def test_record_in_a_batch_wants_a_key(autojump_clock):
    """With several messages in hand nobody knows which one a record belongs to."""
    errors = []

    class Batcher(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS) as fills:
                ctx.ready()
                async for batch in fills.batches():
                    try:
                        await ctx.record(batch[0])
                    except RuntimeError as error:
                        errors.append(str(error))
                    await ctx.record(batch[0], key=batch[0].trade_id)

    async with open_store("memory:") as store, open_desk(store) as desk:
        child = await desk.start(Batcher, name="x")
        ctx = await context_of(desk)
        for n in (1, 2):
            ctx.publish(FILLS, Fill(f"t{n}", n))
        await trio.sleep(1)
        assert "give record(..., key=...)" in errors[0]
        assert state_of(child).position == 1


async def test_apply_that_raises_crashes_the_child_and_the_event_stays(autojump_clock):
    """What is recorded is recorded; the error reaches the component."""
    async with open_store("memory:") as store, open_desk(store, backoff=EXACT) as desk:
        child = await desk.start(Ledger, name="ledger")
        ctx = await context_of(desk)
        ctx.publish(FILLS, Fill("t1", 666))
        await child.wait(Lifecycle.BACKOFF)
        assert "apply failed" in str(child.last_error)


@schema("state.number")
@attrs.frozen
class Number:
    value: int


@schema("state.numbers")
@attrs.define
class Numbers:
    values: list[int] = attrs.field(factory=list)

    def apply(self, number: Number) -> None:
        if number.value < 0 and refusing:
            raise ValueError(f"{number.value} cannot be booked")
        self.values.append(number.value)


refusing = []


async def test_apply_error_that_the_component_catches_crashes_it_and_loses_nothing(autojump_clock):
    """Who catches the error goes on no longer; no cut claims the event, and it is applied once it can be."""
    refusing[:] = [True]
    later = []

    class Careless(Component[Numbers]):
        async def run(self, ctx):
            ctx.ready()
            if ctx.generation == 1:
                await ctx.record(Number(1))
                try:
                    await ctx.record(Number(-2))
                except ValueError:
                    later.append("caught")
                await ctx.create_checkpoint()
                later.append("went on")
            await ctx.wait_stopping()

    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store, backoff=EXACT) as desk:
            child = await desk.start(Careless, name="books")
            await trio.sleep(0.5)
            assert (child.status, type(child.last_error)) == (Lifecycle.BACKOFF, ValueError)
            await desk.create_checkpoint()
            refusing.clear()
            await child.wait(Lifecycle.READY)
            await desk.stop()
        restored = await store.restore_latest("desk/books", Numbers)

    assert later == ["caught"]
    assert restored.state.values == [1, -2]
