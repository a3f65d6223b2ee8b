"""A component that crashes on a refusal by its mode waits for the mode, and is charged nothing."""

import contextlib

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import observe, open_store, schema
from genesis_trio.errors import ModeRefusedError
from genesis_trio.messaging.topic import Topic
from genesis_trio.modes import Capability, Criticality, Mode, ModePolicy, current_scope, mode_scope, require
from genesis_trio.supervision.component import ChildSpec, Component, Lifecycle, OnCrash, Restart, Strategy
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, Log, forever

ORDERS = Topic("refused.orders", int)


async def insists(ctx):
    """It opens risk when it begins, and does not expect to be refused."""
    require(Capability.OPEN)
    ctx.ready()
    await trio.sleep_forever()


async def insists_later(ctx):
    ctx.ready()
    while True:
        await trio.sleep(1)
        require(Capability.OPEN)


async def in_a_group(ctx):
    ctx.ready()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(insists_later, ctx)
        nursery.start_soon(trio.sleep_forever)


@pytest.mark.parametrize("component", [insists_later, in_a_group])
async def test_refused_child_is_suspended_until_its_mode_allows_it_and_charged_nothing(component, autojump_clock):
    """However often: it is not parked, and starts in the step in which the cause goes."""
    log = Log()
    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        with observe(log):
            child = await desk.start(component, name="trader", stop_grace=0)
            for at in (0.5, 100.75, 201.0):
                await trio.sleep_until(at)
                with desk.scope.hold(Mode.SAFE, owner="risk", reason="limit"):
                    await trio.sleep(50)
                    assert child.status is Lifecycle.SUSPENDED
                await child.wait(Lifecycle.READY)
                assert trio.current_time() == at + 50
            await desk.stop()
    assert child.generation == 4
    assert log.times("child_suspended") == [1.0, 101.5, 201.75]
    assert log.named("child_parked", "restart_scheduled", "child_trial") == []


async def test_refused_child_is_suspended_by_start_all_and_raised_by_start(autojump_clock):
    """A first start that is refused holds nobody up: who starts several goes on, who starts one is told."""
    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        with pytest.raises(ModeRefusedError, match="OPEN"):
            await desk.start(insists, name="one", stop_grace=0)
        trader, after = await desk.start_all(
            [
                ChildSpec(insists, name="trader", stop_grace=0),
                ChildSpec(forever, name="after", requires=["trader"], stop_grace=0),
            ]
        )
        assert (trio.current_time(), trader.status, after.status) == (0.0, Lifecycle.SUSPENDED, Lifecycle.READY)
        hold.release()
        await trader.wait(Lifecycle.READY)
        await desk.stop()


async def test_refused_child_says_what_it_waits_for(autojump_clock):
    """`why` names the capability, the mode, the cause, and what to write instead."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        with desk.scope.hold(Mode.SAFE, owner="risk", reason="limit"):
            child = await desk.start(insists_later, name="trader", stop_grace=0)
            await trio.sleep(2)
            words = desk.why("trader")
        assert "'desk/trader' is SUSPENDED" in words
        assert (
            "it crashed on the refusal of OPEN in mode SAFE, and starts again once that is allowed; to run meanwhile, let it "
            "catch ModeRefusedError" in words
        )
        assert "SAFE held on 'desk' by 'risk'" in words
        assert "does not run in mode" not in words
        await child.wait(Lifecycle.READY)
        await desk.stop()


async def test_refused_child_whose_mode_allows_it_again_is_an_ordinary_crash(autojump_clock):
    """It dawdled from the refusal to the crash: it is charged and waits its backoff, so this is no loop without delay."""

    async def slow(ctx):
        ctx.ready()
        with current_scope().hold(Mode.SAFE, reason="its own block"):
            require(Capability.OPEN)

    log = Log()
    async with open_supervisor("desk", backoff=EXACT, max_restarts=2, within=1000.0) as desk:
        with observe(log):
            child = await desk.start(slow, name="trader", stop_grace=0)
            await child.wait(Lifecycle.PARKED)
            await desk.stop()
    assert child.generation == 3
    assert [event.delay for event in log.named("restart_scheduled")] == [0.1, 0.2]
    assert log.named("child_suspended") == []


async def test_refused_by_a_cause_of_its_own_is_an_ordinary_crash(autojump_clock):
    """Nobody but its next incarnation takes that over: to wait for it would be for ever."""

    async def holds(ctx):
        ctx.scope.hold(Mode.SAFE, reason="stale data")
        ctx.ready()
        await trio.sleep(1)
        require(Capability.OPEN)

    async with open_supervisor("desk", backoff=EXACT, max_restarts=1, within=1000.0) as desk:
        child = await desk.start(holds, name="trader", stop_grace=0)
        await child.wait(Lifecycle.PARKED)
        assert child.generation == 2
        await desk.stop()


async def test_refused_by_its_own_parking_fails_its_trial(autojump_clock):
    """What it holds as a parked child keeps OPEN from it: that is said, and not waited for."""

    async def crashes(ctx):
        if ctx.generation > 1:
            require(Capability.OPEN)
        ctx.ready()
        raise OSError("venue")

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        child = await desk.start(crashes, name="trader", unpark_after=10.0)
        await child.wait(Lifecycle.PARKED)
        await trio.sleep(15)
        assert child.status is Lifecycle.PARKED
        assert isinstance(child.last_error, ModeRefusedError)
        await desk.stop()


@pytest.mark.parametrize(
    "error",
    [
        ExceptionGroup("two", [ModeRefusedError("no", mode=Mode.SAFE, needs=Capability.OPEN), OSError("and that")]),
        ModeRefusedError("of another scope", mode=Mode.SAFE, needs=Capability.READ),
    ],
    ids=["not alone", "its own mode allows it"],
)
async def test_refused_among_other_errors_or_elsewhere_is_an_ordinary_crash(error, autojump_clock):
    """It waits only for what its own mode refuses, and only if nothing else went wrong."""

    async def component(ctx):
        ctx.ready()
        raise error

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        with desk.scope.hold(Mode.SAFE, owner="risk", reason="limit"):
            child = await desk.start(component, name="trader")
            await child.wait(Lifecycle.PARKED)
            await desk.stop()


async def test_refused_in_a_scope_of_its_own_waits_for_what_its_child_scope_allows(autojump_clock):
    """The block's scope is gone with the run; the cause above is what stands in its way."""

    async def component(ctx):
        ctx.ready()
        await trio.sleep(1)
        with mode_scope("leg"):
            require(Capability.OPEN)
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        with desk.scope.hold(Mode.SAFE, owner="risk", reason="limit"):
            child = await desk.start(component, name="trader", stop_grace=0)
            await trio.sleep(2)
            assert child.status is Lifecycle.SUSPENDED
        await child.wait(Lifecycle.READY)
        await desk.stop()


async def test_refused_child_waits_for_a_capability_that_comes_back_without_a_new_mode(autojump_clock):
    """A cause may take away more than its mode does: what counts is what is allowed."""

    async def reduces(ctx):
        ctx.ready()
        await trio.sleep(1)
        require(Capability.REDUCE)
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        venue = desk.scope.hold(Mode.SAFE, owner="venue", reason="down", capabilities=Capability.READ)
        child = await desk.start(reduces, name="flattener", stop_grace=0)
        await trio.sleep(10)
        assert child.status is Lifecycle.SUSPENDED
        venue.release()
        await trio.testing.wait_all_tasks_blocked()
        assert (child.status, child.scope.mode) == (Lifecycle.READY, Mode.SAFE)
        await desk.stop()


async def test_refused_child_does_not_keep_up_the_mode_that_refuses_it(autojump_clock):
    """With a policy: another child's trouble led to SAFE; the refused one is well, so SAFE goes when the other is well."""
    trouble = trio.Event()

    async def feed(ctx):
        ctx.ready()
        if ctx.generation == 1:
            await trouble.wait()
            with ctx.unhealthy("stale"):
                await trio.sleep(3)
        await trio.sleep_forever()

    policy = ModePolicy(trigger_after=1.0, recover_after=5.0)
    async with open_supervisor("desk", backoff=EXACT, max_restarts=0, mode_policy=policy) as desk:
        await desk.start(feed, name="feed", stop_grace=0)
        trader = await desk.start(insists_later, name="trader", stop_grace=0)
        await trio.sleep(0.5)
        trouble.set()
        await trader.wait(Lifecycle.SUSPENDED)
        assert trio.current_time() == 2.0
        assert not trader.is_failing()
        await trader.wait(Lifecycle.READY)
        assert trio.current_time() == 8.5  # 3 s of trouble, 5 s of being well
        await desk.stop()


async def test_refused_in_the_trial_of_a_child_that_was_suspended_failing_lets_the_mode_fall(autojump_clock):
    """It got as far as the refusal: it counts as well from then on, or the mode and the child would wait for each other."""
    up = False

    async def feed(ctx):
        if ctx.generation > 1 and up:
            require(Capability.OPEN)
        if not up:
            raise OSError("venue")
        ctx.ready()
        await trio.sleep_forever()

    policy = ModePolicy(trigger_after=0.5, recover_after=2.0)
    async with open_supervisor("desk", backoff=EXACT, max_restarts=5, within=10.0, mode_policy=policy) as desk:
        specs = [ChildSpec(feed, name=name, stop_grace=0, unpark_after=5.0) for name in "ab"]
        await desk.start_all([ChildSpec(forever, name="c", criticality=Criticality.CRITICAL, stop_grace=0)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.start_all, specs)
            await trio.sleep(3)
            assert desk.scope.mode is Mode.EMERGENCY
            up = True
            await trio.sleep(60)
            assert {child.status for child in desk.children.values()} == {Lifecycle.READY}
            assert desk.scope.mode is Mode.NORMAL
            await desk.stop()


async def test_refused_child_obeys_its_rules_and_its_restart_type_first(autojump_clock):
    """What is said of the error, or of any end, is said of a refusal as well."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        rules = {ModeRefusedError: OnCrash.STOP}
        ruled = await desk.start(insists_later, name="ruled", stop_grace=0, rules=rules)
        temporary = await desk.start(insists_later, name="temporary", stop_grace=0, restart=Restart.TEMPORARY)
        await trio.sleep(2)
        assert (ruled.status, temporary.status) == (Lifecycle.STOPPED, Lifecycle.STOPPED)
        await desk.stop()


async def test_refused_child_stands_alone_in_its_group(autojump_clock):
    """The others go on, as with a child that the mode suspends."""
    async with open_supervisor("desk", backoff=EXACT, strategy=Strategy.ONE_FOR_ALL) as desk:
        trader = await desk.start(insists_later, name="trader", stop_grace=0)
        other = await desk.start(forever, name="other", stop_grace=0)
        with desk.scope.hold(Mode.SAFE, owner="risk", reason="limit"):
            await trio.sleep(2)
        await trader.wait(Lifecycle.READY)
        assert (trader.generation, other.generation) == (2, 1)
        await desk.stop()


async def test_refused_child_restarted_by_hand_waits_on(autojump_clock):
    """A new incarnation would be refused as well, so nothing happens until the mode allows it."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        child = await desk.start(insists_later, name="trader", stop_grace=0)
        await trio.sleep(2)
        await child.restart()
        assert (child.status, child.generation) == (Lifecycle.SUSPENDED, 1)
        hold.release()
        await child.wait(Lifecycle.READY)
        await desk.stop()


async def test_refused_child_can_be_stopped_and_lives_again(autojump_clock):
    """It is stopped like any that is suspended; and revived it waits for nothing, since its run is forgotten."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        child = await desk.start(insists_later, name="trader", stop_grace=0)
        await trio.sleep(2)
        await child.stop()
        assert child.status is Lifecycle.STOPPED
        await child.restart()
        assert (child.status, child.generation) == (Lifecycle.READY, 2)
        hold.release()
        await desk.stop()


async def test_restart_by_hand_raises_the_refusal_of_the_new_incarnation(autojump_clock):
    """Who restarts it is told, as with any crash before it is ready."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(insists, name="trader", stop_grace=0)
        with desk.scope.hold(Mode.SAFE, owner="risk", reason="limit"):
            with pytest.raises(ModeRefusedError):
                await child.restart()
            assert child.status is Lifecycle.SUSPENDED
        await child.wait(Lifecycle.READY)
        await desk.stop()


@pytest.mark.parametrize("is_saved", [False, True])
async def test_refused_message_is_no_poison(is_saved, autojump_clock):
    """It was the mode, and not the message: however often it is refused, it is handled in the end."""
    handled = []

    @schema(f"refused.book.{is_saved}")
    @attrs.define
    class Book:
        orders: int = 0

    class Trader(Component[Book]):
        async def run(self, ctx):
            async with ctx.subscribe(ORDERS) as orders:
                ctx.ready()
                async for order in orders:
                    await trio.sleep(1)
                    require(Capability.OPEN)
                    handled.append(order)

    async def feed(ctx):
        ctx.publish(ORDERS, 7)

    async with contextlib.AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store("memory:")) if is_saved else None
        desk = await stack.enter_async_context(open_supervisor("desk", backoff=EXACT, max_restarts=0, store=store))
        child = await desk.start(Trader, name="trader")
        hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        await desk.start(feed, name="feed", restart=Restart.TEMPORARY)
        for _ in range(5):
            await child.wait(Lifecycle.SUSPENDED)
            hold.release()
            await child.wait(Lifecycle.READY)
            hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="limit")
        await child.wait(Lifecycle.SUSPENDED)
        hold.release()
        await trio.sleep(2)
        assert handled == [7]
        assert child.generation == 7
        await desk.stop()
