"""Crashes: backoff, budget, parking and trials, and the restart types."""

import pytest
import trio
import trio.testing

from genesis_trio.events import observe
from genesis_trio.modes import Criticality, Mode
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import Lifecycle, Restart
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, Log, crashing_after, forever


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
