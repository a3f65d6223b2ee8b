"""What the design promises of Guard, sentence by sentence, through public names: what is known of it, and what it costs."""

import functools
import gc
import sys
import weakref

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    RetryBudgetExhaustedError,
)
from genesis_trio.events import CallRejected, observe
from genesis_trio.modes import Capability, mode_scope
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.retry import Retry
from policies.contract import breaker_of, exact
from policies.venue import Venue

# ---------------------------------------------------------------- explain


def test_guard_explain_tells_latency_and_amplification_in_words():
    """The worst case can be read: 4 attempts of 1 second with waits of up to 0.7, at most 5 seconds in all."""
    guard = Guard(
        "venue.orders",
        retry=Retry(OSError, max_retries=3, base_delay=0.1),
        attempt_timeout=1.0,
        total_timeout=5.0,
    )

    text = guard.explain()

    assert "venue.orders" in text
    assert "4" in text
    assert "4.7" in text or "5" in text


def test_guard_explain_counts_hedges_into_the_amplification():
    """Four attempts of two copies each are eight calls at worst."""
    guard = Guard("quotes", retry=Retry(OSError, max_retries=3), hedge=Hedge(delay=1.0), attempt_timeout=1.0)

    assert "8" in guard.explain()


@pytest.mark.parametrize(
    ("hedge", "seconds"),
    [(Hedge(delay=0.25, max_hedges=2), 1.5), (Hedge(delay=0.75, max_hedges=5), 1.75), (Hedge(max_hedges=2), 1.9)],
    ids=repr,
)
async def test_guard_explain_latency_of_a_hedged_call_is_never_exceeded(hedge, seconds, autojump_clock):
    """The last copy starts before the first one has timed out, however many there are and however the delay is found."""
    guard = Guard("quotes", hedge=hedge, attempt_timeout=1.0)
    for _ in range(40):
        await guard.execute(trio.sleep, 0.45)
    began = trio.current_time()

    with pytest.raises(AttemptTimeoutError):
        await guard.execute(trio.sleep_forever)

    assert trio.current_time() - began == pytest.approx(seconds)
    worst = float(guard.explain().split("worst latency: ")[1].split(" s")[0])
    assert seconds <= worst <= 2.0


def test_guard_explain_says_that_an_error_may_name_a_longer_wait():
    """The waits are ours; a server's may be as long as max_delay."""
    retry = Retry(OSError, max_retries=2, max_delay=20.0)

    text = Guard("quotes", retry=retry, attempt_timeout=1.0).explain()

    assert "waits of up to 0.3 s in all, if no error names a longer one, up to max_delay=20 s" in text
    assert "names" not in Guard("quotes", attempt_timeout=1.0).explain()


def test_guard_explain_says_what_has_no_limit():
    """Without a timeout nothing limits the latency, and that is said."""
    text = Guard("quotes").explain()

    assert isinstance(text, str)
    assert any(
        word in text for word in ("no limit", "unlimited", "unbounded", "without limit", "forever", "no timeout")
    )


# ---------------------------------------------------------------- what is known


async def test_guard_statistics_count_calls_by_their_end(autojump_clock):
    """Every call is one of success, failure, cancelled and rejected."""
    guard = Guard("orders", breaker=breaker_of(failure_threshold=2), retry=exact(max_retries=1))

    await guard.execute(Venue("ack"))
    await guard.execute(Venue(OSError(), "ack"))
    with trio.move_on_after(1.0):
        await guard.execute(trio.sleep_forever)
    with pytest.raises(OSError):
        await guard.execute(Venue(OSError()))
    with pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    statistics = guard.statistics()
    assert statistics.calls == 5
    assert (statistics.successes, statistics.failures, statistics.cancelled, statistics.rejected) == (2, 1, 1, 1)
    assert (statistics.attempts, statistics.retries, statistics.retry_successes, statistics.exhausted) == (6, 2, 1, 1)
    assert (statistics.timeouts, statistics.hedges) == (0, 0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        statistics.calls = 0


async def test_guard_statistics_retries_are_counted_when_scheduled(autojump_clock, nursery):
    """Required at all times: retries scheduled, succeeded, exhausted; scheduled counts before the wait is over."""
    guard = Guard("orders", retry=exact())
    nursery.start_soon(guard.execute, Venue(OSError(), "ack"))

    await trio.sleep(0.5)

    assert guard.statistics().retries == 1
    assert guard.statistics().retry_successes == 0


async def test_guard_budget_exhausted_counts_as_exhausted(autojump_clock):
    """No retry was made because the budget had none left: a failure that ran out."""
    guard = Guard("orders", retry=exact(budget=RetryBudget(ratio=0.0, floor_per_second=0.0)))

    with pytest.raises(RetryBudgetExhaustedError):
        await guard.execute(Venue(OSError()))

    assert (guard.statistics().failures, guard.statistics().exhausted, guard.statistics().retries) == (1, 1, 0)


async def test_guard_rejection_is_told_to_observers(autojump_clock):
    """A refused call is an event with the guard's name."""
    guard, seen = Guard("orders", breaker=breaker_of()), []
    guard.breaker.trip()

    with observe(seen.append), pytest.raises(BreakerOpenError):
        await guard.execute(Venue())

    assert [event.policy for event in seen if isinstance(event, CallRejected)] == ["orders"]


def test_guard_statistics_start_fresh_in_a_new_run():
    """Counters belong to the run."""
    guard = Guard("orders")

    @guard
    async def place():
        return "ack"

    async def use():
        for _ in range(3):
            await place()
        return guard.statistics().calls

    async def use_without_looking():
        await place()

    assert trio.run(use) == 3
    assert trio.run(use) == 3
    trio.run(use_without_looking)
    assert trio.run(use) == 3


def test_guard_used_from_two_runs_at_once_is_a_runtime_error():
    """Noticed on the cold path, to which statistics() belongs."""
    guard = Guard("orders")

    async def inner():
        guard.statistics()

    async def outer():
        await guard.execute(Venue())
        guard.statistics()
        await trio.to_thread.run_sync(trio.run, inner)

    with pytest.raises(RuntimeError, match=r"trio\.run"):
        trio.run(outer)


async def test_guard_and_breaker_are_held_weakly(autojump_clock):
    """The registry does not keep them: what is dropped is gone."""

    guard = Guard("orders", breaker=breaker_of())
    await guard.execute(Venue())
    refs = weakref.ref(guard), weakref.ref(guard.breaker)

    del guard
    gc.collect()
    gc.collect()  # what the first one has finalized holds the rest until then

    assert [ref() for ref in refs] == [None, None]


# ---------------------------------------------------------------- cost


async def test_guard_healthy_path_is_one_frame_over_the_call():
    """Mode, breaker, retry and counters together: one coroutine frame between caller and function."""
    guard = Guard("orders", retry=exact(), breaker=breaker_of(), needs=Capability.OPEN, repeatable=True)
    frames = []

    @guard
    async def place(order):
        frame = sys._getframe()
        frames.append((frame.f_back.f_back, frame.f_back.f_code))

    with mode_scope("desk"):
        for _ in range(3):
            await place("o1")

    me = sys._getframe()
    assert [caller for caller, _ in frames] == [me] * 3


def test_guard_healthy_path_reads_no_clock():
    """A thousand healthy calls do not ask for the time once."""

    class CountingClock(trio.abc.Clock):
        reads = 0

        def start_clock(self):
            pass

        def current_time(self):
            self.reads += 1
            return 0.0

        def deadline_to_sleep_time(self, deadline):
            return 0.0 if deadline <= 0.0 else 999999.0

    clock = CountingClock()

    async def main():
        guard = Guard("orders", retry=exact(), breaker=breaker_of(), needs=Capability.OPEN, repeatable=True)

        @guard
        async def place():
            return "ack"

        with mode_scope("desk"):
            await place()
            before = clock.reads
            for _ in range(1000):
                await place()
            return clock.reads - before

    assert trio.run(main, clock=clock) == 0


def test_guard_open_breaker_in_two_runs_at_once_is_a_runtime_error():
    """Its break ends on the clock of the first run, which says nothing in the second."""
    guard = Guard("venue", breaker=CircuitBreaker("venue", failure_threshold=1))

    @guard
    async def fail():
        raise OSError

    async def refused():
        with pytest.raises(OSError):
            await fail()
        with pytest.raises(BreakerOpenError):
            await fail()
        await trio.to_thread.run_sync(trio.run, fail)

    with pytest.raises(RuntimeError, match="another trio.run"):
        trio.run(refused)


@pytest.mark.parametrize(
    "policy",
    [Guard("venue"), Guard("venue", breaker=breaker_of(failure_threshold=1)), breaker_of(failure_threshold=1)],
    ids=repr,
)
def test_policy_that_fails_in_a_second_run_leaves_the_first_alone(policy):
    """A failure in a run that has no business with it is a RuntimeError, and changes nothing in the run that has."""
    fail, seen = Venue(OSError("down")), []

    async def second():
        with pytest.raises(RuntimeError, match=r"another trio\.run") as caught:
            await policy.execute(fail)
        seen.append(caught.value.__context__)

    async def first():
        await policy.execute(Venue())
        await trio.to_thread.run_sync(trio.run, second)
        return policy.statistics().failures, await policy.execute(Venue())

    assert trio.run(first) == (0, "ack")
    assert [type(error) for error in seen] == [OSError]


def test_guard_that_is_cancelled_in_a_second_run_lets_the_cancellation_pass():
    """Nothing takes the place of a cancellation, not even the error that says that the guard is another run's."""
    guard = Guard("venue")

    async def second():
        with trio.move_on_after(1.0) as scope:
            await guard.execute(trio.sleep_forever)
        return scope.cancelled_caught

    async def first():
        await guard.execute(Venue())
        clock = trio.testing.MockClock(autojump_threshold=0)
        return await trio.to_thread.run_sync(functools.partial(trio.run, second, clock=clock))

    assert trio.run(first)
