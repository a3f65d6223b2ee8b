"""Many children at once: they come back side by side, and the supervisor answers meanwhile."""

import sys

import pytest
import trio
import trio.testing

from genesis_trio import Backoff, ChildSpec, Lifecycle, Mode, ModePolicy, open_supervisor
from supervision.desk import EXACT

AT_ONCE = Backoff(base_delay=0.0, jitter="none")


def slow_starter(crash):
    async def component(ctx):
        await trio.sleep(0.01)
        ctx.ready()
        if ctx.generation == 1:
            await crash.wait()
            raise OSError("the venue is gone")
        await ctx.wait_stopping()

    return component


async def test_storm_a_thousand_children_come_back_side_by_side(autojump_clock):
    """A thousand crashes in one step are over after one start-up of 10 ms, not a thousand; statistics() is true meanwhile."""
    crash = trio.Event()
    async with open_supervisor("desk", backoff=AT_ONCE, mode_policy=ModePolicy()) as desk:
        await desk.start_all([ChildSpec(slow_starter(crash), name=f"c{n}") for n in range(1000)])
        began = trio.current_time()
        crash.set()
        await trio.sleep(0.005)
        assert (desk.statistics().ready, desk.statistics().restarts) == (0, 1000)
        await trio.sleep(0.005)
        await trio.testing.wait_all_tasks_blocked()
        assert desk.statistics().ready == 1000
        assert trio.current_time() - began == pytest.approx(0.01)
        assert desk.scope.mode is Mode.NORMAL  # shorter than trigger_after
        await desk.stop()


async def test_storm_work_grows_with_the_children_and_not_with_their_square(autojump_clock):
    """Counted in calls, which no load of the machine changes: four times as many children are far from sixteen times the work."""
    costs = []
    for count in (50, 200):
        crash = trio.Event()
        calls = 0

        def profile(frame, event, argument):
            nonlocal calls
            calls += event == "call"

        async with open_supervisor("desk", backoff=AT_ONCE, mode_policy=ModePolicy()) as desk:
            await desk.start_all([ChildSpec(slow_starter(crash), name=f"c{n}") for n in range(count)])
            sys.setprofile(profile)
            try:
                crash.set()
                await trio.sleep(1)
                await desk.stop()
            finally:
                sys.setprofile(None)
            costs.append(calls)

    assert costs[1] < 6 * costs[0]


async def test_children_are_started_and_stopped_while_the_others_run(autojump_clock):
    """From the body and from a component; the stop of one is the business of no other, and order of start is order of stop."""
    stopped = []

    async def leaf(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        stopped.append(ctx.name)

    async def manager(ctx):
        ctx.ready()
        for number in range(3):
            await desk.start(leaf, name=f"dynamic{number}")
            await trio.sleep(1)
        await desk.children["dynamic1"].stop()
        await ctx.wait_stopping()
        stopped.append(ctx.name)

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(leaf, name="first")
        await desk.start(manager, name="manager")
        await trio.sleep(5)
        assert stopped == ["dynamic1"]
        assert [child.status for child in desk.children.values()].count(Lifecycle.READY) == 4
        await desk.stop()

    assert stopped == ["dynamic1", "dynamic2", "dynamic0", "manager", "first"]


async def test_crash_of_a_child_outside_of_a_group_does_not_wait_for_it(autojump_clock):
    """A group that restarts for ten seconds holds nobody up who has nothing to do with it."""

    async def feed(ctx):
        if ctx.generation > 1:
            await trio.sleep(10)
        ctx.ready()
        await trio.sleep(1)
        raise OSError("feed")

    async def strategy(ctx):
        ctx.ready()
        await ctx.wait_stopping()

    async def other(ctx):
        ctx.ready()
        await trio.sleep(2)
        raise OSError("other")

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(feed, name="feed")
        await desk.start(strategy, name="strategy", requires=["feed"])
        child = await desk.start(other, name="other")
        await trio.sleep(2.15)
        assert (child.generation, child.status) == (2, Lifecycle.READY)
        assert desk.children["feed"].status is Lifecycle.STARTING
        await desk.stop()
