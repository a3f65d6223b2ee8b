"""A moving quantile, as plain numbers."""

import math
from bisect import bisect_left, insort
from collections import deque


class MovingQuantile:
    """The *q*-quantile of the newest samples, once there are enough for it to mean something.

    By nearest rank: the least sample that at least the share *q* of them does not exceed.  The
    fewest samples that can tell it are ``1 / (1 - q)`` (100 for q=0.99), and never less than 20;
    ten times as many are kept.
    """

    __slots__ = ("_by_age", "_by_size", "_fewest", "_most", "_q")

    def __init__(self, q: float) -> None:
        self._q = q
        # Rounded first: 1 / (1 - 0.9) is a little more than 10.
        self._fewest = max(20, math.ceil(round(1.0 / (1.0 - q), 6)))
        self._most = 10 * self._fewest
        self._by_age: deque[float] = deque()
        self._by_size: list[float] = []

    def add(self, sample: float) -> None:
        """Take *sample* in, and forget the oldest when there are too many."""
        if len(self._by_age) == self._most:
            del self._by_size[bisect_left(self._by_size, self._by_age.popleft())]
        self._by_age.append(sample)
        insort(self._by_size, sample)

    def value(self) -> float | None:
        """The quantile, or None while there are too few samples."""
        count = len(self._by_size)
        if count < self._fewest:
            return None
        return self._by_size[max(0, math.ceil(round(self._q * count, 6)) - 1)]
