"""What the design promises of Retry, with_retry and RetryBudget, sentence by sentence, through public names."""

import inspect
import itertools
import math
import random
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    EffectFailedError,
    GenesisError,
    RateLimitedError,
    RetryBudgetExhaustedError,
    TotalTimeoutError,
)
from genesis_trio.events import RetriesExhausted, RetryScheduled, Severity, observe
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry, with_retry
from genesis_trio.testing import simulate
from policies.venue import Middle, ServerBusy, Venue, notes

KINDS = ["none", "additive", "full", "equal", "decorrelated"]


class VenueError(Exception):
    """What a layer of the user's makes of an OSError."""


def exact(on=OSError, **settings) -> Retry:
    """A retry without jitter, whose times are exact: 1, 2, 4 … seconds."""
    return Retry(on, **{"base_delay": 1.0, "jitter": "none", **settings})


# ---------------------------------------------------------------- signatures


def test_retry_signature_is_the_published_one():
    """Names, order, kinds and defaults of the constructor are those of the stub."""
    parameters = inspect.signature(Retry).parameters

    defaults = {name: p.default for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert next(iter(parameters)) == "on"
    assert parameters["on"].default is inspect.Parameter.empty
    expected = {
        "max_retries": 3,
        "base_delay": 0.1,
        "multiplier": 2.0,
        "max_delay": 30.0,
        "jitter": "full",
        "max_elapsed": None,
        "retry_result": None,
        "budget": None,
        "retry_exhausted": False,
        "rng": None,
    }
    assert {name: defaults[name] for name in expected} == expected


def test_with_retry_signature_is_the_published_one():
    """The original's one-liner: additive jitter, three retries, a tenth of a second."""
    parameters = inspect.signature(with_retry).parameters

    assert list(parameters)[:2] == ["fn", "args"]
    expected = {"max_retries": 3, "base_delay": 0.1, "jitter": "additive", "max_delay": 30.0}
    assert {name: parameters[name].default for name in expected} == expected
    assert parameters["on"].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"max_retries": -1}, ValueError),
        ({"max_retries": 1.5}, TypeError),
        ({"max_retries": "3"}, TypeError),
        ({"max_retries": True}, TypeError),
        ({"base_delay": -0.1}, ValueError),
        ({"base_delay": math.nan}, ValueError),
        ({"base_delay": math.inf}, ValueError),
        ({"base_delay": "1"}, TypeError),
        ({"multiplier": 0.0}, ValueError),
        ({"multiplier": -2.0}, ValueError),
        ({"multiplier": math.nan}, ValueError),
        ({"multiplier": None}, TypeError),
        ({"max_delay": -1.0}, ValueError),
        ({"max_delay": math.nan}, ValueError),
        ({"max_delay": "30"}, TypeError),
        ({"jitter": "gaussian"}, ValueError),
        ({"max_elapsed": -1.0}, ValueError),
        ({"max_elapsed": math.nan}, ValueError),
        ({"max_elapsed": "10"}, TypeError),
        ({"retry_result": 5}, TypeError),
        ({"budget": 0.2}, TypeError),
        ({"rng": 42}, TypeError),
    ],
)
def test_retry_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        Retry(OSError, **args)

    (value,) = args.values()
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("on", [None, 5, "OSError", (), (OSError, 5), OSError(), [OSError], int])
def test_retry_wrong_on_is_refused(on):
    """What is neither exception types nor a function is refused at construction."""
    with pytest.raises((TypeError, ValueError)):
        Retry(on)


async def test_retry_configuration_is_immutable():
    """All state is per call: nothing of a Retry can be set."""
    retry = Retry(OSError)

    with pytest.raises((AttributeError, TypeError)):
        retry.max_retries = 5


# ---------------------------------------------------------------- with_retry


async def test_with_retry_calls_again_with_the_same_arguments(autojump_clock):
    """with_retry(fn, *args) retries and returns what fn returns in the end."""
    venue = Venue(OSError("a"), OSError("b"), "ack")

    value = await with_retry(venue, 1, "two")

    assert value == "ack"
    assert venue.args == [(1, "two")] * 3


async def test_with_retry_waits_base_times_two_to_the_n_plus_up_to_a_tenth(autojump_clock):
    """Delay n is base * 2^(n-1) + uniform(0, 0.1): the tenth does not grow with the base."""
    venue = Venue(OSError("always"))

    with pytest.raises(OSError, match="always"):
        await with_retry(venue, max_retries=3, base_delay=1.0)

    waits = [later - earlier for earlier, later in itertools.pairwise(venue.times)]
    assert venue.calls == 4
    for wait, base in zip(waits, [1.0, 2.0, 4.0], strict=True):
        assert base <= wait <= base + 0.1 + 1e-9
    assert any(wait != base for wait, base in zip(waits, [1.0, 2.0, 4.0], strict=True))


@pytest.mark.parametrize("error", [RuntimeError("any"), ValueError("any"), OSError("any")])
async def test_with_retry_retries_any_exception_by_default(error, autojump_clock):
    """Like the original it needs no `on`."""
    venue = Venue(error, "ack")

    assert await with_retry(venue) == "ack"
    assert venue.calls == 2


async def test_with_retry_max_retries_zero_is_one_call(autojump_clock):
    """max_retries counts retries, not the first call."""
    venue = Venue(OSError("always"))

    with pytest.raises(OSError):
        await with_retry(venue, max_retries=0)

    assert venue.calls == 1


async def test_with_retry_wrong_settings_are_refused_before_the_call():
    """A wrong value is an error of the caller's, not something to retry."""
    venue = Venue()

    with pytest.raises(ValueError):
        await with_retry(venue, max_retries=-1)

    assert venue.calls == 0


# ---------------------------------------------------------------- execute, decorator, attempts


async def test_retry_execute_passes_arguments_and_returns_the_value(autojump_clock):
    """execute(fn, *args, **kwargs): positional and keyword arguments reach each attempt."""
    venue = Venue(OSError(), "ack")

    assert await exact().execute(venue, 1, side="buy") == "ack"
    assert venue.args == [(1,), (1,)]
    assert venue.kwargs == [{"side": "buy"}] * 2


async def test_retry_as_a_decorator_keeps_name_signature_and_doc(autojump_clock):
    """A decorated function looks like the one that was decorated, and retries."""
    calls = []

    @exact()
    async def place(order: str, *, side: str = "buy") -> str:
        """Place it."""
        calls.append((order, side))
        if len(calls) < 2:
            raise OSError
        return order

    assert await place("o1", side="sell") == "o1"
    assert calls == [("o1", "sell")] * 2
    assert place.__name__ == "place"
    assert place.__doc__ == "Place it."
    assert list(inspect.signature(place).parameters) == ["order", "side"]
    assert inspect.iscoroutinefunction(place)


async def test_retry_as_a_decorator_works_on_methods(autojump_clock):
    """A decorated method is bound like any other."""

    class Client:
        def __init__(self):
            self.calls = 0

        @exact()
        async def send(self, order):
            self.calls += 1
            if self.calls < 3:
                raise OSError
            return self, order

    client = Client()

    assert await client.send("o1") == (client, "o1")
    assert client.calls == 3


def test_retry_refuses_to_decorate_what_is_not_async():
    """A plain function cannot be retried with waits: the mistake is told at once."""
    with pytest.raises(TypeError):

        @exact()
        def place(order):
            return order


async def test_retry_delays_double_up_to_max_delay_before_jitter(autojump_clock):
    """Delay before retry n is base_delay * multiplier**(n-1), at most max_delay."""
    venue = Venue(OSError("always"))

    with pytest.raises(OSError):
        await exact(max_retries=6, multiplier=3.0, max_delay=10.0).execute(venue)

    waits = [later - earlier for earlier, later in itertools.pairwise(venue.times)]
    assert waits == [1.0, 3.0, 9.0, 10.0, 10.0, 10.0]


async def test_retry_all_spent_raises_the_real_last_error_with_a_note(autojump_clock):
    """The very object that the last attempt raised, bare, with a note of what was tried."""
    errors = [OSError("1"), OSError("2"), OSError("3")]
    venue = Venue(*errors)

    with pytest.raises(OSError) as caught:
        await exact(max_retries=2).execute(venue)

    assert caught.value is errors[2]
    assert "3" in notes(caught.value)
    assert trio.current_time() == 3.0


async def test_retry_error_that_is_not_named_is_raised_at_once(autojump_clock):
    """What `on` does not name is not retried."""
    error = KeyError("x")
    venue = Venue(error)

    with pytest.raises(KeyError) as caught:
        await exact().execute(venue)

    assert caught.value is error
    assert venue.calls == 1
    assert trio.current_time() == 0.0


async def test_retry_without_end_goes_on_until_it_succeeds(autojump_clock):
    """max_retries=None has no limit."""
    venue = Venue(*[OSError()] * 3000, "ack")

    assert await exact(max_retries=None, base_delay=0.001, max_delay=0.001).execute(venue) == "ack"
    assert venue.calls == 3001


async def test_retry_checkpoint_between_attempts_even_without_delay(autojump_clock):
    """A function that never waits and always fails lets others run between its attempts, and can be cancelled."""
    ticks = []

    async def fail():
        ticks.append("attempt")
        raise OSError

    async def other():
        while True:
            ticks.append("other")
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        with pytest.raises(OSError):
            await exact(max_retries=3, base_delay=0.0).execute(fail)
        nursery.cancel_scope.cancel()

    # A turn of the scheduler runs each task once, in any order: between four attempts there are at least two turns.
    between = ticks[ticks.index("attempt") : len(ticks) - ticks[::-1].index("attempt")]
    assert between.count("attempt") == 4
    assert between.count("other") >= 2


async def test_retry_cancelled_before_the_call_makes_no_second_attempt():
    """In a cancelled scope, a failing attempt is not followed by another."""
    calls = []

    async def fail():
        calls.append(1)
        raise OSError

    with trio.CancelScope() as scope:
        scope.cancel()
        with pytest.raises((OSError, trio.Cancelled)):
            await exact(base_delay=0.0).execute(fail)

    assert len(calls) <= 1


async def test_retry_cancelled_while_it_waits_stops_there(autojump_clock):
    """A cancellation during the delay passes at once; no attempt follows."""
    venue = Venue(OSError())

    async def stop(scope):
        await trio.sleep(0.5)
        scope.cancel()

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(stop, scope)
            await exact().execute(venue)

    assert scope.cancelled_caught
    assert venue.calls == 1
    assert trio.current_time() == 0.5


async def test_retry_concurrent_calls_share_no_counters(autojump_clock):
    """A Retry is configuration: five calls at once through one make all their attempts."""
    retry, venues = exact(max_retries=2), [Venue(OSError()) for _ in range(5)]

    async def call(venue):
        with pytest.raises(OSError):
            await retry.execute(venue)

    async with trio.open_nursery() as nursery:
        for venue in venues:
            nursery.start_soon(call, venue)

    assert [venue.calls for venue in venues] == [3] * 5


async def test_retry_attempts_repeats_the_block_until_it_succeeds(autojump_clock):
    """`async for attempt in retry.attempts(): with attempt:` with number and last_error."""
    seen, errors = [], [OSError("1"), OSError("2")]

    async for attempt in exact().attempts():
        with attempt:
            seen.append((attempt.number, attempt.last_error, trio.current_time()))
            if attempt.number <= 2:
                raise errors[attempt.number - 1]

    assert seen == [(1, None, 0.0), (2, errors[0], 1.0), (3, errors[1], 3.0)]


async def test_retry_attempts_raises_the_real_last_error(autojump_clock):
    """When all is spent the last error leaves the loop, with a note."""
    errors = [OSError(str(n)) for n in range(4)]

    with pytest.raises(OSError) as caught:
        async for attempt in exact().attempts():
            with attempt:
                raise errors[attempt.number - 1]

    assert caught.value is errors[3]
    assert notes(caught.value)
    assert trio.current_time() == 7.0


async def test_retry_attempts_lets_other_errors_out_of_the_block():
    """What `on` does not name leaves the block as it is."""
    error = KeyError("x")

    with pytest.raises(KeyError) as caught:
        async for attempt in exact().attempts():
            with attempt:
                raise error

    assert caught.value is error


async def test_retry_attempts_can_be_left_by_break_and_return(autojump_clock):
    """A loop that is left early is a success, and is not begun again."""
    numbers = []
    async for attempt in exact().attempts():
        with attempt:
            numbers.append(attempt.number)
            if attempt.number == 1:
                raise OSError
            break

    async def inner():
        async for attempt in exact().attempts():
            with attempt:
                return attempt.number
        return None

    assert numbers == [1, 2]
    assert await inner() == 1


async def test_retry_attempts_healthy_starts_count_and_delay_anew(autojump_clock):
    """A reconnect loop that was healthy begins again with a whole count and the first delay."""
    times = []

    with pytest.raises(OSError):
        async for attempt in exact(max_retries=2).attempts():
            with attempt:
                times.append(trio.current_time())
                if len(times) == 3:
                    await trio.sleep(10.0)
                    attempt.healthy()
                raise OSError("down")

    # 0; +1; +2; ten seconds of health; +1; +2; then all is spent
    assert times == [0.0, 1.0, 3.0, 14.0, 16.0]


async def test_retry_attempts_cancellation_leaves_the_block():
    """A cancellation inside of the block is no failed attempt."""
    numbers = []

    with trio.move_on_after(0) as scope:
        async for attempt in exact().attempts():
            with attempt:
                numbers.append(attempt.number)
                await trio.sleep_forever()

    assert scope.cancelled_caught
    assert numbers in ([], [1])


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


@pytest.mark.parametrize(
    "named",
    ["-5", "5.5.5", "٥", "Thu, 99 Jan 2026 00:00:05 GMT", "Thu, 01 Jan 2015 00:00:05 GMT", datetime(2015, 1, 1, tzinfo=UTC),
     datetime(2099, 1, 1)],  # noqa: DTZ001 - a time without a zone is no moment
    ids=str,
)  # fmt: skip
def test_retry_named_date_that_is_over_or_makes_no_sense_does_no_harm(named):
    """A date in the past says that the clocks differ, not that there is no need to wait: our own delay counts."""
    venue = Venue(ServerBusy(named), "ack")

    assert simulate(exact(ServerBusy).execute, venue, seed=1, epoch=datetime(2026, 1, 1, tzinfo=UTC)) == "ack"

    assert venue.times[1] - venue.times[0] == 1.0


async def test_retry_named_infinite_delay_gives_up(autojump_clock):
    """inf means never."""
    venue = Venue(ServerBusy(math.inf), "ack")

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


async def test_retry_attempts_obeys_the_deadline_too(autojump_clock):
    """The block form begins no wait that cannot end in time."""
    with trio.fail_after(5.0), pytest.raises(OSError, match="real"):
        async for attempt in exact(max_retries=10).attempts():
            with attempt:
                raise OSError("real")

    assert trio.current_time() == 3.0


# ---------------------------------------------------------------- our own refusals


@pytest.mark.parametrize("on", [Exception, GenesisError, lambda error: True], ids=["Exception", "GenesisError", "all"])
@pytest.mark.parametrize(
    "error",
    [
        BreakerOpenError("open", name="b", retry_after=1.0),
        BulkheadFullError("full"),
        RateLimitedError("limited", retry_after=1.0),
        TotalTimeoutError("too long"),
        RetryBudgetExhaustedError("spent"),
        EffectFailedError("again"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_retry_our_refusals_are_retried_only_if_named_by_their_very_class(on, error, autojump_clock):
    """No base class and no function names them."""
    venue = Venue(error, "ack")

    with pytest.raises(type(error)):
        await exact(on).execute(venue)

    assert venue.calls == 1


async def test_retry_total_timeout_is_no_os_error_for_retries(autojump_clock):
    """TotalTimeoutError is a TimeoutError and so an OSError; it is retried by neither name."""
    for on in (OSError, TimeoutError):
        venue = Venue(TotalTimeoutError("too long"), "ack")
        with pytest.raises(TotalTimeoutError):
            await exact(on).execute(venue)
        assert venue.calls == 1


@pytest.mark.parametrize("on", [BulkheadFullError, (OSError, BulkheadFullError)])
async def test_retry_our_refusal_that_is_named_is_retried(on, autojump_clock):
    """Named by its very class, alone or among others, it is retried like a failure."""
    venue = Venue(BulkheadFullError("full"), "ack")

    assert await exact(on).execute(venue) == "ack"
    assert venue.times == [0.0, 1.0]


@pytest.mark.parametrize("on", [AttemptTimeoutError, TimeoutError, OSError, Exception])
async def test_retry_attempt_timeout_is_retried_like_a_failure(on, autojump_clock):
    """The one limit of ours that is a failure of the other side: a base class names it too."""
    venue = Venue(AttemptTimeoutError("slow"), "ack")

    assert await exact(on).execute(venue) == "ack"


async def test_retry_on_breaker_open_waits_its_retry_after(autojump_clock):
    """on=BreakerOpenError waits as long as the breaker says, not its own short delay."""
    venue = Venue(BreakerOpenError("open", name="b", retry_after=7.0), "ack")

    assert await exact(BreakerOpenError).execute(venue) == "ack"
    assert venue.times == [0.0, 7.0]


async def test_retry_on_breaker_open_with_a_real_breaker_waits_for_the_probe(autojump_clock):
    """A retry around a breaker comes back when a probe may run, and the probe succeeds."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=5.0, rng=Middle())
    venue = Venue(OSError("down"), "ack")
    with pytest.raises(OSError):
        await breaker.execute(venue)

    value = await exact(BreakerOpenError).execute(breaker.execute, venue)

    assert value == "ack"
    assert trio.current_time() == pytest.approx(5.0)
    assert venue.calls == 2


async def test_retry_on_isolated_breaker_gives_up_at_once(autojump_clock):
    """An isolated breaker's retry_after is infinite: nothing to wait for."""
    breaker = CircuitBreaker("venue")
    breaker.isolate()

    with pytest.raises(BreakerOpenError) as caught:
        await exact(BreakerOpenError).execute(breaker.execute, Venue())

    assert caught.value.retry_after == math.inf
    assert trio.current_time() == 0.0


async def test_retry_refusal_between_two_attempts_gives_the_real_last_error(autojump_clock):
    """The breaker opens between the attempts: the caller gets what really happened, with a note."""
    breaker = CircuitBreaker("venue", failure_threshold=2, recovery_timeout=60.0)
    errors = [OSError("1"), OSError("2")]
    venue = Venue(*errors)

    with pytest.raises(OSError) as caught:
        await exact().execute(breaker.execute, venue)

    assert caught.value is errors[1]
    assert venue.calls == 2
    assert "open" in notes(caught.value)
    assert trio.current_time() in (1.0, 3.0)


async def test_retry_refusal_before_the_first_attempt_is_the_refusal():
    """With no real error to tell, the refusal itself is told."""
    breaker = CircuitBreaker("venue")
    breaker.trip()

    with pytest.raises(BreakerOpenError):
        await exact().execute(breaker.execute, Venue())


async def test_retry_refusal_between_two_attempts_is_retried_where_it_is_named(autojump_clock):
    """`on` names it: it is waited for and tried again."""
    breaker = CircuitBreaker("venue", failure_threshold=1, recovery_timeout=5.0, rng=Middle())
    venue = Venue(OSError("1"), "ack")

    value = await exact((OSError, BreakerOpenError), max_retries=5).execute(breaker.execute, venue)

    assert value == "ack"
    assert venue.calls == 2
    assert venue.times[1] == pytest.approx(5.0)  # refused at 1.0, with 4 seconds to go


# ---------------------------------------------------------------- layers of retries


async def test_retry_layers_do_not_multiply(autojump_clock):
    """Three layers of two retries make 3 calls, not 27, and say so on the error."""
    error = OSError("down")
    venue = Venue(error)
    layer = exact(max_retries=2)

    with pytest.raises(OSError) as caught:
        await layer.execute(layer.execute, layer.execute, venue)

    assert venue.calls == 3
    assert caught.value is error
    assert len(error.__notes__) >= 2


async def test_retry_layers_with_fresh_errors_do_not_multiply_either(autojump_clock):
    """The same when each call raises an error of its own."""

    async def fail():
        calls.append(1)
        raise OSError("down")

    calls, layer = [], exact(max_retries=2)

    with pytest.raises(OSError):
        await layer.execute(layer.execute, layer.execute, fail)

    assert len(calls) == 3


async def test_retry_mark_travels_along_the_cause(autojump_clock):
    """An error made `from` one that was given up on is not retried either."""
    venue, inner, outer = Venue(OSError("down")), exact(max_retries=2), exact(VenueError, max_retries=2)

    async def wrapped():
        try:
            await inner.execute(venue)
        except OSError as error:
            raise VenueError("wrapped") from error

    with pytest.raises(VenueError) as caught:
        await outer.execute(wrapped)

    assert venue.calls == 3
    assert notes(caught.value)


async def test_retry_mark_does_not_travel_along_the_context(autojump_clock):
    """An error that merely happened while another was handled is its own."""
    venue, inner, outer = Venue(OSError("down")), exact(max_retries=1), exact(VenueError, max_retries=1)

    async def other():
        try:
            await inner.execute(venue)
        except OSError:
            raise VenueError("another thing")  # noqa: B904

    with pytest.raises(VenueError):
        await outer.execute(other)

    assert venue.calls == 4


async def test_retry_mark_does_not_travel_through_our_own_refusals(autojump_clock):
    """A breaker that opened for an error that was given up on may be waited for all the same."""
    breaker = CircuitBreaker("venue", failure_threshold=2, recovery_timeout=5.0, rng=Middle())
    venue = Venue(OSError("1"), OSError("2"), "ack")
    with pytest.raises(OSError):
        await exact(max_retries=1).execute(breaker.execute, venue)

    assert await exact(BreakerOpenError).execute(breaker.execute, venue) == "ack"


async def test_retry_exhausted_true_opts_out(autojump_clock):
    """retry_exhausted=True retries what an inner one has given up on."""
    venue = Venue(OSError("down"))

    with pytest.raises(OSError):
        await exact(max_retries=2, retry_exhausted=True).execute(exact(max_retries=2).execute, venue)

    assert venue.calls == 9


async def test_retry_attempts_is_opted_out(autojump_clock):
    """A reconnect loop goes on, whatever the calls within it have given up on."""
    venue = Venue(OSError("down"))

    with pytest.raises(OSError):
        async for attempt in exact(max_retries=2).attempts():
            with attempt:
                await exact(max_retries=2).execute(venue)

    assert venue.calls == 9


async def test_retry_error_not_retried_within_is_retried_around(autojump_clock):
    """Only what was retried and given up on is marked: an inner retry that does not know the error leaves it alone."""
    venue = Venue(OSError("down"))

    with pytest.raises(OSError):
        await exact(OSError, max_retries=2).execute(exact(KeyError, max_retries=2).execute, venue)

    assert venue.calls == 3


async def test_retry_error_object_that_is_raised_again_by_a_later_call_is_retried(autojump_clock):
    """Being given up on belongs to the call: the same object raised by an independent later call is a new failure."""
    error = OSError("one object")
    retry = exact(max_retries=2)
    for calls in (3, 6, 9):
        with pytest.raises(OSError):
            await retry.execute(raise_it := Venue(error))
        assert raise_it.calls == 3, f"after {calls}"


# ---------------------------------------------------------------- exception groups


async def test_retry_group_is_retried_if_every_leaf_is(autojump_clock):
    """A nursery inside of the call wraps errors: the leaves decide, and the group is raised untouched."""
    group = ExceptionGroup("nursery", [OSError("a"), ExceptionGroup("inner", [OSError("b")])])
    venue = Venue(group)

    with pytest.raises(ExceptionGroup) as caught:
        await exact(max_retries=2).execute(venue)

    assert venue.calls == 3
    assert caught.value is group
    assert [type(leaf) for leaf in group.exceptions] == [OSError, ExceptionGroup]


async def test_retry_group_with_one_other_leaf_is_not_retried():
    """Retry only if every leaf is retryable."""
    venue = Venue(ExceptionGroup("nursery", [OSError("a"), KeyError("b")]))

    with pytest.raises(ExceptionGroup):
        await exact().execute(venue)

    assert venue.calls == 1


async def test_retry_group_with_a_refusal_of_ours_is_not_retried():
    """A refusal inside of a group is a refusal."""
    venue = Venue(ExceptionGroup("nursery", [OSError("a"), BulkheadFullError("full")]))

    with pytest.raises(ExceptionGroup):
        await exact(Exception).execute(venue)

    assert venue.calls == 1


async def test_retry_group_honours_the_longest_named_delay(autojump_clock):
    """A server's delay inside of a group is not undercut."""
    venue = Venue(ExceptionGroup("nursery", [ServerBusy(5.0), ServerBusy(3.0)]), "ack")

    assert await exact(ServerBusy).execute(venue) == "ack"
    assert venue.times[1] == 5.0


async def test_retry_group_named_as_a_type_is_judged_by_its_leaves_or_its_type(autojump_clock):
    """on=Exception retries a group of ordinary errors."""
    venue = Venue(ExceptionGroup("nursery", [OSError("a")]), "ack")

    assert await exact(Exception).execute(venue) == "ack"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_retry_base_exceptions_go_through(error):
    """Ctrl-C and SystemExit are nobody's failure, whatever `on` says."""
    calls = []

    async def leave():
        calls.append(1)
        raise error

    with pytest.raises(error):
        await exact(lambda e: True).execute(leave)

    assert len(calls) == 1


# ---------------------------------------------------------------- budget


async def test_retry_budget_is_charged_when_a_retry_is_scheduled(autojump_clock):
    """While the retry still waits out its delay, the budget has paid for it already."""
    budget = RetryBudget(ratio=0.0, floor_per_second=1.0, window=10.0)
    seen = []

    async def look():
        await trio.sleep(0.5)
        seen.append(budget.statistics().scheduled)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        await exact(budget=budget).execute(Venue(OSError(), "ack"))

    assert seen == [1]


async def test_retry_budget_exhausted_is_an_error_from_the_last_real_failure(autojump_clock):
    """When a retry is due and none is left: RetryBudgetExhaustedError, its cause the real error, without a wait."""
    budget = RetryBudget(ratio=0.0, floor_per_second=0.2, window=10.0)
    errors = [OSError("1"), OSError("2"), OSError("3"), OSError("4")]
    venue = Venue(*errors)

    with pytest.raises(RetryBudgetExhaustedError) as caught:
        await exact(budget=budget, base_delay=0.0).execute(venue)

    assert venue.calls == 3
    assert caught.value.__cause__ is errors[2]
    assert budget.statistics().refused == 1
    assert trio.current_time() == 0.0


async def test_retry_budget_gets_ratio_from_each_call(autojump_clock):
    """Each call deposits ratio, once, whatever the number of its attempts."""
    budget = RetryBudget(ratio=0.5, floor_per_second=0.0, window=100.0)
    retry = exact(budget=budget, base_delay=0.0)

    for _ in range(6):
        await retry.execute(Venue())
    await retry.execute(Venue(OSError(), OSError(), "ack"))

    assert budget.statistics().available == pytest.approx(7 * 0.5 - 2)


async def test_retry_budget_is_shared_by_guards(autojump_clock):
    """Two guards on one budget: what one has spent the other does not have."""
    budget = RetryBudget(ratio=0.0, floor_per_second=0.1, window=10.0)
    first = Guard("first", retry=exact(budget=budget, base_delay=0.0))
    second = Guard("second", retry=exact(budget=budget, base_delay=0.0))

    assert await first.execute(Venue(OSError(), "ack")) == "ack"
    with pytest.raises(RetryBudgetExhaustedError):
        await second.execute(Venue(OSError(), "ack"))


async def test_retry_budget_is_not_charged_for_what_is_not_retried(autojump_clock):
    """Neither an unknown error nor the end of all retries costs anything."""
    budget = RetryBudget()
    for error in (KeyError("unknown"), OSError("spent")):
        with pytest.raises(type(error)):
            await exact(budget=budget, max_retries=0 if isinstance(error, OSError) else 3).execute(Venue(error))

    assert budget.statistics().scheduled == 0


async def test_retry_budget_crowd_of_failing_calls_stays_within_it(autojump_clock):
    """A thousand callers of a dead venue: a fifth of them retries, plus the floor, not three thousand."""
    budget = RetryBudget(ratio=0.2, floor_per_second=1.0, window=10.0)
    retry, attempts = exact(budget=budget), 0

    async def fail():
        nonlocal attempts
        attempts += 1
        raise OSError

    async def call():
        with pytest.raises((OSError, RetryBudgetExhaustedError)):
            await retry.execute(fail)

    async with trio.open_nursery() as nursery:
        for _ in range(1000):
            nursery.start_soon(call)

    assert 1000 + 200 <= attempts <= 1000 + 200 + 10 + 7


# ---------------------------------------------------------------- events


async def test_retry_events_tell_a_scheduled_retry_as_a_warning_and_exhaustion_as_an_error(autojump_clock):
    """What required statistics count is also told to observers, with its severity."""
    seen = []

    with observe(seen.append), pytest.raises(OSError):
        await exact(max_retries=2).execute(Venue(OSError("down")))

    scheduled = [event for event in seen if isinstance(event, RetryScheduled)]
    exhausted = [event for event in seen if isinstance(event, RetriesExhausted)]
    assert [event.delay for event in scheduled] == [1.0, 2.0]
    assert all(event.severity is Severity.WARNING for event in scheduled)
    assert len(exhausted) == 1
    assert exhausted[0].severity is Severity.ERROR
    assert "down" in exhausted[0].error
