"""Hedge: another copy of a slow call, and the first success wins."""

import math

import attrs
import pytest
import trio
import trio.testing

from genesis_trio.events import HedgeStarted, observe
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from policies.copies import Copies

# ---------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"delay": -0.1}, ValueError),
        ({"delay": math.nan}, ValueError),
        ({"delay": math.inf}, ValueError),
        ({"delay": "1"}, TypeError),
        ({"delay": True}, TypeError),
        ({"quantile": 0.0}, ValueError),
        ({"quantile": 1.0}, ValueError),
        ({"quantile": -0.5}, ValueError),
        ({"quantile": math.nan}, ValueError),
        ({"quantile": "p95"}, TypeError),
        ({"delay": None, "quantile": None}, ValueError),
        ({"max_hedges": 0}, ValueError),
        ({"max_hedges": 1.0}, TypeError),
        ({"max_hedges": None}, TypeError),
        ({"budget": 0.2}, TypeError),
    ],
)
def test_hedge_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        Hedge(**args)

    name, value = list(args.items())[-1]
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("hedge", "text"),
    [
        (Hedge(delay=0.5), "Hedge(delay=0.5, max_hedges=1)"),
        (Hedge(max_hedges=2), "Hedge(quantile=0.95, max_hedges=2)"),
    ],
)
def test_hedge_repr_shows_when_it_starts_copies(hedge, text):
    """The repr tells what decides: the delay where it is given, else the quantile."""
    assert repr(hedge) == text


# ---------------------------------------------------------------- the race


async def test_hedge_fast_call_starts_no_copy(autojump_clock):
    """A call that ends before the delay is alone, and takes no longer than without a hedge."""
    attempt = Copies(0.5)

    value = await Hedge(delay=1.0)._call(attempt)

    assert value == "copy 0"
    assert attempt.log == [("start", 0, 0.0), ("success", 0, 0.5)]
    assert trio.current_time() == 0.5


async def test_hedge_slow_call_first_success_wins_and_loser_is_cancelled(autojump_clock):
    """After the delay a copy starts; it succeeds first, and the first one is cancelled at that moment."""
    attempt = Copies(10.0, 0.5)

    value = await Hedge(delay=1.0)._call(attempt)

    assert value == "copy 1"
    assert attempt.log == [("start", 0, 0.0), ("start", 1, 1.0), ("success", 1, 1.5), ("cancelled", 0, 1.5)]
    assert trio.current_time() == 1.5


async def test_hedge_first_copy_can_still_win(autojump_clock):
    """A hedged call whose first copy comes in first returns its value, and the other one is cancelled."""
    attempt = Copies(1.25, 5.0)

    value = await Hedge(delay=1.0)._call(attempt)

    assert value == "copy 0"
    assert attempt.log == [("start", 0, 0.0), ("start", 1, 1.0), ("success", 0, 1.25), ("cancelled", 1, 1.25)]


async def test_hedge_starts_max_hedges_copies_each_a_delay_later(autojump_clock):
    """With max_hedges=3 there are three copies besides the first, a delay apart, and no more."""
    attempt = Copies(10.0, 10.0, 10.0, 10.0, 0.0)

    await Hedge(delay=1.0, max_hedges=3)._call(attempt)

    starts = [(copy, when) for what, copy, when in attempt.log if what == "start"]
    assert starts == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert trio.current_time() == 10.0


async def test_hedge_delay_zero_starts_all_at_once(autojump_clock):
    """delay=0 sends all copies at the same time; the first one still begins first."""
    attempt = Copies(3.0, 2.0, 1.0)

    value = await Hedge(delay=0.0, max_hedges=2)._call(attempt)

    assert value == "copy 2"
    assert attempt.log[:3] == [("start", 0, 0.0), ("start", 1, 0.0), ("start", 2, 0.0)]


async def test_hedge_second_success_in_the_same_step_does_not_replace_the_first(autojump_clock):
    """Only the first success is returned, though the other copy succeeds before it sees that it has lost."""
    go = trio.Event()
    order = []

    async def attempt(copy, delay):
        with trio.CancelScope(shield=True):
            await go.wait()
        order.append(copy)
        return copy

    async def start_it():
        await trio.sleep(2.0)
        go.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_it)
        value = await Hedge(delay=1.0)._call(attempt)

    assert sorted(order) == [0, 1]
    assert value == order[0]


async def test_hedge_first_copy_runs_in_the_task_of_the_caller(autojump_clock):
    """What the first copy sees as its task is the caller's; the others have their own."""
    tasks = []

    async def attempt(copy, delay):
        tasks.append(trio.lowlevel.current_task())
        await trio.sleep(3.0)

    await Hedge(delay=1.0)._call(attempt)

    me = trio.lowlevel.current_task()
    assert tasks[0] is me
    assert tasks[1] is not me


# ---------------------------------------------------------------- budget


async def test_hedge_takes_from_the_budget_when_it_starts_a_copy(autojump_clock):
    """A call that needs no copy costs nothing; each copy that starts costs 1."""
    budget = RetryBudget(ratio=0.0, floor_per_second=1.0, window=5.0)
    hedge = Hedge(delay=1.0, max_hedges=2, budget=budget)

    await hedge._call(Copies(0.5))
    unused = budget.statistics().scheduled
    await hedge._call(Copies(2.5, 9.0, 9.0))

    assert (unused, budget.statistics().scheduled) == (0, 2)


async def test_hedge_without_budget_left_lets_the_first_copy_go_on(autojump_clock):
    """An exhausted budget is no failure: there is no copy, and the call ends as it would have."""
    budget = RetryBudget(ratio=0.0, floor_per_second=0.0)
    attempt = Copies(5.0, 0.0, 0.0)

    value = await Hedge(delay=1.0, max_hedges=2, budget=budget)._call(attempt)

    assert value == "copy 0"
    assert attempt.log == [("start", 0, 0.0), ("success", 0, 5.0)]
    assert (budget.statistics().scheduled, budget.statistics().refused) == (0, 1)


# ---------------------------------------------------------------- events and runs


async def test_hedge_tells_observers_of_each_copy(autojump_clock):
    """A copy that starts is an event with the policy's name, its number and the delay."""
    seen = []

    with observe(seen.append):
        await Guard("quotes", hedge=Hedge(delay=1.0, max_hedges=2)).execute(trio.sleep, 2.5)

    assert [attrs.asdict(event) for event in seen] == [
        {"time": 1.0, "tree": "", "policy": "quotes", "copy": 1, "delay": 1.0},
        {"time": 2.0, "tree": "", "policy": "quotes", "copy": 2, "delay": 1.0},
    ]
    assert all(isinstance(event, HedgeStarted) for event in seen)


async def test_hedge_copy_that_the_ramp_keeps_back_has_not_started(autojump_clock):
    """Looking does not tell: a breaker that was closed a moment ago decides when the copy is there."""
    breaker = CircuitBreaker("venue", recovery_timeout=1.0, success_threshold=1, ramp=60.0)
    breaker.trip()
    await trio.sleep(1.5)
    await breaker.execute(trio.sleep, 0.0)  # the probe that closed it
    guard = Guard("quotes", hedge=Hedge(delay=0.5), breaker=breaker)
    seen = []

    with observe(seen.append):
        await guard.execute(trio.sleep, 0.9)

    assert [event for event in seen if isinstance(event, HedgeStarted)] == []
    assert (guard.statistics().hedges, guard.statistics().attempts) == (0, 1)


@pytest.mark.parametrize("policy", ["bulkhead", "rate_limit", "breaker"])
async def test_hedge_copy_that_is_refused_has_not_started(policy, autojump_clock):
    """A copy is decided like an attempt: one that is not made is neither told nor counted as one that was."""
    breaker = CircuitBreaker("venue", recovery_timeout=1.0)
    breaker.trip()
    await trio.sleep(1.5)  # the first copy is the one probe
    policies = {"bulkhead": Bulkhead(1), "rate_limit": RateLimit(1, per=60.0), "breaker": breaker}
    guard = Guard("quotes", hedge=Hedge(delay=0.5), **{policy: policies[policy]})
    seen = []

    with observe(seen.append):
        await guard.execute(trio.sleep, 0.9)

    assert [event for event in seen if isinstance(event, HedgeStarted)] == []
    assert (guard.statistics().hedges, guard.statistics().attempts) == (0, 1)


def test_hedge_forgets_latencies_in_a_new_run():
    """What was learned belongs to the run."""
    hedge = Hedge(quantile=0.5)

    async def learn():
        for _ in range(20):
            await hedge._call(Copies(2.0))
        return hedge._current_delay()

    async def look():
        await hedge._call(Copies(2.0))
        return hedge._current_delay()

    assert trio.run(learn, clock=trio.testing.MockClock(autojump_threshold=0)) == 2.0
    assert trio.run(look, clock=trio.testing.MockClock(autojump_threshold=0)) is None


async def test_hedge_concurrent_calls_do_not_share_a_race(autojump_clock):
    """Many calls through one hedge: each has its own copies and its own winner."""
    hedge, values = Hedge(delay=1.0), []

    async def call(n):
        async def attempt(copy, delay):
            await trio.sleep(5.0 if copy == 0 and n % 2 else 0.5)
            return n, copy

        values.append(await hedge._call(attempt))

    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(call, n)

    assert sorted(values) == [(n, n % 2) for n in range(50)]
