"""A state that hangs its component, rather than crash it, is suspected as well; the outside that does not answer is not."""

import pytest
import trio

from genesis_trio import Lifecycle
from genesis_trio.errors import StartTimeoutError
from supervision.ladder import SPOIL, Book, Hang

LIMITS = {"start_timeout": 2.0, "heartbeat_timeout": 3.0}


async def spoil(desk):
    """Save a good state and a spoilt one; their checkpoints."""
    await desk.world.say(1)
    good = await desk.save()
    await desk.world.say(2, SPOIL)
    bad = await desk.save()
    desk.world.switches.starts.clear()
    return good, bad


async def restart(desk):
    """Let the ledger meet its saved state anew."""
    if desk.world.switches.hang is Hang.READY:
        await desk.ledger.restart()
    else:
        with pytest.raises(StartTimeoutError):
            await desk.ledger.restart()


@pytest.mark.parametrize("hang", [Hang.STARTING, Hang.READY])
async def test_state_that_hangs_its_component_steps_down_to_the_one_before(world, hang, autojump_clock):
    """Three starts in a row that time out, or fall silent, at the same place are what three crashes are."""
    world.switches.hang = hang
    async with world.open(spec=LIMITS, max_restarts=6, within=600.0) as desk:
        good, bad = await spoil(desk)
        await restart(desk)
        await trio.sleep(60)
        assert world.switches.starts == [(103, True)] * 3 + [(103, False)]
        assert desk.ledger.status is Lifecycle.READY
        assert desk.state == Book(position=103)
        convicted = await desk.quarantined()
        assert bad.id in convicted
        assert good.id not in convicted
        (why, *_) = convicted[bad.id].values()
        assert "crashed it 3 times before its first message: no progress in Ledger.run" in why
        assert "hang (ladder.py" in why


async def test_outside_that_does_not_answer_suspects_no_state(world, autojump_clock):
    """Who waits for bytes of a socket waits for the outside: as with an OSError, no other state is tried."""
    world.switches.hang = Hang.OUTSIDE
    async with world.open(spec=LIMITS, max_restarts=3, within=600.0) as desk:
        await spoil(desk)
        await restart(desk)
        await desk.ledger.wait(Lifecycle.PARKED)
        assert world.switches.starts == [(103, True)] * 4
        assert await desk.quarantined() == {}
    assert world.log.named("recovery_fell_back", "recovery_ended") == []


async def test_hang_that_every_state_meets_convicts_none(world, autojump_clock):
    """Where the older state hangs as well, it was not the state."""
    world.switches.hang = Hang.STARTING
    async with world.open(spec=LIMITS, max_restarts=9, within=600.0) as desk:
        await spoil(desk)
        world.switches.is_hanging = True
        await restart(desk)
        await trio.sleep(60)
        assert {poisoned for _, poisoned in world.switches.starts} == {True, False}
        assert await desk.quarantined() == {}
    assert "did not live from cp-000001 either" in world.log.named("recovery_ended")[0].reason
