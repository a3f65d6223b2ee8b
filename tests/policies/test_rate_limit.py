"""RateLimit: exact in virtual time, fair, with a reserve for what takes risk away."""

import math
from fractions import Fraction

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.errors import RateLimitedError
from genesis_trio.policies._tokens import Bucket
from genesis_trio.policies.rate_limit import RateLimit, RateLimitStatistics


async def take_and_log(limit: RateLimit, log: list[tuple[str, float]], name: str, *, urgent: bool = False) -> None:
    """Wait for a token and note who got it when."""
    await limit._take(urgent)
    log.append((name, trio.current_time()))


# ---------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"calls": 0}, ValueError),
        ({"calls": -3}, ValueError),
        ({"calls": 1.5}, TypeError),
        ({"calls": True}, TypeError),
        ({"calls": "1"}, TypeError),
        ({"calls": 1, "per": 0.0}, ValueError),
        ({"calls": 1, "per": -1.0}, ValueError),
        ({"calls": 1, "per": math.nan}, ValueError),
        ({"calls": 1, "per": math.inf}, ValueError),
        ({"calls": 1, "per": "1"}, TypeError),
        ({"calls": 1, "burst": 0}, ValueError),
        ({"calls": 1, "burst": 2.0}, TypeError),
        ({"calls": 1, "reserve": -1}, ValueError),
        ({"calls": 1, "reserve": 0.5}, TypeError),
        ({"calls": 5, "reserve": 5}, ValueError),
        ({"calls": 5, "burst": 2, "reserve": 2}, ValueError),
        ({"calls": 1, "wait": 1}, TypeError),
        ({"calls": 1, "wait": None}, TypeError),
    ],
)
def test_rate_limit_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        RateLimit(**args)

    name, value = list(args.items())[-1]
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_rate_limit_repr_shows_the_settings():
    """The repr is what was configured, the default burst worked out."""
    assert repr(RateLimit(10, per=2)) == "RateLimit(10, per=2, burst=10, reserve=0, wait=True)"


# ---------------------------------------------------------------- the rate


async def test_rate_limit_burst_defaults_to_calls_then_one_each_interval(autojump_clock):
    """RateLimit(10): ten at once, then one every tenth of a second, to the last digit."""
    limit, log = RateLimit(10), []

    for n in range(35):
        await take_and_log(limit, log, str(n))

    assert [when for _, when in log] == [0.0] * 10 + [n / 10 for n in range(1, 26)]


async def test_rate_limit_smaller_burst_begins_evenly_sooner(autojump_clock):
    """burst=1 spaces all calls evenly."""
    limit, log = RateLimit(4, per=2.0, burst=1), []

    for n in range(5):
        await take_and_log(limit, log, str(n))

    assert [when for _, when in log] == [0.0, 0.5, 1.0, 1.5, 2.0]


async def test_rate_limit_does_not_drift_over_hours(autojump_clock):
    """After tens of thousands of calls at three a second the next one is where arithmetic puts it."""
    limit = RateLimit(3, per=1.0, burst=1)

    for _ in range(30_001):
        await limit._take(False)

    # The virtual clock adds up its jumps; what is exact is when the limit lets the next one through.
    assert limit._bucket.ready_at(0) == 10_000.0 + 1 / 3
    assert trio.current_time() == pytest.approx(10_000.0, abs=1e-10)


async def test_rate_limit_pause_fills_the_burst_and_no_more(autojump_clock):
    """After a long pause the burst is there again, once."""
    limit, log = RateLimit(2), []
    for n in range(3):
        await take_and_log(limit, log, str(n))
    await trio.sleep_until(100.0)

    for n in range(4):
        await take_and_log(limit, log, str(n))

    assert [when for _, when in log] == [0.0, 0.0, 0.5, 100.0, 100.0, 100.5, 101.0]


async def test_rate_limit_try_take_is_exact_at_the_moment(autojump_clock):
    """A token is there at its time, and not a moment before; only what may be a rounding error is no moment."""
    limit = RateLimit(1, per=10.0)
    limit._try_take(False)

    await trio.sleep_until(10.0 - 1e-8)
    before = limit._try_take(False)
    await trio.sleep_until(10.0)
    then = limit._try_take(False)

    assert (before, then) == (False, True)


async def test_rate_limit_free_token_is_taken_without_a_checkpoint():
    """Who need not wait does not give up the scheduler's turn."""
    with trio.testing.assert_no_checkpoints():
        await RateLimit(1)._take(False)


async def test_rate_limit_waiting_take_is_a_checkpoint(autojump_clock):
    """Who waits gives up the scheduler's turn."""
    limit = RateLimit(1)
    await limit._take(False)

    with trio.testing.assert_checkpoints():
        await limit._take(False)


# ---------------------------------------------------------------- wait=False


async def test_rate_limit_without_wait_raises_with_retry_after(autojump_clock):
    """wait=False: no token is an error that says when there will be one, and trying then succeeds."""
    limit = RateLimit(2, per=3.0, wait=False)
    await limit._take(False)
    await limit._take(False)
    await trio.sleep(0.5)

    with trio.testing.assert_no_checkpoints(), pytest.raises(RateLimitedError) as caught:
        await limit._take(False)
    await trio.sleep(caught.value.retry_after)
    await limit._take(False)

    assert caught.value.retry_after == 1.0
    assert str(caught.value) == ("rate limit of 2 calls in 3 s (burst 2) is used up; the next call can begin in 1 s")
    assert limit.statistics() == RateLimitStatistics(available=0, waiting=0, refused=1)


async def test_rate_limit_retry_after_slept_is_never_a_rounding_error_short(autojump_clock):
    """Who sleeps for just the retry_after that he was told finds a token: 0.4 + (1.7 - 0.4) is a little less than 1.7."""
    limit = RateLimit(1, per=1.7, wait=False)
    await limit._take(False)
    await trio.sleep(0.4)
    with pytest.raises(RateLimitedError) as caught:
        await limit._take(False)

    await trio.sleep(caught.value.retry_after)

    assert trio.current_time() < 1.7
    await limit._take(False)


async def test_rate_limit_asked_once_each_interval_never_refuses(autojump_clock):
    """Ten steps of 0.1 s are a little less than 1 s on a clock that adds them up; that costs no call."""
    limit = RateLimit(10, burst=1, wait=False)

    for _ in range(10_000):
        await limit._take(False)
        await trio.sleep(0.1)

    assert limit.statistics().refused == 0


async def test_rate_limit_without_wait_counts_the_reserve_into_retry_after(autojump_clock):
    """For a call that is not urgent the time until the reserve is full again is part of retry_after."""
    limit = RateLimit(4, per=1.0, reserve=2, wait=False)
    for _ in range(2):
        await limit._take(False)
    await limit._take(True)

    with pytest.raises(RateLimitedError, match=r"the last 2 are kept for urgent calls") as caught:
        await limit._take(False)

    assert caught.value.retry_after == 0.5
    await limit._take(True)
    with pytest.raises(RateLimitedError) as urgent:
        await limit._take(True)
    assert urgent.value.retry_after == 0.25
    assert "kept" not in str(urgent.value)


# ---------------------------------------------------------------- the queue


async def test_rate_limit_queue_is_first_come_first_served(autojump_clock, nursery):
    """Tokens go to those who wait in the order in which they came."""
    limit, log = RateLimit(1), []

    for name in "abcde":
        nursery.start_soon(take_and_log, limit, log, name)
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep_until(4.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("a", 0.0), ("b", 1.0), ("c", 2.0), ("d", 3.0), ("e", 4.0)]


async def test_rate_limit_newcomer_does_not_overtake_the_queue(autojump_clock, nursery):
    """A token that has just become free belongs to the first who waits, not to one who asks at that moment."""
    limit, log = RateLimit(1), []
    limit._try_take(False)
    nursery.start_soon(take_and_log, limit, log, "waiter")
    await trio.testing.wait_all_tasks_blocked()

    autojump_clock.jump(1.0)  # the token is there, the waiter has not run yet
    stolen = limit._try_take(False)
    await trio.testing.wait_all_tasks_blocked()

    assert not stolen
    assert log == [("waiter", 1.0)]


async def test_rate_limit_newcomer_who_may_wait_does_not_overtake_the_queue(autojump_clock, nursery):
    """Nor does it go to one who comes at that moment and is ready to wait: it waits behind the other."""
    limit, log = RateLimit(1), []
    limit._try_take(False)
    nursery.start_soon(take_and_log, limit, log, "waiter")
    await trio.testing.wait_all_tasks_blocked()

    autojump_clock.jump(1.0)
    await take_and_log(limit, log, "newcomer")

    assert log == [("waiter", 1.0), ("newcomer", 2.0)]


async def test_rate_limit_cancelled_waiter_takes_no_token(autojump_clock, nursery):
    """The one behind a cancelled waiter moves up and gets the token that the other would have got."""
    limit, log = RateLimit(1), []
    limit._try_take(False)

    async def impatient():
        with trio.move_on_at(0.75):
            await take_and_log(limit, log, "impatient")

    nursery.start_soon(impatient)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(take_and_log, limit, log, "b")
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(take_and_log, limit, log, "c")
    await trio.sleep_until(3.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("b", 1.0), ("c", 2.0)]


async def test_rate_limit_waiter_cancelled_in_the_middle_keeps_the_order(autojump_clock, nursery):
    """A waiter that leaves from the middle changes nothing for those before it, and moves those behind it up."""
    limit, log = RateLimit(1), []
    limit._try_take(False)
    scope = trio.CancelScope()

    async def leaves():
        with scope:
            await take_and_log(limit, log, "leaves")

    for task in (lambda: take_and_log(limit, log, "a"), leaves, lambda: take_and_log(limit, log, "c")):
        nursery.start_soon(task)
        await trio.testing.wait_all_tasks_blocked()
    scope.cancel()
    await trio.sleep_until(3.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("a", 1.0), ("c", 2.0)]


async def test_rate_limit_cancel_at_the_moment_of_the_token_loses_none(autojump_clock):
    """A waiter whose deadline is the very moment of its token either has it or leaves it; it is never gone."""
    limit = RateLimit(1)
    limit._try_take(False)

    with trio.move_on_at(1.0) as scope:
        await limit._take(False)

    assert trio.current_time() == 1.0
    assert limit._try_take(False) == scope.cancelled_caught
    assert limit.statistics().waiting == 0


async def test_rate_limit_crowd_gets_exactly_the_rate(autojump_clock):
    """A hundred callers at once: each token at its own time."""
    limit, log = RateLimit(5, per=1.0), []

    async with trio.open_nursery() as nursery:
        for n in range(100):
            nursery.start_soon(take_and_log, limit, log, str(n))

    assert [when for _, when in log] == [0.0] * 5 + [n / 5 for n in range(1, 96)]


# ---------------------------------------------------------------- the reserve


async def test_rate_limit_reserve_is_for_urgent_calls(autojump_clock):
    """The last reserve tokens of the burst are not given to calls that are not urgent."""
    limit = RateLimit(5, reserve=2)

    others = [limit._try_take(False) for _ in range(5)]
    urgent = [limit._try_take(True) for _ in range(5)]

    assert others == [True] * 3 + [False] * 2
    assert urgent == [True] * 2 + [False] * 3


async def test_rate_limit_urgent_call_does_not_queue_behind_others(autojump_clock, nursery):
    """While others wait, an urgent call takes from the reserve at once; they wait that much longer."""
    limit, log = RateLimit(2, reserve=1), []
    limit._try_take(False)
    for name in "ab":
        nursery.start_soon(take_and_log, limit, log, name)
        await trio.testing.wait_all_tasks_blocked()

    await trio.sleep_until(0.25)
    with trio.testing.assert_no_checkpoints():
        await limit._take(True)
    await trio.sleep_until(2.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("a", 1.0), ("b", 1.5)]


async def test_rate_limit_waiting_urgent_call_is_first_even_without_reserve(autojump_clock, nursery):
    """When there is no token at all, the urgent caller gets the next one, before those who came earlier."""
    limit, log = RateLimit(1), []
    limit._try_take(False)
    for name in "aBcD":
        nursery.start_soon(lambda name=name: take_and_log(limit, log, name, urgent=name.isupper()))
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep_until(4.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("B", 1.0), ("D", 2.0), ("a", 3.0), ("c", 4.0)]


async def test_rate_limit_others_move_up_when_the_urgent_waiter_is_cancelled(autojump_clock, nursery):
    """An urgent waiter that leaves does not leave the others asleep."""
    limit, log = RateLimit(1), []
    limit._try_take(False)
    nursery.start_soon(take_and_log, limit, log, "a")
    await trio.testing.wait_all_tasks_blocked()

    with trio.move_on_at(0.5):
        await limit._take(True)
    await trio.sleep_until(2.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("a", 1.0)]


# ---------------------------------------------------------------- giving back


async def test_rate_limit_given_back_token_can_be_taken_again(autojump_clock):
    """A token that was not used after all is there again, in full."""
    limit = RateLimit(2, per=10.0)
    limit._try_take(False)
    limit._try_take(False)

    limit._give_back()

    assert limit.statistics().available == 1
    assert limit._try_take(False)
    assert not limit._try_take(False)


async def test_rate_limit_given_back_token_goes_to_the_first_waiter(autojump_clock, nursery):
    """Giving back wakes the first who waits, at once."""
    limit, log = RateLimit(1, per=10.0), []
    limit._try_take(False)
    for name in "ab":
        nursery.start_soon(take_and_log, limit, log, name)
        await trio.testing.wait_all_tasks_blocked()

    await trio.sleep_until(3.0)
    limit._give_back()
    await trio.sleep_until(13.0)
    await trio.testing.wait_all_tasks_blocked()

    assert log == [("a", 3.0), ("b", 13.0)]


# ---------------------------------------------------------------- what is known, and runs


async def test_rate_limit_statistics_tell_tokens_and_waiters(autojump_clock, nursery):
    """available counts whole tokens, the reserve among them."""
    limit = RateLimit(4, per=2.0, reserve=1)
    seen = [limit.statistics().available]
    for _ in range(3):
        limit._try_take(False)
    seen.append(limit.statistics().available)
    nursery.start_soon(limit._take, False)
    await trio.testing.wait_all_tasks_blocked()

    waiting = limit.statistics()
    await trio.sleep(0.5)
    await trio.testing.wait_all_tasks_blocked()
    seen.append(limit.statistics().available)
    await trio.sleep(100.0)
    seen.append(limit.statistics().available)

    assert waiting == RateLimitStatistics(available=1, waiting=1, refused=0)
    assert seen == [4, 1, 1, 4]
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        waiting.waiting = 0


def test_rate_limit_starts_fresh_in_a_new_run():
    """Tokens belong to the run, whose clock may begin anywhere."""
    limit = RateLimit(1, per=1000.0)

    async def use():
        return limit._try_take(False), limit._try_take(False)

    assert trio.run(use, clock=trio.testing.MockClock()) == (True, False)
    assert trio.run(use, clock=trio.testing.MockClock()) == (True, False)


# ---------------------------------------------------------------- the pure part


@given(
    calls=st.integers(1, 7),
    per=st.integers(1, 5),
    burst=st.integers(1, 6),
    start=st.integers(0, 1000),
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60),
)
def test_bucket_agrees_with_an_exact_model(calls, per, burst, start, steps):
    """Every answer is that of a token bucket calculated in fractions, whatever the pauses and who is urgent."""
    bucket = Bucket(calls=calls, per=float(per), burst=burst)
    reserve = burst // 2
    rate = Fraction(calls, per)
    tokens, looked, now = Fraction(burst), Fraction(start), Fraction(start)

    for urgent, pause in steps:
        # Moments just beside those at which a token becomes whole: floats cannot be asked about those themselves.
        now += Fraction(per, calls) * pause / 4 + Fraction(1, 1_000_000)
        tokens, looked = min(Fraction(burst), tokens + (now - looked) * rate), now
        keep = 0 if urgent else reserve
        assert bucket.available(float(now)) == math.floor(tokens)
        assert bucket.take(float(now), keep) == (tokens - 1 >= keep)
        if tokens - 1 >= keep:
            tokens -= 1


@given(calls=st.integers(1, 1000), per=st.floats(0.001, 1000.0), burst=st.integers(1, 50), start=st.floats(0, 1e6))
def test_bucket_is_ready_at_the_time_that_it_names(calls, per, burst, start):
    """Who sleeps until ready_at() gets the token, and who comes a moment earlier does not: no second sleep, no gift."""
    bucket = Bucket(calls=calls, per=per, burst=burst)
    for _ in range(burst):
        assert bucket.take(start, 0)

    for _ in range(5):
        ready = bucket.ready_at(0)
        assert not bucket.take(ready - 1e-8, 0)
        assert bucket.take(ready, 0)


def test_bucket_asked_a_rounding_error_late_keeps_its_start():
    """A clock that is off by a rounding error does not move the times to come; one that is really late does."""
    bucket = Bucket(calls=4, per=1.0, burst=1)
    bucket.take(0.0, 0)

    assert bucket.take(0.25 + 1e-12, 0)
    assert bucket.ready_at(0) == 0.5
    assert bucket.take(0.501, 0)
    assert bucket.ready_at(0) == 0.751
