"""Failing children become a mode and back, in a whole tree, at exact times."""

import pytest
import trio

from genesis_trio import Capability, Criticality, Mode, ModePolicy, observe, open_supervisor
from supervision.desk import EXACT, Log

NORMAL, SAFE, EMERGENCY = Mode


class Patient:
    """A component whose health the test decides: ``with patient.ill():``."""

    def __init__(self):
        self.ctx = None

    async def __call__(self, ctx):
        self.ctx = ctx
        ctx.ready()
        await ctx.wait_stopping()

    def ill(self):
        return self.ctx.unhealthy("the test says so")


def transitions(log):
    return [
        (round(event.time, 6), event.mode)
        for event in log.named("mode_raised", "mode_lowered")
        if event.scope == "desk"
    ]


async def start(desk, count, criticality=Criticality.ESSENTIAL):
    patients = [Patient() for _ in range(count)]
    for number, patient in enumerate(patients):
        await desk.start(patient, name=f"{criticality.name.lower()}-{number}", criticality=criticality)
    return patients


async def test_policy_flapping_for_a_minute_raises_once_and_lowers_once(autojump_clock):
    """0.9 s bad and 0.3 s good: a plain delay would never fire, a plain threshold a hundred times.

    Each period burns 0.9 of a second and refills 0.075 of it, so patience is at an end in the second one.
    """
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            (patient,) = await start(desk, 1)
            for _ in range(50):
                with patient.ill():
                    await trio.sleep(0.9)
                await trio.sleep(0.3)
            assert trio.current_time() == pytest.approx(60)
            assert transitions(log) == [(1.375, "SAFE")]
            await trio.sleep(60)
            await desk.stop()

    assert transitions(log) == [(1.375, "SAFE"), (64.7, "NORMAL")]


async def test_policy_recovery_goes_step_by_step(autojump_clock):
    """EMERGENCY falls to SAFE and then to NORMAL, `recover_after` each; half recovery is SAFE."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            (critical,) = await start(desk, 1, Criticality.CRITICAL)
            with critical.ill():
                await trio.sleep(3)
            await trio.sleep(20)
            await desk.stop()

    assert transitions(log) == [(1.0, "EMERGENCY"), (8.0, "SAFE"), (13.0, "NORMAL")]


async def test_policy_trouble_while_recovering_starts_the_hold_down_anew(autojump_clock):
    """Being well has to last: a relapse on the way down is waited out in full."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            (critical,) = await start(desk, 1, Criticality.CRITICAL)
            with critical.ill():
                await trio.sleep(3)
            await trio.sleep(4.5)
            with critical.ill():
                await trio.sleep(0.5)
            await trio.sleep(20)
            await desk.stop()

    assert transitions(log) == [(1.0, "EMERGENCY"), (13.0, "SAFE"), (18.0, "NORMAL")]


async def test_policy_reentry_doubles_the_hold_down_and_calm_forgets_it(autojump_clock):
    """5, 10, 20 seconds when it comes back soon; after `max_recover_after` of calm it is 5 again."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            (patient,) = await start(desk, 1)
            for pause in (6, 11, 21 + 65, 20):
                with patient.ill():
                    await trio.sleep(2)
                await trio.sleep(pause)
            await desk.stop()

    found = transitions(log)
    well = [2.0, 10.0, 23.0, 111.0]
    lowered = [time for time, mode in found if mode == "NORMAL"]
    assert [end - begin for begin, end in zip(well, lowered, strict=True)] == pytest.approx([5.0, 10.0, 20.0, 5.0])
    assert len(found) == 8


async def test_policy_flapping_between_emergency_and_safe_doubles_the_hold_down(autojump_clock):
    """What falls to SAFE and comes back to EMERGENCY has come back: each time would run the entry actions again."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            (critical,) = await start(desk, 1, Criticality.CRITICAL)
            for _ in range(60):
                with critical.ill():
                    await trio.sleep(2)
                await trio.sleep(7)
            await trio.sleep(30)
            await desk.stop()

    # Well from 2 on: SAFE after 5 s; well from 11 on: the second fall would come after 10 s, and so never.
    assert transitions(log) == [
        (1.0, "EMERGENCY"),
        (7.0, "SAFE"),
        (10.0, "EMERGENCY"),
        (543.0, "SAFE"),
        (553.0, "NORMAL"),
    ]


async def test_policy_rise_from_safe_is_no_reentry(autojump_clock):
    """Trouble that grows has not come back: the hold-down is that of the first time."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
            (essential,) = await start(desk, 1)
            (critical,) = await start(desk, 1, Criticality.CRITICAL)
            with essential.ill():
                await trio.sleep(2)
                with critical.ill():
                    await trio.sleep(2)
            await trio.sleep(20)
            await desk.stop()

    assert transitions(log) == [(1.0, "SAFE"), (3.0, "EMERGENCY"), (9.0, "SAFE"), (14.0, "NORMAL")]


@pytest.mark.parametrize(
    ("ill", "of", "expected"), [(1, 10, NORMAL), (2, 11, NORMAL), (2, 10, SAFE), (4, 10, SAFE), (5, 10, EMERGENCY)]
)
async def test_policy_share_counts_from_two_and_inclusive(ill, of, expected, autojump_clock):
    """Shares are of OPTIONAL children here, which demand nothing one by one; the limits belong to the share."""
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        patients = await start(desk, of, Criticality.OPTIONAL)
        marks = [patient.ill() for patient in patients[:ill]]
        for mark in marks:
            mark.__enter__()
        await trio.sleep(1.5)
        assert desk.scope.mode is expected
        await desk.stop()


async def test_policy_short_restart_changes_nothing(autojump_clock):
    """A restart shorter than `trigger_after` is what supervisors are for."""
    log = Log()

    async def crashes_once(ctx):
        ctx.ready()
        if ctx.generation == 1:
            await trio.sleep(1)
            raise OSError("once")
        await ctx.wait_stopping()

    with observe(log):
        async with open_supervisor("desk", mode_policy=ModePolicy(), backoff=EXACT) as desk:
            await desk.start(crashes_once, name="x", criticality=Criticality.CRITICAL)
            await trio.sleep(30)
            await desk.stop()

    assert log.times("restart_scheduled") == [1.0]
    assert transitions(log) == []


async def test_policy_cause_is_one_among_others(autojump_clock):
    """The automatic cause clears by itself; what a human holds stays, and so does what the venue took away."""
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        (patient,) = await start(desk, 1)
        human = desk.scope.hold(SAFE, owner="operator", reason="maintenance")
        venue = desk.scope.hold(NORMAL, owner="venue", reason="down", capabilities=Capability.READ)
        with patient.ill():
            await trio.sleep(2)
            assert [cause.owner for cause in desk.scope.causes] == ["operator", "venue", "desk"]
        await trio.sleep(10)
        assert [cause.owner for cause in desk.scope.causes] == ["operator", "venue"]
        assert desk.scope.mode is SAFE
        human.release()
        assert (desk.scope.mode, desk.scope.capabilities) == (NORMAL, Capability.READ)
        venue.release()
        await desk.stop()


async def test_policy_operator_clears_the_automatic_cause_and_it_comes_back_while_it_is_true(autojump_clock):
    """An operator may clear it; trouble that goes on holds it again at the next change of it."""
    async with open_supervisor("desk", mode_policy=ModePolicy()) as desk:
        one, two = await start(desk, 2)
        with one.ill():
            await trio.sleep(2)
            desk.scope.clear("desk", "automatic: children are failing", by="operator")
            assert desk.scope.mode is NORMAL
            with two.ill():
                await trio.sleep(0.1)
                assert desk.scope.mode is SAFE
        await desk.stop()
