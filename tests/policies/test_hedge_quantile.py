"""Hedge by a quantile: what it learns from, and how it forgets."""

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.policies._quantile import MovingQuantile
from genesis_trio.policies.hedge import Hedge
from policies.copies import Copies

# ---------------------------------------------------------------- the quantile


async def test_hedge_by_quantile_starts_none_until_enough_is_known(autojump_clock):
    """Twenty calls are watched before the first is hedged, then at the 95th percentile of what was seen."""
    hedge = Hedge()
    for _ in range(20):
        attempt = Copies(2.0, 0.0)
        await hedge._call(attempt)
        assert len(attempt.log) == 2
    began = trio.current_time()

    attempt = Copies(10.0, 0.5)
    value = await hedge._call(attempt)

    assert value == "copy 1"
    assert attempt.log[1] == ("start", 1, began + 2.0)


async def test_hedge_by_quantile_learns_only_from_successes_that_won(autojump_clock):
    """Failures, cancelled calls and copies that lost teach nothing."""
    hedge = Hedge(quantile=0.5)
    for _ in range(20):
        with pytest.raises(OSError):
            await hedge._call(Copies((1.0, OSError())))
        with trio.move_on_after(1.0):
            await hedge._call(Copies(9.0))
    assert hedge._current_delay() is None

    for _ in range(19):
        await hedge._call(Copies(2.0))
    assert hedge._current_delay() is None
    await hedge._call(Copies(2.0))
    assert hedge._current_delay() == 2.0


async def test_hedge_by_quantile_won_by_a_copy_learns_the_time_from_the_start(autojump_clock):
    """A win of the copy is learned as the time the call took, without the time the loser took to end."""
    hedge = Hedge(quantile=0.5)
    for _ in range(20):
        await hedge._call(Copies(2.0))

    async def attempt(copy, delay):
        if copy == 1:
            return await trio.sleep(0.5)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(100.0)

    for _ in range(21):
        await hedge._call(attempt)

    assert hedge._current_delay() == 2.5


async def test_hedge_with_delay_never_uses_a_quantile(autojump_clock):
    """Where delay is given it stays, whatever the latencies are."""
    hedge = Hedge(delay=1.0)
    for _ in range(50):
        await hedge._call(Copies(0.25))

    attempt = Copies(3.0, 9.0)
    began = trio.current_time()
    await hedge._call(attempt)

    assert attempt.log[1] == ("start", 1, began + 1.0)


# ---------------------------------------------------------------- the pure part


@given(
    q=st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.96]),
    samples=st.lists(st.integers(0, 50), min_size=1, max_size=600),
)
def test_moving_quantile_agrees_with_sorting(q, samples):
    """It is the nearest rank among the newest samples, and None while there are too few."""
    moving = MovingQuantile(q)
    fewest = 25 if q == 0.96 else 20

    for sample in samples:
        moving.add(float(sample))

    newest = sorted(samples[-10 * fewest :])
    if len(samples) < fewest:
        assert moving.value() is None
        return
    value = moving.value()
    share = sum(1 for sample in newest if sample <= value) / len(newest)
    assert value in newest
    assert share >= q - 1e-9
    assert all(sum(1 for s in newest if s <= lower) / len(newest) < q for lower in set(newest) if lower < value)


def test_moving_quantile_of_a_high_q_waits_for_as_many_samples_as_can_tell_it():
    """The 99th percentile means nothing before a hundred samples."""
    moving = MovingQuantile(0.99)
    for n in range(99):
        moving.add(float(n))

    assert moving.value() is None
    moving.add(99.0)
    assert moving.value() == 98.0


def test_moving_quantile_forgets_the_oldest_samples():
    """Two hundred samples are kept for the 95th percentile: what is older does not count."""
    moving = MovingQuantile(0.95)
    for _ in range(1000):
        moving.add(9.0)
    for n in range(200):
        moving.add(n / 100)

    assert moving.value() == 1.89
    assert len(moving._by_age) == len(moving._by_size) == 200
