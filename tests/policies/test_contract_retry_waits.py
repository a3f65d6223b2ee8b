"""What the design promises of Retry, with_retry and RetryBudget, sentence by sentence, through public names: the schedule, what is retried, deadlines."""

import itertools
import math
import random
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.policies.retry import Retry
from genesis_trio.testing import simulate
from policies.contract import KINDS, exact
from policies.venue import ServerBusy, Venue, notes

# ---------------------------------------------------------------- the schedule as numbers


@given(
    kind=st.sampled_from(KINDS),
    base=st.floats(0.001, 100.0),
    multiplier=st.floats(1.0, 10.0),
    max_delay=st.floats(0.01, 1000.0),
    seed=st.integers(0, 2**32),
)
def test_retry_delays_stay_within_the_bounds_of_their_kind(kind, base, multiplier, max_delay, seed):
    """For each kind of jitter every delay lies where its formula allows, clamped before the jitter."""
    if max_delay < base:
        max_delay = base
    retry = Retry(OSError, max_retries=40, base_delay=base, multiplier=multiplier, max_delay=max_delay, jitter=kind)

    delays = list(retry.delays(random.Random(seed)))

    previous = base
    assert len(delays) == 40
    for n, delay in enumerate(delays):
        clamped = min(max_delay, base * multiplier**n)
        low, high = {
            "none": (clamped, clamped),
            "additive": (clamped, clamped + 0.1),
            "full": (0.0, clamped),
            "equal": (clamped / 2, clamped),
            "decorrelated": (min(base, max_delay), max(base, min(max_delay, 3 * previous))),
        }[kind]
        assert low * (1 - 1e-9) <= delay <= high * (1 + 1e-9)
        previous = delay


@pytest.mark.parametrize("kind", KINDS)
def test_retry_delays_can_be_looked_at_outside_of_a_run(kind):
    """They are pure numbers: to print them in a console needs neither a run nor a source of randomness of one's own."""
    delays = list(Retry(OSError, max_retries=3, jitter=kind).delays())

    assert len(delays) == 3
    assert all(0.0 <= delay <= 0.1 * 3**3 for delay in delays)  # the widest: each up to three times the one before


@pytest.mark.parametrize("kind", KINDS)
def test_retry_delays_do_not_overflow_at_any_n(kind):
    """The ten thousandth delay of an endless retry is as finite as the first."""
    retry = Retry(OSError, max_retries=None, multiplier=1e6, jitter=kind)

    delays = list(itertools.islice(retry.delays(random.Random(1)), 10_000))

    assert len(delays) == 10_000
    assert all(0.0 <= delay <= 30.1 for delay in delays)


@pytest.mark.parametrize("kind", ["additive", "full", "equal", "decorrelated"])
def test_retry_jitter_survives_at_max_delay(kind):
    """Clamped before jitter: at the cap a thousand clients do not strike together."""
    retry = Retry(OSError, max_retries=12, max_delay=5.0, jitter=kind)

    last = [list(retry.delays(random.Random(seed)))[-1] for seed in range(1000)]

    assert max(last.count(delay) for delay in set(last)) <= 5


def test_retry_delays_are_the_same_for_the_same_seed():
    """The schedule depends on the randomness that is passed in, and on nothing else."""
    retry = Retry(OSError, max_retries=50)

    assert list(retry.delays(random.Random(7))) == list(retry.delays(random.Random(7)))
    assert list(retry.delays(random.Random(7))) != list(retry.delays(random.Random(8)))


def test_retry_delays_of_no_retries_are_none():
    """max_retries=0 has no delays."""
    assert list(Retry(OSError, max_retries=0).delays(random.Random(1))) == []


async def test_retry_waits_what_its_own_rng_says(autojump_clock):
    """rng= is the source of the jitter: the waits are those of delays() with an equal one."""
    venue = Venue(OSError())
    with pytest.raises(OSError):
        await Retry(OSError, rng=random.Random(3)).execute(venue)

    waits = [later - earlier for earlier, later in itertools.pairwise(venue.times)]
    assert waits == pytest.approx(list(Retry(OSError).delays(random.Random(3))))


# ---------------------------------------------------------------- on, retry_result, delays that are named


@pytest.mark.parametrize(
    ("answer", "waits"),
    [(True, 1.0), (False, None), (0.0, 0.0), (0.25, 0.25), (2, 2.0), (7.5, 7.5)],
    ids=str,
)
async def test_retry_on_function_gives_a_bool_or_a_delay(answer, waits, autojump_clock):
    """True: the schedule's delay; False: no retry; a number: exactly that delay, 0.0 too."""
    venue = Venue(OSError("x"), "ack")
    retry = exact(lambda error: answer)

    if waits is None:
        with pytest.raises(OSError):
            await retry.execute(venue)
        assert venue.calls == 1
    else:
        assert await retry.execute(venue) == "ack"
        assert venue.times[1] == max(waits, 0.0)


async def test_retry_on_function_sees_the_error():
    """The function is asked with the very error."""
    asked, error = [], OSError("x")

    with pytest.raises(OSError):
        await exact(lambda e: asked.append(e) or False).execute(Venue(error))

    assert asked == [error]


async def test_retry_on_function_that_raises_does_not_replace_the_error(autojump_clock):
    """A broken rule counts as no; what the caller gets is the real error."""
    error = OSError("real")

    def broken(_):
        raise RuntimeError("in the rule")

    with pytest.raises(OSError) as caught:
        await exact(broken).execute(Venue(error))

    assert caught.value is error


async def test_retry_result_that_is_not_wanted_is_tried_again(autojump_clock):
    """retry_result=predicate: results for which it is true are retried like failures."""
    venue = Venue("pending", "pending", "done")

    value = await exact(retry_result=lambda result: result == "pending").execute(venue)

    assert value == "done"
    assert venue.times == [0.0, 1.0, 3.0]


async def test_retry_result_that_never_satisfies_returns_the_last(autojump_clock):
    """When all is spent the last result is returned: there is no error to raise."""
    venue = Venue(1, 2, 3, 4, 5)

    assert await exact(retry_result=lambda result: True).execute(venue) == 4
    assert venue.calls == 4


async def test_retry_result_then_error_then_spent_raises_the_last_error(autojump_clock):
    """What counts in the end is what the last attempt did."""
    error = OSError("last")
    venue = Venue("pending", "pending", "pending", error)

    with pytest.raises(OSError) as caught:
        await exact(retry_result=lambda result: True).execute(venue)

    assert caught.value is error


async def test_retry_named_delay_is_never_undercut(autojump_clock):
    """A foreign error's retry_after says how long to wait at least."""
    venue = Venue(ServerBusy(5.0), "ack")

    assert await exact(ServerBusy).execute(venue) == "ack"
    assert venue.times[1] == 5.0


@pytest.mark.parametrize("kind", KINDS)
async def test_retry_named_delay_is_never_undercut_by_any_jitter(kind, autojump_clock):
    """Whatever the jitter, nothing goes out before the time that the server named."""
    for seed in range(20):
        venue, began = Venue(ServerBusy(5.0), "ack"), trio.current_time()
        await Retry(ServerBusy, base_delay=1.0, jitter=kind, rng=random.Random(seed)).execute(venue)
        assert venue.times[1] - began >= 5.0


async def test_retry_named_delay_beyond_max_delay_gives_up_with_the_real_error(autojump_clock):
    """Without a deadline nobody has said that so long a wait is wanted: the real error comes at once, with a note."""
    error = ServerBusy(31.0)
    venue = Venue(error, "ack")

    with pytest.raises(ServerBusy) as caught:
        await exact(ServerBusy).execute(venue)

    assert caught.value is error
    assert trio.current_time() == 0.0
    assert notes(error)


async def test_retry_named_delay_beyond_max_delay_is_honoured_under_a_deadline_that_allows_it(autojump_clock):
    """Under a finite deadline that lies behind it, the wait is made."""
    venue = Venue(ServerBusy(60.0), "ack")

    with trio.fail_after(100.0):
        assert await exact(ServerBusy).execute(venue) == "ack"

    assert venue.times[1] == 60.0


@pytest.mark.parametrize(("max_elapsed", "calls"), [(60.0, 2), (59.0, 1)])
async def test_retry_named_delay_beyond_max_delay_is_honoured_within_max_elapsed(max_elapsed, calls, autojump_clock):
    """max_elapsed says how much time there is, as a deadline does."""
    venue = Venue(ServerBusy(60.0), KeyError("an answer"))

    with pytest.raises((ServerBusy, KeyError)):
        await exact(ServerBusy, max_elapsed=max_elapsed).execute(venue)

    assert venue.times == [0.0, 60.0][:calls]


async def test_retry_named_delay_beyond_max_delay_and_deadline_gives_up(autojump_clock):
    """Under a deadline that comes before its end the wait is not begun."""
    venue = Venue(ServerBusy(60.0), "ack")

    with trio.fail_after(50.0), pytest.raises(ServerBusy):
        await exact(ServerBusy).execute(venue)

    assert trio.current_time() == 0.0


@pytest.mark.parametrize(
    "named", ["soon", None, math.nan, -5.0, pytest.param(object(), id="an object"), True], ids=repr
)
async def test_retry_named_delay_that_makes_no_sense_does_no_harm(named, autojump_clock):
    """A foreign attribute that is no usable number never turns into another error, or into no wait at all."""
    venue = Venue(ServerBusy(named), "ack")

    assert await exact(ServerBusy).execute(venue) == "ack"
    assert venue.times[1] == 1.0


@pytest.mark.parametrize(
    "named",
    [
        "5",
        " 5 ",
        "5.0",
        Decimal(5),
        Fraction(5),
        timedelta(seconds=5),
        datetime(2026, 1, 1, 0, 0, 5, tzinfo=UTC),
        datetime(2026, 1, 1, 1, 0, 5, tzinfo=timezone(timedelta(hours=1))),
        "Thu, 01 Jan 2026 00:00:05 GMT",
        "Thursday, 01-Jan-26 00:00:05 GMT",
        "Thu Jan  1 00:00:05 2026",
    ],
    ids=str,
)
def test_retry_named_delay_may_be_what_http_says(named):
    """Retry-After is a number of seconds or a date, in three spellings; dates are compared with the run's own wall clock."""
    venue = Venue(ServerBusy(named), "ack")

    assert simulate(exact(ServerBusy).execute, venue, seed=1, epoch=datetime(2026, 1, 1, tzinfo=UTC)) == "ack"

    assert venue.times[1] - venue.times[0] == pytest.approx(5.0, abs=1e-6)


class Nowhere(tzinfo):
    """A zone that does not know how far it is from UTC."""

    def utcoffset(self, moment):
        return None

    def __repr__(self):
        return "nowhere"


@pytest.mark.parametrize(
    "named",
    ["-5", "5.5.5", "٥", "Thu, 99 Jan 2026 00:00:05 GMT", "Thu, 01 Jan 2015 00:00:05 GMT", datetime(2015, 1, 1, tzinfo=UTC),
     Decimal("sNaN"), Fraction(-1), 5j, True,
     datetime(2099, 1, 1),  # noqa: DTZ001 - a time without a zone is no moment
     datetime(2099, 1, 1, tzinfo=Nowhere()), "Thu, 01 Jan 99999999999999999999 00:00:05 GMT",
     "Thu, 01 Jan 2026 00:00:05 +99999999999999999999"],
    ids=str,
)  # fmt: skip
def test_retry_named_date_that_is_over_or_makes_no_sense_does_no_harm(named):
    """A date in the past says that the clocks differ, not that there is no need to wait: our own delay counts."""
    venue = Venue(ServerBusy(named), "ack")

    assert simulate(exact(ServerBusy).execute, venue, seed=1, epoch=datetime(2026, 1, 1, tzinfo=UTC)) == "ack"

    assert venue.times[1] - venue.times[0] == 1.0


@pytest.mark.parametrize("never", [math.inf, pytest.param(10**400, id="beyond all floats"), "9" * 400])
async def test_retry_named_infinite_delay_gives_up(never, autojump_clock):
    """inf means never, and so does what no float can hold; the real error comes either way."""
    venue = Venue(ServerBusy(never), "ack")

    with trio.move_on_after(1000.0), pytest.raises(ServerBusy):
        await exact(ServerBusy).execute(venue)

    assert trio.current_time() == 0.0


# ---------------------------------------------------------------- deadlines


async def test_retry_wait_that_cannot_end_before_the_deadline_is_not_begun(autojump_clock):
    """The real last error comes at once, with a note, instead of a Cancelled later."""
    error = OSError("real")

    with trio.move_on_after(0.9) as scope, pytest.raises(OSError) as caught:
        await exact().execute(Venue(error))

    assert caught.value is error
    assert "deadline" in notes(error)
    assert trio.current_time() == 0.0
    assert not scope.cancelled_caught


async def test_retry_goes_on_as_long_as_the_deadline_allows(autojump_clock):
    """Waits of 1 and 2 fit into 5 seconds, the one of 4 does not."""
    venue = Venue(OSError("real"))

    with trio.fail_after(5.0), pytest.raises(OSError):
        await exact(max_retries=10).execute(venue)

    assert venue.times == [0.0, 1.0, 3.0]
    assert trio.current_time() == 3.0


async def test_retry_shielded_from_the_deadline_does_not_obey_it(autojump_clock):
    """Only the effective deadline counts."""
    venue = Venue(OSError("real"))

    with trio.move_on_after(0.5), trio.CancelScope(shield=True), pytest.raises(OSError):
        await exact(max_retries=2).execute(venue)

    assert venue.calls == 3


async def test_retry_max_elapsed_begins_no_wait_beyond_it(autojump_clock):
    """max_elapsed is a deadline of the retry's own: no wait that would end after it is begun."""
    venue = Venue(OSError("real"))

    with pytest.raises(OSError) as caught:
        await exact(max_retries=10, max_elapsed=5.0).execute(venue)

    assert venue.times == [0.0, 1.0, 3.0]
    assert notes(caught.value)


async def test_retry_max_elapsed_that_just_holds_the_waits_lets_all_be_made(autojump_clock):
    """0.1 + 0.2 + 0.4 is a little more than 0.7; a rounding error takes no attempt away."""
    venue = Venue(OSError("real"))

    with pytest.raises(OSError):
        await exact(max_retries=3, base_delay=0.1, max_elapsed=0.7).execute(venue)

    assert venue.calls == 4


async def test_retry_attempts_obeys_the_deadline_too(autojump_clock):
    """The block form begins no wait that cannot end in time."""
    with trio.fail_after(5.0), pytest.raises(OSError, match="real"):
        async for attempt in exact(max_retries=10).attempts():
            with attempt:
                raise OSError("real")

    assert trio.current_time() == 3.0
