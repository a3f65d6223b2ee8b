"""Cancel every policy at every Trio checkpoint: nothing leaks, nothing counts, nothing is tried again.

Each scenario is run again and again, cancelled one step later each time, until a run ends before its
cancellation.  In one half of the runs the scope is cancelled when a task has just begun to wait, in the
other when a task is just about to go on, with what it waited for already in its hands.

Guards, alone and with everything switched on, stand in `test_guard_cancellation`.
"""

import pytest
import trio
import trio.testing

from genesis_trio.errors import BreakerOpenError, RetryBudgetExhaustedError
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker, Window
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.pool import BreakerPool
from genesis_trio.policies.rate_limit import RateLimit
from genesis_trio.policies.retry import Retry
from policies.every_step import Place, cancelled
from policies.venue import Middle


def test_bulkhead_cancelled_anywhere_leaks_no_place(at_every_step):
    """Three callers through one place, cancelled together: afterwards the place is free and the queue empty."""

    async def scenario(cancel):
        bulkhead = Bulkhead(1, max_waiting=5)

        async def use():
            await bulkhead._enter(False)
            try:
                await trio.sleep(1.0)
            finally:
                bulkhead._leave()

        async def crowd():
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(use)

        await cancelled(cancel, crowd)

        statistics = bulkhead.statistics()
        assert (statistics.running, statistics.waiting) == (0, 0)

    at_every_step(scenario, at_least=8)


def test_bulkhead_one_of_several_cancelled_anywhere_leaks_no_place(at_every_step):
    """The one in the middle of the queue is cancelled; those before and behind it all get their turn."""

    async def scenario(cancel):
        bulkhead, served = Bulkhead(1, max_waiting=5), []

        async def use(name):
            await bulkhead._enter(False)
            try:
                await trio.sleep(1.0)
                served.append(name)
            finally:
                bulkhead._leave()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use, "a")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(cancelled, cancel, use, "b")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(use, "c")

        assert [name for name in served if name != "b"] == ["a", "c"]
        statistics = bulkhead.statistics()
        assert (statistics.running, statistics.waiting) == (0, 0)

    at_every_step(scenario, at_least=4)


def test_rate_limit_cancelled_anywhere_takes_no_token(at_every_step):
    """A waiter that was cancelled has taken none: the next one waits exactly as long as those who passed require."""

    async def scenario(cancel):
        limit, passed = RateLimit(1), []

        async def use(name):
            await limit._take(False)
            passed.append((name, trio.current_time()))

        await use("first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled, cancel, use, "b")
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(use, "c")
        await use("last")

        assert [when for _, when in passed] == [float(n) for n in range(len(passed))]
        assert [name for name, _ in passed if name != "b"] == ["first", "c", "last"]
        assert limit.statistics().waiting == 0

    at_every_step(scenario, at_least=2)


@pytest.mark.parametrize("script", [(5.0, 0.25), (5.0, OSError("copy")), (OSError("first"),), (1.5, 5.0)], ids=repr)
def test_hedge_cancelled_anywhere_passes_bare_and_leaves_no_copy(at_every_step, script):
    """Whatever the race has come to, the cancellation is one Cancelled, and no copy goes on after it."""

    async def scenario(cancel):
        place, seen = Place(cancel, *script), []

        async def use():
            try:
                await Hedge(delay=1.0)._call(place)
            except BaseException as error:
                seen.append(error)
                raise

        if await cancelled(cancel, use):
            assert [type(error) for error in seen] == [trio.Cancelled]
        assert place.reached_after_cancel == 0

    at_every_step(scenario, at_least=3)


@pytest.mark.parametrize("delay", [0.0, 1.0])
def test_retry_cancelled_anywhere_makes_no_further_attempt(at_every_step, delay):
    """No attempt after the cancellation, during an attempt or between two."""

    async def scenario(cancel):
        place = Place(cancel, OSError("down"))
        retry = Retry(OSError, max_retries=3, base_delay=delay, jitter="none")

        await cancelled(cancel, retry.execute, place)

        assert place.reached_after_cancel == 0
        assert place.started <= 4

    at_every_step(scenario, at_least=8)


def test_retry_attempts_cancelled_anywhere_makes_no_further_attempt(at_every_step):
    """The block form stops there, too."""

    async def scenario(cancel):
        place = Place(cancel, OSError("down"), OSError("down"), 0.5)

        async def loop():
            async for attempt in Retry(OSError, base_delay=1.0, jitter="none").attempts():
                with attempt:
                    await place()

        await cancelled(cancel, loop)

        assert place.reached_after_cancel == 0

    at_every_step(scenario, at_least=6)


@pytest.mark.parametrize("last", [0.5, OSError("down")], ids=["success", "failure"])
def test_breaker_cancelled_anywhere_counts_only_what_ended(at_every_step, last):
    """Successes and failures are those that the place has seen; a cancelled call is neither, and is not in flight."""

    async def scenario(cancel):
        place = Place(cancel, OSError("down"), last)
        breaker = CircuitBreaker("venue", failure_threshold=3)

        async def use():
            for _ in range(2):
                try:
                    await breaker.execute(place)
                except OSError:
                    pass

        await cancelled(cancel, use)

        statistics = breaker.statistics()
        assert (statistics.successes, statistics.failures) == (place.succeeded, place.failed)
        assert (statistics.in_flight, statistics.probes_in_flight) == (0, 0)

    at_every_step(scenario, at_least=4)


def test_breaker_probe_cancelled_anywhere_returns_its_slot(at_every_step):
    """A probe that was cancelled leaves the breaker half open, with room for the next, who decides."""

    async def scenario(cancel):
        breaker = CircuitBreaker("venue", recovery_timeout=5.0, success_threshold=1, rng=Middle())
        breaker.trip()
        await trio.sleep(5.0)

        await cancelled(cancel, breaker.execute, place := Place(cancel, 0.5))

        assert breaker.state is (BreakerState.CLOSED if place.succeeded else BreakerState.HALF_OPEN)
        assert breaker.statistics().probes_in_flight == 0
        assert await breaker.execute(Place(cancel, 0.5)) == "ack"
        assert breaker.state is BreakerState.CLOSED

    at_every_step(scenario, at_least=2)


def test_breaker_that_times_its_calls_cancelled_anywhere_keeps_none_in_flight(at_every_step):
    """With a window and slow_call each call has a permit of its own: it is given back, and an old call counts no more."""

    async def scenario(cancel):
        place = Place(cancel, 2.0, OSError("down"), 0.5)
        window = Window(failure_ratio=1.0, slow_ratio=1.0, minimum_calls=4)
        breaker = CircuitBreaker("venue", window=window, slow_call=1.0)

        async def crowd():
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(use)

        async def use():
            try:
                await breaker.execute(place)
            except OSError:
                pass

        was_cancelled = await cancelled(cancel, crowd)

        statistics = breaker.statistics()
        assert (statistics.successes, statistics.failures) == (place.succeeded, place.failed)
        assert statistics.cancellations == (place.started - place.succeeded - place.failed if was_cancelled else 0)
        assert (statistics.in_flight, statistics.state) == (0, BreakerState.CLOSED)
        for _ in range(3 - place.succeeded - place.failed):
            await breaker.execute(trio.sleep, 2.0)  # the minimum of four is reached by nobody who was cancelled
        assert breaker.state is BreakerState.CLOSED

    at_every_step(scenario, at_least=8)


def test_breaker_pool_cancelled_anywhere_can_forget_the_breaker(at_every_step):
    """A breaker whose call was cancelled is idle, and makes room for another key."""

    async def scenario(cancel):
        pool = BreakerPool(CircuitBreaker, max_size=1)

        await cancelled(cancel, pool.execute, "BTC/USD", Place(cancel, 0.5))

        assert pool.get("ETH/USD").name == "ETH/USD"

    at_every_step(scenario, at_least=2)


def test_budget_waited_for_cancelled_anywhere_pays_for_nothing_that_is_not_made(at_every_step):
    """A retry that waits until the budget has something again makes no attempt after the cancellation."""

    async def scenario(cancel):
        place = Place(cancel, OSError("down"))
        budget = RetryBudget(ratio=0.0, floor_per_second=0.5, window=2.0)
        rule = (OSError, RetryBudgetExhaustedError)
        retry = Retry(rule, max_retries=4, base_delay=1.0, jitter="none", budget=budget)

        await cancelled(cancel, retry.execute, place)

        assert place.reached_after_cancel == 0
        assert place.started - 1 <= budget.statistics().scheduled <= place.started

    at_every_step(scenario, at_least=8)


def test_open_breaker_rejection_has_no_checkpoint_to_be_cancelled_at():
    """A rejection is immediate: also in a cancelled scope it is the rejection that comes."""

    async def main():
        breaker = CircuitBreaker("venue")
        guard = Guard("orders", breaker=breaker)
        breaker.trip()
        with trio.CancelScope() as scope:
            scope.cancel()
            with trio.testing.assert_no_checkpoints(), pytest.raises(BreakerOpenError):
                await guard.execute(trio.sleep, 1.0)

    trio.run(main)
