"""The meter that is told only what turns, against a plain one that looks at everything, each time."""

import math

from hypothesis import example, given
from hypothesis import strategies as st

from genesis_trio import Mode, ModePolicy
from genesis_trio.supervision._hysteresis import ModeMeter

TICK = 1 / 64  # its multiples and their quarters are exact, so that both reckon the same to the last bit

SOURCES = [("a", Mode.SAFE), ("b", Mode.SAFE), ("c", Mode.EMERGENCY), ("d", Mode.EMERGENCY), ("e", Mode.NORMAL)]


class PlainMeter:
    """The rules, one by one, over all sources."""

    def __init__(self, policy):
        self.policy = policy
        self.left = dict.fromkeys(SOURCES, policy.trigger_after)
        self.bad = set()
        self.now = 0.0
        self.mode = Mode.NORMAL
        self.well_since = self.calm_since = -math.inf
        self.hold_down = policy.recover_after
        self.has_fallen = False

    def update(self, now, bad):
        policy, passed, self.now = self.policy, now - self.now, now
        for source, left in self.left.items():
            if source in self.bad:
                self.left[source] = max(0.0, left - passed)
            else:
                self.left[source] = min(policy.trigger_after, left + passed / 4)
        self.bad = bad
        demanded = max((mode for name, mode in bad if self.left[name, mode] == 0.0), default=Mode.NORMAL)
        if demanded > self.mode:
            if self.mode is Mode.NORMAL and now - self.calm_since >= policy.max_recover_after:
                self.hold_down = policy.recover_after
            elif self.has_fallen:
                self.hold_down = min(policy.max_recover_after, self.hold_down * 2)
            self.mode, self.has_fallen = demanded, False
        worst = max((mode for _, mode in bad), default=Mode.NORMAL)
        self.well_since = min(self.well_since, now) if worst < self.mode else math.inf
        while self.mode > worst and now - self.well_since >= self.hold_down:
            self.mode, self.has_fallen = Mode(self.mode - 1), True
            self.well_since = now if self.mode > worst else math.inf
            if self.mode is Mode.NORMAL:
                self.calm_since = now

    @property
    def wakes_at(self):
        runs_out = [self.now + self.left[source] for source in self.bad if source[1] > self.mode]
        return min([*runs_out, self.well_since + self.hold_down if self.mode else math.inf])


STEPS = st.lists(st.tuples(st.integers(0, 300), st.lists(st.sampled_from(SOURCES), max_size=3)), max_size=60)


@given(STEPS, st.sampled_from([0.0, 0.5, 1.0]))
@example([(10, [SOURCES[0]]), (20, [SOURCES[0]]), (4, [SOURCES[0]]), (40, []), (0, [])], 1.0)
def test_meter_agrees_with_a_plain_one(steps, trigger_after):
    """At every step: the mode, when it would change by time alone, and how long it is held down."""
    policy = ModePolicy(trigger_after=trigger_after, recover_after=1.5, max_recover_after=5.0)
    meter, plain = ModeMeter(policy), PlainMeter(policy)
    bad = set()
    now = 0.0

    for ticks, turning in steps:
        now += ticks * TICK
        for source in turning:
            bad ^= {source}
            meter.turn(now, source, source in bad)
        plain.update(now, set(bad))

        assert meter.update(now) is plain.mode
        assert meter.wakes_at == plain.wakes_at
        assert meter.hold_down == plain.hold_down


def test_meter_forgets_who_is_well_again():
    """Children come and go by the thousand, each with a name of its own; none is remembered once its patience is full."""
    meter = ModeMeter(ModePolicy(trigger_after=1.0))
    for number in range(1000):
        meter.turn(number, (f"desk/order-{number}", Mode.SAFE), True)
        meter.turn(number + 0.5, (f"desk/order-{number}", Mode.SAFE), False)
        meter.update(number + 0.5)

    assert len(meter._patience) <= 5
    assert len(meter._lines[Mode.SAFE]) <= 5
