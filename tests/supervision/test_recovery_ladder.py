"""A state that keeps killing its component: the saved checkpoints before it are tried, and what lives decides."""

import pytest
import trio
import trio.testing

from genesis_trio import ChildSpec, Lifecycle, Mode, Recovery, Strategy
from supervision.ladder import LEDGER, NOTE, POISON, SLOW, SPOIL, UNFIT, Book, Ledger, Switches, state_of


@pytest.mark.parametrize("dies_after", [0.0, 3.0])
async def test_spoilt_state_steps_down_to_the_one_before_and_is_quarantined(world, dies_after, autojump_clock):
    """Three crashes alike before the first message, at once or later: the one before lives, and no record is lost."""
    async with world.open() as desk:
        await world.say(1, 2)
        good = await desk.save()
        await world.say(4, SPOIL)
        bad = await desk.save()
        world.switches.dies_after = dies_after
        if dies_after:
            world.switches.starts.clear()
            await desk.ledger.restart()
        else:
            await desk.crash()
        await trio.sleep(4 * dies_after + 60)
        assert world.switches.starts == [(107, True)] * 3 + [(107, False)]
        assert desk.ledger.status is Lifecycle.READY
        assert desk.state == Book(position=107)
        (cause,) = desk.scope.causes  # each of two messages left a record; whether that was all of it, nobody knows
        assert cause.mode is Mode.SAFE
        assert "0 acknowledged records are lost, and 2 messages" in cause.reason
        listed = await desk.quarantined()
        assert bad.id in listed
        assert good.id not in listed
    fell_back, convicted = world.log.named("recovery_fell_back", "checkpoint_quarantined", "child_parked")
    assert (fell_back.name, fell_back.checkpoint, fell_back.lost) == ("recovery_fell_back", good.id, 0)
    assert convicted.name == "checkpoint_quarantined"
    assert set(convicted.checkpoint.split(", ")) <= set(listed)
    assert "crashed it 3 times before its first message: ValueError in Ledger.run" in convicted.reason


async def test_older_state_that_lived_is_the_newest_from_then_on(world, autojump_clock):
    """It is saved at once; the next process starts from it, without a word."""
    async with world.open() as desk:
        await world.say(1)
        await desk.save()
        await world.say(SPOIL)
        await desk.save()
        await desk.crash()
        await trio.sleep(30)
        assert desk.ledger.status is Lifecycle.READY
        await world.say(5)
        assert desk.state == Book(position=106)
    world.switches.starts.clear()
    world.log.events.clear()
    async with world.open() as desk:
        assert world.switches.starts == [(106, False)]
        assert len(await desk.quarantined()) >= 1
    assert world.log.named("recovery_fell_back", "recovery_ended") == []


async def test_messages_that_waited_at_the_older_state_come_again_and_count_once(world, autojump_clock):
    """State and positions come back together; what is recorded already is dropped by its key."""
    world.switches = Switches(gate=trio.Event())
    async with world.open(max_restarts=6, within=600.0) as desk:
        await world.say(1)
        await desk.save()
        await world.say(SLOW, 2)  # in hand, and waiting
        await desk.save()
        world.switches.gate.set()
        await world.say(SPOIL)
        await desk.save()
        world.switches.handled.clear()
        await world.say(7, POISON, 8)  # after the newest saved state
        await trio.sleep(30)
        assert desk.ledger.status is Lifecycle.READY
        # The third crash on the bad message was its last; each restart brings back state and positions together.
        assert world.switches.handled == [7, *[SLOW, 2, 7] * 3, 8]
        assert desk.state == Book(position=1 + SLOW + 2 + SPOIL + 7 + 8)


@pytest.mark.parametrize("recovery", [Recovery.COVERED, Recovery.OLDER])
async def test_state_that_no_record_explains_is_given_up_only_where_allowed(world, recovery, autojump_clock):
    """Two messages changed the state without a record: by default the child parks, and nothing is lost."""
    async with world.open(recovery=recovery) as desk:
        await world.say(1)
        good = await desk.save()
        await world.say(NOTE, NOTE, SPOIL)
        await desk.save()
        await desk.crash()
        await trio.sleep(20)
        if recovery is Recovery.OLDER:
            assert desk.ledger.status is Lifecycle.READY
            assert desk.state == Book(position=101)
            assert desk.scope.mode is Mode.SAFE
            (cause,) = desk.scope.causes
            assert "3 messages that were handled after it do not come again (1 records" in cause.reason
            return
        assert desk.ledger.status is Lifecycle.PARKED
        assert f"Not tried: {good.id}: 0 acknowledged records are lost, and 3 messages" in desk.ledger.why()
        assert any("genesis checkpoints restore" in note for note in desk.ledger.last_error.__notes__)
        assert await desk.quarantined() == {}
        world.switches.is_fixed = True
        await desk.ledger.restart()
        assert desk.state == Book(position=101, notes=2, poisoned=True)
    assert [event.reason for event in world.log.named("recovery_ended")] != []


async def test_state_on_trial_is_not_saved_over_the_suspect(world, autojump_clock):
    """Before it has lived, a cut holds what it held: the suspect, and every message that waits."""
    async with world.open() as desk:
        await desk.spoil()
        await desk.ledger.wait(Lifecycle.READY)
        await trio.sleep(1)
        during = await desk.save()
        assert (await desk.store.restore(during.id, LEDGER, Book)).state == Book(position=103, poisoned=True)
        await trio.sleep(30)
        after = await desk.save()
        assert (await desk.store.restore(after.id, LEDGER, Book)).state == Book(position=103)
        assert {during.id}.issubset(await desk.quarantined())
        assert after.id not in await desk.quarantined()


async def test_cold_start_replays_the_journal_from_its_beginning_first(world, autojump_clock):
    """With one saved state only: all records are applied to a first state, and what had none is lost, in SAFE."""
    async with world.open(recovery=Recovery.COLD) as desk:
        await world.say(1, NOTE, SPOIL)
        await desk.save()
        await world.say(7)
        await desk.crash()
        await trio.sleep(30)
        assert desk.ledger.status is Lifecycle.READY
        assert desk.state == Book(position=108)
        assert desk.scope.mode is Mode.SAFE


@pytest.mark.parametrize("recovery", [Recovery.COVERED, Recovery.COLD])
async def test_record_that_cannot_be_applied_is_left_behind_by_a_cold_start_only(world, recovery, autojump_clock):
    """Each saved state meets it again; where it is allowed, a first state goes on behind all records, and says how many."""
    async with world.open(recovery=recovery) as desk:
        await world.say(1, 2)
        await desk.save()
        await world.say(UNFIT)
        await trio.sleep(45)
        if recovery is Recovery.COVERED:
            assert desk.ledger.status is Lifecycle.PARKED
            return
        await world.say(9)
        assert desk.ledger.status is Lifecycle.READY
        assert desk.state == Book(position=9)
        assert desk.scope.mode is Mode.SAFE
    (fell_back,) = world.log.named("recovery_fell_back")
    assert (fell_back.checkpoint, fell_back.lost) == ("", 3)


async def test_group_restarts_with_the_child_and_only_its_own_state_is_older(world, autojump_clock):
    """ONE_FOR_ALL: the siblings restart each time, from what they had."""
    other = Switches()
    async with world.open(strategy=Strategy.ONE_FOR_ALL) as desk:
        sibling = await desk.supervisor.start(Ledger, other, name="other")
        await world.say(1)
        await desk.save()
        await world.say(NOTE)  # both; a note is nothing that the sibling may lose
        other.is_fixed = True
        await world.say(2, SPOIL)
        world.switches.handled.clear()
        await desk.save()
        with pytest.raises(ValueError, match="spoilt"):
            await desk.ledger.restart()
        await trio.sleep(20)
        assert sibling.status is Lifecycle.READY
        assert state_of(sibling) == Book(position=103, notes=1, poisoned=True)
        assert set(await desk.quarantined()) == set()


async def test_newest_only_is_a_setting(world, autojump_clock):
    """Who wants the newest state or none gets it."""
    async with world.open(recovery=Recovery.NEWEST) as desk:
        await world.say(1)
        await desk.save()
        await world.say(SPOIL)
        await desk.save()
        await desk.crash()
        await desk.ledger.wait(Lifecycle.PARKED)
        assert world.switches.starts == [(101, True)] * 4
    with pytest.raises(TypeError, match="recovery of child 'x' is a Recovery, got 'cold'"):
        ChildSpec(Ledger, world.switches, name="x", recovery="cold")


async def test_cut_finds_out_that_a_state_on_trial_has_lived(world, autojump_clock):
    """A message is enough: nobody waits for the end of ``recover_after``."""
    async with world.open() as desk:
        _, bad = await desk.spoil()
        await desk.ledger.wait(Lifecycle.READY)
        await world.say(5)
        after = await desk.save()
        await trio.testing.wait_all_tasks_blocked()
        assert bad.id in await desk.quarantined()
        assert (await desk.store.restore(after.id, LEDGER, Book)).state == Book(position=108)
