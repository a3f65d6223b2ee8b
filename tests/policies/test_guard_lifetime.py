"""What a call leaves behind: contexts, cycles, counters, and guards that are collected."""

import contextlib
import contextvars
import gc
import weakref

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    BreakerOpenError,
    RetryBudgetExhaustedError,
)
from genesis_trio.events import observe
from genesis_trio.policies._lane import Lane
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.retry import Retry
from genesis_trio.testing import simulate
from policies.contract import breaker_of, exact
from policies.venue import Venue


async def test_guard_call_runs_in_the_context_of_the_caller(autojump_clock):
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


async def test_guard_refused_call_with_a_fallback_counts_as_rejected(autojump_clock):
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


@pytest.mark.parametrize("moment", ["open", "close"])
async def test_breaker_guard_collected_while_it_tells_its_guards_is_no_error(moment, monkeypatch, autojump_clock):
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
