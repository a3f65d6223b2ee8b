"""What a call gets when a retry is refused by a limit, a budget or a breaker of ours."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    BreakerOpenError,
    BulkheadFullError,
    ModeRefusedError,
    RateLimitedError,
    RetryBudgetExhaustedError,
)
from genesis_trio.modes import Capability, Mode, mode_scope
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from policies.contract import breaker_of, exact
from policies.venue import Venue, notes


async def test_guard_bulkhead_full_between_two_attempts_is_the_real_last_error(autojump_clock, nursery):
    """Somebody else has taken the place during the delay: the caller gets what really happened, with a note."""
    bulkhead, error = Bulkhead(1), OSError("real")
    guard = Guard("orders", retry=exact(), bulkhead=bulkhead)

    async def take_the_place():
        await trio.sleep(0.5)
        await Guard("other", bulkhead=bulkhead).execute(trio.sleep, 10.0)

    nursery.start_soon(take_the_place)
    with pytest.raises(OSError) as caught:
        await guard.execute(Venue(error))

    assert caught.value is error
    assert "BulkheadFullError" in notes(error)


async def test_guard_rate_limit_used_up_between_two_attempts_is_the_real_last_error(autojump_clock):
    """The same for a rate limit that does not wait."""
    error = OSError("real")
    guard = Guard("orders", retry=exact(), rate_limit=RateLimit(1, per=60.0, wait=False))

    with pytest.raises(OSError) as caught:
        await guard.execute(venue := Venue(error))

    assert caught.value is error
    assert venue.calls == 1
    assert "RateLimitedError" in notes(error)


async def test_guard_retry_that_names_a_full_bulkhead_waits_and_comes_in(autojump_clock, nursery):
    """on=BulkheadFullError: the refusal is waited out like a failure."""
    bulkhead = Bulkhead(1)
    nursery.start_soon(Guard("other", bulkhead=bulkhead).execute, trio.sleep, 2.5)
    await trio.testing.wait_all_tasks_blocked()

    assert await Guard("orders", retry=exact(BulkheadFullError), bulkhead=bulkhead).execute(Venue("ack")) == "ack"
    assert trio.current_time() == 3.0


async def test_guard_retry_that_names_a_rate_limit_waits_its_retry_after(autojump_clock):
    """on=RateLimitedError: it comes back when there is a token, not after its own short delay."""
    guard = Guard("orders", retry=exact(RateLimitedError), rate_limit=RateLimit(1, per=10.0, wait=False))
    await guard.execute(Venue())

    assert await guard.execute(Venue("ack")) == "ack"
    assert trio.current_time() == 10.0


async def test_guard_retry_that_names_a_mode_refusal_waits_until_it_is_allowed(autojump_clock, nursery):
    """on=ModeRefusedError: the call goes through once the cause is cleared."""
    guard = Guard("orders", retry=exact(ModeRefusedError, max_retries=5), needs=Capability.OPEN, repeatable=True)
    with mode_scope("desk") as scope:
        hold = scope.hold(Mode.SAFE, owner="risk", reason="limit")

        async def clear():
            await trio.sleep(2.0)
            hold.release()

        nursery.start_soon(clear)
        assert await guard.execute(Venue("ack")) == "ack"

    assert trio.current_time() == 3.0


async def test_guard_retry_that_names_an_isolated_breaker_gives_up_at_once(autojump_clock):
    """There is nothing to wait for."""
    guard = Guard("orders", retry=exact(BreakerOpenError), breaker=breaker_of())
    guard.breaker.isolate()

    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    assert trio.current_time() == 0.0


async def test_guard_deposits_for_its_hedge_too(autojump_clock):
    """A hedge's budget gets its ratio from each call, though the guard has no retry."""
    budget = RetryBudget(ratio=0.5, floor_per_second=0.0, window=1000.0)
    guard = Guard("quotes", hedge=Hedge(delay=1.0, budget=budget))

    for _ in range(4):
        await guard.execute(Venue(seconds=5.0))

    # Half a token a call: the second and the fourth call could pay for a copy.
    assert budget.statistics().scheduled == 2
    assert guard.statistics().hedges == 2


async def test_guard_deposits_once_into_a_budget_that_retry_and_hedge_share(autojump_clock):
    """One call is one deposit, however many policies draw on it."""
    budget = RetryBudget(ratio=0.25, floor_per_second=0.0, window=1000.0)
    guard = Guard("quotes", retry=exact(budget=budget), hedge=Hedge(delay=1.0, budget=budget))

    for _ in range(4):
        await guard.execute(Venue("ack"))

    assert budget.statistics().available == 1.0


async def test_guard_deposits_into_both_budgets_where_they_are_two(autojump_clock):
    """Retry and hedge may have budgets of their own."""
    budgets = [RetryBudget(ratio=0.25, floor_per_second=0.0, window=1000.0) for _ in range(2)]
    guard = Guard("quotes", retry=exact(budget=budgets[0]), hedge=Hedge(delay=1.0, budget=budgets[1]))

    await guard.execute(Venue("ack"))

    assert [budget.statistics().available for budget in budgets] == [0.25, 0.25]


async def test_guard_reconciles_before_it_raises_that_the_budget_is_exhausted(autojump_clock):
    """The outcome of the only attempt is unknown: reconcile is asked, as before every other end."""
    asked = []

    async def look(*args):
        asked.append(args)
        return "found"

    budget = RetryBudget(ratio=0.0, floor_per_second=0.0)
    guard = Guard("orders", retry=exact(budget=budget), repeatable=False, reconcile=look)

    assert await guard.execute(Venue(OSError("lost")), "o1") == "found"
    assert asked == [("o1",)]


async def test_guard_budget_exhausted_after_reconcile_said_not_done_is_the_error(autojump_clock):
    """Nothing was done and nothing more may be tried: the error, its cause the real one."""

    async def look(*args):
        return NOT_DONE

    error = OSError("lost")
    budget = RetryBudget(ratio=0.0, floor_per_second=0.0)
    guard = Guard("orders", retry=exact(budget=budget), repeatable=False, reconcile=look)

    with pytest.raises(RetryBudgetExhaustedError) as caught:
        await guard.execute(Venue(error))

    assert caught.value.__cause__ is error
