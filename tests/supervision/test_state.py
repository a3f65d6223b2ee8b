"""State, mailboxes and journal come back together, whatever crashes."""

from decimal import Decimal
from itertools import pairwise

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    ConfigError,
    EffectFailedError,
    ModeRefusedError,
    OutcomeUnknownError,
    SchemaError,
    StoreError,
)
from genesis_trio.events import observe
from genesis_trio.messaging.topic import Overflow, Topic
from genesis_trio.modes import Capability, Mode
from genesis_trio.persistence.opening import open_store
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.persistence.schema import schema
from genesis_trio.policies.guard import NOT_DONE
from genesis_trio.supervision.component import Component, Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from genesis_trio.testing import simulate
from supervision.desk import EXACT, Log


@schema("test.fill", version=1)
@attrs.frozen
class Fill:
    trade_id: str
    quantity: int


@schema("test.book", version=1)
@attrs.define
class Book:
    position: int = 0
    handled: int = 0
    note: float = 0.0

    def apply(self, fill: Fill) -> None:
        self.position += fill.quantity
        if fill.quantity == 666:
            raise ValueError("apply failed")


FILLS = Topic("state.fills", Fill)
QUIET = CheckpointPolicy(every=None, messages=None)


async def sender(ctx):
    ctx.ready()
    await ctx.wait_stopping()


class Ledger(Component[Book]):
    """Records each fill and counts the messages; crashes where it is told."""

    def __init__(self, crash_on=(), key=True):
        self.crash_on = crash_on
        self.key = key

    async def run(self, ctx):
        async with ctx.subscribe(FILLS) as fills:
            ctx.ready()
            async for fill in fills:
                if (ctx.generation, fill.quantity, "before") in self.crash_on:
                    raise OSError("before")
                await ctx.record(fill, key=fill.trade_id if self.key else None)
                if (ctx.generation, fill.quantity, "between") in self.crash_on:
                    raise OSError("between")
                self.state.handled += 1
                if (ctx.generation, fill.quantity, "after") in self.crash_on:
                    raise OSError("after")


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
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        for n in range(1, 11):
            await ctx.send(FILLS, Fill(f"t{n}", n))
            if n == 3:
                await desk.create_checkpoint()
        await trio.sleep(1)
        assert ledger.generation == 2
        await desk.stop()
        restored = await store.restore_latest("desk/ledger", Book)
        assert (restored.state.position, restored.state.handled) == (55, 10)


async def test_restart_of_the_process_brings_state_and_mailbox_back_together(tmp_path, autojump_clock):
    """What waited when the desk stopped is handled by the next one, once."""
    url = f"sqlite:{tmp_path / 'desk.db'}"

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
            ctx = (await desk.start(sender, name="feed")).incarnation.context
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


async def test_checkpoint_policy_saves_by_time_and_by_messages(autojump_clock):
    """Every 30 s less at most a fifth, and when 3 messages are handled."""
    log = Log()
    policy = CheckpointPolicy(every=30, messages=3)
    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
            await desk.start(Ledger, name="ledger")
            ctx = (await desk.start(sender, name="feed")).incarnation.context
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


@pytest.mark.parametrize("seed", range(6))
def test_checkpoint_every_of_a_child_counts_from_its_start(seed):
    """A trigger that comes with a child shortens the wait that is under way, whichever task runs first."""
    log = Log()

    async def main():
        with observe(log):
            async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
                await desk.start(Ledger, name="other")
                await trio.sleep(100)
                await desk.start(Ledger, name="ledger", checkpoint=CheckpointPolicy(every=5, messages=None))
                await trio.sleep(21)
                await desk.stop()

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
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            await desk.start(Ledger, name="ledger", checkpoint=policy)
            ctx = (await desk.start(sender, name="feed")).incarnation.context
            for n in range(1, 31):
                ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(1)
            assert {event.reason for event in log.named("checkpoint_saved")} == {"bytes"}
            await desk.stop()


async def test_suspend_and_resume_keep_the_state(autojump_clock):
    """A suspended child is saved, and resumes from that."""
    log = Log()
    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            child = await desk.start(Ledger, name="ledger")
            ctx = (await desk.start(sender, name="feed")).incarnation.context
            ctx.publish(FILLS, Fill("t1", 4))
            await trio.sleep(1)
            hold = child.scope.hold(Mode.EMERGENCY, reason="test")
            await child.wait(Lifecycle.SUSPENDED)
            await trio.sleep(1)
            hold.release()
            await child.wait(Lifecycle.READY)
            assert child.incarnation.component.state == Book(position=4, handled=1)
            await desk.stop()
    assert [event.reason for event in log.named("checkpoint_saved")] == ["suspend", "stop"]


async def test_restore_an_older_checkpoint_by_label(tmp_path, autojump_clock):
    """Later records are superseded: never replayed, their keys free again."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Ledger, name="ledger")
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        ctx.publish(FILLS, Fill("t1", 1))
        await trio.sleep(1)
        await desk.create_checkpoint(label="good")
        ctx.publish(FILLS, Fill("t2", 2))
        await trio.sleep(1)
        await desk.stop()
    async with (
        open_store(url) as store,
        open_supervisor("desk", store=store, checkpoint=QUIET, restore="good") as desk,
    ):
        child = await desk.start(Ledger, name="ledger")
        assert child.incarnation.component.state.position == 1
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        ctx.publish(FILLS, Fill("t2", 7))
        await trio.sleep(1)
        assert child.incarnation.component.state.position == 8
        await desk.stop()


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
        ctx = (await desk.start(sender, name="feed")).incarnation.context
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

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Poller, name="poller")
        await trio.sleep(1)
        assert (await store.restore_latest("desk/poller", Book)).state.position == 9
        await desk.stop()


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
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            await desk.start(Sick, name="sick")
            ctx = (await desk.start(sender, name="feed")).incarnation.context
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
            await desk.stop()
    assert log.named("checkpoint_failed")


async def test_start_with_state_that_cannot_be_saved_is_refused(autojump_clock):
    """Field types are checked when the child is started."""

    @attrs.define
    class Bad:
        anything: object = None

    class Holder(Component[Bad]):
        async def run(self, ctx):
            ctx.ready()

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        with pytest.raises(SchemaError, match="anything"):
            await desk.start(Holder, name="x")
        await desk.stop()


async def test_apply_that_raises_crashes_the_child_and_the_event_stays(autojump_clock):
    """What is recorded is recorded; the error reaches the component."""
    async with (
        open_store("memory:") as store,
        open_supervisor("desk", store=store, checkpoint=QUIET, backoff=EXACT) as desk,
    ):
        child = await desk.start(Ledger, name="ledger")
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        ctx.publish(FILLS, Fill("t1", 666))
        await child.wait(Lifecycle.BACKOFF)
        assert "apply failed" in str(child.last_error)
        await desk.stop()


async def test_record_without_store_or_state_says_what_is_missing(autojump_clock):
    """The way out stands in the error."""
    async with open_supervisor("desk") as desk:
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        with pytest.raises(StoreError, match="store=store"):
            await ctx.record(Fill("t", 1))
        with pytest.raises(StoreError, match="store=store"):
            await ctx.create_checkpoint()
        with pytest.raises(StoreError, match="store=store"):
            await desk.create_checkpoint()
        await desk.stop()
    async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
        ctx = (await desk.start(sender, name="feed")).incarnation.context
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

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        child = await desk.start(Batcher, name="x")
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        for n in (1, 2):
            ctx.publish(FILLS, Fill(f"t{n}", n))
        await trio.sleep(1)
        assert "give record(..., key=...)" in errors[0]
        assert child.incarnation.component.state.position == 1
        await desk.stop()


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

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Quiet, name="x")
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        seen = []
        for n in (1, 2):
            ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(1)
            await desk.create_checkpoint()
            seen.append((await store.restore_latest("desk/x", Book)).state.position)
        assert seen == [0, 2]
        await desk.stop()


# ---------------------------------------------------------------- once


async def test_once_runs_an_effect_once_and_replays_its_outcome(autojump_clock):
    """The result and the failure are told again; refusals of ours leave the key free."""
    calls = []

    async def place(price: Decimal) -> Decimal:
        calls.append(price)
        if price < 0:
            raise ValueError("rejected")
        if price == 0:
            raise ModeRefusedError("no", mode=Mode.SAFE, needs=Capability.OPEN)
        return price

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        ctx = (await desk.start(sender, name="x")).incarnation.context
        assert [await ctx.once("a", place, Decimal(1)) for _ in range(2)] == [Decimal(1)] * 2
        with pytest.raises(ValueError, match="rejected"):
            await ctx.once("b", place, Decimal(-1))
        with pytest.raises(EffectFailedError, match="ValueError: rejected"):
            await ctx.once("b", place, Decimal(-1))
        for _ in range(2):
            with pytest.raises(ModeRefusedError):
                await ctx.once("c", place, Decimal(0))
        assert calls == [Decimal(1), Decimal(-1), Decimal(0), Decimal(0)]

        async def untyped():
            calls.append("untyped")

        with pytest.raises(TypeError, match="result_type"):
            await ctx.once("d", untyped)
        assert "untyped" not in calls
        await desk.stop()


async def test_once_cut_short_is_unknown_and_goes_to_reconcile(autojump_clock):
    """Begun and not confirmed: an error, or the component's own answer."""
    answers = {"known": 7, "not done": NOT_DONE}

    class Executor(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            await ctx.wait_stopping()

        async def reconcile_once(self, key):
            return answers[key]

    async def hang() -> int:
        await trio.sleep_forever()

    async def done() -> int:
        return 1

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        ctx = (await desk.start(Executor, name="x")).incarnation.context
        plain = (await desk.start(sender, name="y")).incarnation.context
        for key in ("known", "not done"):
            with trio.move_on_after(1):
                await ctx.once(key, hang)
        with trio.move_on_after(1):
            await plain.once("z", hang)
        assert await ctx.once("known", done) == 7
        assert await ctx.once("not done", done) == 1
        with pytest.raises(OutcomeUnknownError, match="reconcile_once"):
            await plain.once("z", done)
        await desk.stop()


# ---------------------------------------------------------------- latches, options, trouble


async def test_latched_cause_survives_the_process_until_somebody_clears_it(tmp_path, autojump_clock):
    """A restart is no way around a kill switch."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    modes = []
    for round_ in range(3):
        async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            child = await desk.start(sender, name="x")
            modes.append((desk.scope.mode.name, child.scope.mode.name))
            if round_ == 0:
                desk.scope.hold(Mode.SAFE, owner="risk", reason="limit", latched=True)
                child.scope.hold(Mode.SAFE, owner="risk", reason="child", latched=True)
                await desk.scope.settled()
            if round_ == 1:
                desk.scope.clear("risk", "limit", by="operator")
                await desk.scope.settled()
            await desk.stop()
    assert modes == [("NORMAL", "NORMAL"), ("SAFE", "SAFE"), ("NORMAL", "SAFE")]


async def test_options_are_structured_strictly(autojump_clock):
    """A wrong option names its path and what is allowed."""

    @attrs.frozen
    class Options:
        symbol: str
        depth: int = 10

    class Feed(Component[None]):
        options_type = Options

        async def run(self, ctx):
            ctx.ready(ctx.options)
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        child = await desk.start(Feed, name="feed", options={"symbol": "btc"})
        assert child.options == Options("btc")
        with pytest.raises(ConfigError, match="depth"):
            await desk.start(Feed, name="feed2", options={"symbol": "btc", "depth": "ten"})
        with pytest.raises(ConfigError, match="plain values"):
            await desk.start(Feed, name="feed3", options={"symbol": object()})
        await desk.stop()


async def test_store_trouble_holds_safe(autojump_clock):
    """A store that acknowledges nothing more is a cause."""
    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        for tell in store.on_trouble:
            tell(StoreError("disk gone"))
        assert desk.scope.mode is Mode.SAFE
        assert "disk gone" in desk.scope.why()
        await desk.stop()


async def test_unsaved_overflow_is_no_part_of_a_cut(autojump_clock):
    """Stale prices are not saved."""

    class Prices(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS, overflow=Overflow.DROP_OLDEST) as fills:
                ctx.ready()
                async for _ in fills:
                    self.state.handled += 1

    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        child = await desk.start(Prices, name="x")
        ctx = (await desk.start(sender, name="feed")).incarnation.context
        ctx.publish(FILLS, Fill("t", 1))
        await trio.sleep(1)
        await desk.create_checkpoint()
        assert child.part.positions == {}
        await desk.stop()


async def test_checkpoint_policy_saves_by_bytes_of_journal(autojump_clock):
    """Once the records since the last cut are larger than `bytes`."""
    log = Log()
    policy = CheckpointPolicy(every=None, messages=None, bytes=150)
    with observe(log):
        async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
            await desk.start(Ledger, name="ledger")
            ctx = (await desk.start(sender, name="feed")).incarnation.context
            for n in range(1, 21):
                ctx.publish(FILLS, Fill(f"t{n}", n))
            await trio.sleep(1)
            assert {event.reason for event in log.named("checkpoint_saved")} == {"bytes"}
            await desk.stop()


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
