"""What the design promises of Guard, sentence by sentence, through public names: bulkhead, rate limit, retry and hedge inside of it."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    BulkheadFullError,
    RateLimitedError,
)
from genesis_trio.modes import Capability, Mode, current_scope, mode_scope
from genesis_trio.policies.breaker import BreakerState
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from policies.contract import breaker_of, exact
from policies.venue import Venue, notes

# ---------------------------------------------------------------- bulkhead and rate limit


async def test_guard_bulkhead_limits_and_refuses(autojump_clock, nursery):
    """BulkheadFullError, not called, no failure for the breaker; a place is there again when the call has ended."""
    guard = Guard("orders", bulkhead=Bulkhead(1), breaker=breaker_of(failure_threshold=1))
    nursery.start_soon(guard.execute, trio.sleep, 1.0)
    await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(BulkheadFullError):
        await guard.execute(Venue())
    await trio.sleep(1.0)
    await trio.testing.wait_all_tasks_blocked()

    assert await guard.execute(Venue("ack")) == "ack"
    assert guard.breaker.state is BreakerState.CLOSED
    assert guard.statistics().rejected == 1


@pytest.mark.parametrize("ending", [OSError("x"), SystemExit(1), KeyError("y")], ids=repr)
async def test_guard_bulkhead_place_is_returned_whatever_the_end(ending):
    """An error of any kind gives the place back."""
    guard = Guard("orders", bulkhead=Bulkhead(1), breaker=breaker_of(failure_threshold=5))

    for _ in range(3):
        with pytest.raises(type(ending)):
            await guard.execute(Venue(ending))

    assert await guard.execute(Venue("ack")) == "ack"


async def test_guard_bulkhead_place_is_not_held_between_attempts(autojump_clock, nursery):
    """Waiting for a retry is not running: others get the place meanwhile."""
    bulkhead = Bulkhead(1)
    nursery.start_soon(Guard("a", bulkhead=bulkhead, retry=exact()).execute, Venue(OSError(), "ack"))
    await trio.sleep(0.5)

    assert await Guard("b", bulkhead=bulkhead).execute(Venue("ack")) == "ack"


async def test_guard_bulkhead_is_fair(autojump_clock):
    """First come, first served."""
    bulkhead, order = Bulkhead(1, max_waiting=10), []
    guard = Guard("orders", bulkhead=bulkhead)

    async def call(n):
        order.append(n)
        await trio.sleep(1.0)

    async with trio.open_nursery() as nursery:
        for n in range(6):
            nursery.start_soon(guard.execute, call, n)
            await trio.testing.wait_all_tasks_blocked()

    assert order == list(range(6))


async def test_guard_rate_limit_takes_a_token_for_each_attempt(autojump_clock):
    """A venue counts every attempt."""
    venue = Venue(OSError(), OSError(), "ack")
    guard = Guard("orders", retry=exact(base_delay=0.0), rate_limit=RateLimit(1, per=10.0))

    await guard.execute(venue)

    assert venue.times == [0.0, 10.0, 20.0]


async def test_guard_rate_limit_without_wait_is_an_error_that_is_no_failure(autojump_clock):
    """RateLimitedError with retry_after; the breaker does not hear of it."""
    guard = Guard("orders", rate_limit=RateLimit(1, per=10.0, wait=False), breaker=breaker_of(failure_threshold=1))
    await guard.execute(Venue())

    with pytest.raises(RateLimitedError) as caught:
        await guard.execute(Venue())

    assert caught.value.retry_after == pytest.approx(10.0)
    assert guard.breaker.state is BreakerState.CLOSED
    assert guard.breaker.statistics().failures == 0


@pytest.mark.parametrize("needs", [Capability.CANCEL, Capability.REDUCE, Capability.CANCEL | Capability.REDUCE])
async def test_guard_reserve_is_for_guards_that_cancel_or_reduce(needs, autojump_clock):
    """The last `reserve` of the burst are kept for them."""
    limit = RateLimit(3, per=30.0, reserve=1, wait=False)
    orders = Guard("orders", rate_limit=limit, needs=Capability.OPEN)
    urgent = Guard("urgent", rate_limit=limit, needs=needs)
    for _ in range(2):
        await orders.execute(Venue())

    with pytest.raises(RateLimitedError):
        await orders.execute(Venue())

    assert await urgent.execute(Venue("ack")) == "ack"
    with pytest.raises(RateLimitedError):
        await urgent.execute(Venue())


@pytest.mark.parametrize("needs", [None, Capability.READ, Capability.OPEN, Capability.OPEN | Capability.CANCEL])
async def test_guard_reserve_is_not_for_others(needs, autojump_clock):
    """Reads, new risk, and calls without a word are not urgent; what may also add risk is not either."""
    limit = RateLimit(2, per=20.0, reserve=1, wait=False)
    guard = Guard("orders", rate_limit=limit, needs=needs)
    await guard.execute(Venue())

    with pytest.raises(RateLimitedError):
        await guard.execute(Venue())


async def test_guard_that_cancels_does_not_queue_behind_orders(autojump_clock, nursery):
    """A hundred orders wait for tokens; the cancel goes out at once."""
    limit, sent = RateLimit(10, per=10.0, reserve=2), []
    orders = Guard("orders", rate_limit=limit, needs=Capability.OPEN)
    cancel = Guard("cancel", rate_limit=limit, needs=Capability.CANCEL)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as flood:
            for _ in range(100):
                flood.start_soon(orders.execute, Venue())
            await trio.testing.wait_all_tasks_blocked()

            await cancel.execute(Venue())
            sent.append(trio.current_time())
            scope.cancel()

    assert sent == [0.0]


# ---------------------------------------------------------------- retry inside of a guard


async def test_guard_refusal_between_two_attempts_is_the_real_last_error(autojump_clock):
    """SAFE came between the attempts: the caller gets what really happened, with a note."""
    error = OSError("real")
    guard = Guard("orders", retry=exact(), needs=Capability.OPEN, repeatable=True)

    with mode_scope("desk") as scope:

        async def fail_and_tighten():
            scope.hold(Mode.SAFE, owner="risk", reason="limit")
            raise error

        with pytest.raises(OSError) as caught:
            await guard.execute(fail_and_tighten)

    assert caught.value is error
    assert "SAFE" in notes(error)


async def test_guard_breaker_that_opens_between_two_attempts_gives_the_real_last_error(autojump_clock):
    """The same for the breaker: it is looked at before each attempt."""
    error = OSError("real")
    guard = Guard("orders", retry=exact(), breaker=breaker_of(failure_threshold=2, recovery_timeout=60.0))

    with pytest.raises(OSError) as caught:
        await guard.execute(venue := Venue(error))

    assert caught.value is error
    assert venue.calls == 2
    assert "open" in notes(error)


async def test_guard_retry_named_on_breaker_open_waits_for_the_probe(autojump_clock):
    """on=(OSError, BreakerOpenError): the call waits for retry_after and goes through as the probe."""
    venue = Venue(OSError("down"), "ack")
    guard = Guard(
        "orders",
        retry=exact((OSError, BreakerOpenError), max_retries=5),
        breaker=breaker_of(failure_threshold=1, recovery_timeout=5.0),
    )

    assert await guard.execute(venue) == "ack"
    assert venue.calls == 2
    assert venue.times[1] >= 5.0


async def test_guard_first_refusal_is_told_as_it_is():
    """Nothing real has happened yet: the refusal itself reaches the caller."""
    guard = Guard("orders", retry=exact(), breaker=breaker_of())
    guard.breaker.trip()

    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())


async def test_guard_nested_guards_make_another_order(autojump_clock):
    """A breaker around the retries: an inner guard retries, the outer one counts once."""
    venue = Venue(OSError())
    inner = Guard("inner", retry=exact(max_retries=2))
    outer = Guard("outer", breaker=breaker_of(failure_threshold=2))

    with pytest.raises(OSError):
        await outer.execute(inner.execute, venue)

    assert venue.calls == 3
    assert outer.breaker.statistics().failures == 1


async def test_guard_layers_do_not_multiply(autojump_clock):
    """Three guards of two retries make 3 calls, not 27."""
    venue = Venue(OSError())
    a, b, c = (Guard(name, retry=exact(max_retries=2)) for name in "abc")

    with pytest.raises(OSError):
        await a.execute(b.execute, c.execute, venue)

    assert venue.calls == 3


# ---------------------------------------------------------------- hedge inside of a guard


async def test_guard_hedge_takes_the_first_success_and_losers_count_nowhere(autojump_clock):
    """One call, one success; the breaker has heard of one success and of nothing else."""

    async def slow(*_):
        await trio.sleep(10.0)
        return "slow"

    venue = Venue(slow, "fast")
    guard = Guard("quotes", hedge=Hedge(delay=1.0), breaker=breaker_of())

    assert await guard.execute(venue) == "fast"
    assert venue.times == [0.0, 1.0]
    breaker, statistics = guard.breaker.statistics(), guard.statistics()
    assert (breaker.successes, breaker.failures, breaker.cancellations, breaker.in_flight) == (1, 0, 0, 0)
    assert (statistics.calls, statistics.successes, statistics.hedges, statistics.cancelled) == (1, 1, 1, 0)


async def test_guard_hedge_copy_is_decided_like_an_attempt_by_the_mode(autojump_clock):
    """SAFE came before the copy: the copy is refused, the first call goes on."""

    async def slow():
        starts.append(trio.current_time())
        await trio.sleep(3.0)
        return "ack"

    starts = []
    guard = Guard("quotes", hedge=Hedge(delay=1.0), needs=Capability.OPEN, repeatable=True)
    with mode_scope("desk") as scope:

        async def tighten():
            await trio.sleep(0.5)
            scope.hold(Mode.SAFE, owner="risk", reason="limit")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(tighten)
            assert await guard.execute(slow) == "ack"

    assert starts == [0.0]


async def test_guard_hedge_copy_is_decided_like_an_attempt_by_the_breaker(autojump_clock):
    """Half open with one probe at once: the copy is refused, the probe goes on and decides."""
    starts = []

    async def slow():
        starts.append(trio.current_time())
        await trio.sleep(3.0)
        return "ack"

    breaker = breaker_of(recovery_timeout=5.0, success_threshold=1)
    guard = Guard("quotes", hedge=Hedge(delay=1.0), breaker=breaker)
    await guard.execute(Venue())
    breaker.trip()
    await trio.sleep(5.0)

    assert await guard.execute(slow) == "ack"
    assert starts == [5.0]
    assert breaker.state is BreakerState.CLOSED


async def test_guard_hedge_first_call_that_fails_early_starts_none(autojump_clock):
    """What to do about failures is the retry's business."""
    venue = Venue(OSError("early"))
    guard = Guard("quotes", hedge=Hedge(delay=1.0))

    with pytest.raises(OSError, match="early"):
        await guard.execute(venue)

    assert venue.calls == 1
    assert guard.statistics().hedges == 0


async def test_guard_hedge_attempt_timeout_is_for_each_copy(autojump_clock):
    """The order is hedge, attempt timeout, call: each copy has the whole of it."""
    guard = Guard("quotes", hedge=Hedge(delay=1.0), attempt_timeout=3.0)

    with pytest.raises(AttemptTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert trio.current_time() == 4.0


async def test_guard_hedge_copies_do_not_escape_the_mode_scope(autojump_clock):
    """A copy runs in the context of the call: what it asks is asked in the same scope."""
    names = []

    async def slow():
        names.append(current_scope().name)
        await trio.sleep(3.0)

    with mode_scope("desk") as scope:
        await Guard("quotes", hedge=Hedge(delay=1.0)).execute(slow)

    assert names == [scope.name] * 2


async def test_guard_hedge_and_retry_share_a_budget(autojump_clock):
    """One budget for both: each retry and each copy takes 1, each call deposits once."""
    budget = RetryBudget(ratio=0.5, floor_per_second=1.0, window=4.0)
    guard = Guard("quotes", hedge=Hedge(delay=1.0, budget=budget), retry=exact(budget=budget, base_delay=0.0))

    async def slow_then_fail(*_):
        await trio.sleep(2.0)
        raise OSError

    venue = Venue(slow_then_fail, slow_then_fail, "ack")
    assert await guard.execute(venue) == "ack"

    assert budget.statistics().scheduled == 2
