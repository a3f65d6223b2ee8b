"""Cancel a guard at every Trio checkpoint, as `test_cancellation` does with one policy at a time."""

import functools

import pytest
import trio
import trio.testing

from genesis_trio.errors import BreakerOpenError, GenesisError
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from genesis_trio.policies.retry import Retry
from policies.every_step import Cancel, Place, cancelled
from policies.venue import Middle

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
