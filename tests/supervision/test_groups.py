"""Who restarts together: the strategies, and those that require the one that crashed."""

import pytest
import trio
import trio.testing

from genesis_trio.supervision.component import ChildSpec, Lifecycle, OnCrash, Restart, Strategy
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT


def group_member(log, *, ready_after=0.0):
    async def component(ctx, crash_at=None):
        log.append(f"+{ctx.name}")
        try:
            await trio.sleep(ready_after)
            ctx.ready()
            if crash_at is not None and ctx.generation == 1:
                await trio.sleep(crash_at)
                raise OSError(ctx.name)
            await ctx.wait_stopping()
        finally:
            log.append(f"-{ctx.name}")

    return component


@pytest.mark.parametrize(
    ("strategy", "after"),
    [
        (Strategy.ONE_FOR_ONE, ["-b", "+b"]),
        (Strategy.ONE_FOR_ALL, ["-b", "-c", "-a", "+a", "+b", "+c"]),
        (Strategy.REST_FOR_ONE, ["-b", "-c", "+b", "+c"]),
    ],
)
async def test_strategy_restarts_its_group_in_the_original_order(strategy, after, autojump_clock):
    """The others are stopped in reverse, then all start in the order of first start."""
    log = []
    async with open_supervisor("desk", strategy=strategy, backoff=EXACT) as desk:
        member = group_member(log)
        await desk.start(member, name="a")
        await desk.start(member, 1.0, name="b")
        await desk.start(member, name="c")
        await trio.sleep(0.5)
        log.clear()
        await trio.sleep(2)
        assert log == after
        assert [child.restarts for child in desk.children.values()].count(0) == 3 - len(after) // 2
        assert desk.statistics().ready == 3
        await desk.stop()


async def test_group_restart_is_charged_to_the_one_that_crashed_alone(autojump_clock):
    """Who was stopped and started for another has all its restarts left."""

    async def component(ctx, crash_in):
        ctx.ready()
        if ctx.generation == crash_in:
            await trio.sleep(1)
            raise OSError(ctx.name)
        await ctx.wait_stopping()

    async with open_supervisor("desk", strategy=Strategy.ONE_FOR_ALL, max_restarts=1, backoff=EXACT) as desk:
        first = await desk.start(component, 1, name="first")
        last = await desk.start(component, 2, name="last")
        await trio.sleep(4)
        assert [(child.status, child.generation) for child in (first, last)] == [(Lifecycle.READY, 3)] * 2
        await desk.stop()


async def test_requires_restarts_those_that_need_the_crashed_one(autojump_clock):
    """The closure of requires restarts under any strategy; others stay."""
    log = []
    async with open_supervisor("desk", backoff=EXACT) as desk:
        member = group_member(log)
        await desk.start_all(
            [
                ChildSpec(member, 1.0, name="ledger"),
                ChildSpec(member, name="feed"),
                ChildSpec(member, name="strategy", requires=["ledger"]),
                ChildSpec(member, name="report", requires=["strategy"]),
            ]
        )
        await trio.sleep(0.5)
        log.clear()
        await trio.sleep(2)
        assert log == ["-ledger", "-report", "-strategy", "+ledger", "+strategy", "+report"]
        await desk.stop()


async def test_group_crash_of_two_members_at_once_restarts_the_group_once(autojump_clock):
    """A crash that joins a group restart under way does not restart anybody twice."""
    log = []
    async with open_supervisor("desk", strategy=Strategy.ONE_FOR_ALL, backoff=EXACT) as desk:
        member = group_member(log)
        await desk.start(member, 1.0, name="a")
        await desk.start(member, 1.0, name="b")
        await desk.start(member, name="c")
        await trio.sleep(3)
        assert [child.generation for child in desk.children.values()] == [2, 2, 2]
        assert desk.statistics().ready == 3
        await desk.stop()


async def test_group_crash_during_the_backoff_of_another_restarts_both_once(autojump_clock):
    """A crash that widens the group while it waits is waited for: all start in the original order."""
    started = []

    def crashing_once(after):
        async def component(ctx):
            started.append(ctx.name)
            ctx.ready()
            if ctx.generation == 1 and after is not None:
                await trio.sleep(after)
                raise OSError(ctx.name)
            await ctx.wait_stopping()

        return component

    async with open_supervisor("desk", strategy=Strategy.REST_FOR_ONE, backoff=EXACT) as desk:
        for name, after in (("a", 1.05), ("b", None), ("c", 1.0)):
            await desk.start(crashing_once(after), name=name)
        await trio.sleep(3)
        assert started == ["a", "b", "c"] * 2
        assert [child.generation for child in desk.children.values()] == [2, 2, 2]
        await desk.stop()


@pytest.mark.parametrize("at_once", [False, True])
async def test_group_crash_while_a_member_stops_for_a_restart_by_hand_restarts_both_in_order(at_once, autojump_clock):
    """Who was to be restarted by hand takes its place in the group, which does not wait for a backoff; also if it ends just then."""
    log = []
    may_end = trio.Event()

    async def first(ctx):
        log.append(("+first", trio.current_time()))
        ctx.ready()
        if ctx.generation == 1:
            await trio.sleep(2.95)  # the backoff alone would last until 3.05
            if at_once:
                may_end.set()
            raise OSError("first")
        await ctx.wait_stopping()

    async def last(ctx):
        log.append(("+last", trio.current_time()))
        ctx.ready()
        await ctx.wait_stopping()
        with trio.move_on_after(2):
            await may_end.wait()

    async with open_supervisor("desk", strategy=Strategy.REST_FOR_ONE, backoff=EXACT) as desk:
        await desk.start(first, name="first")
        child = await desk.start(last, name="last")
        await trio.sleep(1)
        await child.restart()
        began = 2.95 if at_once else 3
        assert log[2:] == [("+first", began), ("+last", began)]
        assert desk.statistics().ready == 2
        await desk.stop()


async def fail_while_starting_again(ctx):
    if ctx.generation == 2:
        await trio.sleep(0.5)
        raise OSError("gone")
    ctx.ready()
    await ctx.wait_stopping()


GROUPS = pytest.mark.parametrize("strategy", [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL])


@GROUPS
@pytest.mark.parametrize("settings", [{"restart": Restart.TEMPORARY}, {"rules": {OSError: OnCrash.PARK}}])
async def test_restart_by_hand_of_one_that_crashes_before_its_group_comes_to_it_restarts_it(
    strategy, settings, autojump_clock
):
    """It was to be replaced anyway: its crash neither ends nor parks it, and whoever waits for the restart goes on."""
    async with open_supervisor("desk", strategy=strategy, backoff=EXACT) as desk:
        first = await desk.start(group_member([]), name="a")
        second = await desk.start(fail_while_starting_again, name="b", **settings)
        last = await desk.start(group_member([]), name="c")
        with trio.move_on_after(0.2):
            await second.restart()
        assert (second.status, second.generation) == (Lifecycle.STARTING, 2)
        await second.restart()
        assert (second.status, second.generation) == (Lifecycle.READY, 3)
        await trio.testing.wait_all_tasks_blocked()
        assert first.status is last.status is Lifecycle.READY
        await desk.stop()


@GROUPS
async def test_group_goes_on_when_a_temporary_one_that_began_it_is_stopped(strategy, autojump_clock):
    """It is gone for good when the next round looks for its place in the order."""

    async def stops_slowly(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(1)

    async with open_supervisor("desk", strategy=strategy, backoff=EXACT) as desk:
        first = await desk.start(group_member([]), name="a")
        second = await desk.start(group_member([]), name="b", restart=Restart.TEMPORARY)
        last = await desk.start(stops_slowly, name="c", stop_grace=2.0)
        for _ in range(2):  # the second while the group waits for the last one's end
            with trio.move_on_after(0.2):
                await second.restart()
        await second.stop()
        assert list(desk.children) == ["a", "c"]
        await trio.sleep(2)
        assert first.status is last.status is Lifecycle.READY
        assert last.generation == 2
        await desk.stop()
