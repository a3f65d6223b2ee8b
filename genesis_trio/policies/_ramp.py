"""Let a growing share of the calls through, as plain numbers."""

import math

# The share at the beginning.
_FROM = 0.1


class Ramp:
    """From a tenth of the calls to all of them, in *seconds*, after which it is over.

    The share is spread evenly, without chance: each caller brings it as credit, and a whole one is a call.
    """

    __slots__ = ("_began", "_credit", "_seconds", "ends")

    def __init__(self, seconds: float, began: float) -> None:
        self._seconds = seconds
        self._began = began
        self._credit = 1.0
        self.ends = began + seconds

    def lets_through(self, now: float) -> bool:
        """Whether the call that asks at *now* is one of those that pass."""
        self._credit += _FROM + (1.0 - _FROM) * (now - self._began) / self._seconds
        if self._credit < 1.0:
            return False
        self._credit -= 1.0
        return True


#: Of a breaker that has none: over for ever.
NO_RAMP = Ramp(1.0, -math.inf)
