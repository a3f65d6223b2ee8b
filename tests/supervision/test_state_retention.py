"""Saved checkpoints and records that nobody needs any more go, whatever caused the save."""

import pytest
import trio

from genesis_trio import (
    CheckpointPolicy,
    Mode,
    ModePolicy,
    open_store,
    open_supervisor,
)
from messaging.parts import context_of
from supervision.booking import NUMBERS, Ledger, records
from supervision.desk import state_of

UNASKED = CheckpointPolicy(every=None, messages=None, keep=3)
SAVES = 8


async def saved(store):
    return [info.sequence for info in await store.list_checkpoints()]


async def by_restart(desk, child):
    await child.restart()


async def by_suspension(desk, child):
    with desk.scope.hold(Mode.EMERGENCY, reason="a drill"):
        await trio.sleep(1)
    await trio.sleep(1)


async def by_hand(desk, child):
    await desk.create_checkpoint()


@pytest.mark.parametrize("save", [by_restart, by_suspension, by_hand])
async def test_retention_holds_whatever_caused_the_save(each_url, save, autojump_clock):
    """As many are kept as the policy says, with the records since the oldest of them, while it runs and after it stopped."""
    async with open_store(each_url) as store:
        async with open_supervisor(
            "desk", store=store, checkpoint=UNASKED, mode_policy=ModePolicy(recover_after=0.0)
        ) as desk:
            child = await desk.start(Ledger, name="ledger")
            sender = await context_of(desk)
            for number in range(1, SAVES + 1):
                await sender.send(NUMBERS, number)
                await trio.sleep(1)
                await save(desk, child)
            await trio.sleep(1)
            running, left = await saved(store), records(store)
            await desk.stop()

        assert running == [SAVES, SAVES - 1, SAVES - 2]
        assert left == [SAVES - 1, SAVES]
        assert await saved(store) == [SAVES + 1, SAVES, SAVES - 1]
        assert records(store) == [SAVES]


async def test_retention_holds_for_services_that_save_at_their_stop_only(each_url, autojump_clock):
    """One that lives for a moment, many times, leaves no more than one that lives for long."""
    for number in range(1, SAVES + 1):
        async with open_store(each_url) as store, open_supervisor("desk", store=store, checkpoint=UNASKED) as desk:
            child = await desk.start(Ledger, name="ledger")
            sender = await context_of(desk)
            await sender.send(NUMBERS, number)
            await trio.sleep(1)
            assert state_of(child).booked == [*range(1, number + 1)]
            await desk.stop()

    async with open_store(each_url) as store:
        assert await saved(store) == [SAVES, SAVES - 1, SAVES - 2]
        assert records(store) == [SAVES - 1, SAVES]
