"""When state is saved, and what a saved checkpoint then holds."""

from itertools import pairwise

import attrs
import pytest
import trio

from genesis_trio.errors import SchemaError
from genesis_trio.events import observe
from genesis_trio.messaging.topic import Overflow
from genesis_trio.persistence.opening import open_store
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.supervision.component import Component
from genesis_trio.supervision.supervisor import open_supervisor
from genesis_trio.testing import simulate
from messaging.parts import context_of
from supervision.desk import QUIET, Log, open_desk
from supervision.fills import FILLS, Book, Fill, Ledger

# ------------------------------------------------------------------ when


async def test_checkpoint_policy_saves_by_time_and_by_messages(autojump_clock):
    """Every 30 s less at most a fifth, and when 3 messages are handled."""
    log = Log()
    policy = CheckpointPolicy(every=30, messages=3)
    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
            await desk.start(Ledger, name="ledger")
            ctx = await context_of(desk)
            await trio.sleep(31)
            (periodic,) = log.named("checkpoint_saved")
            assert periodic.reason == "periodic"
            assert 24 <= periodic.time <= 30
            for n in range(1, 4):
                ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(0.1)
            assert log.named("checkpoint_saved")[-1].reason == "messages"
            assert desk.children["ledger"].mailboxes["state.fills"].kept == 0
            await desk.stop()
    assert log.named("checkpoint_saved")[-1].reason == "stop"


async def test_checkpoint_policy_saves_by_bytes_of_journal(autojump_clock):
    """Once the records since the last cut are larger than `bytes`."""
    log = Log()
    policy = CheckpointPolicy(every=None, messages=None, bytes=150)
    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
            await desk.start(Ledger, name="ledger")
            ctx = await context_of(desk)
            for n in range(1, 21):
                ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(1)
            assert {event.reason for event in log.named("checkpoint_saved")} == {"bytes"}
            await desk.stop()


@pytest.mark.parametrize("seed", range(6))
def test_checkpoint_every_of_a_child_counts_from_its_start(seed):
    """A trigger that comes with a child shortens the wait that is under way, whichever task runs first."""
    log = Log()

    async def main():
        with observe(log):
            async with open_store("memory:") as store, open_desk(store) as desk:
                await desk.start(Ledger, name="other")
                await trio.sleep(100)
                await desk.start(Ledger, name="ledger", checkpoint=CheckpointPolicy(every=5, messages=None))
                await trio.sleep(21)

    simulate(main, seed=seed)
    times = [event.time for event in log.named("checkpoint_saved") if event.reason == "periodic"]
    # The wait began with the tree, so the first is due at once.
    assert times[0] == 100.0
    assert 4 <= len(times) - 1 <= 5
    assert all(4.0 <= later - earlier <= 5.0 for earlier, later in pairwise(times))


async def test_checkpoint_bytes_of_a_child_trigger_a_save(autojump_clock):
    """The journal grows by more than the child allows between two."""
    log = Log()
    policy = CheckpointPolicy(every=None, messages=None, bytes=500)
    with observe(log):
        async with open_store("memory:") as store, open_desk(store) as desk:
            await desk.start(Ledger, name="ledger", checkpoint=policy)
            ctx = await context_of(desk)
            for n in range(1, 31):
                ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(1)
            assert {event.reason for event in log.named("checkpoint_saved")} == {"bytes"}


# ------------------------------------------------------------------ what


async def test_safe_point_shows_in_every_later_cut_and_not_with_a_message_in_hand(autojump_clock):
    """A component without messages says itself where its state is whole."""
    errors = []

    class Poller(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            self.state.position = 1
            await ctx.safe_point()
            self.state.position = 2  # half of something
            await ctx.wait_stopping()
            self.state.position = 3

    class Reader(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS) as fills:
                ctx.ready()
                async for _ in fills:
                    try:
                        await ctx.safe_point()
                    except RuntimeError as error:
                        errors.append(str(error))

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Poller, name="poller")
        await desk.start(Reader, name="reader")
        ctx = await context_of(desk)
        ctx.publish(FILLS, Fill("t1", 1))
        await trio.sleep(1)
        await desk.create_checkpoint()
        assert (await store.restore_latest("desk/poller", Book)).state.position == 1
        assert "message in hand" in errors[0]
        await desk.stop()
        assert (await store.restore_latest("desk/poller", Book)).state.position == 3


async def test_checkpoint_of_its_own_component_is_a_safe_point(autojump_clock):
    """ctx.create_checkpoint() outside of a message saves what the component is now."""

    class Poller(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            self.state.position = 9
            info = await ctx.create_checkpoint(label="mine")
            assert info.label == "mine"
            await ctx.wait_stopping()

    async with open_store("memory:") as store, open_desk(store) as desk:
        await desk.start(Poller, name="poller")
        await trio.sleep(1)
        assert (await store.restore_latest("desk/poller", Book)).state.position == 9


async def test_state_that_cannot_be_read_back_is_refused_and_the_old_part_stays(autojump_clock):
    """NaN is refused with its path; saving by itself goes on with the last good part."""
    log = Log()

    class Sick(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS) as fills:
                ctx.ready()
                async for fill in fills:
                    self.state.position = fill.quantity
                    self.state.note = float("nan") if fill.quantity > 1 else 0.0

    with observe(log):
        async with open_store("memory:") as store, open_desk(store) as desk:
            await desk.start(Sick, name="sick")
            ctx = await context_of(desk)
            ctx.publish(FILLS, Fill("t1", 1))
            await trio.sleep(1)
            await desk.create_checkpoint()
            ctx.publish(FILLS, Fill("t2", 2))
            await trio.sleep(1)
            with pytest.raises(SchemaError, match=r"note"):
                await desk.create_checkpoint()
            desk.children["sick"].ask_for_save("periodic")
            await trio.sleep(1)
            assert (await store.restore_latest("desk/sick", Book)).state.position == 1
    assert log.named("checkpoint_failed")


async def test_start_with_state_that_cannot_be_saved_is_refused(autojump_clock):
    """Field types are checked when the child is started."""

    @attrs.define
    class Bad:
        anything: object = None

    class Holder(Component[Bad]):
        async def run(self, ctx):
            ctx.ready()

    async with open_store("memory:") as store, open_desk(store) as desk:
        with pytest.raises(SchemaError, match="anything"):
            await desk.start(Holder, name="x")


async def test_tracks_changes_saves_only_what_it_is_told_of(autojump_clock):
    """Without ctx.changed() the part counts as clean."""

    class Quiet(Component[Book]):
        tracks_changes = True

        async def run(self, ctx):
            async with ctx.subscribe(FILLS) as fills:
                ctx.ready()
                async for fill in fills:
                    self.state.position = fill.quantity
                    if fill.quantity == 2:
                        ctx.changed()

    async with open_store("memory:") as store, open_desk(store) as desk:
        await desk.start(Quiet, name="x")
        ctx = await context_of(desk)
        seen = []
        for n in (1, 2):
            ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(1)
            await desk.create_checkpoint()
            seen.append((await store.restore_latest("desk/x", Book)).state.position)
        assert seen == [0, 2]


async def test_unsaved_overflow_is_no_part_of_a_cut(autojump_clock):
    """Stale prices are not saved."""

    class Prices(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS, overflow=Overflow.DROP_OLDEST) as fills:
                ctx.ready()
                async for _ in fills:
                    self.state.handled += 1

    async with open_store("memory:") as store, open_desk(store) as desk:
        child = await desk.start(Prices, name="x")
        ctx = await context_of(desk)
        ctx.publish(FILLS, Fill("t", 1))
        await trio.sleep(1)
        await desk.create_checkpoint()
        assert child.part.positions == {}
