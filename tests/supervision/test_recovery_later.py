"""What a later process makes of a suspected state: trials go on, convictions stay, and a person or new code may think otherwise."""

import pytest
import trio

from genesis_trio import Lifecycle, Recovery, open_store
from supervision.ladder import LEDGER, NOTE, SPOIL, UNFIT, Book


async def test_checkpoint_is_healthy_after_a_code_fix_in_the_next_process(world, autojump_clock):
    """No state was convicted by its own crashes: the newest one is what the mended code gets."""
    async with world.open() as desk:
        await world.say(NOTE, SPOIL)
        await desk.save()
        await desk.crash()
        await desk.ledger.wait(Lifecycle.PARKED)
    world.switches.is_fixed = True
    async with world.open(raises=False) as desk:
        assert desk.state == Book(position=100, notes=1, poisoned=True)


async def test_crashes_of_one_process_each_are_counted_together(world, autojump_clock):
    """A process that dies with its first child is a crash loop as well: the fourth one starts from the state before."""
    async with world.open() as desk:
        await world.say(1)
        await desk.save()
        await world.say(2, SPOIL)
    for _ in range(3):
        with pytest.raises(ValueError, match="spoilt"):
            async with world.open():
                pass
    async with world.open() as desk:
        assert desk.state == Book(position=103)
        await world.say(5)
    async with world.open() as desk:
        assert desk.state.position == 108
        await trio.sleep(30)
        assert desk.ledger.status is Lifecycle.READY
        assert await desk.quarantined() != {}


async def test_other_code_begins_without_suspects(world, autojump_clock):
    """What kills one version of the code may be healthy for the next: it gets the newest state first."""
    async with world.open(code_version="desk 1") as desk:
        await desk.spoil()
        await desk.ledger.wait(Lifecycle.READY)  # from the one before, on trial
        assert desk.state == Book(position=103)
    world.switches.is_fixed = True
    async with world.open(code_version="desk 2") as desk:
        assert desk.state == Book(position=103, poisoned=True)
        assert await desk.quarantined() == {}


async def test_restore_by_id_takes_a_checkpoint_out_of_quarantine(world, autojump_clock):
    """Who names it wants it: after a fix the state is back, with all that was in it."""
    async with world.open() as desk:
        _, bad = await desk.spoil()
        await trio.sleep(30)
        assert bad.id in await desk.quarantined()
    world.switches.is_fixed = True
    async with world.open(restore=bad.id, only=[LEDGER]) as desk:
        assert desk.state == Book(position=103, poisoned=True)
        assert bad.id not in await desk.quarantined()


async def test_suspect_that_cannot_be_replayed_is_left_at_once_by_the_next_process(world, autojump_clock):
    """There is no going back to it: the cold state is what is saved, with the messages that wait."""
    async with world.open() as desk:
        await world.say(1)
        await desk.save()
        await world.say(UNFIT)
        await desk.ledger.wait(Lifecycle.PARKED)
    async with world.open(recovery=Recovery.COLD, raises=False) as desk:
        assert desk.state == Book()
        await world.say(9)
    async with world.open(recovery=Recovery.COLD, raises=False) as desk:
        assert desk.state == Book(position=9)


async def test_state_restored_by_hand_is_no_suspect(world, autojump_clock):
    """In the middle of a trial somebody chooses: that is where it starts, and nobody is convicted."""
    async with world.open() as desk:
        first = await desk.save()
        await desk.spoil()
        await desk.ledger.wait(Lifecycle.READY)
    async with world.open(restore=first.id) as desk:
        assert desk.state == Book()
        assert await desk.quarantined() == {}
        assert [name for name in await desk.store.read_control() if name.startswith("ladder/")] == []


async def test_entry_that_cannot_be_read_is_told_and_starts_fresh(world, autojump_clock):
    """A broken entry is an event, not the end of the child."""
    async with open_store(world.url, code_version="desk 1") as store:
        await store.put_control(f"ladder/{LEDGER}", b'{"code": "desk 1", "case": 5}').wait()
    async with world.open(code_version="desk 1") as desk:
        assert desk.ledger.status is Lifecycle.READY
    assert [event.entry for event in world.log.named("control_not_restored")] == [f"ladder/{LEDGER}"]


async def test_trial_goes_on_in_the_next_process_whatever_it_has_recorded(world, autojump_clock):
    """What the older state records comes behind the suspect as well: it is still the suspect."""
    async with world.open() as desk:
        await desk.spoil()
        await desk.ledger.wait(Lifecycle.READY)
    world.switches.records_its_start = True
    for number in range(1, 5):
        async with world.open() as desk:
            assert desk.state == Book(position=103 + number)
