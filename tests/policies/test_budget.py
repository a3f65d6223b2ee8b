"""RetryBudget: a share of the calls and a floor, exact in virtual time."""

import math
from fractions import Fraction

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.policies._tokens import Deposits, RetryTokens
from genesis_trio.policies.budget import BudgetStatistics, RetryBudget


def take_all(budget: RetryBudget, at_most: int = 1000) -> int:
    """How many retries can be scheduled right now."""
    taken = 0
    while taken < at_most and budget._take():
        taken += 1
    return taken


# ---------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ratio", -0.1),
        ("ratio", math.nan),
        ("ratio", math.inf),
        ("floor_per_second", -1.0),
        ("floor_per_second", math.nan),
        ("floor_per_second", math.inf),
        ("window", 0.0),
        ("window", -5.0),
        ("window", math.inf),
    ],
)
def test_budget_wrong_value_is_value_error_that_names_it(keyword, value):
    """A value outside of what can work is refused at construction, with the value in the message."""
    with pytest.raises(ValueError, match=keyword) as caught:
        RetryBudget(**{keyword: value})

    assert repr(value) in str(caught.value)


@pytest.mark.parametrize("keyword", ["ratio", "floor_per_second", "window"])
@pytest.mark.parametrize("value", ["1", None, True, [1]])
def test_budget_wrong_type_is_type_error_that_names_it(keyword, value):
    """A value of another type is refused at construction; a bool is no number."""
    with pytest.raises(TypeError, match=keyword) as caught:
        RetryBudget(**{keyword: value})

    assert repr(value) in str(caught.value)


def test_budget_repr_shows_the_settings():
    """The repr is what was configured."""
    assert repr(RetryBudget()) == "RetryBudget(ratio=0.2, floor_per_second=10, window=10)"


def test_budget_outside_of_a_run_can_be_constructed_but_not_asked():
    """Its state belongs to a trio.run, so without one there is nothing to report."""
    budget = RetryBudget()

    with pytest.raises(RuntimeError):
        budget.statistics()


# ---------------------------------------------------------------- the floor


async def test_budget_floor_times_window_is_there_from_the_start(autojump_clock):
    """Without any call, floor_per_second * window retries can be scheduled, and not one more."""
    budget = RetryBudget(ratio=0.2, floor_per_second=2.0, window=5.0)

    taken = take_all(budget)

    assert taken == 10
    assert budget.statistics() == BudgetStatistics(available=0.0, scheduled=10, refused=1)


async def test_budget_used_up_floor_comes_back_at_floor_per_second(autojump_clock):
    """A token is there again exactly 1 / floor_per_second after the floor was used up."""
    budget = RetryBudget(ratio=0.0, floor_per_second=2.0, window=5.0)
    take_all(budget)

    await trio.sleep(0.49)
    too_early = budget._take()
    await trio.sleep_until(0.5)
    in_time = take_all(budget)

    assert not too_early
    assert in_time == 1


async def test_budget_floor_never_grows_beyond_floor_times_window(autojump_clock):
    """A long silence saves up no more than one window's floor."""
    budget = RetryBudget(ratio=0.0, floor_per_second=2.0, window=5.0)
    take_all(budget)

    await trio.sleep(3600.0)

    assert budget.statistics().available == 10.0
    assert take_all(budget) == 10


# ---------------------------------------------------------------- deposits


async def test_budget_each_call_deposits_ratio(autojump_clock):
    """Five calls at 0.2 pay for exactly one retry."""
    budget = RetryBudget(ratio=0.2, floor_per_second=0.0, window=10.0)

    counts = []
    for _ in range(10):
        budget._deposit()
        counts.append(take_all(budget))

    assert counts == [0, 0, 0, 0, 1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize("calls", [3, 7, 10, 49, 1000])
async def test_budget_fractional_ratio_loses_no_retry_to_rounding(calls, autojump_clock):
    """A ratio of 1/n pays for exactly one retry every n calls, also where 1/n has no exact float."""
    budget = RetryBudget(ratio=1 / calls, floor_per_second=0.0, window=10.0)

    for _ in range(3 * calls):
        budget._deposit()

    assert take_all(budget) == 3


async def test_budget_deposit_expires_after_window(autojump_clock):
    """A deposit counts until window seconds after the call, and not from then on."""
    budget = RetryBudget(ratio=1.0, floor_per_second=0.0, window=10.0)
    budget._deposit()
    await trio.sleep(4.0)
    budget._deposit()

    await trio.sleep_until(9.999)
    before = budget.statistics().available
    await trio.sleep_until(10.0)
    at_the_end = budget.statistics().available
    await trio.sleep_until(14.0)
    all_over = budget.statistics().available

    assert (before, at_the_end, all_over) == (2.0, 1.0, 0.0)


async def test_budget_take_spends_what_expires_first(autojump_clock):
    """The oldest deposit is spent before newer ones and before the reserve, which do not expire as soon."""
    budget = RetryBudget(ratio=1.0, floor_per_second=0.1, window=10.0)
    budget._deposit()
    await trio.sleep(5.0)
    budget._deposit()

    took = budget._take()
    await trio.sleep_until(10.0)

    assert took
    assert budget.statistics().available == 2.0  # the deposit of 5.0 and the whole reserve of 0.1 * 10


async def test_budget_deposit_and_reserve_add_up_to_one_retry(autojump_clock):
    """Half a token of either kind makes a whole one."""
    budget = RetryBudget(ratio=0.5, floor_per_second=0.05, window=10.0)

    before = budget._take()
    budget._deposit()
    after = budget._take()

    assert (before, after) == (False, True)
    assert budget.statistics().available == 0.0


async def test_budget_refused_take_takes_nothing(autojump_clock):
    """A retry that is refused is not paid for."""
    budget = RetryBudget(ratio=0.6, floor_per_second=0.0, window=10.0)
    budget._deposit()

    refused = [budget._take() for _ in range(3)]
    budget._deposit()

    assert refused == [False] * 3
    assert budget._take()
    assert budget.statistics() == BudgetStatistics(available=0.2, scheduled=1, refused=3)


async def test_budget_of_nothing_allows_nothing(autojump_clock):
    """ratio=0 and floor_per_second=0 is a budget that never allows a retry."""
    budget = RetryBudget(ratio=0.0, floor_per_second=0.0)

    for _ in range(100):
        budget._deposit()

    assert not budget._take()


async def test_budget_statistics_is_a_frozen_record(autojump_clock):
    """What statistics() returns does not change afterwards."""
    budget = RetryBudget()
    before = budget.statistics()
    budget._take()

    assert before == BudgetStatistics(available=100.0, scheduled=0, refused=0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        before.scheduled = 5


# ---------------------------------------------------------------- runs


def test_budget_starts_fresh_in_a_new_run():
    """Counters and deposits belong to the run; a new one starts with the full floor."""
    budget = RetryBudget(floor_per_second=1.0, window=3.0)

    async def use():
        return take_all(budget)

    async def look():
        return budget.statistics()

    first = trio.run(use, clock=trio.testing.MockClock())
    fresh = trio.run(look, clock=trio.testing.MockClock())

    assert first == 3
    assert fresh == BudgetStatistics(available=3.0, scheduled=0, refused=0)


def test_budget_used_from_two_runs_at_once_is_a_runtime_error():
    """Two runs cannot share the counters: the second one is told so."""
    budget = RetryBudget()

    async def inner():
        budget._take()

    async def outer():
        budget._take()
        await trio.to_thread.run_sync(trio.run, inner)

    with pytest.raises(RuntimeError, match="another trio.run"):
        trio.run(outer)


# ---------------------------------------------------------------- the pure part

steps = st.lists(
    st.tuples(st.sampled_from(["deposit", "take"]), st.integers(min_value=0, max_value=40)), min_size=1, max_size=80
)


@given(
    steps=steps,
    ratio=st.integers(min_value=0, max_value=8),
    floor=st.integers(min_value=0, max_value=4),
    window=st.integers(min_value=1, max_value=6),
)
def test_retry_tokens_agree_with_an_exact_model(steps, ratio, floor, window):
    """In steps of a quarter second, with eighths as ratio, every answer is that of a calculation in fractions."""
    tokens = RetryTokens(ratio=ratio / 8, floor_per_second=float(floor), window=float(window))
    deposits: list[list[Fraction]] = []
    reserve, looked, now = Fraction(floor * window), Fraction(0), Fraction(0)

    for action, pause in steps:
        now += Fraction(pause, 4)
        reserve, looked = min(Fraction(floor * window), reserve + (now - looked) * floor), now
        deposits = [entry for entry in deposits if now - entry[0] < window]
        if action == "deposit":
            tokens.deposit(float(now))
            deposits.append([now, Fraction(ratio, 8)])
            continue
        total = sum((entry[1] for entry in deposits), reserve)
        assert tokens.take(float(now)) == (total >= 1)
        if total >= 1:
            missing = Fraction(1)
            for entry in deposits:
                part = min(entry[1], missing)
                entry[1] -= part
                missing -= part
            reserve -= missing
        assert tokens.available(float(now)) == pytest.approx(
            float(sum((entry[1] for entry in deposits), reserve)), abs=1e-6
        )


def test_deposits_of_a_busy_service_take_bounded_memory_and_never_too_much():
    """A hundred thousand moments within the window are kept as about two thousand; the sum is never above the truth."""
    deposits = Deposits(10.0)
    moments = [n * 10.0 / 100_000 for n in range(200_000)]

    for moment in moments:
        deposits.add(moment, 0.2)
        kept = len(deposits._moments)
        assert kept <= 2001

    for look in (20.0, 22.5, 25.0, 29.99):
        exact = 0.2 * sum(1 for moment in moments if look - moment < 10.0)
        assert exact - 0.2 * 101 <= deposits.available(look) <= exact + 1e-6
    assert deposits.available(30.0) == 0.0
    assert deposits._total == 0


def test_deposits_up_to_a_thousand_moments_expire_each_at_its_own_time():
    """While there are few, nothing is rounded."""
    deposits = Deposits(10.0)
    for n in range(1000):
        deposits.add(n / 1000, 1.0)

    assert [deposits.available(10.0 + n / 1000) for n in (0, 1, 500, 999)] == [999.0, 998.0, 499.0, 0.0]


def test_deposits_partly_taken_expire_with_what_is_left():
    """A deposit of which a part was taken lets only the rest expire."""
    deposits = Deposits(10.0)
    deposits.add(0.0, 0.75)
    deposits.add(1.0, 0.75)

    missing = deposits.take(2.0, 1.0)
    deposits.add(3.0, 1.0)

    assert missing == 0.0
    assert [deposits.available(now) for now in (3.0, 10.5, 11.0, 13.0)] == [1.5, 1.5, 1.0, 0.0]


def test_deposits_take_returns_what_is_missing():
    """Take gives what there is and says how much was not."""
    deposits = Deposits(10.0)
    deposits.add(0.0, 0.75)

    assert deposits.take(1.0, 0.5) == 0.0
    assert deposits.take(1.0, 1.0) == 0.75
    assert deposits.take(1.0, 1.0) == 1.0
