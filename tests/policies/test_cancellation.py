"""Cancel every policy at every Trio checkpoint: nothing leaks, nothing counts, nothing is tried again.

Each scenario is run again and again, cancelled one step later each time, until a run ends before its
cancellation.  In one half of the runs the scope is cancelled when a task has just begun to wait, in the
other when a task is just about to go on, with what it waited for already in its hands.
"""

import functools
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from genesis_trio.errors import BreakerOpenError, GenesisError, RetryBudgetExhaustedError
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker, Window
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.pool import BreakerPool
from genesis_trio.policies.rate_limit import RateLimit
from genesis_trio.policies.retry import Retry
from policies.venue import Middle


class Cancel(trio.abc.Instrument):
    """Cancels *scope* at the *step*-th step of any task since it was armed."""

    def __init__(self, moment: str, step: int) -> None:
        self.moment, self.step, self.steps = moment, step, 0
        self.scope: trio.CancelScope | None = None
        self.fired = False

    def _count(self) -> None:
        if self.scope is not None and not self.fired:
            self.steps += 1
            if self.steps == self.step:
                self.fired = True
                self.scope.cancel()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.moment == "begins to wait":
            self._count()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.moment == "goes on":
            self._count()


class Place:
    """An outside place that takes time and does as it is told; it knows what reached it and when the caller gave up."""

    def __init__(self, cancel: Cancel, *script: Exception | float) -> None:
        self.cancel, self.script = cancel, script
        self.started = 0
        self.reached_after_cancel = 0
        self.succeeded = 0
        self.failed = 0

    async def __call__(self, *args: object) -> str:
        step = self.script[min(self.started, len(self.script) - 1)]
        self.started += 1
        await trio.lowlevel.checkpoint()
        # A call that begins in a cancelled scope ends at its first checkpoint: what comes here was really made.
        self.reached_after_cancel += self.cancel.fired
        await trio.sleep(step if isinstance(step, float) else 0.5)
        if isinstance(step, Exception):
            self.failed += 1
            raise step
        self.succeeded += 1
        return "ack"


Scenario = Callable[[Cancel], Awaitable[None]]


@pytest.fixture(params=["begins to wait", "goes on"])
def at_every_step(request):
    """Run a scenario once for each step at which it can be cancelled; the scenario arms and asserts."""

    def run(scenario: Scenario, at_least: int) -> None:
        step = 0
        while True:
            step += 1
            cancel = Cancel(request.param, step)
            trio.run(scenario, cancel, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[cancel])
            if not cancel.fired:
                break
            assert step < 2000
        assert step > at_least  # else this test has tested nothing

    return run


async def cancelled(cancel: Cancel, fn: Callable[..., Awaitable[object]], *args: object) -> bool:
    """Run ``fn(*args)`` in the scope that is cancelled; True if the cancellation came out of it."""
    with trio.CancelScope() as scope:
        cancel.scope = scope
        try:
            await fn(*args)
        except (OSError, GenesisError):
            pass
        finally:
            cancel.scope = None
    return scope.cancelled_caught


# ---------------------------------------------------------------- one policy at a time


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
                await Hedge(delay=1.0)._call(place, name="q")
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


# ---------------------------------------------------------------- guards on the path without a frame of their own


@pytest.mark.parametrize("named", [False, True], ids=["", "on=BreakerOpenError"])
@pytest.mark.parametrize("way", ["execute", "decorator", "last attempt too slow"])
def test_guard_of_retry_breaker_and_timeout_cancelled_anywhere_is_sound(at_every_step, way, named):
    """Attempts, waits and a timeout that fires: every attempt that began has ended, as it ended, and none follows."""

    async def scenario(cancel):
        slow = way == "last attempt too slow"
        place = Place(cancel, OSError("down"), OSError("down"), 5.0 if slow else 0.5)
        breaker = CircuitBreaker("venue", failure_threshold=50)
        retry = Retry((OSError, BreakerOpenError) if named else OSError, max_retries=2, base_delay=1.0, jitter="none")
        guard = Guard("venue", retry=retry, breaker=breaker, attempt_timeout=1.0)
        call = guard(place.__call__) if way == "decorator" else functools.partial(guard.execute, place)

        was_cancelled = await cancelled(cancel, call)

        counted, told = guard.statistics(), breaker.statistics()
        assert place.reached_after_cancel == 0
        assert counted.attempts == place.started
        assert (counted.calls, counted.cancelled) == (1, int(was_cancelled))
        assert counted.calls == counted.successes + counted.failures + counted.cancelled
        assert (told.successes, told.failures) == (place.succeeded, place.failed + counted.timeouts)
        assert (told.in_flight, told.cancellations) == (0, place.started - told.successes - told.failures)

    at_every_step(scenario, at_least=6)


# ---------------------------------------------------------------- guards with everything switched on


class Everything:
    """A guard with all policies, and what must hold for it after any cancellation."""

    def __init__(self, *, hedge: bool = True, needs: Capability = Capability.CANCEL, **settings: object) -> None:
        self.budget = RetryBudget()
        self.bulkhead = Bulkhead(2, max_waiting=10)
        self.limit = RateLimit(2, per=1.0, burst=4, reserve=1)
        self.breaker = CircuitBreaker("venue", failure_threshold=50, recovery_timeout=5.0, rng=Middle())
        if hedge:
            settings["hedge"] = Hedge(delay=1.0, budget=self.budget)
        self.guard = Guard(
            "everything",
            retry=Retry(OSError, max_retries=2, base_delay=0.5, jitter="none", budget=self.budget),
            breaker=self.breaker,
            bulkhead=self.bulkhead,
            rate_limit=self.limit,
            attempt_timeout=3.0,
            total_timeout=30.0,
            needs=needs,
            **settings,
        )

    async def assert_sound(self, place: Place, *, hedged: bool = True) -> None:
        guard, breaker = self.guard.statistics(), self.breaker.statistics()
        bulkhead, limit = self.bulkhead.statistics(), self.limit.statistics()
        assert (bulkhead.running, bulkhead.waiting, limit.waiting) == (0, 0, 0)
        assert (breaker.in_flight, breaker.probes_in_flight) == (0, 0)
        assert breaker.failures == place.failed + guard.timeouts
        assert breaker.successes == place.succeeded
        assert guard.calls == guard.successes + guard.failures + guard.cancelled + guard.rejected
        assert place.reached_after_cancel == 0
        # And it still works, with every place of the bulkhead.
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(self.guard.execute, trio.sleep, 0.5)
            await trio.testing.wait_all_tasks_blocked()
            assert self.bulkhead.statistics().running <= 2
        assert self.bulkhead.statistics().running == 0


@pytest.mark.parametrize(
    "script",
    [
        (0.5,),
        (OSError("down"), 0.5),
        (OSError("down"),),
        (2.5, 0.25),  # the copy wins
        (1.25, 2.0),  # the first one wins
        (9.0,),  # every copy times out
    ],
    ids=repr,
)
def test_guard_with_everything_cancelled_anywhere_is_sound(at_every_step, script):
    """No slot leaked, counters as the place has seen it, nothing retried, no permit left."""

    async def scenario(cancel):
        everything, place = Everything(), Place(cancel, *script)

        was_cancelled = await cancelled(cancel, everything.guard.execute, place, "o1")

        assert everything.guard.statistics().cancelled == was_cancelled
        await everything.assert_sound(place)

    at_every_step(scenario, at_least=4)


def test_guard_with_everything_in_a_crowd_cancelled_anywhere_is_sound(at_every_step):
    """Six callers in queues, attempts, delays and hedges, cancelled together."""

    async def scenario(cancel):
        everything, place = Everything(), Place(cancel, 0.5, OSError("down"), 2.0, 0.25, OSError("down"), 0.5)

        async def one():
            try:
                await everything.guard.execute(place)
            except (OSError, GenesisError):
                pass

        async def crowd():
            async with trio.open_nursery() as nursery:
                for _ in range(6):
                    nursery.start_soon(one)

        await cancelled(cancel, crowd)

        await everything.assert_sound(place)

    at_every_step(scenario, at_least=20)


def test_guard_with_everything_one_of_a_crowd_cancelled_anywhere_does_not_harm_the_others(at_every_step):
    """The others all end as if it had not been there: no lost place, no lost token, nobody asleep for ever."""

    async def scenario(cancel):
        everything, place, ended = Everything(), Place(cancel, 0.5), []
        others = Place(Cancel("never", 0), 0.5)

        async def one(name):
            await everything.guard.execute(others)
            ended.append(name)

        async with trio.open_nursery() as nursery:
            for n in range(3):
                nursery.start_soon(one, n)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(cancelled, cancel, everything.guard.execute, place)
            await trio.testing.wait_all_tasks_blocked()
            for n in range(3, 5):
                nursery.start_soon(one, n)

        assert sorted(ended) == list(range(5))
        breaker = everything.breaker.statistics()
        assert (breaker.successes, breaker.failures, breaker.in_flight) == (others.succeeded + place.succeeded, 0, 0)
        assert everything.bulkhead.statistics().running == 0

    at_every_step(scenario, at_least=10)


def test_guard_that_reconciles_cancelled_anywhere_sends_nothing_more(at_every_step):
    """A cancellation during the attempt, the look or the delay: the order is not sent again."""

    async def scenario(cancel):
        place = Place(cancel, OSError("lost"), OSError("lost"), 0.5)

        async def look(*args):
            await trio.sleep(0.25)
            return NOT_DONE

        everything = Everything(hedge=False, needs=Capability.OPEN, repeatable=False, reconcile=look)

        await cancelled(cancel, everything.guard.execute, place, "o1")

        await everything.assert_sound(place)

    at_every_step(scenario, at_least=8)


def test_guard_fallback_cancelled_anywhere_is_sound(at_every_step):
    """A cancelled call has no answer: the fallback is not begun after the cancellation, and can itself be cancelled."""

    async def scenario(cancel):
        place, answered_after = Place(cancel, OSError("down")), []

        async def cached(error, *args):
            await trio.lowlevel.checkpoint()
            answered_after.append(cancel.fired)
            await trio.sleep(0.5)
            return "cached"

        everything = Everything(hedge=False, fallback=cached)

        was_cancelled = await cancelled(cancel, everything.guard.execute, place)

        assert True not in answered_after
        assert everything.guard.statistics().cancelled == was_cancelled
        assert everything.bulkhead.statistics().running == 0

    at_every_step(scenario, at_least=8)


def test_guard_probe_cancelled_anywhere_with_everything_returns_its_slot(at_every_step):
    """Half open, with queues in front and a hedge within: after the cancellation the next call is the probe."""

    async def scenario(cancel):
        everything, place = Everything(), Place(cancel, 1.5, 2.0)
        await everything.guard.execute(trio.sleep, 0)
        everything.breaker.trip()
        await trio.sleep(5.0)

        await cancelled(cancel, everything.guard.execute, place)

        statistics = everything.breaker.statistics()
        assert statistics.state is BreakerState.HALF_OPEN  # two successes close it, and there was one at most
        assert (statistics.probes_in_flight, statistics.in_flight) == (0, 0)
        for _ in range(2):
            await everything.guard.execute(trio.sleep, 0.5)
        assert everything.breaker.state is BreakerState.CLOSED

    at_every_step(scenario, at_least=4)


class Connection:
    """A context manager that takes time to enter and to leave, and knows whether it is open."""

    def __init__(self, log: list[str], *failures: Exception) -> None:
        self.log, self.failures = log, list(failures)

    def __call__(self) -> "Connection":
        return self

    async def __aenter__(self) -> str:
        await trio.sleep(0.5)
        if self.failures:
            raise self.failures.pop(0)
        self.log.append("open")
        return "socket"

    async def __aexit__(self, *exc: object) -> None:
        self.log.append("closed")
        await trio.lowlevel.checkpoint()


def test_guard_connect_cancelled_anywhere_leaves_what_it_entered(at_every_step):
    """What was entered is left, exactly once; no place is held, and there is no outcome but that of an end."""

    async def scenario(cancel):
        everything, log, done = Everything(hedge=False), [], []

        async def use():
            async with everything.guard.connect(Connection(log, OSError("refused"))):
                await trio.sleep(1.0)
                done.append(not cancel.fired)

        was_cancelled = await cancelled(cancel, use)

        assert log in ([], ["open", "closed"])
        breaker, bulkhead = everything.breaker.statistics(), everything.bulkhead.statistics()
        assert (bulkhead.running, bulkhead.waiting, breaker.in_flight) == (0, 0, 0)
        assert breaker.failures <= 1
        assert breaker.successes <= len(done)
        guard = everything.guard.statistics()
        assert guard.calls == guard.successes + guard.failures + guard.cancelled + guard.rejected == 1
        if was_cancelled and not done:
            assert guard.cancelled == 1

    at_every_step(scenario, at_least=5)


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
