"""Whose fault a crash is: the state's, a message's, or the outside's; only a state that is at fault is left behind."""

import contextlib

import trio

from genesis_trio import Component, Lifecycle, Topic
from supervision.ladder import FILLS, POISON, SPOIL, Book, Switches


async def test_crash_that_every_state_meets_convicts_none(world, autojump_clock):
    """The outside is down: all states are tried, none lives, and the newest comes back when the outside does."""
    async with world.open() as desk:
        await world.say(1)
        await desk.save()
        await world.say(2, SPOIL)
        await desk.save()
        world.switches.is_fixed = world.switches.is_down = True
        await desk.crash()
        await trio.sleep(25)
        assert {poisoned for _, poisoned in world.switches.starts} == {True, False}  # the one before was tried as well
        assert desk.ledger.status is Lifecycle.PARKED
        world.switches.is_down = False
        await trio.sleep(60)
        assert desk.ledger.status is Lifecycle.READY
        assert desk.state == Book(position=103, poisoned=True)
        assert await desk.quarantined() == {}
    (ended,) = world.log.named("recovery_ended")
    assert "It did not live from cp-000001 either" in ended.reason


async def test_error_of_the_outside_does_not_count_against_a_state(world, autojump_clock):
    """A connection that is refused is no fault of what was saved: no other state is tried."""
    world.switches = Switches(down_with=ConnectionRefusedError)
    async with world.open() as desk:
        await world.say(1)
        await desk.save()
        await world.say(2)
        await desk.save()
        world.switches.is_down = True
        await desk.crash()
        await desk.ledger.wait(Lifecycle.PARKED)
        assert world.switches.starts == [(3, False)] * 4
    assert world.log.named("recovery_fell_back", "recovery_ended") == []


async def test_crash_on_a_message_is_the_fault_of_the_message(world, autojump_clock):
    """It goes to the dead letters after three crashes, and the state stays as it is."""
    async with world.open() as desk:
        await world.say(1)
        await desk.save()
        await world.say(2, POISON, 4)
        await trio.sleep(10)
        assert desk.ledger.status is Lifecycle.READY
        assert desk.state == Book(position=7)
        assert await desk.quarantined() == {}
    assert len(world.log.named("message_dead")) == 1
    assert world.log.named("recovery_fell_back", "recovery_ended") == []


async def test_crash_on_a_request_is_the_fault_of_the_request(world, autojump_clock):
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

    async with world.open(component=Responder, max_restarts=6, within=600.0) as desk:
        await desk.save()
        await desk.supervisor.start(asker, name="asker")
        await trio.sleep(30)
        assert len(starts) == 4  # once more than it may come: then the asker is told
    assert world.log.named("recovery_fell_back", "recovery_ended") == []


async def test_message_in_between_is_no_proof_where_the_same_crash_follows(world, autojump_clock):
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

    async with world.open(component=Dated) as desk:
        await desk.save()
        await world.say(1)
        await desk.save()
        await trio.sleep(10 + 3 * 10 + 6)  # it took a message; then three runs without; the older state is on trial
        assert len(world.log.named("recovery_fell_back")) == 1
        await world.say(2)
        await trio.sleep(60)
        assert await desk.quarantined() == {}
    assert len(world.log.named("recovery_ended")) == 1
