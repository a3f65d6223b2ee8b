"""A breaker in a guard: what counts for it, when several policies meet in one call."""

import functools

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    RetryBudgetExhaustedError,
    TotalTimeoutError,
)
from genesis_trio.policies.breaker import BreakerState
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from policies.contract import breaker_of, exact
from policies.venue import Venue, notes


async def test_breaker_attempt_timeout_is_a_failure_whatever_failure_on_says(autojump_clock):
    """Our own attempt timeout is a failure: no answer came, so it is not the answer of another kind."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=1, failure_on=KeyError), attempt_timeout=1.0)

    with pytest.raises(AttemptTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert guard.breaker.state is BreakerState.OPEN


async def test_breaker_total_timeout_of_an_undisturbed_attempt_is_a_failure_whatever_failure_on_says(autojump_clock):
    """The same for an attempt that had the whole total timeout to itself."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=1, failure_on=KeyError), total_timeout=1.0)

    with pytest.raises(TotalTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert guard.breaker.state is BreakerState.OPEN


async def test_breaker_around_a_guard_does_not_take_its_exhausted_budget_for_an_answer(autojump_clock):
    """The budget's error stands for the failure that is its cause."""
    inner = Guard("inner", retry=exact(budget=RetryBudget(ratio=0.0, floor_per_second=0.0)))
    outer = breaker_of(failure_threshold=2, failure_on=OSError)

    for _ in range(2):
        with pytest.raises(RetryBudgetExhaustedError):
            await outer.execute(inner.execute, Venue(OSError("down")))

    assert outer.state is BreakerState.OPEN


async def test_guard_timeouts_of_the_same_length_are_one_timeout(autojump_clock):
    """attempt_timeout and total_timeout may be equal: a TimeoutError, a failure, at that time."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=1), attempt_timeout=1.0, total_timeout=1.0)

    with pytest.raises((AttemptTimeoutError, TotalTimeoutError)):
        await guard.execute(trio.sleep_forever)

    assert trio.current_time() == 1.0
    assert guard.breaker.state is BreakerState.OPEN


async def test_guard_hedge_cut_by_the_total_timeout_is_one_failure(autojump_clock):
    """The first copy had the whole of it to itself, the other one only the rest."""
    guard = Guard("quotes", breaker=breaker_of(failure_threshold=2), hedge=Hedge(delay=1.0), total_timeout=3.0)

    with pytest.raises(TotalTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert guard.breaker.statistics().failures == 1
    assert guard.breaker.state is BreakerState.CLOSED


async def test_guard_second_attempt_cut_by_the_total_timeout_is_no_outcome(autojump_clock):
    """It had what the first one and the delay had left."""

    async def hang(*_):
        await trio.sleep_forever()

    guard = Guard("orders", retry=exact(), breaker=breaker_of(failure_threshold=2), total_timeout=3.0)

    with pytest.raises(OSError):
        await guard.execute(Venue(OSError("real"), hang))

    assert guard.breaker.statistics().failures == 1
    assert guard.breaker.state is BreakerState.CLOSED


async def test_guards_that_share_a_breaker_see_each_others_failures(autojump_clock):
    """Reads and orders of one venue: what one learns the other knows; counts stay each one's own."""
    breaker = breaker_of(failure_threshold=2)
    reads, orders = Guard("reads", breaker=breaker), Guard("orders", breaker=breaker)
    await reads.execute(Venue("ack"))
    for guard in (reads, orders):
        with pytest.raises(OSError):
            await guard.execute(Venue(OSError()))

    with pytest.raises(BreakerOpenError):
        await reads.execute(Venue())

    assert (reads.statistics().calls, orders.statistics().calls) == (3, 1)
    assert (breaker.statistics().successes, breaker.statistics().failures) == (1, 2)


async def test_guard_success_after_failures_counts_in_the_breaker_as_in_row(autojump_clock):
    """Failure, success, failure through fast and slow ways: never two in a row."""
    breaker = breaker_of(failure_threshold=2)
    fast = Guard("fast", breaker=breaker)
    slow = Guard("slow", breaker=breaker, total_timeout=5.0)
    for guard in (fast, slow, fast, slow):
        with pytest.raises(OSError):
            await guard.execute(Venue(OSError()))
        await (slow if guard is fast else fast).execute(Venue("ack"))

    assert breaker.state is BreakerState.CLOSED
    assert (breaker.statistics().failures, breaker.statistics().successes) == (4, 4)


async def test_guard_recursion_takes_a_place_each_time(autojump_clock):
    """A guarded function that calls itself through the guard needs two places, and says so when there is one."""
    guard = Guard("orders", bulkhead=Bulkhead(1))

    async def outer():
        return await guard.execute(Venue("ack"))

    with pytest.raises(BulkheadFullError):
        await guard.execute(outer)
    assert await guard.execute(Venue("ack")) == "ack"


async def test_guard_attempts_after_an_unsatisfying_result_count_for_the_breaker(autojump_clock):
    """Each attempt of a call is told to the breaker, also those that ``retry_result`` asked for."""
    breaker = breaker_of(failure_threshold=2, success_threshold=1, failure_result=lambda result: result == "busy")
    guard = Guard("orders", retry=exact(retry_result=lambda result: result == "busy"), breaker=breaker)

    assert await guard.execute(Venue("busy", "ack")) == "ack"
    assert (breaker.statistics().failures, breaker.statistics().successes) == (1, 1)

    with pytest.raises(OSError, match="down") as caught:
        await guard.execute(Venue("busy", OSError("down")))
    assert breaker.state is BreakerState.OPEN
    assert "BreakerOpenError" in notes(caught.value)


async def test_guard_probe_after_an_unsatisfying_result_closes_the_breaker(autojump_clock):
    """A probe that is the second attempt of its call decides like any other."""
    breaker = breaker_of(failure_threshold=1, success_threshold=1, recovery_timeout=1.0)
    guard = Guard("orders", retry=exact(retry_result=lambda result: result == "busy", base_delay=2.0), breaker=breaker)

    async def busy_and_then_down():
        breaker.trip()
        return "busy"

    assert await guard.execute(Venue(busy_and_then_down, "ack")) == "ack"
    assert breaker.state is BreakerState.CLOSED


async def test_breaker_tripped_again_by_hand_has_the_same_break_anew(autojump_clock):
    """No probe has failed in between, so neither this break nor the next one is longer for it."""
    breaker = breaker_of()
    breaker.trip()
    await trio.sleep(2.0)
    breaker.trip()
    breaker.trip()
    assert breaker.statistics().retry_after == 5.0
    await trio.sleep(5.0)

    with pytest.raises(OSError, match="down"):
        await breaker.execute(Venue(OSError("down")))

    assert breaker.statistics().retry_after == 10.0


@pytest.mark.parametrize("way", ["decorator", "execute", "breaker alone"])
async def test_breaker_late_success_does_not_start_the_count_of_a_newer_generation(way, autojump_clock, nursery):
    """A call that began before the breaker was reset says nothing about what failed after that."""
    breaker = breaker_of(failure_threshold=2)
    guard = Guard("orders", breaker=breaker)
    late, down = Venue("ack", seconds=2.0), Venue(OSError("down"))
    call = {"decorator": guard(late.__call__), "execute": functools.partial(guard.execute, late)}.get(
        way, functools.partial(breaker.execute, late)
    )
    nursery.start_soon(call)
    await trio.sleep(1.0)
    breaker.reset()
    with pytest.raises(OSError, match="down"):
        await guard.execute(down)

    await trio.sleep(2.0)

    statistics = breaker.statistics()
    assert (statistics.consecutive_failures, statistics.successes, statistics.in_flight) == (1, 0, 0)
    with pytest.raises(OSError, match="down"):
        await guard.execute(down)
    assert breaker.state is BreakerState.OPEN


async def test_breaker_lane_is_open_again_once_the_ramp_is_over(autojump_clock):
    """The healthy path is as cheap as before the outage: the guard takes its permits without asking anybody."""
    breaker = breaker_of(ramp=10.0, recovery_timeout=5.0, success_threshold=1)
    guard = Guard("orders", breaker=breaker)
    await guard.execute(Venue())
    breaker.trip()
    await trio.sleep(5.0)
    await guard.execute(Venue())  # the probe
    during = guard._lane.is_open

    await trio.sleep(10.0)
    await guard.execute(Venue())

    assert (during, guard._lane.is_open) == (False, True)
