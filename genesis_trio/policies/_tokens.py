"""Tokens over time, as plain numbers: what the retry budget and the rate limit calculate with.

Neither Trio nor a clock is imported; every method is told the time.  Both classes keep a
point in time instead of a level: a level that is topped up at each look collects a rounding
error per look, a point in time collects none by waiting.
"""

import math
from collections import deque

# One retry is a thousand million grains, so that the running sum of the deposits is a whole number and never drifts.
_GRAINS = 1_000_000_000
# A third of a retry, three times, is one retry: rounding may be off by this much, never by a call.
_SLACK = 1e-6
#: Within this many seconds it is the same moment: a clock that adds up its steps is off by less, every new start of a
#: count would keep that error, and who has slept for just the ``retry_after`` that he was told may wake so much too early.
MOMENT = 1e-9
# Up to so many moments of deposit in a window each one expires at its own time.
_EXACT_MOMENTS = 1000


class Deposits:
    """Tokens that expire *window* seconds after they were paid in.

    Memory is bounded: beyond 1000 different moments within the window, deposits less than a
    thousandth of it apart expire together, with the earliest of them, so that the total may
    fall short of the exact one for that long but never exceeds it.
    """

    __slots__ = ("_grain", "_moments", "_total", "_window")

    def __init__(self, window: float) -> None:
        self._window = window
        self._grain = window / _EXACT_MOMENTS
        self._moments: deque[tuple[float, int]] = deque()  # (time, grains), by time
        self._total = 0  # the sum of their grains

    def add(self, now: float, amount: float) -> None:
        """Pay in *amount* tokens."""
        grains = round(amount * _GRAINS)
        self._expire(now)
        moments = self._moments
        if moments and now - moments[-1][0] <= (self._grain if len(moments) >= _EXACT_MOMENTS else 0.0):
            time, earlier = moments[-1]
            moments[-1] = (time, earlier + grains)
        else:
            moments.append((now, grains))
        self._total += grains

    def available(self, now: float) -> float:
        """The tokens that have neither expired nor been taken."""
        self._expire(now)
        return self._total / _GRAINS

    def take(self, now: float, amount: float) -> float:
        """Take up to *amount* tokens, those that expire first, and return what was still missing."""
        self._expire(now)
        moments = self._moments
        wanted = round(amount * _GRAINS)
        taken = min(wanted, self._total)
        left = taken
        while left:
            time, grains = moments.popleft()
            if grains > left:
                moments.appendleft((time, grains - left))
                break
            left -= grains
        self._total -= taken
        return (wanted - taken) / _GRAINS

    def _expire(self, now: float) -> None:
        moments = self._moments
        while moments and now - moments[0][0] >= self._window:
            self._total -= moments.popleft()[1]


class Reserve:
    """Up to *capacity* tokens, full at first, refilled at *rate* tokens a second."""

    __slots__ = ("_capacity", "_full_at", "_rate")

    def __init__(self, capacity: float, rate: float) -> None:
        self._capacity = capacity
        self._rate = rate
        self._full_at = float("-inf")  # when it will be full, if nothing more is taken

    def available(self, now: float) -> float:
        """The tokens in the reserve."""
        return self._capacity - max(0.0, self._full_at - now) * self._rate

    def take(self, now: float, amount: float) -> None:
        """Take *amount* tokens, which the caller has seen to be there."""
        if amount > 0.0 and self._rate > 0.0:
            self._full_at = max(self._full_at, now) + amount / self._rate


class RetryTokens:
    """The sum of `Deposits` and a `Reserve`: a rolling window and a floor, after Finagle's retry budget."""

    __slots__ = ("_deposits", "_ratio", "_reserve")

    def __init__(self, *, ratio: float, floor_per_second: float, window: float) -> None:
        self._ratio = ratio
        self._deposits = Deposits(window)
        self._reserve = Reserve(floor_per_second * window, floor_per_second)

    def deposit(self, now: float) -> None:
        """A call was made."""
        if self._ratio:
            self._deposits.add(now, self._ratio)

    def available(self, now: float) -> float:
        """How many retries could be scheduled now; nine decimals, which is all that is meant."""
        return max(0.0, round(self._deposits.available(now) + self._reserve.available(now), 9))

    def take(self, now: float) -> bool:
        """Pay for one retry; False, and nothing taken, when there is not enough."""
        if self._deposits.available(now) + self._reserve.available(now) < 1.0 - _SLACK:
            return False
        # The deposits first: they expire, while the reserve only grows up to its capacity.
        self._reserve.take(now, self._deposits.take(now, 1.0))
        return True


class Bucket:
    """A token bucket of *burst* tokens, full at first, that gains *calls* tokens every *per* seconds.

    It is the generic cell rate algorithm (ITU-T I.371) with its "theoretical arrival time" kept
    as a start and a count, ``start + count * per / calls``: one multiplication and one division
    however long the bucket has been in use, so that no error adds up.
    """

    __slots__ = ("_calls", "_count", "_per", "_start", "burst")

    def __init__(self, *, calls: int, per: float, burst: int) -> None:
        self._calls = calls
        self._per = per
        self.burst = burst
        self._start = float("-inf")  # when the bucket was full for the last time
        self._count = 0  # tokens taken since

    def ready_at(self, keep: int) -> float:
        """When one token can be taken while *keep* stay behind, if nobody else takes any."""
        return self._start + (self._count + 1 + keep - self.burst) * self._per / self._calls

    def take(self, now: float, keep: int) -> bool:
        """Take one token and leave at least *keep*; False, and nothing taken, when there are too few."""
        if now > self._start + self._count * self._per / self._calls + MOMENT:
            self._start, self._count = now, 0
        if self.ready_at(keep) - now > MOMENT:
            return False
        self._count += 1
        return True

    def give_back(self) -> None:
        """Put back one token that was taken in this very moment and not used."""
        self._count -= 1

    def available(self, now: float) -> int:
        """The whole tokens in the bucket."""
        if not self._count:
            return self.burst
        gained = math.floor((now - self._start) * self._calls / self._per + _SLACK)
        return min(self.burst, self.burst - self._count + gained)
