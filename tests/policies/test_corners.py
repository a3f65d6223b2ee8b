"""Where two policies meet: the corners that no single promise names."""

import contextlib
import contextvars
import copy
import functools
import gc
import pickle
import weakref

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
    RetryBudgetExhaustedError,
    TotalTimeoutError,
)
from genesis_trio.events import PolicyMisbehaved, observe
from genesis_trio.modes import Capability, Mode, mode_scope
from genesis_trio.policies._lane import Lane
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from genesis_trio.policies.retry import Retry
from genesis_trio.testing import simulate
from policies.venue import Middle, Venue, notes


def exact(on=OSError, **settings) -> Retry:
    return Retry(on, **{"base_delay": 1.0, "jitter": "none", **settings})


def breaker_of(**settings) -> CircuitBreaker:
    return CircuitBreaker("venue", **{"rng": Middle(), **settings})


# ---------------------------------------------------------------- retry and refusals


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


# ---------------------------------------------------------------- budgets


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


# ---------------------------------------------------------------- breakers


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


# ---------------------------------------------------------------- connect


def with_nursery(tasks_seen=None):
    """A context manager with a nursery inside, as streams have."""

    @contextlib.asynccontextmanager
    async def opening():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            yield "socket"
            nursery.cancel_scope.cancel()

    return opening


async def test_guard_connect_to_something_with_a_nursery_keeps_the_scopes_nested(autojump_clock):
    """All timeouts and a nursery in the stream: entering and leaving stay properly nested, also around other scopes."""
    guard = Guard("feed", attempt_timeout=1.0, total_timeout=3.0, retry=exact(max_retries=1), breaker=breaker_of())

    with trio.move_on_after(100.0) as outer:
        async with guard.connect(with_nursery()) as socket:
            with trio.move_on_after(50.0) as inner:
                await trio.sleep_forever()
            assert socket == "socket"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 1.0)

    assert (inner.cancelled_caught, outer.cancelled_caught) == (True, False)
    assert trio.current_time() == 51.0


async def test_guard_connect_error_that_the_stream_swallows_is_still_a_failure(autojump_clock):
    """The end of the block is the outcome: a context manager that suppresses the error does not make it a success."""
    breaker = breaker_of()

    @contextlib.asynccontextmanager
    async def lenient():
        with contextlib.suppress(OSError):
            yield

    guard = Guard("feed", breaker=breaker)
    async with guard.connect(lenient):
        raise OSError("stream broke")

    assert (breaker.statistics().failures, breaker.statistics().successes) == (1, 0)
    assert (guard.statistics().failures, guard.statistics().successes) == (1, 0)


async def test_guard_connect_error_while_leaving_is_a_failure(autojump_clock):
    """A stream whose close fails has failed."""
    breaker = breaker_of(failure_threshold=1)

    @contextlib.asynccontextmanager
    async def breaks_at_close():
        yield
        raise OSError("close")

    with pytest.raises(OSError, match="close"):
        async with Guard("feed", breaker=breaker).connect(breaks_at_close):
            pass

    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_of_a_refused_probe_lets_the_next_one_in(autojump_clock):
    """Half open: a stream that cannot be opened because of a refusal of ours gives the probe back."""
    breaker = breaker_of(recovery_timeout=5.0, success_threshold=1)
    breaker.trip()
    await trio.sleep(5.0)

    @contextlib.asynccontextmanager
    async def refused():
        raise BulkheadFullError("inner")
        yield

    with pytest.raises(BulkheadFullError):
        async with Guard("feed", breaker=breaker).connect(refused):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.HALF_OPEN
    assert breaker.statistics().probes_in_flight == 0


async def test_guard_connect_fallback_gives_the_value_of_a_stream_that_did_not_open(autojump_clock):
    """fallback(error, *args) stands in for the stream; errors of the block are not its business."""
    asked = []

    def replay(error, *args):
        asked.append((type(error), args))
        return "recorded"

    guard = Guard("feed", fallback=replay)

    @contextlib.asynccontextmanager
    async def refused(url):
        raise OSError("refused")
        yield

    @contextlib.asynccontextmanager
    async def opens():
        yield

    async with guard.connect(refused, "wss://x") as stream:
        assert stream == "recorded"
    with pytest.raises(KeyError):
        async with guard.connect(opens):
            raise KeyError("block")

    assert asked == [(OSError, ("wss://x",))]


# ---------------------------------------------------------------- context, memory, determinism


async def test_guard_call_runs_in_the_context_of_the_caller():
    """What the called function sets in its context, the caller sees: there is no task in between."""
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace", default="none")

    async def set_it():
        trace.set("set within")

    for guard in (Guard("fast"), Guard("slow", total_timeout=5.0, retry=exact(), bulkhead=Bulkhead(1))):
        trace.set("outside")
        await guard.execute(set_it)
        assert trace.get() == "set within"


class Traced(OSError):
    """An error that can be watched dying."""


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"retry": exact(max_retries=1)},
        {"total_timeout": 50.0, "retry": exact(max_retries=1)},
        {"hedge": Hedge(delay=1.0)},
        {"breaker": True},
        {"retry": exact(max_retries=1, budget=RetryBudget(ratio=0.0, floor_per_second=0.0))},
    ],
    ids=["plain", "retry", "total", "hedge", "breaker", "budget"],
)
async def test_guard_failed_call_leaves_no_cycle_behind(settings, autojump_clock):
    """When the caller has handled the error, it and its frames are gone at once, without the garbage collector."""
    guard = Guard("orders", **(settings if "breaker" not in settings else {"breaker": breaker_of()}))
    refs = []

    async def fail():
        error = Traced("down")
        refs.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.collect()
    gc.disable()
    try:
        try:
            await guard.execute(fail)
        except (OSError, RetryBudgetExhaustedError):
            pass
        await trio.lowlevel.checkpoint()
        alive = [ref() is not None for ref in refs]
    finally:
        gc.enable()

    assert not any(alive)


def test_guard_same_seed_gives_the_same_run():
    """Jitter of delays and breaks comes from the tree's source: one seed, one list of events."""

    async def main():
        events = []
        breaker = CircuitBreaker("venue", failure_threshold=4)
        guard = Guard(
            "orders", retry=Retry(OSError, max_retries=2), breaker=breaker, bulkhead=Bulkhead(3, max_waiting=20)
        )

        async def call(n):
            with contextlib.suppress(OSError, BreakerOpenError):
                await guard.execute(Venue(OSError(str(n)), "ack" if n % 2 else OSError(str(n)), seconds=0.1))

        with observe(lambda event: events.append((type(event).__name__, event.as_dict()))):
            async with trio.open_nursery() as nursery:
                for n in range(10):
                    nursery.start_soon(call, n)
            await trio.sleep(20.0)
            await call(1)
        return repr(events)

    runs = [simulate(main, seed=seed) for seed in (1, 1, 2)]

    assert runs[0] == runs[1]
    assert runs[0] != runs[2]
    assert "RetryScheduled" in runs[0]
    assert "BreakerOpened" in runs[0]


async def test_guard_refused_call_with_a_fallback_counts_as_rejected():
    """An answer by the fallback does not change what became of the call."""
    guard = Guard("orders", breaker=breaker_of(), fallback=lambda error: "cached")
    guard.breaker.trip()

    assert await guard.execute(Venue()) == "cached"
    statistics = guard.statistics()
    assert (statistics.calls, statistics.rejected, statistics.failures, statistics.successes) == (1, 1, 0, 0)


async def test_guard_statistics_of_two_guards_on_one_policy_are_apart(autojump_clock):
    """Policies may be shared, counters are not."""
    retry = exact()
    first, second = Guard("first", retry=retry), Guard("second", retry=retry)

    await first.execute(Venue(OSError(), "ack"))

    assert first.statistics().retries == 1
    assert attrs.astuple(second.statistics()) == (0,) * 11


# ---------------------------------------------------------------- guards that go away


@pytest.mark.parametrize("moment", ["open", "close"])
async def test_breaker_guard_collected_while_it_tells_its_guards_is_no_error(moment, monkeypatch):
    """The garbage collector may take a guard in the middle of a transition; its counts stay the breaker's."""
    breaker = CircuitBreaker("venue", failure_threshold=2)
    guards = [Guard(f"orders {number}", breaker=breaker) for number in range(3)]
    for guard in guards:
        assert await guard.execute(Venue()) == "ack"
    method = getattr(Lane, moment)

    def collect_first(lane, *args):
        del guards[1:]
        gc.collect()
        return method(lane, *args)

    del guard
    monkeypatch.setattr(Lane, moment, collect_first)
    venue = Venue(OSError("down"), "ack", OSError("down"))
    for _ in range(4):
        with contextlib.suppress(OSError):
            await guards[0].execute(venue)
    assert breaker.state is BreakerState.OPEN
    breaker.reset()

    assert len(guards) == 1
    assert breaker.statistics().successes == 3 + 1


# ---------------------------------------------------------------- words that are made when they are read


@pytest.mark.parametrize("name", ["venue", "{venue}", "50 %"])
async def test_breaker_rejection_keeps_its_words_in_copies_and_pickles(name, autojump_clock):
    """Name, time and cause are the error's own, whenever it is read and wherever it is sent."""
    breaker = CircuitBreaker(name, rng=Middle())
    breaker.trip()
    with pytest.raises(BreakerOpenError) as caught:
        await breaker.execute(Venue())
    error = caught.value
    error.add_note("in the morning")
    words = f"circuit breaker {name!r} is open for another 5 s; wait, or call reset() once the service is known to be healthy"

    for each in (error, copy.copy(error), copy.deepcopy(error), pickle.loads(pickle.dumps(error))):
        assert type(each) is BreakerOpenError
        assert str(each) == words
        assert repr(each) == f"BreakerOpenError({words!r})"
        assert (each.name, each.retry_after, notes(each)) == (name, 5.0, "in the morning")


def test_breaker_rejection_made_by_others_says_what_they_said():
    """A message with braces in it is a message."""
    error = BreakerOpenError("open {name}", name="venue", retry_after=1.0)

    assert (str(error), error.args) == ("open {name}", ("open {name}",))


# ---------------------------------------------------------------- found by breaking the code (mutations.toml)


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


@pytest.mark.parametrize("how", ["retry", "guard", "attempts"])
async def test_retry_cancelled_attempt_is_told_to_nobody(how, autojump_clock):
    """A cancellation is no failed attempt: no event tells of one, whatever the rule says."""
    events = []
    retry = exact(Exception)

    async def loop(fn):
        async for attempt in retry.attempts():
            with attempt:
                await fn()

    run = {"retry": retry.execute, "guard": Guard("orders", retry=retry).execute, "attempts": loop}[how]
    with observe(events.append), trio.move_on_after(1.0) as scope:
        await run(trio.sleep_forever)

    assert scope.cancelled_caught
    assert events == []


@pytest.mark.parametrize("rule", ["on", "failure_on", "retry_result", "failure_result"])
def test_policy_rule_that_raises_is_reported_once_a_run_and_counts_as_a_no(rule, caplog):
    """The call's own outcome never changes; the log and an event name the rule once, and again in the next run."""

    def broken(subject):
        raise ZeroDivisionError("in the rule")

    own = {rule: broken} if rule in ("on", "retry_result") else {}
    theirs = {rule: broken} if rule in ("failure_on", "failure_result") else {}
    guard = Guard(
        "orders", retry=exact(**{"on": KeyError, **own}), breaker=breaker_of(**{"failure_threshold": 100, **theirs})
    )
    events = []

    async def main():
        venue = Venue("ack") if rule.endswith("result") else Venue(OSError("down"))
        with observe(events.append):
            for _ in range(3):
                if rule.endswith("result"):
                    assert await guard.execute(venue) == "ack"
                else:
                    with pytest.raises(OSError, match="down"):
                        await guard.execute(venue)
        assert venue.calls == 3
        assert guard.breaker.statistics().failures == (3 if rule == "on" else 0)

    for runs in (1, 2):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
        told = [event for event in events if isinstance(event, PolicyMisbehaved)]
        assert [(event.rule, event.error) for event in told] == [(rule, "ZeroDivisionError: in the rule")] * runs
        assert len([record for record in caplog.records if "counts as a no" in record.getMessage()]) == runs


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


@pytest.mark.parametrize("way", ["guard", "breaker", "retry"])
async def test_policy_calls_run_side_by_side(way, autojump_clock):
    """No policy holds anything while the call runs that would make others wait."""
    breaker, retry, venue = breaker_of(), exact(), Venue(seconds=1.0)
    execute = {"guard": Guard("orders", retry=retry, breaker=breaker).execute, "breaker": breaker.execute}.get(
        way, retry.execute
    )

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(execute, venue)

    assert trio.current_time() == 1.0
    assert venue.times == [0.0] * 100


async def test_guard_observer_that_raises_changes_no_outcome_and_is_told_once(autojump_clock, caplog):
    """It is removed and reported; the calls go on as they would without it, and other observers see everything."""
    guard = Guard("orders", retry=exact(max_retries=2), breaker=breaker_of(failure_threshold=3))
    venue, seen, asked = Venue(OSError("down")), [], []

    def broken(event):
        asked.append(event)
        raise ZeroDivisionError("in the observer")

    with observe(seen.append), observe(broken):
        with pytest.raises(OSError, match="down") as caught:
            await guard.execute(venue)
        with pytest.raises(BreakerOpenError):
            await guard.execute(venue)

    assert caught.value.__context__ is None
    assert venue.calls == 3
    assert len(asked) == 1
    assert [event.name for event in seen].count("hook_failed") == 1
    assert [event.name for event in seen if event.name != "hook_failed"] == [
        "attempt_failed",
        "retry_scheduled",
        "attempt_failed",
        "retry_scheduled",
        "breaker_opened",
        "attempt_failed",
        "retries_exhausted",
        "call_rejected",
    ]


# ---------------------------------------------------------------- results that are not good enough, and the breaker


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


async def test_rejections_of_a_collected_guard_stay_counted(autojump_clock):
    """What a guard has refused because its breaker was open outlives the guard in the breaker's numbers."""
    breaker = CircuitBreaker("venue")
    guard = Guard("orders", breaker=breaker)
    venue = Venue("ack")
    await guard.execute(venue)
    breaker.trip()  # by hand: no error is kept, whose traceback would keep the guard
    for _ in range(2):
        with pytest.raises(BreakerOpenError):
            await guard.execute(venue)
    assert (guard.statistics().calls, guard.statistics().rejected, breaker.statistics().rejections) == (3, 2, 2)

    del guard
    gc.collect()

    assert breaker.statistics().rejections == 2
