"""Hedge: another copy of a slow call, the first success wins, errors stay bare."""

import math

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.events import HedgeStarted, observe
from genesis_trio.policies._quantile import MovingQuantile
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.hedge import Hedge


class Copies:
    """An attempt whose copies take the times and end the ways given; what they did is in `log`."""

    def __init__(self, *plan: float | tuple[float, BaseException]) -> None:
        self.plan = plan
        self.log: list[tuple[str, int, float]] = []

    def note(self, what: str, copy: int) -> None:
        self.log.append((what, copy, trio.current_time()))

    async def __call__(self, copy: int) -> str:
        self.note("start", copy)
        step = self.plan[copy]
        seconds, error = step if isinstance(step, tuple) else (step, None)
        try:
            await trio.sleep(seconds)
        except trio.Cancelled:
            self.note("cancelled", copy)
            raise
        if error is not None:
            self.note("failed", copy)
            raise error
        self.note("success", copy)
        return f"copy {copy}"


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

    value = await Hedge(delay=1.0)._call(attempt, name="q")

    assert value == "copy 0"
    assert attempt.log == [("start", 0, 0.0), ("success", 0, 0.5)]
    assert trio.current_time() == 0.5


async def test_hedge_slow_call_first_success_wins_and_loser_is_cancelled(autojump_clock):
    """After the delay a copy starts; it succeeds first, and the first one is cancelled at that moment."""
    attempt = Copies(10.0, 0.5)

    value = await Hedge(delay=1.0)._call(attempt, name="q")

    assert value == "copy 1"
    assert attempt.log == [("start", 0, 0.0), ("start", 1, 1.0), ("success", 1, 1.5), ("cancelled", 0, 1.5)]
    assert trio.current_time() == 1.5


async def test_hedge_first_copy_can_still_win(autojump_clock):
    """A hedged call whose first copy comes in first returns its value, and the other one is cancelled."""
    attempt = Copies(1.25, 5.0)

    value = await Hedge(delay=1.0)._call(attempt, name="q")

    assert value == "copy 0"
    assert attempt.log == [("start", 0, 0.0), ("start", 1, 1.0), ("success", 0, 1.25), ("cancelled", 1, 1.25)]


async def test_hedge_starts_max_hedges_copies_each_a_delay_later(autojump_clock):
    """With max_hedges=3 there are three copies besides the first, a delay apart, and no more."""
    attempt = Copies(10.0, 10.0, 10.0, 10.0, 0.0)

    await Hedge(delay=1.0, max_hedges=3)._call(attempt, name="q")

    starts = [(copy, when) for what, copy, when in attempt.log if what == "start"]
    assert starts == [(0, 0.0), (1, 1.0), (2, 2.0), (3, 3.0)]
    assert trio.current_time() == 10.0


async def test_hedge_delay_zero_starts_all_at_once(autojump_clock):
    """delay=0 sends all copies at the same time; the first one still begins first."""
    attempt = Copies(3.0, 2.0, 1.0)

    value = await Hedge(delay=0.0, max_hedges=2)._call(attempt, name="q")

    assert value == "copy 2"
    assert attempt.log[:3] == [("start", 0, 0.0), ("start", 1, 0.0), ("start", 2, 0.0)]


async def test_hedge_second_success_in_the_same_step_does_not_replace_the_first(autojump_clock):
    """Only the first success is returned, though the other copy succeeds before it sees that it has lost."""
    go = trio.Event()
    order = []

    async def attempt(copy):
        with trio.CancelScope(shield=True):
            await go.wait()
        order.append(copy)
        return copy

    async def start_it():
        await trio.sleep(2.0)
        go.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start_it)
        value = await Hedge(delay=1.0)._call(attempt, name="q")

    assert sorted(order) == [0, 1]
    assert value == order[0]


async def test_hedge_first_copy_runs_in_the_task_of_the_caller(autojump_clock):
    """What the first copy sees as its task is the caller's; the others have their own."""
    tasks = []

    async def attempt(copy):
        tasks.append(trio.lowlevel.current_task())
        await trio.sleep(3.0)

    await Hedge(delay=1.0)._call(attempt, name="q")

    me = trio.lowlevel.current_task()
    assert tasks[0] is me
    assert tasks[1] is not me


# ---------------------------------------------------------------- failures


async def test_hedge_first_call_that_fails_early_starts_no_copy(autojump_clock):
    """A failure before the delay is raised at once, bare, and nothing else is started."""
    error = OSError("early")
    attempt = Copies((0.5, error), 0.0)

    with pytest.raises(OSError, match="early") as caught:
        await Hedge(delay=1.0)._call(attempt, name="q")

    assert caught.value is error
    assert attempt.log == [("start", 0, 0.0), ("failed", 0, 0.5)]
    assert trio.current_time() == 0.5


async def test_hedge_failed_copy_does_not_harm_the_first(autojump_clock):
    """The first one goes on when its copy fails."""
    attempt = Copies(3.0, (0.5, OSError("copy")))

    value = await Hedge(delay=1.0)._call(attempt, name="q")

    assert value == "copy 0"
    assert trio.current_time() == 3.0


async def test_hedge_first_copy_that_fails_late_leaves_it_to_the_other(autojump_clock):
    """Once a copy runs, the failure of the first one waits for what the copy says; no further copy starts."""
    attempt = Copies((1.5, OSError("first")), 3.0, 0.0)

    value = await Hedge(delay=1.0, max_hedges=2)._call(attempt, name="q")

    assert value == "copy 1"
    assert [entry for entry in attempt.log if entry[0] == "start"] == [("start", 0, 0.0), ("start", 1, 1.0)]
    assert trio.current_time() == 4.0


@pytest.mark.parametrize("plan", [((2.0, OSError("first")), (3.0, KeyError("second")))] * 2)
async def test_hedge_all_failed_raises_the_first_copys_error_bare(plan, autojump_clock):
    """When all have failed it is the first copy's own error, the very object, not in a group."""
    with pytest.raises(OSError, match="first") as caught:
        await Hedge(delay=1.0)._call(Copies(*plan), name="q")

    assert caught.value is plan[0][1]
    assert caught.value.__context__ is None
    assert trio.current_time() == 4.0


async def test_hedge_first_copy_failing_last_is_still_the_error_and_ends_the_call(autojump_clock):
    """The copy failed before; when the first one fails too, no third one is waited for."""
    attempt = Copies((1.75, OSError("first")), (0.5, KeyError("second")), 0.0)

    with pytest.raises(OSError, match="first"):
        await Hedge(delay=1.0, max_hedges=2)._call(attempt, name="q")

    assert trio.current_time() == 1.75
    assert [entry for entry in attempt.log if entry[0] == "start"] == [("start", 0, 0.0), ("start", 1, 1.0)]


async def test_hedge_exception_group_of_a_copy_is_its_error(autojump_clock):
    """A group that the call itself raises comes through as it is."""
    error = ExceptionGroup("own", [OSError("a"), KeyError("b")])

    with pytest.raises(ExceptionGroup) as caught:
        await Hedge(delay=1.0)._call(Copies((0.5, error)), name="q")

    assert caught.value is error


async def test_hedge_loser_that_fails_in_its_cleanup_changes_nothing(autojump_clock):
    """A copy that has lost counts nowhere, also when it raises, bare or in a group with its cancellation."""

    async def attempt(copy):
        if copy == 2:
            await trio.sleep(1.0)
            return "won"
        if copy == 1:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("cleanup")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("cleanup in a nursery")

    value = await Hedge(delay=1.0, max_hedges=2)._call(attempt, name="q")

    assert value == "won"
    assert trio.current_time() == 3.0


@pytest.mark.parametrize("copy", [0, 1])
async def test_hedge_base_exception_of_a_copy_ends_the_race_and_comes_bare(copy, autojump_clock):
    """SystemExit and its like are nobody's failure: they end the race at once and are raised as they are."""
    error = SystemExit(3)
    plan = [(2.0, error), 9.0] if copy == 0 else [9.0, (1.0, error)]

    with pytest.raises(SystemExit) as caught:
        await Hedge(delay=1.0)._call(Copies(*plan), name="q")

    assert caught.value is error
    assert trio.current_time() == 2.0


async def test_hedge_base_exception_of_a_loser_is_not_swallowed(autojump_clock):
    """Ctrl-C in the cleanup of a copy that has lost still reaches the caller."""

    async def attempt(copy):
        if copy == 1:
            return "won"
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        await Hedge(delay=1.0)._call(attempt, name="q")


async def test_hedge_base_exception_beside_a_cancellation_is_not_swallowed(autojump_clock):
    """In a group with the cancellation of the loser it reaches the caller too; the cancellation does not."""

    async def attempt(copy):
        if copy == 1:
            return "won"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyboardInterrupt

    with pytest.raises(BaseExceptionGroup) as caught:
        await Hedge(delay=1.0)._call(attempt, name="q")

    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]


# ---------------------------------------------------------------- cancellation


@pytest.mark.parametrize("when", [0.5, 1.5])
async def test_hedge_outer_cancellation_passes_bare(when, autojump_clock):
    """A cancellation from outside ends all copies and arrives as one Cancelled, before and after a copy started."""
    attempt, caught = Copies(10.0, 10.0), []

    with trio.move_on_at(when) as scope:
        try:
            await Hedge(delay=1.0)._call(attempt, name="q")
        except BaseException as error:
            caught.append(type(error))
            raise

    assert scope.cancelled_caught
    assert caught == [trio.Cancelled]
    assert trio.current_time() == when
    assert [what for what, _, _ in attempt.log] == ["start"] * (1 + (when > 1.0)) + ["cancelled"] * (1 + (when > 1.0))


async def test_hedge_outer_cancellation_without_delay_passes(autojump_clock):
    """While too little is known for a quantile, the call is simply awaited, and its cancellation passes."""
    with trio.move_on_at(0.5) as scope:
        await Hedge()._call(Copies(1.0), name="q")

    assert scope.cancelled_caught


async def test_hedge_cancelled_before_the_call_is_cancelled_at_its_first_checkpoint(autojump_clock):
    """In a scope that is cancelled already, the call ends where the attempt first waits."""
    attempt = Copies(1.0)

    with trio.CancelScope() as scope:
        scope.cancel()
        await Hedge(delay=1.0)._call(attempt, name="q")

    assert scope.cancelled_caught
    assert [what for what, _, _ in attempt.log] == ["start", "cancelled"]


@pytest.mark.parametrize("when", [0.5, 1.5])
async def test_hedge_error_during_outer_cancellation_reaches_the_caller_bare(when, autojump_clock):
    """The first copy's cleanup fails while the caller is cancelled: it comes alone, as it would without a hedge."""
    error = OSError("cleanup")

    async def attempt(copy):
        try:
            await trio.sleep_forever()
        finally:
            if copy == 0:
                raise error

    with pytest.raises(OSError, match="cleanup") as caught, trio.move_on_at(when):
        await Hedge(delay=1.0)._call(attempt, name="q")

    assert caught.value is error


async def test_hedge_errors_of_several_copies_during_outer_cancellation_all_reach_the_caller(autojump_clock):
    """Where two copies fail in their cleanup, neither error is lost."""

    async def attempt(copy):
        try:
            await trio.sleep_forever()
        finally:
            raise OSError(f"cleanup {copy}")

    with pytest.raises(ExceptionGroup) as caught, trio.move_on_at(1.5):
        await Hedge(delay=1.0)._call(attempt, name="q")

    assert sorted(str(error) for error in caught.value.exceptions) == ["cleanup 0", "cleanup 1"]


async def test_hedge_failed_first_copy_is_no_outcome_when_the_caller_is_cancelled_later(autojump_clock):
    """While the other copy still runs nothing is decided: a cancellation then is a cancellation."""
    attempt, caught = Copies((1.5, OSError("first")), 9.0), []

    with trio.move_on_at(2.0):
        try:
            await Hedge(delay=1.0)._call(attempt, name="q")
        except BaseException as error:
            caught.append(type(error))
            raise

    assert caught == [trio.Cancelled]


async def test_hedge_base_exception_during_outer_cancellation_goes_before_it(autojump_clock):
    """Ctrl-C in a copy while the caller is being cancelled is not lost in the cancellation."""

    async def attempt(copy):
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            if copy == 1:
                raise KeyboardInterrupt from None
            raise

    with pytest.raises(KeyboardInterrupt), trio.move_on_at(1.5):
        await Hedge(delay=1.0)._call(attempt, name="q")


async def test_hedge_waits_until_the_loser_has_ended(autojump_clock):
    """No copy outlives the call: a loser that needs time to end is waited for."""
    ended = []

    async def attempt(copy):
        if copy == 1:
            return "won"
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(5.0)
            ended.append(trio.current_time())

    value = await Hedge(delay=1.0)._call(attempt, name="q")

    assert value == "won"
    assert ended == [6.0]


# ---------------------------------------------------------------- budget


async def test_hedge_takes_from_the_budget_when_it_starts_a_copy(autojump_clock):
    """A call that needs no copy costs nothing; each copy that starts costs 1."""
    budget = RetryBudget(ratio=0.0, floor_per_second=1.0, window=5.0)
    hedge = Hedge(delay=1.0, max_hedges=2, budget=budget)

    await hedge._call(Copies(0.5), name="q")
    unused = budget.statistics().scheduled
    await hedge._call(Copies(2.5, 9.0, 9.0), name="q")

    assert (unused, budget.statistics().scheduled) == (0, 2)


async def test_hedge_without_budget_left_lets_the_first_copy_go_on(autojump_clock):
    """An exhausted budget is no failure: there is no copy, and the call ends as it would have."""
    budget = RetryBudget(ratio=0.0, floor_per_second=0.0)
    attempt = Copies(5.0, 0.0, 0.0)

    value = await Hedge(delay=1.0, max_hedges=2, budget=budget)._call(attempt, name="q")

    assert value == "copy 0"
    assert attempt.log == [("start", 0, 0.0), ("success", 0, 5.0)]
    assert (budget.statistics().scheduled, budget.statistics().refused) == (0, 1)


# ---------------------------------------------------------------- the quantile


async def test_hedge_by_quantile_starts_none_until_enough_is_known(autojump_clock):
    """Twenty calls are watched before the first is hedged, then at the 95th percentile of what was seen."""
    hedge = Hedge()
    for _ in range(20):
        attempt = Copies(2.0, 0.0)
        await hedge._call(attempt, name="q")
        assert len(attempt.log) == 2
    began = trio.current_time()

    attempt = Copies(10.0, 0.5)
    value = await hedge._call(attempt, name="q")

    assert value == "copy 1"
    assert attempt.log[1] == ("start", 1, began + 2.0)


async def test_hedge_by_quantile_learns_only_from_successes_that_won(autojump_clock):
    """Failures, cancelled calls and copies that lost teach nothing."""
    hedge = Hedge(quantile=0.5)
    for _ in range(20):
        with pytest.raises(OSError):
            await hedge._call(Copies((1.0, OSError())), name="q")
        with trio.move_on_after(1.0):
            await hedge._call(Copies(9.0), name="q")
    assert hedge._current_delay() is None

    for _ in range(19):
        await hedge._call(Copies(2.0), name="q")
    assert hedge._current_delay() is None
    await hedge._call(Copies(2.0), name="q")
    assert hedge._current_delay() == 2.0


async def test_hedge_by_quantile_won_by_a_copy_learns_the_time_from_the_start(autojump_clock):
    """A win of the copy is learned as the time the call took, without the time the loser took to end."""
    hedge = Hedge(quantile=0.5)
    for _ in range(20):
        await hedge._call(Copies(2.0), name="q")

    async def attempt(copy):
        if copy == 1:
            return await trio.sleep(0.5)
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(100.0)

    for _ in range(21):
        await hedge._call(attempt, name="q")

    assert hedge._current_delay() == 2.5


async def test_hedge_with_delay_never_uses_a_quantile(autojump_clock):
    """Where delay is given it stays, whatever the latencies are."""
    hedge = Hedge(delay=1.0)
    for _ in range(50):
        await hedge._call(Copies(0.25), name="q")

    attempt = Copies(3.0, 9.0)
    began = trio.current_time()
    await hedge._call(attempt, name="q")

    assert attempt.log[1] == ("start", 1, began + 1.0)


# ---------------------------------------------------------------- events and runs


async def test_hedge_tells_observers_of_each_copy(autojump_clock):
    """A copy that starts is an event with the policy's name, its number and the delay."""
    seen = []

    with observe(seen.append):
        await Hedge(delay=1.0, max_hedges=2)._call(Copies(2.5, 9.0, 9.0), name="quotes")

    assert [attrs.asdict(event) for event in seen] == [
        {"time": 1.0, "tree": "", "policy": "quotes", "copy": 1, "delay": 1.0},
        {"time": 2.0, "tree": "", "policy": "quotes", "copy": 2, "delay": 1.0},
    ]
    assert all(isinstance(event, HedgeStarted) for event in seen)


def test_hedge_forgets_latencies_in_a_new_run():
    """What was learned belongs to the run."""
    hedge = Hedge(quantile=0.5)

    async def learn():
        for _ in range(20):
            await hedge._call(Copies(2.0), name="q")
        return hedge._current_delay()

    async def look():
        await hedge._call(Copies(2.0), name="q")
        return hedge._current_delay()

    assert trio.run(learn, clock=trio.testing.MockClock(autojump_threshold=0)) == 2.0
    assert trio.run(look, clock=trio.testing.MockClock(autojump_threshold=0)) is None


async def test_hedge_concurrent_calls_do_not_share_a_race(autojump_clock):
    """Many calls through one hedge: each has its own copies and its own winner."""
    hedge, values = Hedge(delay=1.0), []

    async def call(n):
        async def attempt(copy):
            await trio.sleep(5.0 if copy == 0 and n % 2 else 0.5)
            return n, copy

        values.append(await hedge._call(attempt, name="q"))

    async with trio.open_nursery() as nursery:
        for n in range(50):
            nursery.start_soon(call, n)

    assert sorted(values) == [(n, n % 2) for n in range(50)]


# ---------------------------------------------------------------- the pure part


@given(
    q=st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.96]),
    samples=st.lists(st.integers(0, 50), min_size=1, max_size=600),
)
def test_moving_quantile_agrees_with_sorting(q, samples):
    """It is the nearest rank among the newest samples, and None while there are too few."""
    moving = MovingQuantile(q)
    fewest = 25 if q == 0.96 else 20

    for sample in samples:
        moving.add(float(sample))

    newest = sorted(samples[-10 * fewest :])
    if len(samples) < fewest:
        assert moving.value() is None
        return
    value = moving.value()
    share = sum(1 for sample in newest if sample <= value) / len(newest)
    assert value in newest
    assert share >= q - 1e-9
    assert all(sum(1 for s in newest if s <= lower) / len(newest) < q for lower in set(newest) if lower < value)


def test_moving_quantile_of_a_high_q_waits_for_as_many_samples_as_can_tell_it():
    """The 99th percentile means nothing before a hundred samples."""
    moving = MovingQuantile(0.99)
    for n in range(99):
        moving.add(float(n))

    assert moving.value() is None
    moving.add(99.0)
    assert moving.value() == 98.0


def test_moving_quantile_forgets_the_oldest_samples():
    """Two hundred samples are kept for the 95th percentile: what is older does not count."""
    moving = MovingQuantile(0.95)
    for _ in range(1000):
        moving.add(9.0)
    for n in range(200):
        moving.add(n / 100)

    assert moving.value() == 1.89
    assert len(moving._by_age) == len(moving._by_size) == 200
