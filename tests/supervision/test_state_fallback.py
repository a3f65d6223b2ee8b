"""Falling back to an older saved checkpoint, because the newer ones are damaged: its messages come again, and none is lost."""

import attrs
import pytest
import trio

from genesis_trio import Component, Topic, open_store, schema
from messaging.parts import context_of
from persistence.damage import damage_newest
from supervision.desk import EXACT, killed, open_desk, state_of

KEEPER = "desk/keeper"


@schema("fallback.tally")
@attrs.define
class Tally:
    handled: list[int] = attrs.Factory(list)

    def check_invariants(self) -> None:
        if 13 in self.handled:
            raise ValueError("13 is no number")


NUMBERS = Topic("fallback.numbers", int)


class Keeper(Component[Tally]):
    """Keeps each number; a negative one crashes it, and so does the *nudge*, once."""

    def __init__(self, nudge):
        self.nudge = nudge

    async def run(self, ctx):
        async with ctx.subscribe(NUMBERS) as numbers, trio.open_nursery() as nursery:
            nursery.start_soon(self.crash_when_nudged)
            ctx.ready()
            async for number in numbers:
                if number < 0:
                    raise OSError("bad number")
                await trio.sleep(0.1)
                self.state.handled.append(number)
            nursery.cancel_scope.cancel()

    async def crash_when_nudged(self):
        if not self.nudge.is_set():
            await self.nudge.wait()
            raise OSError("nudged")


async def publish(ctx, *numbers):
    for number in numbers:
        ctx.publish(NUMBERS, number)
    await trio.sleep(1)


async def test_fallback_in_the_process_brings_handled_messages_again(url, autojump_clock):
    """What the older checkpoint had waiting was handled and forgotten since; it comes again with the older state."""
    nudge = trio.Event()
    async with open_store(url) as store:
        async with open_desk(store, backoff=EXACT) as desk:
            child = await desk.start(Keeper, nudge, name="keeper")
            ctx = await context_of(desk)
            await publish(ctx, 1)
            for number in (2, 3):
                ctx.publish(NUMBERS, number)
            await desk.create_checkpoint()
            await trio.sleep(1)
            assert state_of(child).handled == [1, 2, 3]
            await desk.create_checkpoint()
            damage_newest(store, KEEPER)
            nudge.set()
            await trio.sleep(1)
            assert child.generation == 2
            assert state_of(child).handled == [1, 2, 3]
            await publish(ctx, 4)
            assert state_of(child).handled == [1, 2, 3, 4]


async def test_fallback_in_the_process_leaves_the_dead_alone(url, autojump_clock):
    """A message that was put aside since stays aside."""
    nudge = trio.Event()
    async with open_store(url) as store:
        async with open_desk(store, backoff=EXACT, max_restarts=9, within=100.0) as desk:
            child = await desk.start(Keeper, nudge, name="keeper")
            ctx = await context_of(desk)
            await publish(ctx, 1)
            for number in (2, -1, 3):
                ctx.publish(NUMBERS, number)
            await desk.create_checkpoint()
            await trio.sleep(5)
            assert state_of(child).handled == [1, 2, 3]
            await desk.create_checkpoint()
            damage_newest(store, KEEPER)
            crashes = child.restarts
            nudge.set()
            await trio.sleep(5)
            assert child.restarts == crashes + 1
            assert state_of(child).handled == [1, 2, 3]


@pytest.mark.parametrize("how", ["damaged", "violates"])
async def test_fallback_of_a_process_takes_what_waits_from_the_newer_checkpoint(url, how, autojump_clock):
    """The state of the newest is of no use, its mailboxes are: what arrived since the older one is not lost."""
    nudge = trio.Event()
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start(Keeper, nudge, name="keeper")
        ctx = await context_of(desk)
        await publish(ctx, 1)
        await desk.create_checkpoint()
        ctx.publish(NUMBERS, 2)
        await desk.create_checkpoint()
        if how == "violates":
            desk.children["keeper"].incarnation.component.state.handled.append(13)
        await trio.sleep(1)
        await desk.create_checkpoint()  # or a cut in the middle of a message would hold the state of the one before
        for number in (3, 4):
            ctx.publish(NUMBERS, number)
        await desk.create_checkpoint()
        if how == "damaged":
            damage_newest(store, KEEPER)
        url = killed(url)
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Keeper, nudge, name="keeper")
        ctx = await context_of(desk)
        await trio.sleep(1)
        assert state_of(child).handled == [1, 2, 3, 4]
        await publish(ctx, 5)
        assert state_of(child).handled == [1, 2, 3, 4, 5]
        assert child.mailboxes["fallback.numbers"].next_position == 6
