"""What the design promises of Retry and RetryBudget, sentence by sentence, through public names: refusals, groups, budgets and events."""

import math

import pytest
import trio
import trio.testing

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
from policies.contract import exact
from policies.venue import Middle, ServerBusy, Venue, notes

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
