"""A circuit breaker over children, and those that children call through."""

import contextlib

import pytest
import trio
import trio.lowlevel
import trio.testing

from genesis_trio._runtime import current_run
from genesis_trio.errors import BreakerOpenError, StartTimeoutError
from genesis_trio.modes import Mode, ModePolicy
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.supervision.component import ChildSpec, Lifecycle
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, crashing_after, forever


async def test_breaker_open_keeps_children_waiting_and_burns_no_budget(autojump_clock):
    """Three crashes open it; the restart waits for the half-open probe and nobody is parked."""
    breaker = CircuitBreaker("venue", failure_threshold=3, recovery_timeout=20, success_threshold=1)
    up = False

    async def component(ctx):
        if not up:
            raise OSError("venue down")
        ctx.ready()
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=3) as desk, trio.open_nursery() as nursery:
        nursery.start_soon(desk.start_all, [ChildSpec(component, name="x", breaker=breaker, stop_grace=0)])
        await trio.sleep(10)
        child = desk.children["x"]
        assert child.status is Lifecycle.BACKOFF
        assert child.generation == 3
        assert breaker.state is BreakerState.OPEN
        up = True
        await child.wait(Lifecycle.READY)
        assert 18 <= trio.current_time() <= 23
        assert breaker.state is BreakerState.CLOSED
        await desk.stop()


async def test_breaker_half_open_elects_one_child(autojump_clock):
    """Of two children over one venue only one starts as the probe; the other follows its success."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=10, success_threshold=1)
    starts = []

    async def component(ctx):
        starts.append((ctx.name, trio.current_time()))
        if ctx.generation == 1:
            raise OSError("venue down")
        await trio.sleep(2)
        ctx.ready()
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=3) as desk:
        specs = [ChildSpec(component, name=name, breaker=breaker, stop_grace=0, start_timeout=60.0) for name in "ab"]
        await desk.start_all(specs)
        assert desk.statistics().ready == 2
        late = [(name, time) for name, time in starts if time > 5]
        assert len(late) >= 2
        assert late[1][1] - late[0][1] >= 2
        await desk.stop()


async def test_breaker_open_crashes_beyond_the_budget_do_not_park(autojump_clock):
    """What crashes because the venue is down waits for the venue, however often; its own budget is for its own faults."""
    breaker = venue_breaker("budget.venue")
    async with open_supervisor("desk", max_restarts=1, within=1000.0, backoff=EXACT) as desk:
        child = await desk.start(crashing_after(0.1), name="x", breaker=breaker)
        await trio.sleep(300)
        assert child.generation > 3
        assert child.status is not Lifecycle.PARKED
        await desk.stop()


async def test_breaker_that_stays_open_holds_start_all_no_longer_than_a_start_may_take(autojump_clock):
    """The others begin; the child waits on, for the venue."""
    breaker = CircuitBreaker("venue", recovery_timeout=10)
    breaker.isolate()
    async with open_supervisor("desk", backoff=EXACT) as desk:
        venue, other = await desk.start_all(
            [
                ChildSpec(forever, name="venue", breaker=breaker, start_timeout=20.0),
                ChildSpec(forever, name="other", requires=["venue"], stop_grace=0),
            ]
        )
        assert (trio.current_time(), venue.status, other.status) == (20, Lifecycle.BACKOFF, Lifecycle.READY)
        breaker.reset()
        await venue.wait(Lifecycle.READY)
        await desk.stop()


async def test_breaker_that_opens_again_and_again_holds_start_all_no_longer_than_a_start_may_take(autojump_clock):
    """Probes that crash cost no budget, so that they alone would never end it."""

    async def down(ctx):
        await trio.sleep(6)
        raise OSError("venue down")

    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=10)
    async with open_supervisor("desk", backoff=EXACT, max_restarts=1, within=1000.0) as desk:
        (venue,) = await desk.start_all([ChildSpec(down, name="venue", breaker=breaker, start_timeout=20.0)])
        # The second probe began before the 20 seconds were over, and was waited for.
        assert (venue.status, venue.generation) == (Lifecycle.BACKOFF, 2)
        assert 20 < trio.current_time() < 24
        await desk.stop()


async def test_start_behind_a_breaker_that_stays_open_is_a_start_timeout(autojump_clock):
    """Whoever starts it alone is told by which breaker, and there is no such child."""
    breaker = CircuitBreaker("venue", recovery_timeout=10)
    breaker.isolate()
    async with open_supervisor("desk") as desk:
        with pytest.raises(
            StartTimeoutError, match=r"start_timeout=20.0 s: the circuit breaker 'venue' over it is ISOLATED"
        ):
            await desk.start(forever, name="x", breaker=breaker, start_timeout=20.0)
        assert trio.current_time() == 20
        assert not desk.children


# ---------------------------------------------------------------- breakers and health


def venue_breaker(name, **settings):
    return CircuitBreaker(name, failure_threshold=1, recovery_timeout=10.0, **settings)


async def test_policy_child_whose_breaker_is_open_counts_as_failing(autojump_clock):
    """READY or not: with the breaker over it open it fails, and from its half-open time on it does not."""
    policy = ModePolicy(trigger_after=1.0, recover_after=2.0)
    async with open_supervisor("desk", mode_policy=policy) as desk:
        breaker = venue_breaker("health.venue")
        child = await desk.start(forever, name="x", breaker=breaker)
        breaker.trip()
        opened_for = breaker.statistics().retry_after
        await trio.sleep(0.9)
        assert (child.status, desk.scope.mode) == (Lifecycle.READY, Mode.NORMAL)
        await trio.sleep(0.2)
        assert desk.scope.mode is Mode.SAFE

        await trio.sleep_until(opened_for + 1.9)
        assert desk.scope.mode is Mode.SAFE
        await trio.sleep(0.2)
        assert desk.scope.mode is Mode.NORMAL
        await desk.stop()


async def test_policy_child_whose_own_guard_has_an_open_breaker_counts_as_failing(autojump_clock):
    """The breaker is learned from the calls that the child makes: those that open it, and those that it rejects."""
    guard = Guard("health.orders", breaker=venue_breaker("health.orders"))

    async def fail():
        raise OSError("down")

    async def trader(ctx, pause):
        ctx.ready()
        await trio.sleep(pause)
        with contextlib.suppress(OSError, BreakerOpenError):
            await guard.execute(fail)
        await ctx.wait_stopping()

    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        opener = await desk.start(trader, 1, name="opener")
        rejected = await desk.start(trader, 2, name="rejected")
        idle = await desk.start(forever, name="idle")
        await trio.sleep(1.5)
        assert [child.is_failing() for child in (opener, rejected, idle)] == [True, False, False]
        await trio.sleep(1)
        assert [child.is_failing() for child in (opener, rejected, idle)] == [True, True, False]
        assert desk.scope.mode is Mode.SAFE  # two of three, for less than trigger_after; one of them for longer
        await desk.stop()


async def test_policy_breaker_isolated_by_hand_fails_until_it_is_reset(autojump_clock):
    """Nobody tells when that ends, so the child fails until somebody does."""
    breaker = venue_breaker("health.isolated")
    async with open_supervisor("desk", mode_policy=ModePolicy(recover_after=2.0)) as desk:
        await desk.start(forever, name="x", breaker=breaker)
        breaker.isolate()
        await trio.sleep(100)
        assert desk.scope.mode is Mode.SAFE
        breaker.reset()
        await trio.sleep(2.1)
        assert desk.scope.mode is Mode.NORMAL
        await desk.stop()


async def test_policy_breaker_moved_from_outside_of_the_tree_counts(autojump_clock):
    """An operator's task, or another tree that calls the same venue, isolates it: the children depend on it all the same."""
    breaker = venue_breaker("health.outside")
    wanted, done = trio.Event(), trio.Event()

    async def operator():
        await wanted.wait()
        breaker.isolate()
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator)
        async with open_supervisor("desk", mode_policy=ModePolicy(trigger_after=1.0)) as desk:
            child = await desk.start(forever, name="x", breaker=breaker)
            wanted.set()
            await done.wait()
            assert child.is_failing()
            await trio.sleep(1.1)
            assert desk.scope.mode is Mode.SAFE
            await desk.stop()


async def test_policy_builds_no_event_where_nobody_observes(autojump_clock):
    """It has to know of breakers, which is no reason to build every other event as well."""
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        assert desk.tree.hooks == ()
        await desk.stop()


async def test_supervisor_that_has_ended_is_told_of_no_breaker(autojump_clock):
    """What it watched goes on without it."""
    breaker = venue_breaker("health.ended")
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        child = await desk.start(forever, name="x", breaker=breaker, stop_grace=0)
        await desk.stop()
    assert current_run().breaker_watchers == ()
    breaker.isolate()
    assert child.status is Lifecycle.STOPPED


# ------------------------------------------------------------------ who waits is told


async def test_breaker_reset_by_hand_lets_the_waiting_children_start_at_once(autojump_clock):
    """Somebody who knows that the venue is back does not wait for the end of the break."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=600)
    started = []

    async def component(ctx):
        started.append((trio.current_time(), ctx.name))
        ctx.ready()
        if trio.current_time() < 10:
            await trio.sleep(1)
            raise OSError("venue down")
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start_all([ChildSpec(component, name=name, breaker=breaker) for name in "ab"])
        await trio.sleep(20)
        assert breaker.state is BreakerState.OPEN
        del started[:]
        breaker.reset()
        await trio.sleep(10)
        assert sorted(started) == [(20.0, "a"), (20.0, "b")]
        await desk.stop()


async def test_breaker_others_start_when_the_elected_child_is_ready(autojump_clock):
    """Its siblings wait for the probe's answer, not for the end of its lease."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=60, success_threshold=1)
    ready, up = {}, False

    async def component(ctx):
        if not up and ctx.generation > 1:
            raise OSError("venue down")
        await trio.sleep(0.5)
        ctx.ready()
        ready[ctx.name] = trio.current_time()
        if not up:
            await trio.sleep(2)
            raise OSError("venue down")
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start_all([ChildSpec(component, name=name, breaker=breaker) for name in "abc"])
        await trio.sleep(4)
        up = True
        ready.clear()
        await trio.sleep(100)
        elected, *others = sorted(ready.values())
        assert others == [elected + 0.5] * 2
        await desk.stop()


async def test_breaker_elected_child_that_is_stopped_is_replaced_within_a_second(autojump_clock):
    """A probe that came to nothing says nothing about the venue, and leaves its place to the next."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=60, probe_lease=1000)
    elected, started, is_elected = [], [], trio.Event()

    async def component(ctx):
        if ctx.generation > 1 and not elected:
            elected.append(ctx.name)
            is_elected.set()
            await trio.sleep_forever()
        started.append(trio.current_time())
        ctx.ready()
        await trio.sleep(1)
        if trio.current_time() < 10:
            raise OSError("venue down")
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start_all([ChildSpec(component, name=name, breaker=breaker, stop_grace=0) for name in "abc"])
        await is_elected.wait()
        del started[:]
        await desk.children[elected[0]].stop()
        stopped = trio.current_time()
        await trio.sleep(5)
        assert len(started) == 2
        assert stopped < min(started) <= stopped + 1.0
        await desk.stop()


# ---------------------------------------------------------------- the same breaker in the children's own calls


def calling(guard, is_up, log):
    """A component whose start needs the venue: two calls at once through *guard*, then it is ready."""

    async def connect():
        await trio.sleep(0.1)
        if not is_up():
            raise OSError("venue down")

    async def component(ctx):
        log.append((ctx.name, trio.current_time()))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(guard.execute, connect)
            nursery.start_soon(guard.execute, connect)
        ctx.ready()
        await ctx.wait_stopping()

    return component


async def test_breaker_elected_child_calls_through_the_breaker_that_elected_it(autojump_clock):
    """The child is the probe: its own calls are not refused because a probe, itself, is running."""
    breaker = CircuitBreaker("venue", failure_threshold=2, recovery_timeout=10, max_recovery_timeout=10)
    started = []
    component = calling(Guard("venue", breaker=breaker), lambda: trio.current_time() > 30, started)

    async with open_supervisor("desk", backoff=EXACT, max_restarts=1, within=1000.0) as desk:
        with trio.move_on_after(60):
            await desk.start_all(
                [ChildSpec(component, name=name, breaker=breaker, start_timeout=60.0) for name in "abcde"]
            )
        assert {child.status for child in desk.children.values()} == {Lifecycle.READY}
        assert breaker.state is BreakerState.CLOSED
        probes = [time for _, time in started if 1 < time < 30]
        assert len(probes) == len(set(probes))  # one child at a time
        assert max(child.restarts for child in desk.children.values()) <= 4
        await desk.stop()


async def test_breaker_half_open_refuses_calls_from_outside_of_the_elected_child(autojump_clock):
    """A probe's place is taken for everybody else, also for a child that stands over the same breaker."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=10, max_recovery_timeout=10)
    refused = []

    async def answer():
        await trio.lowlevel.checkpoint()

    async def slow(ctx):
        await trio.sleep(8)
        await breaker.execute(answer)
        ctx.ready()
        await ctx.wait_stopping()

    async def other(ctx):
        ctx.ready()
        await trio.sleep(13)
        try:
            await breaker.execute(answer)
        except BreakerOpenError as error:
            refused.append(error)
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(other, name="other")
        breaker.trip()
        with trio.move_on_after(30):
            await desk.start(slow, name="slow", breaker=breaker)
        await trio.sleep(5)
        assert len(refused) == 1
        assert breaker.state is BreakerState.CLOSED
        await desk.stop()


async def test_breaker_counts_a_failed_call_and_the_crash_by_it_once(autojump_clock):
    """The error that crashes the child is the one that its call failed with, bare, in a group or as a cause."""
    breaker = CircuitBreaker("venue", failure_threshold=100)

    async def refuse():
        raise OSError("venue down")

    async def component(ctx):
        ctx.ready()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(breaker.execute, refuse)
        except* OSError as group:
            if ctx.generation == 1:
                raise
            if ctx.generation == 2:
                raise ConnectionError("lost the venue") from group.exceptions[0]
        if ctx.generation == 3:
            await breaker.execute(refuse)
        if ctx.generation == 4:
            raise KeyError("nothing that the breaker has seen")
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=9, within=1000.0) as desk:
        child = await desk.start(component, name="x", breaker=breaker)
        await trio.sleep(60)
        assert child.generation == 5
        assert breaker.statistics().failures == 1 + 1 + 2 + 2 + 1
        await desk.stop()


async def test_breaker_counts_a_failed_group_and_the_crash_by_what_is_left_of_it_once(autojump_clock):
    """The nursery of the component wraps the group of its call, beside a task that is cancelled: it is the same failure."""
    breaker = CircuitBreaker("venue", failure_threshold=100)

    async def refuse():
        raise ExceptionGroup("venue down", [OSError("orders"), OSError("prices")])

    async def component(ctx):
        ctx.ready()
        if ctx.generation == 1:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await breaker.execute(refuse)
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", breaker=breaker)
        await trio.sleep(60)
        assert child.generation == 2
        assert breaker.statistics().failures == 1
        await desk.stop()


async def test_breaker_rejection_that_crashes_a_child_is_no_failure_and_costs_no_budget(autojump_clock):
    """A refusal of the breaker over it tells the breaker nothing new, also while it is half open."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=10, probe_lease=1000)

    async def long_call():
        await trio.sleep(50)

    async def answer():
        await trio.lowlevel.checkpoint()

    async def component(ctx):
        ctx.ready()
        if trio.current_time() < 100:
            await trio.sleep(20 if ctx.generation == 1 else 0)
            await breaker.execute(answer)
        await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=0) as desk:
        child = await desk.start(component, name="x", breaker=breaker)
        breaker.trip()
        await trio.sleep(12)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(breaker.execute, long_call)
            await trio.sleep(10)
            assert isinstance(child.last_error, BreakerOpenError)
            assert child.status is Lifecycle.BACKOFF
            assert breaker.state is BreakerState.HALF_OPEN
        await child.wait(Lifecycle.READY)
        assert breaker.statistics().failures == 0
        await desk.stop()
