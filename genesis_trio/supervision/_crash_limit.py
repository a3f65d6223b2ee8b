"""How many crashes of all children together a supervisor bears before it ends.  Plain numbers."""

from collections import deque

__all__ = ["CrashLimit"]


class CrashLimit:
    """The crashes of one supervisor's children.  Times are of any one clock, in seconds."""

    def __init__(self, escalate_after: int | None, within: float) -> None:
        self._escalate_after = escalate_after
        self._within = within
        self._crashes: deque[float] = deque()

    def is_passed(self, now: float) -> bool:
        """Count a crash; True if it is one too many.  Without a limit none is counted."""
        if self._escalate_after is None:
            return False
        crashes = self._crashes
        while crashes and crashes[0] <= now - self._within:
            crashes.popleft()
        crashes.append(now)
        return len(crashes) > self._escalate_after

    def in_words(self) -> str:
        return f"more than escalate_after={self._escalate_after} crashes of all children within {self._within:g} s"
