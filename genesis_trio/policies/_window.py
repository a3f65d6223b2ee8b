"""How many of the latest calls failed or were slow, as plain numbers."""

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import attrs

from genesis_trio.policies import _check

_DEFAULT_CALLS = 100
# Up to so many moments within a window of seconds each outcome expires at its own time.
_EXACT_MOMENTS = 1000
# So many are saved, each for the calls of a hundredth of the span.
_SAVED_MOMENTS = 100


@attrs.frozen(kw_only=True)
class Window:
    """Open a breaker at a ratio of the latest calls, instead of after so many failures in a row.

    Both ratios are inclusive, and judged after every call, as soon as there are *minimum_calls*.

    Args:
        failure_ratio: Failures among the calls of the window, more than 0 and at most 1.
        minimum_calls: Below so many calls in the window nothing opens the breaker.
        calls: The window holds so many of the latest calls; by default 100.
        seconds: It holds the calls that ended in the last so many seconds, instead.
        slow_ratio: Calls that took the breaker's ``slow_call`` seconds or more; those that are still running and
            as old count, too.  None looks at failures only.
    """

    failure_ratio: float = 0.5
    minimum_calls: int = 20
    calls: int | None = None
    seconds: float | None = None
    slow_ratio: float | None = None

    def __attrs_post_init__(self) -> None:
        _check_ratio("failure_ratio", self.failure_ratio)
        _check.whole("Window", "minimum_calls", self.minimum_calls, least=1)
        if self.slow_ratio is not None:
            _check_ratio("slow_ratio", self.slow_ratio)
        if self.seconds is not None:
            _check.number("Window", "seconds", self.seconds, above=0)
            if self.calls is not None:
                raise ValueError(
                    f"Window(calls={self.calls!r}, seconds={self.seconds!r}): a window has one span, give one of them"
                )
            return
        calls = _DEFAULT_CALLS if self.calls is None else _check.whole("Window", "calls", self.calls, least=1)
        if self.minimum_calls > calls:
            raise ValueError(
                f"Window(minimum_calls={self.minimum_calls!r}): a window of {calls} calls never holds so many; give calls= as well"
            )

    def make(self) -> "Outcomes":
        """An empty window of this kind."""
        if self.seconds is not None:
            return OutcomesOfSeconds(self.seconds)
        return OutcomesOfCalls(_DEFAULT_CALLS if self.calls is None else self.calls)

    def is_too_bad(self, totals: "Totals") -> str:
        """Why a breaker opens at these numbers; an empty string if it does not."""
        calls, failures, slow = totals
        if calls < self.minimum_calls:
            return ""
        # Divided, not multiplied: 0.07 * 100 is more than 7, while 7 / 100 is just the 0.07 that somebody wrote.
        if failures / calls >= self.failure_ratio:
            return f"{failures} of the last {calls} calls failed"
        if self.slow_ratio is not None and slow / calls >= self.slow_ratio:
            return f"{slow} of the last {calls} calls were slow"
        return ""


def _check_ratio(name: str, value: float) -> None:
    _check.number("Window", name, value, above=0)
    if value > 1:
        raise ValueError(f"Window({name}={value!r}): {name} must be more than 0 and at most 1")


class Totals(NamedTuple):
    """The numbers of a window."""

    calls: int
    failures: int
    slow: int


class Outcomes(Protocol):
    """What a window holds."""

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        """A call has ended."""

    def totals(self, now: float) -> Totals:
        """The calls in the window."""
        ...

    def saved(self, now: float) -> dict[str, list[Any]]:
        """What it holds, as plain values, with ages instead of times; of bounded size."""
        ...

    def take_over(self, saved: Mapping[str, Any], then: float) -> None:
        """Add what was `saved` at *then*; nothing if that was a window of the other kind."""


class OutcomesOfCalls:
    """The latest *size* calls."""

    __slots__ = ("_calls", "_failures", "_slow")

    def __init__(self, size: int) -> None:
        self._calls: deque[tuple[bool, bool]] = deque(maxlen=size)
        self._failures = 0
        self._slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        if len(self._calls) == self._calls.maxlen:
            was_failed, was_slow = self._calls[0]
            self._failures -= was_failed
            self._slow -= was_slow
        self._calls.append((failed, slow))
        self._failures += failed
        self._slow += slow

    def totals(self, now: float) -> Totals:
        return Totals(len(self._calls), self._failures, self._slow)

    def saved(self, now: float) -> dict[str, list[Any]]:
        return {"calls": [failed + 2 * slow for failed, slow in self._calls]}

    def take_over(self, saved: Mapping[str, Any], then: float) -> None:
        for call in saved.get("calls", ()):
            self.add(then, failed=bool(call & 1), slow=bool(call & 2))


class OutcomesOfSeconds:
    """The calls that ended less than *span* seconds ago.

    Memory is bounded: beyond 1000 different moments within the span, calls that ended less
    than a thousandth of it apart expire together, with the earliest of them.
    """

    __slots__ = ("_calls", "_failures", "_grain", "_moments", "_slow", "_span")

    def __init__(self, span: float) -> None:
        self._span = span
        self._grain = span / _EXACT_MOMENTS
        self._moments: deque[tuple[float, int, int, int]] = deque()  # (time, calls, failures, slow), by time
        self._calls = 0
        self._failures = 0
        self._slow = 0

    def add(self, now: float, *, failed: bool, slow: bool) -> None:
        self._expire(now)
        moments = self._moments
        if moments and now - moments[-1][0] <= (self._grain if len(moments) >= _EXACT_MOMENTS else 0.0):
            time, calls, failures, slows = moments.pop()
            moments.append((time, calls + 1, failures + failed, slows + slow))
        else:
            moments.append((now, 1, int(failed), int(slow)))
        self._calls += 1
        self._failures += failed
        self._slow += slow

    def totals(self, now: float) -> Totals:
        self._expire(now)
        return Totals(self._calls, self._failures, self._slow)

    def saved(self, now: float) -> dict[str, list[Any]]:
        self._expire(now)
        moments: list[list[Any]] = []
        for time, calls, failures, slow in self._moments:
            age = now - time
            if moments and moments[-1][0] - age < self._span / _SAVED_MOMENTS:
                moments[-1][1:] = moments[-1][1] + calls, moments[-1][2] + failures, moments[-1][3] + slow
            else:
                moments.append([age, calls, failures, slow])
        return {"moments": moments}

    def take_over(self, saved: Mapping[str, Any], then: float) -> None:
        for age, calls, failures, slow in saved.get("moments", ()):
            self._moments.append((then - age, calls, failures, slow))
            self._calls += calls
            self._failures += failures
            self._slow += slow

    def _expire(self, now: float) -> None:
        moments = self._moments
        while moments and now - moments[0][0] >= self._span:
            _, calls, failures, slow = moments.popleft()
            self._calls -= calls
            self._failures -= failures
            self._slow -= slow
