"""What the design promises of CircuitBreaker and Window, sentence by sentence, through public names."""

import inspect
import math
import random

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    ModeRefusedError,
    RateLimitedError,
)
from genesis_trio.events import BreakerClosed, BreakerHalfOpened, BreakerOpened, Severity, observe
from genesis_trio.modes import Capability, Mode
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker, Window
from policies.venue import Middle, Venue

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def make(**settings) -> CircuitBreaker:
    """A breaker whose times are exact: no jitter on the break."""
    return CircuitBreaker("venue", **{"rng": Middle(), **settings})


async def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        assert await breaker.execute(Venue("ack")) == "ack"


async def fail(breaker: CircuitBreaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(type(error) if error else OSError):
            await breaker.execute(Venue(error or OSError("down")))


async def is_rejected(breaker: CircuitBreaker) -> bool:
    """Ask with a call that is neither a success nor a failure when it is let through."""
    venue = Venue(BulkheadFullError("no outcome"))
    with pytest.raises((BreakerOpenError, BulkheadFullError)):
        await breaker.execute(venue)
    return venue.calls == 0


class Held:
    """A call through a breaker that stays in flight until it is told how to end."""

    def __init__(self, nursery: trio.Nursery, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.release = trio.Event()
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self.result: object = None
        self.error: Exception | None = None
        self.began = False
        nursery.start_soon(self._run)

    async def _call(self) -> str:
        self.began = True
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return "ack"

    async def _run(self) -> None:
        with self.scope:
            try:
                self.result = await self.breaker.execute(self._call)
            except Exception as error:
                self.result = error
        self.ended.set()

    async def end(self, error: Exception | None = None) -> None:
        self.error = error
        self.release.set()
        await self.ended.wait()

    async def cancel(self) -> None:
        self.scope.cancel()
        await self.ended.wait()


async def hold(nursery: trio.Nursery, breaker: CircuitBreaker) -> Held:
    held = Held(nursery, breaker)
    await trio.testing.wait_all_tasks_blocked()
    return held


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


async def test_breaker_rejection_is_a_new_instance_each_time():
    """One error object for all would collect the tracebacks of all."""
    breaker, errors = make(failure_threshold=1), []
    await fail(breaker)

    for _ in range(3):
        with pytest.raises(BreakerOpenError) as caught:
            await breaker.execute(Venue())
        errors.append(caught.value)

    assert len({id(error) for error in errors}) == 3


async def test_breaker_rejections_do_not_grow_the_traceback_of_the_cause():
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


# ---------------------------------------------------------------- by hand


async def test_breaker_isolate_holds_it_open_for_ever(autojump_clock):
    """isolate(): rejected until a hand says otherwise; retry_after is infinite, there is no cause."""
    breaker = make()
    breaker.isolate()
    await trio.sleep(80_000.0)

    with pytest.raises(BreakerOpenError) as caught:
        await breaker.execute(Venue())

    assert breaker.state is BreakerState.ISOLATED
    assert caught.value.retry_after == math.inf
    assert caught.value.__cause__ is None
    assert breaker.statistics().retry_after == math.inf


async def test_breaker_disable_lets_everything_through_and_counts(autojump_clock):
    """disable(): failures are counted and open nothing."""
    breaker = make(failure_threshold=2)
    breaker.disable()

    await fail(breaker, 10)
    await succeed(breaker)

    assert breaker.state is BreakerState.DISABLED
    assert (breaker.statistics().failures, breaker.statistics().successes) == (10, 1)


async def test_breaker_trip_opens_it_as_a_failure_would(autojump_clock):
    """trip(): OPEN for recovery_timeout, then HALF_OPEN like after any break."""
    breaker = make(recovery_timeout=5.0)

    breaker.trip()
    opened, retry_after = breaker.state, breaker.statistics().retry_after
    await trio.sleep(5.0)

    assert opened is OPEN
    assert retry_after == pytest.approx(5.0)
    assert breaker.state is HALF_OPEN
    assert breaker.statistics().opened == 1


@pytest.mark.parametrize("how", ["isolate", "disable", "trip", "fail", "half_open"])
async def test_breaker_reset_closes_it_from_every_state(how, autojump_clock):
    """reset(): CLOSED, with a count that begins anew."""
    breaker = make(failure_threshold=3, recovery_timeout=5.0)
    if how == "fail":
        await fail(breaker, 3)
    elif how == "half_open":
        breaker.trip()
        await trio.sleep(5.0)
    else:
        getattr(breaker, how)()

    breaker.reset()
    await fail(breaker, 2)

    assert breaker.state is CLOSED
    assert breaker.statistics().retry_after == 0.0


async def test_breaker_reset_while_a_probe_runs_ignores_its_late_result(autojump_clock, nursery):
    """The probe that was running when an operator reset the breaker decides nothing any more."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0)
    await fail(breaker)
    await trio.sleep(5.0)
    probe = await hold(nursery, breaker)

    breaker.reset()
    await probe.end(OSError("late"))

    assert breaker.state is CLOSED
    assert breaker.statistics().probes_in_flight == 0


async def test_breaker_isolate_while_calls_run_ignores_their_results(autojump_clock, nursery):
    """Isolated stays isolated, whatever comes back."""
    breaker = make(failure_threshold=1)
    held = await hold(nursery, breaker)
    breaker.isolate()

    await held.end(OSError("late"))

    assert breaker.state is BreakerState.ISOLATED


# ---------------------------------------------------------------- what is an outcome


async def test_breaker_cancellation_is_not_an_outcome(autojump_clock, nursery):
    """Counters unchanged, however many calls are cancelled: neither opened nor the count set back."""
    breaker = make(failure_threshold=3)
    await fail(breaker, 2)
    before = breaker.statistics()

    for _ in range(10):
        await (await hold(nursery, breaker)).cancel()

    assert attrs.evolve(breaker.statistics(), cancellations=0) == before
    assert breaker.statistics().cancellations == 10
    await fail(breaker)
    assert breaker.state is OPEN


async def test_breaker_cancelled_probe_returns_its_slot(autojump_clock, nursery):
    """A cancelled probe neither closes nor opens it, and the next caller is the probe."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1)
    await fail(breaker)
    await trio.sleep(5.0)

    await (await hold(nursery, breaker)).cancel()

    assert breaker.state is HALF_OPEN
    assert breaker.statistics().probes_in_flight == 0
    await succeed(breaker)
    assert breaker.state is CLOSED


async def test_breaker_attempt_timeout_is_a_failure():
    """Our own attempt timeout says that the dependency did not answer in time."""
    breaker = make(failure_threshold=1)

    await fail(breaker, error=AttemptTimeoutError("slow"))

    assert breaker.state is OPEN


async def test_breaker_exception_outside_failure_on_is_a_success(autojump_clock):
    """The dependency answered, if only with an error of another kind."""
    breaker = make(failure_threshold=2, failure_on=OSError)
    await fail(breaker)
    await fail(breaker, error=KeyError("unknown symbol"))
    await fail(breaker)

    assert breaker.state is CLOSED
    assert breaker.statistics().successes == 1


@pytest.mark.parametrize(
    "refusal",
    [
        BulkheadFullError("full"),
        RateLimitedError("limited", retry_after=1.0),
        BreakerOpenError("open", name="inner", retry_after=1.0),
        ModeRefusedError("no", mode=Mode.SAFE, needs=Capability.OPEN),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_breaker_refusals_of_ours_are_no_outcome(refusal, autojump_clock):
    """A refusal from inside says nothing about the dependency: neither failure nor success."""
    breaker = make(failure_threshold=2)
    await fail(breaker)
    before = breaker.statistics()

    await fail(breaker, 5, error=refusal)

    assert (breaker.statistics().failures, breaker.statistics().successes) == (before.failures, before.successes)
    assert breaker.statistics().consecutive_failures == 1
    await fail(breaker)
    assert breaker.state is OPEN


async def test_breaker_refused_probe_returns_its_slot(autojump_clock):
    """A probe that an inner policy refuses leaves the breaker half open for the next."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1)
    await fail(breaker)
    await trio.sleep(5.0)

    await fail(breaker, error=BulkheadFullError("full"))

    assert breaker.state is HALF_OPEN
    await succeed(breaker)
    assert breaker.state is CLOSED


async def test_breaker_group_with_any_failing_leaf_is_a_failure():
    """The classifier looks inside exception groups: any failing leaf is a failure."""
    breaker = make(failure_threshold=1, failure_on=OSError)

    await fail(breaker, error=ExceptionGroup("n", [KeyError("answered"), ExceptionGroup("m", [OSError("down")])]))

    assert breaker.state is OPEN


async def test_breaker_group_without_a_failing_leaf_is_a_success():
    """A group of errors that are answers is an answer."""
    breaker = make(failure_threshold=2, failure_on=OSError)
    await fail(breaker)

    await fail(breaker, error=ExceptionGroup("n", [KeyError("a"), ValueError("b")]))

    assert breaker.statistics().consecutive_failures == 0


async def test_breaker_cancelled_leaf_does_not_count(autojump_clock):
    """In a group of a cancellation and a failure, the failure counts and the cancellation does not."""
    breaker = make(failure_threshold=1, failure_on=OSError)

    async def cleanup_fails():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("cleanup")

    with pytest.raises(ExceptionGroup), trio.move_on_after(1.0):
        await breaker.execute(cleanup_fails)

    assert breaker.state is OPEN


async def test_breaker_group_of_cancellations_is_no_outcome(autojump_clock):
    """A nursery inside of the call that is cancelled raises a group of Cancelled: no outcome either."""
    breaker = make(failure_threshold=2)
    await fail(breaker)

    async def two_tasks():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(trio.sleep_forever)

    with trio.move_on_after(1.0):
        await breaker.execute(two_tasks)

    assert breaker.statistics().consecutive_failures == 1
    assert breaker.statistics().cancellations == 1


async def test_breaker_failure_result_counts_as_a_failure():
    """A result that failure_result calls a failure is returned, and counts as one."""
    breaker = make(failure_threshold=2, failure_result=lambda result: result == "rejected")

    for _ in range(2):
        assert await breaker.execute(Venue("rejected")) == "rejected"

    assert breaker.state is OPEN


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_breaker_base_exceptions_are_no_outcome(error):
    """Ctrl-C says nothing about the dependency, and returns its slot."""
    breaker = make(failure_threshold=1)

    async def leave():
        raise error

    with pytest.raises(error):
        await breaker.execute(leave)

    statistics = breaker.statistics()
    assert breaker.state is CLOSED
    assert (statistics.failures, statistics.successes, statistics.in_flight) == (0, 0, 0)


# ---------------------------------------------------------------- ramp


async def test_breaker_without_ramp_lets_everything_through_once_closed(autojump_clock, nursery):
    """By default there is no ramp."""
    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1)
    await fail(breaker)
    await trio.sleep(5.0)
    await succeed(breaker)

    await succeed(breaker, 100)

    assert breaker.statistics().rejections == 0


async def test_breaker_ramp_lets_a_growing_share_through_after_closing(autojump_clock):
    """ramp=10: soon after closing few calls pass, later most, after ten seconds all."""

    breaker = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1, ramp=10.0, rng=random.Random(5))
    await fail(breaker)
    await trio.sleep(5.5)
    await succeed(breaker)
    closed_at = trio.current_time()

    shares = []
    for after in (1.0, 5.0, 9.0, 10.0):
        await trio.sleep_until(closed_at + after)
        passed = 0
        for _ in range(200):
            passed += not await is_rejected(breaker)
        shares.append(passed / 200)

    assert breaker.state is CLOSED
    assert shares[0] < 0.5 <= shares[2]
    assert shares == sorted(shares)
    assert shares[3] == 1.0


# ---------------------------------------------------------------- what is known, and runs


async def test_breaker_statistics_are_complete_and_frozen(autojump_clock, nursery):
    """Every published number, after a life with one of each."""
    breaker = make(failure_threshold=2, recovery_timeout=5.0, slow_call=1.0)
    await succeed(breaker, 3)
    await breaker.execute(Venue(seconds=2.0))
    await (await hold(nursery, breaker)).cancel()
    await fail(breaker, 2)
    with pytest.raises(BreakerOpenError):
        await breaker.execute(Venue())

    statistics = breaker.statistics()

    assert statistics.state is OPEN
    assert statistics.consecutive_failures == 2
    assert (statistics.successes, statistics.failures, statistics.rejections) == (4, 2, 1)
    assert (statistics.cancellations, statistics.slow, statistics.opened) == (1, 1, 1)
    assert (statistics.in_flight, statistics.probes_in_flight) == (0, 0)
    assert statistics.retry_after == pytest.approx(5.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        statistics.failures = 0


async def test_breaker_events_tell_each_transition_with_its_severity(autojump_clock):
    """Opened is an error, half open and closed are told too, each once."""
    breaker, seen = make(failure_threshold=1, recovery_timeout=5.0, success_threshold=1), []

    with observe(seen.append):
        await fail(breaker, error=OSError("down"))
        await trio.sleep(5.0)
        await succeed(breaker)

    transitions = [e for e in seen if isinstance(e, (BreakerOpened, BreakerHalfOpened, BreakerClosed))]
    assert [type(event) for event in transitions] == [BreakerOpened, BreakerHalfOpened, BreakerClosed]
    assert transitions[0].severity is Severity.ERROR
    assert transitions[0].retry_after == pytest.approx(5.0)
    assert "down" in transitions[0].error


def test_breaker_starts_fresh_in_a_new_run():
    """Counters, windows and open times belong to the run that uses it."""
    breaker = make(failure_threshold=1)

    async def open_it():
        await fail(breaker)
        return breaker.state

    async def look():
        return breaker.state, breaker.statistics().failures, await is_rejected(breaker)

    async def call_at_once():
        return await breaker.execute(Venue("ack"))

    assert trio.run(open_it) is OPEN
    assert trio.run(call_at_once) == "ack"
    assert trio.run(open_it) is OPEN
    assert trio.run(look) == (CLOSED, 0, False)


@pytest.mark.parametrize("how", ["execute", "state", "statistics"])
def test_breaker_used_from_two_runs_at_once_is_a_runtime_error(how):
    """Its state belongs to one run at a time; the second one is told so on the cold path."""
    breaker = make(failure_threshold=1)

    async def inner():
        if how == "execute":
            await breaker.execute(Venue())
        elif how == "state":
            return breaker.state
        return breaker.statistics()

    async def outer():
        await fail(breaker)
        await trio.to_thread.run_sync(trio.run, inner)

    with pytest.raises(RuntimeError, match=r"trio\.run"):
        trio.run(outer)
