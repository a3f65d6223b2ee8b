"""The share of failing children: what a mode suspends does not make it worse."""

import contextlib

import pytest
import trio

from genesis_trio import Backoff, Criticality, Lifecycle, Mode, ModePolicy, Strategy, observe, open_supervisor
from supervision.desk import EXACT, Log


class Sick:
    """Two ESSENTIAL children that fail, a third that does not, and five OPTIONAL ones that are well."""

    def __init__(self):
        self.is_over = trio.Event()

    async def unhealthy(self, ctx):
        ctx.ready()
        with ctx.unhealthy("no prices"):
            await self.is_over.wait()
        await ctx.wait_stopping()

    async def well(self, ctx):
        ctx.ready()
        await ctx.wait_stopping()

    async def start(self, desk, failing):
        for number in range(2):
            await desk.start(failing, name=f"failing{number}", unpark_after=None)
        await desk.start(self.well, name="well")
        for number in range(5):
            await desk.start(self.well, name=f"optional{number}", criticality=Criticality.OPTIONAL)


async def test_share_well_children_that_failures_suspended_stay_in_it(autojump_clock):
    """Two of eight lead to SAFE; the five that SAFE suspends do not make them two of three, and EMERGENCY."""
    log, sick = Log(), Sick()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            await sick.start(desk, sick.unhealthy)
            await trio.sleep(600)
            assert desk.children["optional0"].status is Lifecycle.SUSPENDED
            assert [event.mode for event in log.named("mode_raised") if event.scope == "desk"] == ["SAFE"]
            sick.is_over.set()
            await trio.sleep(60)
            assert desk.scope.mode is Mode.NORMAL
            await desk.stop()


async def test_share_well_children_that_parking_suspended_stay_in_it(autojump_clock):
    """Parking holds SAFE at once, before the share is looked at, and does not count the others out either."""

    async def crashing(ctx):
        ctx.ready()
        raise OSError("the venue is down")

    async with open_supervisor("desk", mode_policy=ModePolicy(), max_restarts=0, backoff=EXACT) as desk:
        await Sick().start(desk, crashing)
        await trio.sleep(600)
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()


async def test_share_failing_children_that_are_being_suspended_stay_in_it(autojump_clock):
    """Two OPTIONAL ones lead to SAFE, which suspends them: they take longer to stop than it takes to recover, and are not well."""
    log, sick = Log(), Sick()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy(recover_after=5.0)) as desk:
            for name in "ab":
                await desk.start(sick.unhealthy, name=name, criticality=Criticality.OPTIONAL, stop_grace=8.0)
            await trio.sleep(20)
            assert desk.children["a"].status is Lifecycle.SUSPENDED
            assert [event.time for event in log.named("mode_raised") if event.scope == "desk"] == [1.0]
            assert not log.named("mode_lowered")
            await desk.stop()


@pytest.mark.parametrize(("by_hand", "mode"), [(False, Mode.SAFE), (True, Mode.EMERGENCY)])
async def test_share_well_children_that_a_decision_suspended_leave_it(by_hand, mode, autojump_clock):
    """Whoever holds SAFE by hand has taken them out of service; of the three that are left, two are failing."""
    sick = Sick()
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        held = (
            desk.scope.hold(Mode.SAFE, owner="operator", reason="maintenance") if by_hand else contextlib.nullcontext()
        )
        with held:
            await sick.start(desk, sick.unhealthy)
            await trio.sleep(600)
            assert desk.scope.mode is mode
        await desk.stop()


@pytest.mark.parametrize("is_well", [True, False])
async def test_share_member_of_a_group_suspended_between_stop_and_start_is_as_it_was(is_well, autojump_clock):
    """Its group stopped it; if it was well until then, a mode that does not let it start again finds nothing wrong with it."""

    async def crashes_once(ctx):
        ctx.ready()
        if ctx.generation == 1:
            await trio.sleep(5)
            raise OSError
        await ctx.wait_stopping()

    async def member(ctx):
        ctx.ready()
        with contextlib.nullcontext() if is_well else ctx.unhealthy("no prices"):
            await ctx.wait_stopping()

    async with open_supervisor(
        "desk",
        mode_policy=ModePolicy(trigger_after=20.0),
        strategy=Strategy.ONE_FOR_ALL,
        backoff=Backoff(base_delay=10.0, jitter="none"),
        within=1000.0,
    ) as desk:
        await desk.start(crashes_once, name="crashes")
        for name in "ab":
            await desk.start(member, name=name, criticality=Criticality.OPTIONAL, stop_grace=0)
        await trio.sleep(10)
        assert {child.status for child in desk.children.values()} == {Lifecycle.BACKOFF}
        desk.scope.hold(Mode.SAFE, owner="operator", reason="maintenance")
        await desk.children["a"].wait(Lifecycle.SUSPENDED)
        await trio.sleep(100)
        # Two of three that fail are a share for EMERGENCY.
        assert desk.scope.mode is (Mode.SAFE if is_well else Mode.EMERGENCY)
        await desk.stop()
