"""The windows of a circuit breaker against plain lists."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.policies._window import OutcomesOfCalls, OutcomesOfSeconds, Totals, Window

# Each step: quarters of a second that pass, and whether the call failed and was slow; often several in one moment.
STEPS = st.lists(st.tuples(st.sampled_from([0, 0, 0, 1, 2, 7]), st.booleans(), st.booleans()), max_size=60)


@given(steps=STEPS, quarters=st.integers(1, 12), look=st.integers(0, 20))
def test_window_of_seconds_agrees_with_a_list(steps, quarters, look):
    """It holds the calls that ended less than its span ago, at every moment, also those of one moment together."""
    window, calls, now = OutcomesOfSeconds(quarters / 4), [], 0

    def expected() -> Totals:
        held = [(failed, slow) for at, failed, slow in calls if now - at < quarters]
        return Totals(len(held), sum(failed for failed, _ in held), sum(slow for _, slow in held))

    for passed, failed, slow in steps:
        now += passed
        window.add(now / 4, failed=failed, slow=slow)
        calls.append((now, failed, slow))
        assert window.totals(now / 4) == expected()
    now += look
    assert window.totals(now / 4) == expected()


@given(steps=STEPS, size=st.integers(1, 10))
def test_window_of_calls_agrees_with_a_list(steps, size):
    """It holds the latest calls, however long ago they ended."""
    window, calls = OutcomesOfCalls(size), []
    for _, failed, slow in steps:
        window.add(0.0, failed=failed, slow=slow)
        calls.append((failed, slow))
        held = calls[-size:]
        assert window.totals(1e9) == Totals(len(held), sum(f for f, _ in held), sum(s for _, s in held))


@given(steps=STEPS, quarters=st.integers(1, 12), away=st.integers(0, 8))
def test_window_that_is_saved_and_taken_over_holds_the_same(steps, quarters, away):
    """Also when it is taken over later: what has expired meanwhile is gone."""
    window, now = OutcomesOfSeconds(quarters / 4), 0
    for passed, failed, slow in steps:
        now += passed
        window.add(now / 4, failed=failed, slow=slow)
    saved = window.saved(now / 4)

    restored = OutcomesOfSeconds(quarters / 4)
    restored.take_over(saved, 1000.0)

    assert restored.totals(1000.0 + away / 4) == window.totals((now + away) / 4)


@pytest.mark.parametrize("percent", range(1, 101))
def test_window_ratio_that_was_written_is_reached_exactly(percent):
    """No rounding moves the limit: 7 of 100 calls are at failure_ratio=0.07, though 0.07 * 100 is a little more than 7."""
    failures = Window(failure_ratio=percent / 100)
    slowness = Window(failure_ratio=1.0, slow_ratio=percent / 100)

    at_the_limit = failures.is_too_bad(Totals(100, percent, 0)), slowness.is_too_bad(Totals(100, 0, percent))
    below_it = failures.is_too_bad(Totals(100, percent - 1, 0)), slowness.is_too_bad(Totals(100, 0, percent - 1))

    assert all(at_the_limit)
    assert not any(below_it)


def test_window_of_seconds_that_is_crowded_forgets_at_most_a_thousandth_early():
    """Beyond 1000 moments, calls less than a thousandth of the span apart expire together, with the earliest of them."""
    window = OutcomesOfSeconds(8.0)
    for step in range(5000):
        now = step / 256
        window.add(now, failed=True, slow=False)

        held = window.totals(now).calls
        # 2048 calls are less than 8 s old, 2046 of them less than 7.992 s.
        assert min(step + 1, 2046) <= held <= min(step + 1, 2048)
    assert len(window._moments) <= 1100
