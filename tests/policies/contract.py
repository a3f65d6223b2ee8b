"""What the tests of the promises have in common."""

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    BreakerOpenError,
    BulkheadFullError,
)
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import NOT_DONE, Guard
from genesis_trio.policies.retry import Retry
from policies.venue import Middle, Venue

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def make(**settings) -> CircuitBreaker:
    """A breaker whose times are exact: no jitter on the break."""
    return CircuitBreaker("venue", **{"rng": Middle(), **settings})


async def succeed(breaker: CircuitBreaker, times: int = 1) -> None:
    for _ in range(times):
        assert await breaker.execute(Venue("ack")) == "ack"


async def fail(breaker: CircuitBreaker, times: int = 1, error: Exception | None = None) -> None:
    for _ in range(times):
        with pytest.raises(type(error) if error else OSError):
            await breaker.execute(Venue(error or OSError("down")))


async def is_rejected(breaker: CircuitBreaker) -> bool:
    """Ask with a call that is neither a success nor a failure when it is let through."""
    venue = Venue(BulkheadFullError("no outcome"))
    with pytest.raises((BreakerOpenError, BulkheadFullError)):
        await breaker.execute(venue)
    return venue.calls == 0


class Held:
    """A call through a breaker that stays in flight until it is told how to end."""

    def __init__(self, nursery: trio.Nursery, breaker: CircuitBreaker) -> None:
        self.breaker = breaker
        self.release = trio.Event()
        self.ended = trio.Event()
        self.scope = trio.CancelScope()
        self.result: object = None
        self.error: Exception | None = None
        self.began = False
        nursery.start_soon(self._run)

    async def _call(self) -> str:
        self.began = True
        await self.release.wait()
        if self.error is not None:
            raise self.error
        return "ack"

    async def _run(self) -> None:
        with self.scope:
            try:
                self.result = await self.breaker.execute(self._call)
            except Exception as error:
                self.result = error
        self.ended.set()

    async def end(self, error: Exception | None = None) -> None:
        self.error = error
        self.release.set()
        await self.ended.wait()

    async def cancel(self) -> None:
        self.scope.cancel()
        await self.ended.wait()


async def hold(nursery: trio.Nursery, breaker: CircuitBreaker) -> Held:
    held = Held(nursery, breaker)
    await trio.testing.wait_all_tasks_blocked()
    return held


KINDS = ["none", "additive", "full", "equal", "decorrelated"]


class VenueError(Exception):
    """What a layer of the user's makes of an OSError."""


def exact(on=OSError, **settings) -> Retry:
    """A retry without jitter, whose times are exact: 1, 2, 4 … seconds."""
    return Retry(on, **{"base_delay": 1.0, "jitter": "none", **settings})


def breaker_of(**settings) -> CircuitBreaker:
    """A breaker whose break has no jitter."""
    return CircuitBreaker("venue", **{"rng": Middle(), **settings})


async def occupy(bulkhead: Bulkhead, seconds: float) -> None:
    """Be in a bulkhead for a while, through a guard as any user would."""
    await Guard("occupier", bulkhead=bulkhead).execute(trio.sleep, seconds)


async def reconciled(*args, **kwargs):
    return NOT_DONE
