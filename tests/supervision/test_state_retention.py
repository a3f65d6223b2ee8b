"""Saved checkpoints and records that nobody needs any more go, whatever caused the save."""

import attrs
import pytest
import trio

from genesis_trio import (
    CheckpointPolicy,
    Component,
    Mode,
    ModePolicy,
    Topic,
    open_store,
    open_supervisor,
    schema,
)

UNASKED = CheckpointPolicy(every=None, messages=None, keep=3)
LEDGER = "desk/ledger"
SAVES = 8


@schema("retention.booked")
@attrs.frozen
class Booked:
    number: int


@schema("retention.book")
@attrs.define
class Book:
    booked: list[int] = attrs.Factory(list)

    def apply(self, event: Booked) -> None:
        self.booked.append(event.number)


NUMBERS = Topic("retention.numbers", int)


class Ledger(Component[Book]):
    async def run(self, ctx):
        ctx.ready()
        async with ctx.subscribe(NUMBERS) as numbers:
            async for number in numbers:
                await ctx.record(Booked(number))


async def feed(ctx):
    ctx.ready()
    await ctx.wait_stopping()


@pytest.fixture(params=["memory:", "sqlite"])
def url(request, tmp_path):
    return f"memory:{tmp_path.name}" if request.param == "memory:" else f"sqlite:{tmp_path / 'desk.db'}"


async def saved(store):
    return [info.sequence for info in await store.list_checkpoints()]


def records(store):
    return [sequence for sequence, _ in store._ledger.raw_records(LEDGER, after=0, start=0)]


async def by_restart(desk, child):
    await child.restart()


async def by_suspension(desk, child):
    with desk.scope.hold(Mode.EMERGENCY, reason="a drill"):
        await trio.sleep(1)
    await trio.sleep(1)


async def by_hand(desk, child):
    await desk.create_checkpoint()


@pytest.mark.parametrize("save", [by_restart, by_suspension, by_hand])
async def test_retention_holds_whatever_caused_the_save(url, save, autojump_clock):
    """As many are kept as the policy says, with the records since the oldest of them, while it runs and after it stopped."""
    async with open_store(url) as store:
        async with open_supervisor(
            "desk", store=store, checkpoint=UNASKED, mode_policy=ModePolicy(recover_after=0.0)
        ) as desk:
            child = await desk.start(Ledger, name="ledger")
            sender = (await desk.start(feed, name="feed")).incarnation.context
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


async def test_retention_holds_for_services_that_save_at_their_stop_only(url, autojump_clock):
    """One that lives for a moment, many times, leaves no more than one that lives for long."""
    for number in range(1, SAVES + 1):
        async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=UNASKED) as desk:
            child = await desk.start(Ledger, name="ledger")
            sender = (await desk.start(feed, name="feed")).incarnation.context
            await sender.send(NUMBERS, number)
            await trio.sleep(1)
            assert child.incarnation.component.state.booked == [*range(1, number + 1)]
            await desk.stop()

    async with open_store(url) as store:
        assert await saved(store) == [SAVES, SAVES - 1, SAVES - 2]
        assert records(store) == [SAVES - 1, SAVES]
