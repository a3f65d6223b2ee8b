"""Starting, crashing, restarting, parking and stopping."""

import contextlib

import pytest
import trio
import trio.testing

from genesis_trio.errors import BreakerOpenError, ConfigError, StartTimeoutError
from genesis_trio.events import observe
from genesis_trio.modes import Criticality, Mode, ModePolicy, current_mode, current_scope
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.guard import Guard
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import ChildSpec, Component, Lifecycle, Restart, Strategy
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, Log


async def forever(ctx):
    ctx.ready()
    await trio.sleep_forever()


def crashing_after(seconds, error=OSError):
    async def component(ctx):
        ctx.ready()
        await trio.sleep(seconds)
        raise error(f"boom {ctx.generation}")

    return component


# ---------------------------------------------------------------- starting


async def test_start_returns_once_the_child_is_ready(autojump_clock):
    """start() waits for ctx.ready(), not for the task to begin."""

    async def slow(ctx):
        await trio.sleep(2)
        ctx.ready("up")
        await trio.sleep_forever()

    async with open_supervisor("desk") as desk:
        child = await desk.start(slow, name="slow")

        assert trio.current_time() == 2
        assert child.status is Lifecycle.READY
        assert desk.children["slow"] is child
        assert (child.name, child.path, child.generation) == ("slow", "desk/slow", 1)
        await desk.stop()


async def test_start_crash_before_ready_is_raised_bare_and_the_name_is_free(autojump_clock):
    """A crash before the first READY comes out of start(); there is no such child then."""

    async def bad(ctx):
        raise OSError("no venue")

    async with open_supervisor("desk") as desk:
        with pytest.raises(OSError, match="no venue"):
            await desk.start(bad, name="x")

        assert "x" not in desk.children
        await desk.start(forever, name="x")
        await desk.stop()


async def test_start_timeout_says_what_to_call_and_who_waits(autojump_clock):
    """StartTimeoutError comes after start_timeout and names ctx.ready() and the requirements."""

    async def never(ctx):
        await trio.sleep_forever()

    async with open_supervisor("desk") as desk:
        await desk.start(forever, name="book")
        with pytest.raises(StartTimeoutError, match=r"start_timeout=3 s.*ctx\.ready\(\).*'book' is READY"):
            await desk.start(never, name="x", start_timeout=3, requires=["book"])
        assert trio.current_time() == 3
        await desk.stop()


async def test_start_of_a_job_that_ends_is_ready_and_done(autojump_clock):
    """A function that returns before it is ready is done; the block ends with it."""

    async def job(ctx):
        await trio.sleep(1)

    async with open_supervisor("desk") as desk:
        child = await desk.start(job, name="job")
        assert child.status is Lifecycle.STOPPED
    assert trio.current_time() == 1


async def test_start_cancelled_leaves_no_child(autojump_clock):
    """A cancelled start() stops what it began before the cancellation passes."""
    ended = []

    async def never(ctx):
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    async with open_supervisor("desk") as desk:
        with trio.move_on_after(1):
            await desk.start(never, name="x", stop_grace=0)
        assert ended == [1]
        assert not desk.children


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([ChildSpec(forever, name="a", requires=["b"]), ChildSpec(forever, name="b", requires=["a"])], "a -> b -> a"),
        ([ChildSpec(forever, name="a", requires=["z"])], "requires 'z', which does not exist"),
        ([ChildSpec(forever, name="a", requires=["a"])], "requires itself"),
        ([ChildSpec(forever, name="a"), ChildSpec(forever, name="a")], "'a' already"),
        (
            [
                ChildSpec(forever, name="a", criticality=Criticality.OPTIONAL),
                ChildSpec(forever, name="b", requires=["a"]),
            ],
            "only OPTIONAL",
        ),
    ],
)
async def test_start_all_impossible_tree_is_refused_before_anything_starts(specs, message, autojump_clock):
    """Cycles, missing names and requirements on something less critical start nothing."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(ConfigError, match=message):
            await desk.start_all(specs)
        assert not desk.children


async def test_start_all_starts_levels_in_parallel(autojump_clock):
    """Children of one level start side by side; the next level once all of them are ready."""
    log = []

    def taking(seconds):
        async def component(ctx):
            log.append(("start", ctx.name, trio.current_time()))
            await trio.sleep(seconds)
            ctx.ready()
            await trio.sleep_forever()

        return component

    async with open_supervisor("desk") as desk:
        await desk.start_all(
            [
                ChildSpec(taking(1), name="strategy", requires=["feed", "ledger"]),
                ChildSpec(taking(1), name="feed"),
                ChildSpec(taking(3), name="ledger"),
            ]
        )
        # Which of one level begins first in a scheduler step is Trio's choice.
        assert sorted(log[:2]) == [("start", "feed", 0), ("start", "ledger", 0)]
        assert log[2:] == [("start", "strategy", 3)]
        assert list(desk.children) == ["feed", "ledger", "strategy"]
        await desk.stop()


async def test_start_all_goes_on_when_a_first_start_parks(autojump_clock):
    """A first start that fails backs off and parks like any crash, and start_all goes on."""

    async def bad(ctx):
        raise OSError("down")

    async with open_supervisor("desk", backoff=EXACT) as desk:
        bad_child, good = await desk.start_all(
            [ChildSpec(bad, name="bad", unpark_after=None), ChildSpec(forever, name="good", requires=["bad"])]
        )
        assert (bad_child.status, good.status) == (Lifecycle.PARKED, Lifecycle.READY)
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()


async def test_start_in_a_mode_that_does_not_admit_it_returns_it_suspended(autojump_clock):
    """An OPTIONAL child does not run in SAFE; it starts when the mode allows."""
    async with open_supervisor("desk") as desk:
        hold = desk.scope.hold(Mode.SAFE, reason="test")
        child = await desk.start(forever, name="x", criticality=Criticality.OPTIONAL)
        assert (child.status, child.generation) == (Lifecycle.SUSPENDED, 0)

        hold.release()
        await child.wait(Lifecycle.READY)
        await desk.stop()


@pytest.mark.parametrize(
    ("component", "message"),
    [
        (lambda ctx: None, "is not async"),
        (int, "not a Component"),
        (Component(), "each incarnation is a new one"),
        (7, "an async function of ctx"),
    ],
)
async def test_start_of_what_is_no_component_says_what_to_write(component, message):
    """Sync functions, foreign classes and instances are TypeErrors at once."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(TypeError, match=message):
            await desk.start(component, name="x")


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_restarts": -1}, ValueError),
        ({"max_restarts": 1.5}, TypeError),
        ({"within": 0}, ValueError),
        ({"shutdown_timeout": "30"}, TypeError),
        ({"strategy": "one_for_one"}, TypeError),
        ({"backoff": Backoff(base_delay=10, jitter="none"), "within": 5}, ValueError),
        ({"restore": "x"}, ConfigError),
    ],
)
async def test_open_supervisor_settings_that_cannot_work_are_refused(settings, error):
    """A limit that is never reached is as wrong as a negative one."""
    with pytest.raises(error):
        async with open_supervisor("desk", **settings):
            pass


async def test_backoff_full_jitter_can_always_be_reached():
    """The limit is judged by the shortest delays the jitter allows."""
    async with open_supervisor("desk", backoff=Backoff(base_delay=10, jitter="full"), within=1):
        pass


# ---------------------------------------------------------------- crashing


async def test_crash_restarts_after_the_backoff_and_grows_it(autojump_clock):
    """0.1, 0.2, 0.4 seconds between the crashes and the new incarnations."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT, max_restarts=5) as desk:
            await desk.start(crashing_after(1), name="x")
            await trio.sleep(4)
            await desk.stop()
    assert log.times("child_ready") == pytest.approx([0, 1.1, 2.3, 3.7])


async def test_crash_healthy_starts_the_delay_anew(autojump_clock):
    """ctx.healthy() makes the next delay the first one again."""

    async def component(ctx):
        ctx.ready()
        ctx.healthy()
        await trio.sleep(1)
        raise OSError

    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT, max_restarts=5) as desk:
            await desk.start(component, name="x")
            await trio.sleep(3)
            await desk.stop()
    assert log.times("child_ready") == pytest.approx([0, 1.1, 2.2])


async def test_crash_uptime_of_max_delay_starts_the_delay_anew(autojump_clock):
    """A run that was up for max_delay seconds forgets the crashes before it."""
    backoff = Backoff(base_delay=0.1, max_delay=2.0, jitter="none")

    async def component(ctx):
        ctx.ready()
        await trio.sleep([0, 1, 3, 1, 1][ctx.generation])
        raise OSError

    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=backoff, max_restarts=3) as desk:
            await desk.start(component, name="x")
            await trio.sleep(5.5)
            await desk.stop()
    assert [event.delay for event in log.named("restart_scheduled")] == [0.1, 0.1, 0.2]


async def test_crash_over_budget_parks_and_holds_safe_at_once(autojump_clock):
    """The fourth crash within 5 s parks an ESSENTIAL child; the tree lives on in SAFE."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            child = await desk.start(crashing_after(0.1), name="x", unpark_after=None)
            other = await desk.start(forever, name="other")
            await child.wait(Lifecycle.PARKED)

            assert trio.current_time() == pytest.approx(4 * 0.1 + 0.1 + 0.2 + 0.4)
            assert child.restarts == 3
            assert str(child.last_error) == "boom 4"
            assert desk.scope.mode is Mode.SAFE
            (cause,) = desk.scope.causes
            assert cause.owner == "desk/x"
            assert other.status is Lifecycle.READY
            assert "PARKED" in desk.why("x")
            await desk.stop()
    assert log.named("child_parked")[0].severity.name == "ERROR"


@pytest.mark.parametrize(
    ("criticality", "mode"),
    [(Criticality.OPTIONAL, Mode.NORMAL), (Criticality.ESSENTIAL, Mode.SAFE), (Criticality.CRITICAL, Mode.EMERGENCY)],
)
async def test_parked_child_holds_what_its_criticality_demands(criticality, mode, autojump_clock):
    """OPTIONAL: nothing; ESSENTIAL: SAFE; CRITICAL: EMERGENCY; also without a mode policy."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(crashing_after(0.1), name="x", criticality=criticality, unpark_after=None)
        await child.wait(Lifecycle.PARKED)
        assert desk.scope.mode is mode
        await desk.stop()


async def test_parked_child_gets_a_trial_and_its_cause_clears_once_it_proves_itself(autojump_clock):
    """After unpark_after one trial; READY for recover_after (5 s) clears the cause."""
    healed = False

    async def component(ctx):
        ctx.ready()
        if not healed:
            raise OSError
        await trio.sleep_forever()

    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            child = await desk.start(component, name="x", unpark_after=10)
            await child.wait(Lifecycle.PARKED)
            healed = True
            await child.wait(Lifecycle.READY)
            assert desk.scope.mode is Mode.SAFE
            ready_at = trio.current_time()
            await desk.scope.wait_for(lambda mode: mode is Mode.NORMAL)
            assert trio.current_time() == ready_at + 5
            await desk.stop()
    (parked,) = log.named("child_parked")
    assert 9 <= parked.retry_after <= 11


async def test_parked_child_trial_that_crashes_parks_again_for_twice_as_long(autojump_clock):
    """A trial has no budget, and the next one waits twice as long."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            await desk.start(crashing_after(0.1), name="x", unpark_after=10)
            await trio.sleep(60)
            await desk.stop()
    waits = [event.retry_after for event in log.named("child_parked")]
    assert len(waits) == 3
    assert 18 <= waits[1] <= 22
    assert 36 <= waits[2] <= 44


async def test_restart_by_hand_unparks_at_once_and_costs_no_budget(autojump_clock):
    """child.restart() returns once READY; the parking cause is gone."""
    healed = False

    async def component(ctx):
        ctx.ready()
        if not healed:
            raise OSError
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", unpark_after=None)
        await child.wait(Lifecycle.PARKED)
        healed = True
        await child.restart()
        assert child.status is Lifecycle.READY
        assert desk.scope.mode is Mode.NORMAL
        before = child.generation
        await child.restart()
        assert (child.status, child.generation) == (Lifecycle.READY, before + 1)
        await desk.stop()


async def test_restart_by_hand_of_a_stopped_child_lets_it_live_again(autojump_clock):
    """A child stopped by hand stays stopped until somebody restarts it."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(forever, name="x", stop_grace=0)
        await child.stop()
        assert child.status is Lifecycle.STOPPED
        await child.restart()
        assert child.status is Lifecycle.READY
        await desk.stop()


async def test_restart_by_hand_that_crashes_raises_its_error(autojump_clock):
    """What keeps the new incarnation from being ready reaches whoever asked."""

    async def component(ctx):
        if ctx.generation > 1:
            raise OSError("second")
        ctx.ready()
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", stop_grace=0)
        with pytest.raises(OSError, match="second"):
            await child.restart()
        await desk.stop()


@pytest.mark.parametrize(
    ("restart", "crashes", "generations"),
    [
        (Restart.PERMANENT, False, 3),
        (Restart.PERMANENT, True, 3),
        (Restart.TRANSIENT, False, 1),
        (Restart.TRANSIENT, True, 3),
        (Restart.TEMPORARY, False, 1),
        (Restart.TEMPORARY, True, 1),
    ],
)
async def test_restart_types(restart, crashes, generations, autojump_clock):
    """PERMANENT restarts after any end, TRANSIENT after a crash, TEMPORARY never."""

    async def component(ctx):
        ctx.ready()
        if ctx.generation == 3:
            await trio.sleep_forever()
        if crashes:
            raise OSError

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", restart=restart, stop_grace=0)
        await trio.sleep(1)
        assert child.generation == generations
        assert child.status is (Lifecycle.READY if generations == 3 else Lifecycle.STOPPED)
        await desk.stop()


# ---------------------------------------------------------------- groups


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


# ---------------------------------------------------------------- stopping


async def test_stop_is_in_reverse_order_one_after_the_other(autojump_clock):
    """The last one started has ended before the one before it is asked."""
    log = []

    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        log.append(("asked", ctx.name, trio.current_time()))
        await trio.sleep(1)
        log.append(("ended", ctx.name, trio.current_time()))

    async with open_supervisor("desk") as desk:
        for name in "abc":
            await desk.start(component, name=name)
        await desk.stop()
    assert log == [
        ("asked", "c", 0), ("ended", "c", 1),
        ("asked", "b", 1), ("ended", "b", 2),
        ("asked", "a", 2), ("ended", "a", 3),
    ]  # fmt: skip


async def test_outer_cancellation_stops_in_reverse_order_too(autojump_clock):
    """A cancellation from outside reaches the children only through their supervisor."""
    log = []

    async def component(ctx):
        ctx.ready()
        try:
            await trio.sleep_forever()
        finally:
            log.append((ctx.name, trio.current_time()))

    with trio.move_on_after(5) as outer:
        async with open_supervisor("desk") as desk:
            for name in "abc":
                await desk.start(component, name=name, stop_grace=1.0)
    assert outer.cancelled_caught
    assert log == [("c", 6), ("b", 7), ("a", 8)]


async def test_body_exception_is_raised_bare_after_the_children_ended(autojump_clock):
    """The block raises what its body raised, not a group."""
    ended = []

    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        ended.append(ctx.name)

    with pytest.raises(KeyError):
        async with open_supervisor("desk") as desk:
            await desk.start(component, name="x")
            raise KeyError("body")
    assert ended == ["x"]


async def test_block_waits_for_its_children(autojump_clock):
    """Leaving the block normally is like leaving a nursery."""

    async def job(ctx):
        ctx.ready()
        await trio.sleep(7)

    async with open_supervisor("desk") as desk:
        await desk.start(job, name="x", restart=Restart.TRANSIENT)
    assert trio.current_time() == 7


async def test_stop_hanging_child_is_named_holds_safe_and_the_next_is_stopped(autojump_clock):
    """Trio cannot abandon a task: what does not end in time is reported, and waited for by the block."""
    log, modes = Log(), []

    async def stubborn(ctx):
        ctx.ready()
        with trio.CancelScope(shield=True):
            await trio.sleep(100)

    async def last(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        modes.append(current_mode())

    with observe(log):
        async with open_supervisor("desk", shutdown_timeout=10) as desk:
            await desk.start(last, name="last")
            await desk.start(stubborn, name="stubborn")
            await desk.stop()
            assert trio.current_time() == 10
    (unstopped,) = log.named("child_unstopped")
    assert (unstopped.child, unstopped.waited, unstopped.time) == ("desk/stubborn", 10, 10)
    assert modes == [Mode.SAFE]
    assert trio.current_time() == 100


async def test_crash_while_stopping_is_a_stop_and_an_event(autojump_clock):
    """What a child raises while it is stopped is last_error and an event, and no restart."""
    log = Log()

    async def component(ctx):
        ctx.ready()
        await ctx.wait_stopping()
        raise OSError("while stopping")

    with observe(log):
        async with open_supervisor("desk") as desk:
            child = await desk.start(component, name="x")
            await child.stop()
            assert child.status is Lifecycle.STOPPED
            assert str(child.last_error) == "while stopping"
    assert [event.name for event in log.named("crash_while_stopping", "child_crashed")] == ["crash_while_stopping"]


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("in_group", [False, True])
async def test_ctrl_c_in_a_child_goes_through_after_an_ordered_stop(fatal, in_group, autojump_clock):
    """Ctrl-C and SystemExit are not crashes: the others are stopped, then they are raised."""
    ended = []

    async def component(ctx):
        ctx.ready()
        try:
            await ctx.wait_stopping()
        finally:
            ended.append(ctx.name)

    async def interrupted(ctx):
        ctx.ready()
        await trio.sleep(1)
        if in_group:
            raise BaseExceptionGroup("", [fatal(), OSError()])
        raise fatal

    with pytest.raises(BaseExceptionGroup if in_group else fatal):
        async with open_supervisor("desk") as desk:
            await desk.start(component, name="a")
            await desk.start(component, name="b")
            await desk.start(interrupted, name="c")
            await trio.sleep_forever()
    assert ended == ["b", "a"]
    assert trio.current_time() == 1


async def test_crash_in_a_group_with_cancelled_is_a_crash(autojump_clock):
    """A child with a nursery of its own raises groups; the leaves decide."""

    async def component(ctx):
        ctx.ready()
        if ctx.generation == 1:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep(1)
                raise OSError("inside")
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="x", stop_grace=0)
        await trio.sleep(2)
        assert child.generation == 2
        assert isinstance(child.last_error, ExceptionGroup)
        await desk.stop()


# ---------------------------------------------------------------- nested


async def test_nested_supervisor_hangs_below_the_child_and_stops_with_it(autojump_clock):
    """Its scope hangs below the child's; its children end before the host does."""
    log = []

    async def leaf(ctx):
        ctx.ready()
        log.append((ctx.path, current_scope().path))
        await ctx.wait_stopping()
        log.append("leaf ended")

    async def host(ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(leaf, name="feed")
            ctx.ready()
        log.append("host ended")

    async with open_supervisor("desk") as desk:
        child = await desk.start(host, name="host")
        with desk.scope.hold(Mode.SAFE, reason="test"):
            assert child.scope.mode is Mode.SAFE
        await child.stop()
        assert log == [("desk/host/venue/feed", "desk/host/venue/feed"), "leaf ended", "host ended"]
    assert trio.current_time() == 0


async def test_nested_supervisor_with_a_store_of_its_own_is_refused(autojump_clock):
    """One tree, one store."""
    from genesis_trio.persistence.policy import CheckpointPolicy

    async def host(ctx):
        async with open_supervisor("venue", checkpoint=CheckpointPolicy()):
            pass

    async with open_supervisor("desk") as desk:
        with pytest.raises(ConfigError, match="topmost"):
            await desk.start(host, name="host")


# ---------------------------------------------------------------- modes and health


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


async def test_hurry_cancels_everything_at_once(autojump_clock):
    """A second signal does not wait for the grace."""
    async with open_supervisor("desk") as desk:
        for name in "ab":
            await desk.start(forever, name=name)
        desk.hurry()
    assert trio.current_time() == 0


async def test_start_after_stop_is_refused(autojump_clock):
    """A supervisor that stops starts no more children."""
    async with open_supervisor("desk") as desk:
        await desk.stop()
        with pytest.raises(RuntimeError, match="stopping"):
            await desk.start(forever, name="x")


async def test_why_unknown_child_lists_those_that_are_there(autojump_clock):
    """A typing error is answered with what exists."""
    async with open_supervisor("desk") as desk:
        await desk.start(forever, name="feed", stop_grace=0)
        with pytest.raises(LookupError, match="there are: feed"):
            desk.why("fed")
        await desk.stop()


# ---------------------------------------------------------------- a breaker over a venue


async def test_breaker_open_keeps_children_waiting_and_burns_no_budget(autojump_clock):
    """Three crashes open it; the restart waits for the half-open probe and nobody is parked."""
    breaker = CircuitBreaker("venue", failure_threshold=3, recovery_timeout=20, success_threshold=1)
    up = False

    async def component(ctx):
        if not up:
            raise OSError("venue down")
        ctx.ready()
        await trio.sleep_forever()

    async with open_supervisor("desk", backoff=EXACT, max_restarts=3) as desk:
        with trio.move_on_after(10):
            await desk.start_all([ChildSpec(component, name="x", breaker=breaker, stop_grace=0)])
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
        specs = [ChildSpec(component, name=name, breaker=breaker, stop_grace=0) for name in "ab"]
        await desk.start_all(specs)
        assert desk.statistics().ready == 2
        late = [(name, time) for name, time in starts if time > 5]
        assert len(late) >= 2
        assert late[1][1] - late[0][1] >= 2
        await desk.stop()


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


async def test_restart_without_delay_lets_others_run(autojump_clock):
    """A component that returns at once and restarts without delay is no loop without a Trio checkpoint."""
    runs = 0

    async def eager(ctx):
        nonlocal runs
        runs += 1
        if runs > 1000:
            raise SystemExit("nobody else was let in")
        ctx.ready()

    async with open_supervisor("desk", backoff=Backoff(base_delay=0.0, jitter="none")) as desk:
        await desk.start(eager, name="x")
        await trio.lowlevel.checkpoint()
        await desk.stop()

    assert runs < 20


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


async def test_breaker_open_crashes_beyond_the_budget_do_not_park(autojump_clock):
    """What crashes because the venue is down waits for the venue, however often; its own budget is for its own faults."""
    breaker = venue_breaker("budget.venue")
    async with open_supervisor("desk", max_restarts=1, within=1000.0, backoff=EXACT) as desk:
        child = await desk.start(crashing_after(0.1), name="x", breaker=breaker)
        await trio.sleep(300)
        assert child.generation > 3
        assert child.status is not Lifecycle.PARKED
        await desk.stop()
