"""The calculations behind supervision, as plain functions."""

import math

import pytest

from genesis_trio import Backoff, ChildSpec, Mode, ModePolicy
from genesis_trio.supervision._hysteresis import ModeMeter
from genesis_trio.supervision.backoff import check_reachable

SOURCE = ("desk/x", Mode.SAFE)


def update(meter, now, bad, source=SOURCE):
    """Turn *source*, and look."""
    meter.turn(now, source, bad)
    return meter.update(now)


def play(meter, signal, until, step=0.1):
    """Feed *signal(t)* to the meter, and give the changes of the mode with their times."""
    changes, mode = [], Mode.NORMAL
    for n in range(round(until / step) + 1):
        now = n * step
        new = update(meter, now, signal(now))
        if new is not mode:
            changes.append((round(now, 1), new))
            mode = new
    return changes


def test_meter_flapping_signal_enters_safe_once():
    """0.9 s bad and 0.3 s well for a minute: SAFE within 2.5 s, and two transitions in all."""
    changes = play(ModeMeter(ModePolicy()), lambda t: t < 60 and (t % 1.2) < 0.9 - 1e-9, 80)
    assert [mode for _, mode in changes] == [Mode.SAFE, Mode.NORMAL]
    assert changes[0][0] <= 2.5


def test_meter_single_blips_change_nothing():
    """Half a second now and then is no trouble."""
    assert play(ModeMeter(ModePolicy()), lambda t: (t % 20) < 0.5, 200) == []


def test_meter_hold_down_doubles_on_re_entry_and_is_forgotten():
    """5 s, then 10 s when it comes back soon, then 5 s again after a minute of calm."""
    outages = [(0, 2), (10, 12), (100, 102)]
    changes = play(ModeMeter(ModePolicy()), lambda t: any(a <= t < b - 0.05 for a, b in outages), 120)
    lowered = [time for time, mode in changes if mode is Mode.NORMAL]
    assert lowered == pytest.approx([7, 22, 107], abs=0.11)


def test_meter_long_outage_is_no_debt():
    """However long the last trouble was, a short one changes nothing once patience is full again."""
    meter = ModeMeter(ModePolicy())
    update(meter, 0, True)
    assert update(meter, 1, True) is Mode.SAFE
    update(meter, 1000, False)  # an outage of a thousand seconds ends
    assert meter.update(1005) is Mode.NORMAL
    update(meter, 1010, True)
    assert update(meter, 1010.9, True) is Mode.NORMAL
    assert update(meter, 1011, True) is Mode.SAFE


def test_meter_recovers_step_by_step():
    """EMERGENCY falls to SAFE, then to NORMAL, each after its time of being well."""
    source = ("desk/x", Mode.EMERGENCY)
    meter = ModeMeter(ModePolicy())
    update(meter, 0, True, source)
    assert meter.wakes_at == 1
    assert meter.update(1) is Mode.EMERGENCY
    update(meter, 2, False, source)
    assert meter.wakes_at == 7
    assert meter.update(7) is Mode.SAFE
    assert meter.wakes_at == 12
    assert meter.update(12) is Mode.NORMAL
    assert meter.wakes_at == math.inf


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"base_delay": -1}, ValueError),
        ({"base_delay": "1"}, TypeError),
        ({"multiplier": 0.5}, ValueError),
        ({"max_delay": 0.01}, ValueError),
        ({"jitter": "some"}, ValueError),
    ],
)
def test_backoff_wrong_settings_are_refused(settings, error):
    """At construction, with the value."""
    with pytest.raises(error):
        Backoff(**settings)


async def _component(ctx):
    ctx.ready()


async def _generator(ctx):
    yield ctx


@pytest.mark.parametrize("jitter", ["none", "additive", "full", "equal", "decorrelated"])
def test_limit_of_a_billion_restarts_is_judged_at_once(jitter):
    backoff = Backoff(base_delay=0.125, multiplier=2.0, max_delay=4.0, jitter=jitter)
    a_billion = 10**9
    if jitter == "full":
        check_reachable(backoff, max_restarts=a_billion, within=1.0)
        return
    least = {"decorrelated": 0.125 * a_billion, "equal": 2.0 * (a_billion - 5) + 1.9375}
    together = least.get(jitter, 4.0 * (a_billion - 5) + 3.875)
    check_reachable(backoff, max_restarts=a_billion, within=together + 1.0)
    with pytest.raises(ValueError, match="can never be reached"):
        check_reachable(backoff, max_restarts=a_billion, within=together)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"name": "a/b"}, ValueError),
        ({"name": ""}, ValueError),
        ({"restart": "permanent"}, TypeError),
        ({"criticality": 1}, TypeError),
        ({"requires": "feed"}, TypeError),
        ({"start_timeout": "1"}, TypeError),
        ({"start_timeout": 0}, ValueError),
        ({"breaker": 1}, TypeError),
    ],
)
def test_child_spec_wrong_settings_are_refused(settings, error):
    """At construction, with the child's name."""
    with pytest.raises(error):
        ChildSpec(_component, **{"name": "x", **settings})


def test_child_spec_of_a_generator_or_a_coroutine_says_what_to_write():
    """The two usual slips."""
    with pytest.raises(TypeError, match="async generator"):
        ChildSpec(_generator, name="x")
    with pytest.raises(TypeError, match="without calling it"):
        ChildSpec(_component(None), name="x")


def test_meter_does_not_burn_patience_while_a_source_is_well():
    """Bad for 0.4 s, well for 0.3 s: of one second, 0.675 s are left."""
    meter = ModeMeter(ModePolicy(trigger_after=1.0))
    for now, bad in ((0.0, True), (0.4, False), (0.7, True)):
        update(meter, now, bad)
    assert meter.wakes_at == pytest.approx(0.7 + 0.675)
    assert meter.update(1.3) is Mode.NORMAL
    assert meter.update(1.376) is Mode.SAFE
