"""Circuit breakers by key: one for each venue, symbol or host, as many as there is room for."""

import weakref
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from genesis_trio.errors import BulkheadFullError
from genesis_trio.policies import _check
from genesis_trio.policies._breaker_records import BreakerState
from genesis_trio.policies._wrapping import name_of
from genesis_trio.policies.breaker import CircuitBreaker

T = TypeVar("T")


class BreakerPool:
    """Make a circuit breaker for each key when it is first asked for, and keep *max_size* of them::

        hosts = BreakerPool(lambda host: CircuitBreaker(f"quotes.{host}"), max_size=500)

        await guard.execute(hosts.execute, host, fetch, url)

    When there are too many, the one that was not asked for for the longest time goes, but only if it is *idle*: CLOSED,
    with no call in flight.  Those that have counted a failure go last.  One that is open, half open or switched by hand is
    never forgotten, or the next call would find it closed.  When none can go, a new key is refused.

    A breaker that somebody still holds, such as a guard, is found again under its key even after it has gone.

    Args:
        make: ``make(key)`` gives a new breaker; name it after the key.
        max_size: Breakers at most; keys often come from outside, and memory is not theirs to fill.

    State: the breakers' own, which belongs to the ``trio.run`` that uses them.
    """

    def __init__(self, make: Callable[[str], CircuitBreaker], *, max_size: int = 100) -> None:
        if not callable(make) or isinstance(make, CircuitBreaker):
            raise TypeError(
                f"BreakerPool(make=…) wants a function of the key that gives a CircuitBreaker, got {make!r}"
            )
        self._make = make
        self._max_size = _check.whole("BreakerPool", "max_size", max_size, least=1)
        self._kept: OrderedDict[str, CircuitBreaker] = OrderedDict()  # the one asked for last at the end
        self._gone: weakref.WeakValueDictionary[str, CircuitBreaker] = weakref.WeakValueDictionary()

    def get(self, key: str) -> CircuitBreaker:
        """The breaker of *key*.

        Raises:
            BulkheadFullError: it would be a new one, and there is no room: every breaker is open or in use.
            TypeError: *make* gave something else than a breaker.

        Trio checkpoint: never.
        """
        breaker = self._kept.get(key)
        if breaker is not None:
            self._kept.move_to_end(key)
            return breaker
        breaker = self._gone.get(key)
        if len(self._kept) >= self._max_size:
            self._spare(key)
        if breaker is None:
            breaker = self._make(key)
            if not isinstance(breaker, CircuitBreaker):
                raise TypeError(
                    f"BreakerPool(make={name_of(self._make)}) gave {breaker!r} for {key!r}, not a CircuitBreaker"
                )
        if len(self._kept) >= self._max_size:
            # Not before the new one is there: a make() that fails must not cost a breaker that has counted.
            spare = self._spare(key)
            self._gone[spare] = self._kept.pop(spare)
        self._kept[key] = breaker
        return breaker

    async def execute(self, key: str, fn: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run ``fn(*args, **kwargs)`` through the breaker of *key*; see `CircuitBreaker.execute`.

        Raises:
            BulkheadFullError: there is no room for a new breaker, and *fn* was not called.
            BreakerOpenError: the breaker let nothing through.
            Exception: what *fn* raises.

        Trio checkpoint: those of *fn*; none when it is rejected.
        Cancellation: passes through at once, and says nothing about the dependency.
        """
        return await self.get(key).execute(fn, *args, **kwargs)

    def _spare(self, newcomer: str) -> str:
        """The key whose breaker can go.

        Raises:
            BulkheadFullError: there is none.
        """
        spare: str | None = None
        for key, breaker in self._kept.items():
            now = breaker.statistics()
            if now.state is not BreakerState.CLOSED or now.in_flight:
                continue
            if not now.consecutive_failures:
                spare = key
                break
            spare = spare or key
        if spare is None:
            raise BulkheadFullError(
                f"no room for a circuit breaker of {newcomer!r}: all {self._max_size} of max_size={self._max_size} are "
                f"open or have calls in flight; call later, or raise max_size"
            )
        return spare

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._kept))

    def __repr__(self) -> str:
        return f"<BreakerPool {name_of(self._make)} {len(self._kept)} of {self._max_size}>"
