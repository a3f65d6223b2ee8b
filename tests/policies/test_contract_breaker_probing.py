"""What the design promises of CircuitBreaker and Window, sentence by sentence, through public names: half open, leases, slow calls and windows."""

import contextlib
import random

import pytest
import trio
import trio.testing

from genesis_trio.errors import AttemptTimeoutError, BreakerOpenError
from genesis_trio.policies.breaker import Window
from genesis_trio.policies.guard import Guard
from policies.contract import CLOSED, HALF_OPEN, OPEN, Held, fail, hold, make, succeed
from policies.venue import Venue

# ---------------------------------------------------------------- half open


async def test_breaker_half_open_lets_half_open_max_calls_probes_run_at_once(autojump_clock, nursery):
    """A hundred callers at the end of the break: exactly half_open_max_calls get through."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, half_open_max_calls=2)
    await fail(breaker)
    await trio.sleep(5.0)

    held = [Held(nursery, breaker) for _ in range(100)]
    await trio.testing.wait_all_tasks_blocked()

    probes = [one for one in held if one.began]
    assert len(probes) == 2
    assert sum(isinstance(one.result, BreakerOpenError) for one in held) == 98
    assert breaker.statistics().probes_in_flight == 2
    for probe in probes:
        await probe.end()


async def test_breaker_half_open_rejection_has_a_finite_retry_after(autojump_clock, nursery):
    """While the probes run nobody knows when; what is told is a time to come back, not never."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0)
    await fail(breaker)
    await trio.sleep(5.0)
    probe = await hold(nursery, breaker)

    with pytest.raises(BreakerOpenError) as caught:
        await breaker.execute(Venue())

    assert 0.0 <= caught.value.retry_after <= 5.0
    await probe.end()


async def test_breaker_half_open_m_successes_in_a_row_close_it(autojump_clock):
    """success_threshold successful probes close it, one after the other with one probe at once."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=3)
    await fail(breaker)
    await trio.sleep(5.0)

    states = []
    for _ in range(3):
        await succeed(breaker)
        states.append(breaker.state)

    assert states == [HALF_OPEN, HALF_OPEN, CLOSED]


async def test_breaker_half_open_one_failed_probe_opens_it(autojump_clock):
    """One failure among the probes, and it is OPEN again; the successes before do not count later."""
    breaker = make(failure_threshold=5, recovery_timeout=5.0, success_threshold=2)
    breaker.trip()
    await trio.sleep(5.0)
    await succeed(breaker)

    await fail(breaker)
    opened = breaker.state
    await trio.sleep(breaker.statistics().retry_after)
    await succeed(breaker)

    assert opened is OPEN
    assert breaker.state is HALF_OPEN  # one success of two


async def test_breaker_break_doubles_at_each_failed_probe_up_to_ten_times(autojump_clock):
    """5, 10, 20, 40, 50, 50: doubled at each failed probe, at most 10 times recovery_timeout."""
    breaker, breaks = make(failure_threshold=1, recovery_timeout=5.0), []

    for _ in range(6):
        await fail(breaker)
        breaks.append(breaker.statistics().retry_after)
        await trio.sleep(breaks[-1])

    assert breaks == pytest.approx([5.0, 10.0, 20.0, 40.0, 50.0, 50.0])


async def test_breaker_break_is_limited_by_max_recovery_timeout(autojump_clock):
    """max_recovery_timeout is the longest break."""
    breaker, breaks = make(failure_threshold=1, recovery_timeout=5.0, max_recovery_timeout=12.0), []

    for _ in range(4):
        await fail(breaker)
        breaks.append(breaker.statistics().retry_after)
        await trio.sleep(breaks[-1])

    assert breaks == pytest.approx([5.0, 10.0, 12.0, 12.0])


async def test_breaker_break_is_the_base_again_once_closed(autojump_clock):
    """Once CLOSED, the next break is recovery_timeout."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1)
    await fail(breaker)
    await trio.sleep(5.0)
    await fail(breaker)
    await trio.sleep(10.0)
    await succeed(breaker)

    await fail(breaker)

    assert breaker.statistics().retry_after == pytest.approx(5.0)


async def test_breaker_break_is_jittered_by_a_tenth_after_the_limit(autojump_clock):
    """+-10 % on what came out, the longest break too, so that instances do not come back together."""
    breaks = []
    for seed in range(200):
        breaker = make(failure_threshold=1, recovery_timeout=5.0, max_recovery_timeout=5.0, rng=random.Random(seed))
        await fail(breaker)
        breaks.append(breaker.statistics().retry_after)

    assert all(4.5 <= one <= 5.5 for one in breaks)
    assert min(breaks) < 4.6
    assert max(breaks) > 5.4
    assert len(set(breaks)) > 190


# ---------------------------------------------------------------- leases, generations, slow calls


async def test_breaker_probe_that_overruns_its_lease_is_a_failure(autojump_clock, nursery):
    """A probe that hangs does not hold the breaker half open for ever: after probe_lease it has failed."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, probe_lease=3.0)
    await fail(breaker)
    await trio.sleep(5.0)
    probe = await hold(nursery, breaker)

    await trio.sleep_until(7.999)
    before = breaker.state
    await trio.sleep_until(8.0)
    after = breaker.state

    assert (before, after) == (HALF_OPEN, OPEN)
    assert breaker.statistics().retry_after == pytest.approx(10.0)
    await probe.end()
    assert breaker.state is OPEN  # the late success of an older generation


async def test_breaker_probe_that_succeeds_as_its_lease_ends_has_not_overrun_it(autojump_clock):
    """A lease of 3 seconds is for a probe of 3 seconds."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, probe_lease=3.0, success_threshold=1)
    await fail(breaker)
    await trio.sleep(5.0)

    await breaker.execute(trio.sleep, 3.0)

    assert breaker.state is CLOSED
    assert breaker.statistics().successes == 1


async def test_breaker_probe_that_times_out_as_its_lease_ends_is_the_failure_that_opened_it(autojump_clock):
    """With attempt_timeout equal to recovery_timeout both end at once, and the timeout is what callers want to know of."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0)
    guard = Guard("orders", breaker=breaker, attempt_timeout=5.0)
    await fail(breaker)
    await trio.sleep(5.0)

    with pytest.raises(AttemptTimeoutError) as timeout:
        await guard.execute(trio.sleep_forever)
    with pytest.raises(BreakerOpenError) as refusal:
        await guard.execute(trio.sleep_forever)

    assert refusal.value.__cause__ is timeout.value
    assert refusal.value.retry_after == 10.0
    assert (breaker.statistics().failures, breaker.statistics().opened) == (2, 2)


async def test_breaker_stream_that_is_entered_as_the_lease_ends_has_not_overrun_it(autojump_clock):
    """The lease is for entering."""

    @contextlib.asynccontextmanager
    async def connection():
        await trio.sleep(5.0)
        yield

    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1)
    await fail(breaker)
    await trio.sleep(5.0)

    async with Guard("feed", breaker=breaker).connect(connection):
        await trio.sleep(60.0)
        assert breaker.state is HALF_OPEN

    assert breaker.state is CLOSED


async def test_breaker_probe_lease_is_recovery_timeout_by_default(autojump_clock, nursery):
    """Without probe_lease the lease is recovery_timeout."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0)
    await fail(breaker)
    await trio.sleep(5.0)
    probe = await hold(nursery, breaker)

    await trio.sleep_until(10.0)

    assert breaker.state is OPEN
    await probe.end()


async def test_breaker_overrun_lease_is_dated_at_its_end_whenever_it_is_noticed(autojump_clock, nursery):
    """Nobody looks for long after the lease ran out; the break began when it ran out."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, probe_lease=3.0)
    await fail(breaker)
    await trio.sleep(5.0)
    probe = await hold(nursery, breaker)

    await trio.sleep_until(8.0 + 10.0)

    assert breaker.state is HALF_OPEN
    await probe.end()


async def test_breaker_late_results_of_an_older_generation_are_ignored(autojump_clock, nursery):
    """Calls that began when it was CLOSED decide nothing when it is HALF_OPEN."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1)
    good, bad = await hold(nursery, breaker), await hold(nursery, breaker)
    await fail(breaker)
    await trio.sleep(5.0)
    assert breaker.state is HALF_OPEN

    await good.end()
    after_success = breaker.state
    await bad.end(OSError("late"))

    assert (after_success, breaker.state) == (HALF_OPEN, HALF_OPEN)
    assert breaker.statistics().in_flight == 0


async def test_breaker_late_failure_of_an_older_generation_does_not_count_once_closed(autojump_clock, nursery):
    """A failure from before the break does not count against the new beginning."""
    breaker = make(failure_threshold=2, recovery_timeout=5.0, success_threshold=1)
    late = await hold(nursery, breaker)
    await fail(breaker, 2)
    await trio.sleep(5.0)
    await succeed(breaker)

    await late.end(OSError("late"))

    assert breaker.statistics().consecutive_failures == 0


async def test_breaker_slow_calls_count_in_the_ratio(autojump_clock):
    """With slow_ratio, calls of at least slow_call seconds open it though they succeed."""
    breaker = make(window=Window(minimum_calls=4, slow_ratio=0.5), slow_call=1.0)

    for seconds in (0.5, 0.5, 1.5):
        await breaker.execute(Venue(seconds=seconds))
    before = breaker.state
    await breaker.execute(Venue(seconds=1.5))

    assert (before, breaker.state) == (CLOSED, OPEN)
    assert breaker.statistics().slow == 2


async def test_breaker_call_of_just_slow_call_seconds_is_slow_whatever_the_digits(autojump_clock):
    """slow_call is inclusive at any time of day: no difference of two times is a rounding error short of it."""
    breaker = make(window=Window(slow_ratio=1.0), slow_call=0.7)

    for _ in range(200):
        await breaker.execute(trio.sleep, 0.7)
        await trio.sleep(0.1)
        breaker.reset()

    assert breaker.statistics().slow == 200


async def test_breaker_calls_in_flight_count_as_slow_before_they_end(autojump_clock, nursery):
    """A venue that hangs trips the breaker though no call ever ends."""
    breaker = make(window=Window(minimum_calls=4, slow_ratio=0.5), slow_call=1.0)
    held = [await hold(nursery, breaker) for _ in range(4)]

    await trio.sleep(0.999)
    before = breaker.state
    await trio.sleep(0.001)
    after = breaker.state

    assert (before, after) == (CLOSED, OPEN)
    for one in held:
        await one.cancel()


# ---------------------------------------------------------------- windows


async def test_breaker_window_opens_at_the_ratio_inclusive(autojump_clock):
    """Five failures in ten calls at failure_ratio=0.5 open it; four do not."""
    breaker = make(window=Window(failure_ratio=0.5, minimum_calls=10))
    await succeed(breaker, 5)
    await fail(breaker, 4)
    before = breaker.state

    await fail(breaker)

    assert (before, breaker.state) == (CLOSED, OPEN)


async def test_breaker_window_waits_for_the_minimum_of_calls(autojump_clock):
    """Below minimum_calls nothing opens it, however many of them fail."""
    breaker = make(window=Window(failure_ratio=0.5, minimum_calls=20))
    await fail(breaker, 19)
    before = breaker.state

    await fail(breaker)

    assert (before, breaker.state) == (CLOSED, OPEN)


async def test_breaker_window_ignores_the_failure_threshold(autojump_clock):
    """A window stands instead of the consecutive failures, not beside them."""
    breaker = make(failure_threshold=3, window=Window(failure_ratio=0.5, minimum_calls=20))
    await succeed(breaker, 15)

    await fail(breaker, 5)

    assert breaker.state is CLOSED


async def test_breaker_window_spans_a_hundred_calls_by_default(autojump_clock):
    """Of the last 100 calls: what came before does not count."""
    breaker = make(window=Window(failure_ratio=0.5, minimum_calls=20))
    await succeed(breaker, 30)  # these leave the window
    await fail(breaker, 10)
    await succeed(breaker, 50)

    await fail(breaker, 39)
    before = breaker.state  # of the last 100: 1 success, 10 failures, 50 successes, 39 failures
    await fail(breaker)

    assert (before, breaker.state) == (CLOSED, OPEN)


async def test_breaker_window_of_calls_holds_just_that_many(autojump_clock):
    """calls=4: the fifth last call is forgotten."""
    breaker = make(window=Window(failure_ratio=0.75, minimum_calls=4, calls=4))
    await fail(breaker, 2)
    await succeed(breaker, 2)
    await fail(breaker, 2)
    before = breaker.state  # S S F F

    await fail(breaker)  # S F F F

    assert (before, breaker.state) == (CLOSED, OPEN)


async def test_breaker_window_of_seconds_forgets_what_is_older(autojump_clock):
    """seconds=10: failures of eleven seconds ago do not count."""
    breaker = make(window=Window(failure_ratio=0.5, minimum_calls=4, seconds=10.0))
    await fail(breaker, 3)
    await trio.sleep(11.0)
    await fail(breaker, 3)
    before = breaker.state

    await fail(breaker)

    assert (before, breaker.state) == (CLOSED, OPEN)


async def test_breaker_window_is_empty_again_once_closed(autojump_clock):
    """What opened it does not open it again after it closed."""
    breaker = make(window=Window(failure_ratio=0.5, minimum_calls=4), recovery_timeout=5.0, success_threshold=1)
    await fail(breaker, 4)
    await trio.sleep(5.0)
    await succeed(breaker)

    await fail(breaker, 3)

    assert breaker.state is CLOSED
