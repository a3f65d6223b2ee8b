"""What the design promises of CircuitBreaker and Window, sentence by sentence, through public names: construction, closed and open."""

import inspect
import math

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    BreakerOpenError,
)
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker, Window
from genesis_trio.policies.guard import Guard
from policies.contract import CLOSED, HALF_OPEN, OPEN, fail, hold, make, succeed
from policies.venue import Venue

# ---------------------------------------------------------------- signatures


def test_breaker_signature_is_the_published_one():
    """Names and defaults of the constructor are those of the stub."""
    parameters = inspect.signature(CircuitBreaker).parameters

    expected = {
        "failure_threshold": 3,
        "recovery_timeout": 5.0,
        "success_threshold": 2,
        "half_open_max_calls": 1,
        "window": None,
        "slow_call": None,
        "failure_result": None,
        "probe_lease": None,
        "max_recovery_timeout": None,
        "ramp": None,
        "rng": None,
    }
    assert next(iter(parameters)) == "name"
    assert {name: parameters[name].default for name in expected} == expected
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "name")
    assert "failure_on" in parameters


def test_window_signature_is_the_published_one():
    """Names and defaults of the constructor are those of the stub."""
    parameters = inspect.signature(Window).parameters

    expected = {"failure_ratio": 0.5, "minimum_calls": 20, "calls": None, "seconds": None, "slow_ratio": None}
    assert {name: parameters[name].default for name in expected} == expected


def test_breaker_states_are_the_published_ones():
    """The five states with their values."""
    assert {state.name: state.value for state in BreakerState} == {
        "CLOSED": "closed",
        "OPEN": "open",
        "HALF_OPEN": "half_open",
        "ISOLATED": "isolated",
        "DISABLED": "disabled",
    }


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"failure_threshold": 0}, ValueError),
        ({"failure_threshold": 1.5}, TypeError),
        ({"failure_threshold": True}, TypeError),
        ({"recovery_timeout": 0.0}, ValueError),
        ({"recovery_timeout": -1.0}, ValueError),
        ({"recovery_timeout": math.nan}, ValueError),
        ({"recovery_timeout": math.inf}, ValueError),
        ({"recovery_timeout": "5"}, TypeError),
        ({"success_threshold": 0}, ValueError),
        ({"success_threshold": "2"}, TypeError),
        ({"half_open_max_calls": 0}, ValueError),
        ({"half_open_max_calls": 0.5}, TypeError),
        ({"window": 100}, TypeError),
        ({"slow_call": 0.0}, ValueError),
        ({"slow_call": -1.0}, ValueError),
        ({"slow_call": "1"}, TypeError),
        ({"failure_on": "OSError"}, TypeError),
        ({"failure_on": 3}, TypeError),
        ({"failure_result": 3}, TypeError),
        ({"probe_lease": 0.0}, ValueError),
        ({"probe_lease": "1"}, TypeError),
        ({"max_recovery_timeout": 1.0}, ValueError),
        ({"max_recovery_timeout": math.nan}, ValueError),
        ({"max_recovery_timeout": "50"}, TypeError),
        ({"ramp": -1.0}, ValueError),
        ({"ramp": "10"}, TypeError),
        ({"rng": 7}, TypeError),
    ],
)
def test_breaker_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        CircuitBreaker("venue", **args)

    (value,) = args.values()
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("name", [None, 5, b"venue"])
def test_breaker_name_must_be_text(name):
    """The name is what an operator reads."""
    with pytest.raises(TypeError):
        CircuitBreaker(name)


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"failure_ratio": 0.0}, ValueError),
        ({"failure_ratio": 1.5}, ValueError),
        ({"failure_ratio": math.nan}, ValueError),
        ({"failure_ratio": "0.5"}, TypeError),
        ({"minimum_calls": 0}, ValueError),
        ({"minimum_calls": 2.0}, TypeError),
        ({"calls": 0}, ValueError),
        ({"calls": 2.5}, TypeError),
        ({"seconds": 0.0}, ValueError),
        ({"seconds": "10"}, TypeError),
        ({"slow_ratio": 0.0}, ValueError),
        ({"slow_ratio": 1.1}, ValueError),
        ({"slow_ratio": "1"}, TypeError),
    ],
)
def test_window_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        Window(**args)

    (value,) = args.values()
    assert repr(value) in str(caught.value)


def test_window_is_over_calls_or_over_seconds_not_both():
    """A window has one span."""
    with pytest.raises(ValueError):
        Window(calls=10, minimum_calls=5, seconds=10.0)


def test_window_that_can_never_reach_its_minimum_is_refused():
    """A minimum of more calls than the window holds can never be met: a contradiction."""
    with pytest.raises(ValueError):
        Window(calls=10, minimum_calls=20)


def test_breaker_slow_ratio_without_slow_call_is_refused():
    """A ratio of slow calls means nothing while nobody says what is slow."""
    with pytest.raises(ValueError):
        CircuitBreaker("venue", window=Window(slow_ratio=0.5))


# ---------------------------------------------------------------- closed


async def test_breaker_opens_after_n_consecutive_failures(autojump_clock):
    """CLOSED to OPEN after failure_threshold failures in a row, not before."""
    breaker = make(failure_threshold=3)

    await fail(breaker, 2)
    before = breaker.state
    await fail(breaker)

    assert (before, breaker.state) == (CLOSED, OPEN)


async def test_breaker_success_starts_the_count_anew(autojump_clock):
    """Consecutive means in a row: one success in between, and the count begins again."""
    breaker = make(failure_threshold=3)

    for _ in range(5):
        await fail(breaker, 2)
        await succeed(breaker)

    assert breaker.state is CLOSED
    assert breaker.statistics().consecutive_failures == 0


async def test_breaker_call_passes_arguments_and_result_and_error():
    """execute(fn, *args, **kwargs) is transparent: the same value, the same error object."""
    breaker, error = make(), OSError("x")
    venue = Venue("ack", error)

    assert await breaker.execute(venue, 1, side="buy") == "ack"
    with pytest.raises(OSError) as caught:
        await breaker.execute(venue)

    assert venue.args[0] == (1,)
    assert venue.kwargs[0] == {"side": "buy"}
    assert caught.value is error


async def test_breaker_as_a_decorator_keeps_name_signature_and_counts():
    """A decorated function looks like the one that was decorated, and counts in the breaker."""
    breaker = make()

    @breaker
    async def place(order: str, *, side: str = "buy") -> str:
        """Place it."""
        return order + side

    assert await place("o1", side="sell") == "o1sell"
    assert (place.__name__, place.__doc__) == ("place", "Place it.")
    assert list(inspect.signature(place).parameters) == ["order", "side"]
    assert inspect.iscoroutinefunction(place)
    assert breaker.statistics().successes == 1


async def test_breaker_decorated_function_with_wrong_arguments_is_a_type_error_and_no_failure():
    """A call that does not fit is the caller's mistake, and says nothing about the dependency."""
    breaker = make(failure_threshold=1)

    @breaker
    async def place(order: str) -> str:
        return order

    with pytest.raises(TypeError):
        await place()

    assert breaker.statistics().failures == 0


# ---------------------------------------------------------------- open


async def test_breaker_open_rejects_at_once_without_calling(autojump_clock):
    """OPEN rejects at once: the function is not called, and no time passes."""
    breaker, venue = make(failure_threshold=1, recovery_timeout=5.0), Venue()
    await fail(breaker)

    with pytest.raises(BreakerOpenError):
        await breaker.execute(venue)

    assert venue.calls == 0
    assert trio.current_time() == 0.0


async def test_breaker_rejection_tells_name_time_and_cause(autojump_clock):
    """BreakerOpenError: .name, .retry_after counting down, __cause__ the failure that opened it, in words too."""
    breaker, error = make(failure_threshold=1, recovery_timeout=5.0), OSError("down")
    await fail(breaker, error=error)
    await trio.sleep(2.0)

    with pytest.raises(BreakerOpenError) as caught:
        await breaker.execute(Venue())

    assert caught.value.name == "venue"
    assert caught.value.retry_after == pytest.approx(3.0)
    assert caught.value.__cause__ is error
    assert "venue" in str(caught.value)


@pytest.mark.parametrize("guarded", [False, True])
async def test_breaker_retry_after_slept_is_never_a_rounding_error_short(guarded, autojump_clock):
    """Who sleeps for just the retry_after that he was told is let through: 0.4 + (1.7 - 0.4) is a little less than 1.7."""
    breaker = make(failure_threshold=1, recovery_timeout=1.7)
    execute = Guard("venue", breaker=breaker).execute if guarded else breaker.execute
    await fail(breaker)
    await trio.sleep(0.4)
    with pytest.raises(BreakerOpenError) as caught:
        await execute(Venue("ack"))

    await trio.sleep(caught.value.retry_after)

    assert trio.current_time() < 1.7
    assert await execute(Venue("ack")) == "ack"


async def test_breaker_rejection_is_a_new_instance_each_time(autojump_clock):
    """One error object for all would collect the tracebacks of all."""
    breaker, errors = make(failure_threshold=1), []
    await fail(breaker)

    for _ in range(3):
        with pytest.raises(BreakerOpenError) as caught:
            await breaker.execute(Venue())
        errors.append(caught.value)

    assert len({id(error) for error in errors}) == 3


async def test_breaker_rejections_do_not_grow_the_traceback_of_the_cause(autojump_clock):
    """The failure that opened it stays as it was, however many callers are told of it."""
    breaker, error = make(failure_threshold=1), OSError("down")
    await fail(breaker, error=error)

    def depth():
        count, frame = 0, error.__traceback__
        while frame is not None:
            count, frame = count + 1, frame.tb_next
        return count

    before = depth()
    for _ in range(10):
        with pytest.raises(BreakerOpenError):
            await breaker.execute(Venue())

    assert depth() == before


async def test_breaker_failures_that_arrive_while_open_do_not_extend_the_break(autojump_clock, nursery):
    """Calls that were in flight when it opened are late: their results are ignored."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0)
    late = [await hold(nursery, breaker) for _ in range(3)]
    await fail(breaker)

    await trio.sleep(3.0)
    for held in late:
        await held.end(OSError("late"))

    assert breaker.statistics().retry_after == pytest.approx(2.0)
    await trio.sleep(2.0)
    assert breaker.state is HALF_OPEN


async def test_breaker_state_is_what_a_caller_would_meet_now(autojump_clock):
    """.state follows the clock without any call."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0)
    await fail(breaker)

    await trio.sleep(4.999)
    before = breaker.state
    await trio.sleep(0.001)

    assert (before, breaker.state) == (OPEN, HALF_OPEN)
