"""A temporary child is gone when it has ended: its name, its scope and its mailboxes; whoever holds it may still look."""

import gc
import time
import weakref

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import (
    CheckpointPolicy,
    Component,
    Lifecycle,
    OnCrash,
    Restart,
    Strategy,
    Topic,
    open_store,
    open_supervisor,
    schema,
)
from supervision.desk import forever

ORDERS = Topic("temporary.orders", int)


@schema("temporary.count")
@attrs.define
class Count:
    numbers: list[int] = attrs.Factory(list)

    def apply(self, number: "Number") -> None:
        self.numbers.append(number.number)


@schema("temporary.number")
@attrs.frozen
class Number:
    number: int


async def job(ctx, error=None):
    ctx.ready()
    await trio.sleep(1)
    if error is not None:
        raise error


@pytest.mark.parametrize(
    ("error", "settings", "is_gone"),
    [
        (None, {"restart": Restart.TEMPORARY}, True),
        (OSError("down"), {"restart": Restart.TEMPORARY}, True),
        (None, {"restart": Restart.TRANSIENT}, False),
        (OSError("down"), {"rules": {OSError: OnCrash.STOP}}, False),
    ],
)
async def test_temporary_child_that_has_ended_is_no_child_any_more(error, settings, is_gone, autojump_clock):
    """Only its handle is left, and its name is free; others stay, since they may be restarted by hand."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(job, error, name="order", **settings)
        await child.wait(Lifecycle.STOPPED)
        await trio.testing.wait_all_tasks_blocked()

        assert ("order" not in desk.children) is is_gone
        assert (child.status, child.last_error, child.generation) == (Lifecycle.STOPPED, error, 1)
        assert "STOPPED" in child.why()
        await child.stop()
        if is_gone:
            with pytest.raises(RuntimeError, match="'desk/order' has ended and is no child of 'desk' any more"):
                await child.restart()
            with pytest.raises(RuntimeError, match="'desk/order' has ended for good and will not be READY any more"):
                await child.wait(Lifecycle.READY)
            await desk.start(forever, name="order")
        await desk.stop()


async def test_temporary_child_stopped_by_hand_is_gone_too(autojump_clock):
    """As one that ended by itself."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(forever, name="order", restart=Restart.TEMPORARY, stop_grace=0)
        await child.stop()
        assert dict(desk.children) == {}


@pytest.mark.parametrize("settings", [{}, {"requires": ["gateway"]}])
async def test_temporary_child_is_stopped_with_its_group_and_does_not_come_back(settings, autojump_clock):
    """As in OTP: a sibling's crash ends it, whether the strategy or ``requires`` says so."""

    async def gateway(ctx):
        ctx.ready()
        await trio.sleep(1)
        if ctx.generation == 1:
            raise OSError("down")
        await ctx.wait_stopping()

    strategy = Strategy.ONE_FOR_ONE if settings else Strategy.ONE_FOR_ALL
    async with open_supervisor("desk", strategy=strategy) as desk:
        await desk.start(gateway, name="gateway")
        child = await desk.start(forever, name="order", restart=Restart.TEMPORARY, stop_grace=0, **settings)
        await desk.children["gateway"].wait(Lifecycle.BACKOFF)
        await desk.children["gateway"].wait(Lifecycle.READY)

        assert (child.status, child.generation, child.last_error) == (Lifecycle.STOPPED, 1, None)
        assert list(desk.children) == ["gateway"]
        await desk.stop()


async def test_temporary_child_that_is_restarted_by_hand_comes_back_before_those_that_require_it(autojump_clock):
    """Somebody asked for it: it is no restart of a group that it happens to be in."""
    async with open_supervisor("desk") as desk:
        session = await desk.start(forever, name="session", restart=Restart.TEMPORARY, stop_grace=0)
        order = await desk.start(forever, name="order", requires=["session"], stop_grace=0)
        await session.restart()
        await order.wait(Lifecycle.READY)
        assert (session.status, session.generation, order.generation) == (Lifecycle.READY, 2, 2)
        await desk.stop()


async def test_temporary_child_that_another_requires_stays(autojump_clock):
    """Its dependants would require what does not exist."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(job, name="session", restart=Restart.TEMPORARY)
        await desk.start(forever, name="order", requires=["session"])
        await child.wait(Lifecycle.STOPPED)
        await trio.testing.wait_all_tasks_blocked()
        assert list(desk.children) == ["session", "order"]
        await desk.stop()


async def test_temporary_child_with_state_stays_until_that_is_saved(autojump_clock):
    """Its last state is on disk before it is forgotten, without anybody's asking."""

    class Order(Component[Count]):
        async def run(self, ctx):
            ctx.ready()
            self.state.numbers.append(7)
            await trio.sleep(1)

    policy = CheckpointPolicy(every=None, messages=None)
    async with open_store("memory:") as store, open_supervisor("desk", store=store, checkpoint=policy) as desk:
        child = await desk.start(Order, name="order", restart=Restart.TEMPORARY)
        await child.wait(Lifecycle.STOPPED)
        await trio.sleep(1)
        assert dict(desk.children) == {}
        assert (await store.restore_latest("desk/order", Count)).state.numbers == [7]

        child = await desk.start(Order, name="order", restart=Restart.TEMPORARY)
        await child.wait(Lifecycle.STOPPED)
        await trio.sleep(1)
        assert (await store.restore_latest("desk/order", Count)).state.numbers == [7, 7]
        await desk.stop()


async def test_temporary_children_of_one_name_send_messages_that_are_told_apart(autojump_clock):
    """A new child is another sender, though it has the path and the generation of an earlier one: record() drops nothing of it."""

    class Ledger(Component[Count]):
        async def run(self, ctx):
            async with ctx.subscribe(ORDERS) as orders:
                ctx.ready()
                async for order in orders:
                    await ctx.record(Number(order))

    async def order(ctx, number):
        ctx.publish(ORDERS, number)

    async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
        ledger = await desk.start(Ledger, name="ledger")
        for number in range(3):
            child = await desk.start(order, number, name="order", restart=Restart.TEMPORARY)
            await child.wait(Lifecycle.STOPPED)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert ledger.incarnation.component.state.numbers == [0, 1, 2]
        await desk.stop()


@pytest.mark.slow
@pytest.mark.untraced
async def test_temporary_children_by_the_thousand_cost_the_same_each_time_and_leave_nothing(autojump_clock):
    """A service that starts one for each order does not grow, nor slow down: compared in one run, in CPU time."""

    async def order(ctx):
        ctx.ready()

    handles = []

    async def thousand(first):
        began = time.process_time()
        for number in range(first, first + 1000):
            child = await desk.start(order, name=f"order{number}", restart=Restart.TEMPORARY)
            handles.append(weakref.ref(child))
            await child.wait(Lifecycle.STOPPED)
        await trio.testing.wait_all_tasks_blocked()
        return time.process_time() - began

    async with open_supervisor("desk") as desk:
        costs = [await thousand(1000 * n) for n in range(10)]
        assert len(desk.children) == len(desk.tree.children) == 0
        gc.collect()
        assert sum(handle() is not None for handle in handles) <= 1  # the one that was started last
        # It was twenty times as much when those that had ended stayed.
        assert min(costs[-3:]) < 2 * min(costs[:3])
        await desk.stop()
