"""Who sent a message: `record` tells messages apart by it, so two senders never share an origin, whatever they are called."""

import attrs
import pytest
import trio

from genesis_trio import (
    Component,
    Criticality,
    Lifecycle,
    Mode,
    Restart,
    Topic,
    open_store,
    open_supervisor,
    schema,
)
from supervision.desk import EXACT

FILLS = Topic("origins.fills", int)
LEDGER = "desk/ledger"


@schema("origins.booked")
@attrs.frozen
class Booked:
    quantity: int


@schema("origins.book")
@attrs.define
class Book:
    booked: list[int] = attrs.Factory(list)

    def apply(self, event: Booked) -> None:
        self.booked.append(event.quantity)


class Ledger(Component[Book]):
    async def run(self, ctx):
        async with ctx.subscribe(FILLS) as fills:
            ctx.ready()
            async for fill in fills:
                await ctx.record(Booked(fill))


async def gateway(ctx):
    ctx.publish(FILLS, 5)
    ctx.ready()
    await ctx.wait_stopping()


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    return "memory:" if request.param == "memory" else f"sqlite:{tmp_path / 'desk.db'}"


@pytest.mark.parametrize("how", ["by hand", "crash", "mode"])
async def test_sender_inside_a_host_that_runs_again_is_another_one(how, url, autojump_clock):
    """Its fills are new ones, though path, generation and count are those of the sender that the last run of the host had."""

    async def host(ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(gateway, name="gateway")
            ctx.ready()
            if how == "crash" and ctx.generation < 3:
                await trio.sleep(1)
                raise OSError("down")

    async with open_store(url) as store, open_supervisor("desk", store=store, backoff=EXACT) as desk:
        await desk.start(Ledger, name="ledger")
        child = await desk.start(host, name="host", criticality=Criticality.OPTIONAL)
        for _ in range(2):
            if how == "by hand":
                await child.restart()
            elif how == "mode":
                with desk.scope.hold(Mode.SAFE, owner="ana", reason="maintenance"):
                    await child.wait(Lifecycle.SUSPENDED)
                await child.wait(Lifecycle.READY)
        await trio.sleep(10)
        await desk.stop()
        assert (await store.restore_latest(LEDGER, Book)).state.booked == [5, 5, 5]


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_sender_in_the_next_tree_over_the_same_open_store_is_another_one(restart, url, autojump_clock):
    """A program may open the supervisor again without opening the store again."""

    async def order(ctx):
        ctx.publish(FILLS, 5)
        ctx.ready()

    async with open_store(url) as store:
        for _ in range(3):
            async with open_supervisor("desk", store=store) as desk:
                await desk.start(Ledger, name="ledger")
                await desk.start(order, name="order", restart=restart)
                await trio.sleep(1)
                await desk.stop()
        assert (await store.restore_latest(LEDGER, Book)).state.booked == [5, 5, 5]
