"""What the design promises of CircuitBreaker and Window, sentence by sentence, through public names: by hand, what is an outcome, ramp, and what is known."""

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
from genesis_trio.policies.breaker import BreakerState
from genesis_trio.policies.guard import Guard
from policies.contract import CLOSED, HALF_OPEN, OPEN, fail, hold, is_rejected, make, succeed
from policies.venue import Venue

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


@pytest.mark.parametrize("guarded", [False, True])
def test_breaker_failure_in_another_run_is_a_runtime_error_and_opens_nothing(guarded):
    """An open lane admits without a look at the run; the failure is noticed, before it counts by another clock."""
    breaker = make(failure_threshold=1)
    execute = (Guard("venue", breaker=breaker) if guarded else breaker).execute

    async def outer():
        await execute(Venue("ack"))
        with pytest.raises(RuntimeError, match=r"another trio\.run") as caught:
            await trio.to_thread.run_sync(trio.run, execute, Venue(OSError("lost")))
        assert isinstance(caught.value.__context__, OSError)
        assert breaker.state is CLOSED
        assert breaker.statistics().failures == 0
        assert await execute(Venue("ack")) == "ack"

    trio.run(outer)
