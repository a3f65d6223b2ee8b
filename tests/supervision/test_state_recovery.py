"""A state that keeps killing its component: the saved checkpoints before it are tried, and what lives decides.

The component crashes before its first message while its state holds ``poisoned``; ``Switches`` is the outside.
"""

import contextlib

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import (
    CheckpointPolicy,
    ChildSpec,
    Component,
    Lifecycle,
    Mode,
    Recovery,
    Strategy,
    Topic,
    observe,
    open_store,
    open_supervisor,
    schema,
)
from supervision.desk import EXACT, Log

LEDGER = "desk/ledger"
QUIET = CheckpointPolicy(every=None, messages=None)


@schema("test.ladder.fill", version=1)
@attrs.frozen
class Fill:
    quantity: int


@schema("test.ladder.book", version=1)
@attrs.define
class Book:
    position: int = 0
    notes: int = 0
    poisoned: bool = False

    def apply(self, fill: Fill) -> None:
        if fill.quantity == UNFIT:
            raise ValueError("no such quantity")
        self.position += fill.quantity


FILLS = Topic("ladder.fills", Fill)

SPOIL, NOTE, POISON, SLOW, UNFIT = 100, 200, 300, 400, 500


@attrs.define
class Switches:
    """What the world outside does; shared by all incarnations."""

    is_fixed: bool = False
    is_down: bool = False
    down_with: type[Exception] = LookupError
    dies_after: float = 0.0
    starts: list[tuple[int, bool]] = attrs.Factory(list)
    handled: list[int] = attrs.Factory(list)
    gate: trio.Event | None = None
    records_its_start: bool = False


class Ledger(Component[Book]):
    """Records each fill, but for a note; one of them spoils the state beside that."""

    def __init__(self, switches):
        self.switches = switches

    async def run(self, ctx):
        switches = self.switches
        switches.starts.append((self.state.position, self.state.poisoned))
        if switches.dies_after:
            ctx.ready()
            await trio.sleep(switches.dies_after)
        if switches.is_down:
            raise switches.down_with("down")
        if self.state.poisoned and not switches.is_fixed:
            raise ValueError("the book is spoilt")
        if switches.records_its_start:
            await ctx.record(Fill(1))
        async with ctx.subscribe(FILLS) as fills:
            ctx.ready()
            async for fill in fills:
                if fill.quantity == POISON:
                    raise ValueError("bad message")
                if fill.quantity == SLOW and switches.gate is not None:
                    await switches.gate.wait()
                if fill.quantity == NOTE:
                    self.state.notes += 1
                else:
                    await ctx.record(fill)
                self.state.poisoned |= fill.quantity == SPOIL
                switches.handled.append(fill.quantity)


class Feed:
    """A child that publishes what the test says."""

    async def __call__(self, ctx):
        self.ctx = ctx
        ctx.ready()
        await ctx.wait_stopping()

    async def say(self, *quantities):
        for quantity in quantities:
            self.ctx.publish(FILLS, Fill(quantity))
        await trio.testing.wait_all_tasks_blocked()


@pytest.fixture(params=["memory:", "sqlite"])
def url(request, tmp_path):
    return f"memory:{tmp_path.name}" if request.param == "memory:" else f"sqlite:{tmp_path / 'desk.db'}"


@contextlib.asynccontextmanager
async def open_desk(store, **options):
    async with open_supervisor("desk", store=store, checkpoint=QUIET, backoff=EXACT, **options) as desk:
        yield desk
        await desk.stop()


async def start(desk, switches, feed, **options):
    await desk.start(feed, name="feed")
    return await desk.start(Ledger, switches, name="ledger", **options)


async def crash(child, switches):
    """Let *child* meet its saved state anew; its next runs are the supervisor's."""
    switches.starts.clear()
    with pytest.raises((ValueError, LookupError, OSError)):
        await child.restart()


async def quarantined(store):
    return {info.id: info.quarantined for info in await store.list_checkpoints() if info.quarantined}


def state_of(child):
    return child.incarnation.component.state


@pytest.mark.parametrize("dies_after", [0.0, 3.0])
async def test_spoilt_state_steps_down_to_the_one_before_and_is_quarantined(url, dies_after, autojump_clock):
    """Three crashes alike before the first message, at once or later: the one before lives, and no record is lost."""
    switches, feed, log = Switches(), Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed)
            await feed.say(1, 2)
            good = await desk.create_checkpoint()
            await feed.say(4, SPOIL)
            bad = await desk.create_checkpoint()
            switches.dies_after = dies_after
            if dies_after:
                switches.starts.clear()
                await ledger.restart()
            else:
                await crash(ledger, switches)
            await trio.sleep(4 * dies_after + 60)
            assert switches.starts == [(107, True)] * 3 + [(107, False)]
            assert ledger.status is Lifecycle.READY
            assert state_of(ledger) == Book(position=107)
            (cause,) = (
                desk.scope.causes
            )  # each of two messages left a record, but nobody knows whether it was all of it
            assert cause.mode is Mode.SAFE
            assert "0 acknowledged records are lost, and 2 messages" in cause.reason
            listed = await quarantined(store)
            assert bad.id in listed
            assert good.id not in listed
    fell_back, convicted = log.named("recovery_fell_back", "checkpoint_quarantined", "child_parked")
    assert (fell_back.name, fell_back.checkpoint, fell_back.lost) == ("recovery_fell_back", good.id, 0)
    assert convicted.name == "checkpoint_quarantined"
    assert set(convicted.checkpoint.split(", ")) <= set(listed)
    assert "crashed it 3 times before its first message: ValueError in Ledger.run" in convicted.reason


async def test_older_state_that_lived_is_the_newest_from_then_on(url, autojump_clock):
    """It is saved at once; the next process starts from it, without a word."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await trio.sleep(30)
        assert ledger.status is Lifecycle.READY
        await feed.say(5)
        assert state_of(ledger) == Book(position=106)
    switches.starts.clear()
    log = Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            await start(desk, switches, feed)
            assert switches.starts == [(106, False)]
            assert len(await quarantined(store)) >= 1
    assert log.named("recovery_fell_back", "recovery_ended") == []


async def test_messages_that_waited_at_the_older_state_come_again_and_count_once(url, autojump_clock):
    """State and positions come back together; what is recorded already is dropped by its key."""
    switches, feed = Switches(gate=trio.Event()), Feed()
    async with open_store(url) as store, open_desk(store, max_restarts=6, within=600.0) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(SLOW, 2)  # in hand, and waiting
        await desk.create_checkpoint()
        switches.gate.set()
        await feed.say(SPOIL)
        await desk.create_checkpoint()
        switches.handled.clear()
        await feed.say(7, POISON, 8)  # after the newest saved state
        await trio.sleep(30)
        assert ledger.status is Lifecycle.READY
        # The third crash on the bad message was its last; each restart brings back state and positions together.
        assert switches.handled == [7, *[SLOW, 2, 7] * 3, 8]
        assert state_of(ledger) == Book(position=1 + SLOW + 2 + SPOIL + 7 + 8)


@pytest.mark.parametrize("recovery", [Recovery.COVERED, Recovery.OLDER])
async def test_state_that_no_record_explains_is_given_up_only_where_allowed(url, recovery, autojump_clock):
    """Two messages changed the state without a record: by default the child parks, and nothing is lost."""
    switches, feed, log = Switches(), Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed, recovery=recovery)
            await feed.say(1)
            good = await desk.create_checkpoint()
            await feed.say(NOTE, NOTE, SPOIL)
            await desk.create_checkpoint()
            await crash(ledger, switches)
            await trio.sleep(20)
            if recovery is Recovery.OLDER:
                assert ledger.status is Lifecycle.READY
                assert state_of(ledger) == Book(position=101)
                assert desk.scope.mode is Mode.SAFE
                (cause,) = desk.scope.causes
                assert "3 messages that were handled after it do not come again (1 records" in cause.reason
                return
            assert ledger.status is Lifecycle.PARKED
            assert f"Not tried: {good.id}: 0 acknowledged records are lost, and 3 messages" in desk.why("ledger")
            assert any("genesis checkpoints restore" in note for note in ledger.last_error.__notes__)
            assert await quarantined(store) == {}
            switches.is_fixed = True
            await ledger.restart()
            assert state_of(ledger) == Book(position=101, notes=2, poisoned=True)
    assert [event.reason for event in log.named("recovery_ended")] != []


async def test_checkpoint_is_healthy_after_a_code_fix_in_the_next_process(url, autojump_clock):
    """No state was convicted by its own crashes: the newest one is what the mended code gets."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(NOTE, SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.PARKED)
    switches.is_fixed = True
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start_all([ChildSpec(feed, name="feed"), ChildSpec(Ledger, switches, name="ledger")])
        assert state_of(desk.children["ledger"]) == Book(position=100, notes=1, poisoned=True)


async def test_crash_that_every_state_meets_convicts_none(url, autojump_clock):
    """The outside is down: all states are tried, none lives, and the newest comes back when the outside does."""
    switches, feed, log = Switches(), Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed)
            await feed.say(1)
            await desk.create_checkpoint()
            await feed.say(2, SPOIL)
            await desk.create_checkpoint()
            switches.is_fixed = switches.is_down = True
            await crash(ledger, switches)
            await trio.sleep(25)
            assert {poisoned for _, poisoned in switches.starts} == {True, False}  # the one before was tried as well
            assert ledger.status is Lifecycle.PARKED
            switches.is_down = False
            await trio.sleep(60)
            assert ledger.status is Lifecycle.READY
            assert state_of(ledger) == Book(position=103, poisoned=True)
            assert await quarantined(store) == {}
    (ended,) = log.named("recovery_ended")
    assert "It did not live from cp-000001 either" in ended.reason


async def test_error_of_the_outside_does_not_count_against_a_state(url, autojump_clock):
    """A connection that is refused is no fault of what was saved: no other state is tried."""
    switches, feed, log = Switches(down_with=ConnectionRefusedError), Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed)
            await feed.say(1)
            await desk.create_checkpoint()
            await feed.say(2)
            await desk.create_checkpoint()
            switches.is_down = True
            await crash(ledger, switches)
            await ledger.wait(Lifecycle.PARKED)
            assert switches.starts == [(3, False)] * 4
    assert log.named("recovery_fell_back", "recovery_ended") == []


async def test_crash_on_a_message_is_the_fault_of_the_message(url, autojump_clock):
    """It goes to the dead letters after three crashes, and the state stays as it is."""
    switches, feed, log = Switches(), Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed)
            await feed.say(1)
            await desk.create_checkpoint()
            await feed.say(2, POISON, 4)
            await trio.sleep(10)
            assert ledger.status is Lifecycle.READY
            assert state_of(ledger) == Book(position=7)
            assert await quarantined(store) == {}
    assert len(log.named("message_dead")) == 1
    assert log.named("recovery_fell_back", "recovery_ended") == []


async def test_crashes_of_one_process_each_are_counted_together(url, autojump_clock):
    """A process that dies with its first child is a crash loop as well: the fourth one starts from the state before."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
    for _ in range(3):
        with pytest.raises(ValueError, match="spoilt"):
            async with open_store(url) as store, open_desk(store) as desk:
                await start(desk, switches, feed)
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        assert state_of(ledger) == Book(position=103)
        await feed.say(5)
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        assert state_of(ledger).position == 108
        await trio.sleep(30)
        assert ledger.status is Lifecycle.READY
    async with open_store(url) as store:
        assert await quarantined(store) != {}


async def test_other_code_begins_without_suspects(url, autojump_clock):
    """What kills one version of the code may be healthy for the next: it gets the newest state first."""
    switches, feed = Switches(), Feed()
    async with open_store(url, code_version="desk 1") as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.READY)  # from the one before, on trial
        assert state_of(ledger) == Book(position=103)
    switches.is_fixed = True
    async with open_store(url, code_version="desk 2") as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        assert state_of(ledger) == Book(position=103, poisoned=True)
        assert await quarantined(store) == {}


async def test_state_on_trial_is_not_saved_over_the_suspect(url, autojump_clock):
    """Before it has lived, a cut holds what it held: the suspect, and every message that waits."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.READY)
        await trio.sleep(1)
        during = await desk.create_checkpoint()
        assert (await store.restore(during.id, LEDGER, Book)).state == Book(position=103, poisoned=True)
        await trio.sleep(30)
        after = await desk.create_checkpoint()
        assert (await store.restore(after.id, LEDGER, Book)).state == Book(position=103)
        assert {during.id}.issubset(await quarantined(store))
        assert after.id not in await quarantined(store)


async def test_cold_start_replays_the_journal_from_its_beginning_first(url, autojump_clock):
    """With one saved state only: all records are applied to a first state, and what had none is lost, in SAFE."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed, recovery=Recovery.COLD)
        await feed.say(1, NOTE, SPOIL)
        await desk.create_checkpoint()
        await feed.say(7)
        await crash(ledger, switches)
        await trio.sleep(30)
        assert ledger.status is Lifecycle.READY
        assert state_of(ledger) == Book(position=108)
        assert desk.scope.mode is Mode.SAFE


@pytest.mark.parametrize("recovery", [Recovery.COVERED, Recovery.COLD])
async def test_record_that_cannot_be_applied_is_left_behind_by_a_cold_start_only(url, recovery, autojump_clock):
    """Each saved state meets it again; where it is allowed, a first state goes on behind all records, and says how many."""
    switches, feed, log = Switches(), Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed, recovery=recovery)
            await feed.say(1, 2)
            await desk.create_checkpoint()
            await feed.say(UNFIT)
            await trio.sleep(45)
            if recovery is Recovery.COVERED:
                assert ledger.status is Lifecycle.PARKED
                return
            await feed.say(9)
            assert ledger.status is Lifecycle.READY
            assert state_of(ledger) == Book(position=9)
            assert desk.scope.mode is Mode.SAFE
    (fell_back,) = log.named("recovery_fell_back")
    assert (fell_back.checkpoint, fell_back.lost) == ("", 3)


async def test_group_restarts_with_the_child_and_only_its_own_state_is_older(url, autojump_clock):
    """ONE_FOR_ALL: the siblings restart each time, from what they had."""
    switches, other, feed = Switches(), Switches(), Feed()
    async with open_store(url) as store, open_desk(store, strategy=Strategy.ONE_FOR_ALL) as desk:
        ledger = await start(desk, switches, feed)
        sibling = await desk.start(Ledger, other, name="other")
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(NOTE)  # both; a note is nothing that the sibling may lose
        other.is_fixed = True
        await feed.say(2, SPOIL)
        switches.handled.clear()
        await desk.create_checkpoint()
        with pytest.raises(ValueError, match="spoilt"):
            await ledger.restart()
        await trio.sleep(20)
        assert sibling.status is Lifecycle.READY
        assert state_of(sibling) == Book(position=103, notes=1, poisoned=True)
        assert set(await quarantined(store)) == set()


async def test_newest_only_is_a_setting(url, autojump_clock):
    """Who wants the newest state or none gets it."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed, recovery=Recovery.NEWEST)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.PARKED)
        assert switches.starts == [(101, True)] * 4
    with pytest.raises(TypeError, match="recovery of child 'x' is a Recovery, got 'cold'"):
        ChildSpec(Ledger, switches, name="x", recovery="cold")


async def test_restore_by_id_takes_a_checkpoint_out_of_quarantine(url, autojump_clock):
    """Who names it wants it: after a fix the state is back, with all that was in it."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
        bad = await desk.create_checkpoint()
        await crash(ledger, switches)
        await trio.sleep(30)
        assert bad.id in await quarantined(store)
    switches.is_fixed = True
    async with open_store(url) as store, open_desk(store, restore=bad.id, only=[LEDGER]) as desk:
        ledger = await start(desk, switches, feed)
        assert state_of(ledger) == Book(position=103, poisoned=True)
        assert bad.id not in await quarantined(store)


async def test_crash_on_a_request_is_the_fault_of_the_request(url, autojump_clock):
    """Who asks what cannot be answered does not bring the state into suspicion."""
    questions = Topic("ladder.questions", int)
    starts = []

    class Responder(Component[Book]):
        async def run(self, ctx):
            starts.append(self.state.position)
            async with ctx.requests(questions) as requests:
                ctx.ready()
                async for request in requests:
                    raise ValueError(request.message)

    async def asker(ctx):
        ctx.ready()
        with contextlib.suppress(Exception):
            await ctx.request(questions, 1, timeout=10.0)
        await ctx.wait_stopping()

    log = Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store, max_restarts=6, within=600.0) as desk:
            await desk.start(Responder, name="ledger")
            await desk.create_checkpoint()
            await desk.start(asker, name="asker")
            await trio.sleep(30)
            assert len(starts) == 4  # once more than it may come: then the asker is told
    assert log.named("recovery_fell_back", "recovery_ended") == []


async def test_suspect_that_cannot_be_replayed_is_left_at_once_by_the_next_process(url, autojump_clock):
    """There is no going back to it: the cold state is what is saved, with the messages that wait."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(UNFIT)
        await ledger.wait(Lifecycle.PARKED)
    specs = [ChildSpec(feed, name="feed"), ChildSpec(Ledger, switches, name="ledger", recovery=Recovery.COLD)]
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start_all(specs)
        ledger = desk.children["ledger"]
        assert state_of(ledger) == Book()
        await feed.say(9)
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start_all(specs)
        assert state_of(desk.children["ledger"]) == Book(position=9)


async def test_cut_finds_out_that_a_state_on_trial_has_lived(url, autojump_clock):
    """A message is enough: nobody waits for the end of ``recover_after``."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
        bad = await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.READY)
        await feed.say(5)
        after = await desk.create_checkpoint()
        await trio.testing.wait_all_tasks_blocked()
        assert bad.id in await quarantined(store)
        assert (await store.restore(after.id, LEDGER, Book)).state == Book(position=108)


async def test_state_restored_by_hand_is_no_suspect(url, autojump_clock):
    """In the middle of a trial somebody chooses: that is where it starts, and nobody is convicted."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        first = await desk.create_checkpoint()
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.READY)
    async with open_store(url) as store, open_desk(store, restore=first.id) as desk:
        ledger = await start(desk, switches, feed)
        assert state_of(ledger) == Book()
        assert await quarantined(store) == {}
        assert [name for name in await store.read_control() if name.startswith("ladder/")] == []


async def test_entry_that_cannot_be_read_is_told_and_starts_fresh(url, autojump_clock):
    """A broken entry is an event, not the end of the child."""
    switches, feed, log = Switches(), Feed(), Log()
    async with open_store(url, code_version="desk 1") as store:
        await store.put_control(f"ladder/{LEDGER}", b'{"code": "desk 1", "case": 5}').wait()
    with observe(log):
        async with open_store(url, code_version="desk 1") as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed)
            assert ledger.status is Lifecycle.READY
    assert [event.entry for event in log.named("control_not_restored")] == [f"ladder/{LEDGER}"]


async def test_trial_goes_on_in_the_next_process_whatever_it_has_recorded(url, autojump_clock):
    """What the older state records comes behind the suspect as well: it is still the suspect."""
    switches, feed = Switches(), Feed()
    async with open_store(url) as store, open_desk(store) as desk:
        ledger = await start(desk, switches, feed)
        await feed.say(1)
        await desk.create_checkpoint()
        await feed.say(2, SPOIL)
        await desk.create_checkpoint()
        await crash(ledger, switches)
        await ledger.wait(Lifecycle.READY)
    switches.records_its_start = True
    for number in range(1, 5):
        async with open_store(url) as store, open_desk(store) as desk:
            ledger = await start(desk, switches, feed)
            assert state_of(ledger) == Book(position=103 + number)


async def test_message_in_between_is_no_proof_where_the_same_crash_follows(url, autojump_clock):
    """What kills each run after ten seconds kills one with a message after ten seconds as well."""

    class Dated(Component[Book]):
        async def run(self, ctx):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.work, ctx)
                await trio.sleep(10 + ctx.generation / 10)
                raise LookupError("the session is over")

        async def work(self, ctx):
            async with ctx.subscribe(FILLS) as fills:
                ctx.ready()
                async for fill in fills:
                    await ctx.record(fill)
                    self.state.notes += 1  # or the older state and its record were the newer one, and not worth a trial

    feed, log = Feed(), Log()
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            await desk.start(feed, name="feed")
            await desk.start(Dated, name="ledger")
            await desk.create_checkpoint()
            await feed.say(1)
            await desk.create_checkpoint()
            await trio.sleep(10 + 3 * 10 + 6)  # it took a message; then three runs without; the older state is on trial
            assert len(log.named("recovery_fell_back")) == 1
            await feed.say(2)
            await trio.sleep(60)
            assert await quarantined(store) == {}
    assert len(log.named("recovery_ended")) == 1
