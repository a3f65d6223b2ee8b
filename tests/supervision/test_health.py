"""Failing children become a mode, which stops children and lets them come back."""

import contextlib

import trio
import trio.testing

from genesis_trio.events import observe
from genesis_trio.modes import Criticality, Mode, ModePolicy
from genesis_trio.supervision.component import Lifecycle, Restart
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, Log, crashing_after, forever


async def test_emergency_suspends_what_is_not_critical_and_resumes_it(autojump_clock):
    """Each mode admits what it admits, in both directions."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk") as desk:
            children = [await desk.start(forever, name=c.name, criticality=c, stop_grace=0) for c in Criticality]
            hold = desk.scope.hold(Mode.SAFE, reason="test")
            await trio.testing.wait_all_tasks_blocked()
            assert [c.status.name for c in children] == ["SUSPENDED", "READY", "READY"]
            desk.scope.hold(Mode.EMERGENCY, reason="test")
            await trio.testing.wait_all_tasks_blocked()
            assert [c.status.name for c in children] == ["SUSPENDED", "SUSPENDED", "READY"]
            assert desk.statistics().suspended == 2
            hold.release()
            await trio.testing.wait_all_tasks_blocked()
            assert [c.generation for c in children] == [2, 2, 1]
            assert [c.status.name for c in children] == ["READY", "READY", "READY"]
            await desk.stop()


async def test_well_child_that_takes_its_time_to_be_suspended_is_not_failing(autojump_clock):
    """A mode that somebody holds is no trouble of those that it stops."""

    async def slow(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(5)

    async with open_supervisor("desk", mode_policy=ModePolicy(trigger_after=1.0)) as desk:
        child = await desk.start(slow, name="slow", criticality=Criticality.ESSENTIAL, stop_grace=10.0)
        hold = desk.scope.hold(Mode.EMERGENCY, reason="test")
        await trio.sleep(4)
        assert child.status is Lifecycle.STOPPING
        assert [cause.reason for cause in desk.scope.causes] == [hold.reason]
        await desk.stop()


async def test_policy_one_essential_child_failing_leads_to_safe_and_back(autojump_clock):
    """trigger_after 1 s of failing: SAFE; recover_after 5 s of being well: NORMAL."""
    sick = trio.Event()

    async def component(ctx):
        ctx.ready()
        await trio.sleep(10)
        with ctx.unhealthy("resubscribing"):
            await sick.wait()
        await trio.sleep_forever()

    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        await desk.start(component, name="x", stop_grace=0)
        await desk.scope.wait_for(lambda mode: mode is Mode.SAFE)
        assert trio.current_time() == 11
        await trio.sleep(4)
        sick.set()
        await desk.scope.wait_for(lambda mode: mode is Mode.NORMAL)
        assert trio.current_time() == 20
        await desk.stop()


async def test_policy_restart_shorter_than_trigger_after_changes_nothing(autojump_clock):
    """A quick restart is no reason for a mode."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy(), backoff=EXACT) as desk:
            await desk.start(crashing_after(5), name="x")
            await trio.sleep(18)
            await desk.stop()
    assert len(log.named("child_crashed")) == 3
    assert not log.named("mode_raised")


async def test_policy_share_counts_from_two_failing_on(autojump_clock):
    """Two of four failing are half: EMERGENCY; one of two is judged by its own weight."""

    async def component(ctx, sick):
        ctx.ready()
        with ctx.unhealthy("x") if sick else contextlib.nullcontext():
            await trio.sleep_forever()

    policy = ModePolicy(essential_failure=Mode.NORMAL)
    async with open_supervisor("desk", mode_policy=policy) as desk:
        await desk.start(component, False, name="a", stop_grace=0, criticality=Criticality.CRITICAL)
        await desk.start(component, True, name="b", stop_grace=0)
        await trio.sleep(3)
        assert desk.scope.mode is Mode.NORMAL
        await desk.start(component, False, name="c", stop_grace=0)
        await desk.start(component, True, name="d", stop_grace=0)
        await desk.scope.wait_for(lambda mode: mode is Mode.EMERGENCY)
        assert trio.current_time() == 4
        await desk.stop()


async def test_cause_on_the_supervisors_scope_binds_its_siblings(autojump_clock):
    """A limit of the desk is held above the component that watches it; a cause on its own scope binds nobody else."""

    async def limits(ctx):
        ctx.ready()
        with ctx.scope.hold(Mode.SAFE, reason="its own"):
            await trio.sleep(1)
        with ctx.supervisor_scope.hold(Mode.SAFE, reason="the desk's"):
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        sender = await desk.start(forever, name="sender")
        await desk.start(limits, name="limits")
        assert sender.scope.mode is Mode.NORMAL
        await trio.sleep(2)
        assert sender.scope.mode is Mode.SAFE
        await desk.stop()


async def test_cause_of_a_component_clears_with_its_normal_end_but_not_with_a_crash(autojump_clock):
    """A crash clears no cause; the next incarnation takes it over; a stop by hand clears it."""

    async def component(ctx):
        ctx.scope.parent.hold(Mode.SAFE, reason="no prices")
        ctx.ready()
        await trio.sleep(1)
        raise OSError

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x")
        await trio.sleep(1.05)
        assert child.status is Lifecycle.BACKOFF
        assert desk.scope.mode is Mode.SAFE
        since = desk.scope.causes[0].since
        await trio.sleep(1)
        assert [cause.since for cause in desk.scope.causes] == [since]
        await child.stop()
        assert desk.scope.mode is Mode.NORMAL


async def test_heartbeat_timeout_restarts_a_silent_child(autojump_clock):
    """From READY on, no progress for heartbeat_timeout is a crash."""

    async def component(ctx):
        ctx.ready()
        await trio.sleep(1)
        ctx.heartbeat()
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", heartbeat_timeout=2.0, stop_grace=0)
        await child.wait(Lifecycle.BACKOFF)
        assert trio.current_time() == 3
        assert isinstance(child.last_error, TimeoutError)
        await desk.stop()


async def test_heartbeat_timeout_that_a_child_shields_itself_from_is_a_crash_all_the_same(autojump_clock):
    """That it returns after its time is over is no planned end."""

    async def component(ctx):
        ctx.ready()
        if ctx.generation > 1:
            await trio.sleep_forever()
        with trio.CancelScope(shield=True):
            await trio.sleep(5)

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", heartbeat_timeout=2.0, restart=Restart.TRANSIENT)
        await trio.sleep(6)
        assert (child.generation, str(child.last_error)) == (
            2,
            "child 'desk/x' made no progress for 2.0 s: it neither asked for a message nor called ctx.heartbeat()",
        )
        await desk.stop()
