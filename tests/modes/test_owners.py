"""Whose a cause is, and what becomes of it when that one ends."""

import time

import trio
import trio.testing

from genesis_trio import Backoff, Capability, ChildSpec, Mode, Restart, mode_scope, open_supervisor

SAFE = Mode.SAFE


async def test_owner_is_the_component_also_in_a_scope_of_its_own(autojump_clock):
    """Who holds is the component that calls, wherever in it: in a scope it made, or in a supervisor's block."""

    async def strategy(ctx):
        with mode_scope("pair") as pair:
            pair.hold(SAFE, reason="r")
            ctx.scope.parent.hold(SAFE, reason="r")
            async with open_supervisor("legs") as legs:
                legs.scope.hold(SAFE, reason="r")
                found.extend((pair.causes, legs.scope.causes))
                ctx.ready()
                await ctx.wait_stopping()

    found = []
    async with open_supervisor("desk") as desk:
        child = await desk.start(strategy, name="strategy")
        found.append(desk.scope.causes)
        assert [[cause.owner for cause in causes] for causes in found] == [["desk/strategy"]] * 3
        await child.stop()
        assert desk.scope.causes == ()


async def test_owner_that_ends_clears_what_it_holds_above_its_tree(autojump_clock):
    """A cause on a scope around the supervisor goes with its owner, too, and a crash clears none."""

    async def ends(ctx):
        floor.hold(SAFE, reason="of the one that ends")
        ctx.ready()
        await trio.sleep(1)

    async def stopped(ctx):
        floor.hold(SAFE, reason="of the one that is stopped")
        ctx.ready()
        await ctx.wait_stopping()

    async def crashes(ctx):
        floor.hold(SAFE, reason="of the one that crashes")
        ctx.ready()
        await trio.sleep(1)
        raise OSError

    def reasons():
        return [cause.reason for cause in floor.causes]

    with mode_scope("floor") as floor:
        async with open_supervisor("desk", backoff=Backoff(base_delay=10, jitter="none"), within=100.0) as desk:
            await desk.start(crashes, name="crashes")
            await desk.start(ends, name="ends", restart=Restart.TRANSIENT)
            child = await desk.start(stopped, name="stopped")
            await trio.sleep(2)
            assert reasons() == ["of the one that crashes", "of the one that is stopped"]
            await child.stop()
            assert reasons() == ["of the one that crashes"]
            await desk.stop()


async def test_owner_that_is_stopped_clears_what_its_own_children_hold(autojump_clock):
    """What it supervised is gone with it."""

    async def leg(ctx):
        floor.hold(SAFE, reason="of a leg")
        ctx.ready()
        await ctx.wait_stopping()

    async def strategy(ctx):
        async with open_supervisor("legs") as legs:
            await legs.start(leg, name="leg")
            ctx.ready()
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        floor = desk.scope
        child = await desk.start(strategy, name="strategy")
        assert [cause.owner for cause in floor.causes] == ["desk/strategy/legs/leg"]
        await child.stop()
        assert floor.causes == ()


async def test_owner_that_ends_costs_the_same_beside_thousands(autojump_clock):
    """Ten times as many children end in ten times the time: nobody looks through all scopes at each end."""

    async def time_an_end(count):
        go = trio.Event()

        async def job(ctx):
            ctx.ready()
            await go.wait()

        async with open_supervisor("desk") as desk:
            await desk.start_all([ChildSpec(job, name=str(n), restart=Restart.TRANSIENT) for n in range(count)])
            began = time.process_time()
            go.set()
            await desk.wait_finished()
            return (time.process_time() - began) / count

    few, many = [min([await time_an_end(count) for _ in range(3)]) for count in (200, 2000)]
    assert many < 3 * few  # 1.1; it was 8 with a look through the scopes


async def test_owner_whose_scope_is_gone_is_not_remembered(autojump_clock):
    """A temporary child that crashed leaves its causes with its scope; thousands of them leave nothing."""

    async def crashes(ctx):
        ctx.scope.hold(Mode.NORMAL, reason="in doubt", capabilities=Capability.READ)
        ctx.ready()
        raise OSError

    async with open_supervisor("desk") as desk:
        child = await desk.start(crashes, name="order", restart=Restart.TEMPORARY)
        await trio.testing.wait_all_tasks_blocked()
        assert not desk.children
        assert child.scope.causes
        assert not desk.scope._news.owned.within("desk")
        assert not desk.scope._news.owned._within  # nor that there was one of its name
