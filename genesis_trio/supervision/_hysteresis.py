"""From failing children to a mode, without missing trouble and without flapping.

A plain delay never fires on a signal that is bad for 0.9 s and well for 0.3 s; a plain threshold fires a
hundred times.  So each source of trouble has a store of patience that burns while it is bad
and refills at a quarter of that speed while it is well, and what was raised falls one step at a time, after
a time of being well that doubles when the mode comes back soon.
"""

import math
from collections.abc import Mapping

from genesis_trio.modes import Mode, ModePolicy

__all__ = ["ModeMeter"]

REFILL = 0.25


class _Patience:
    """How much longer one source may be bad.  Times are of any one clock, in seconds.

    Reckoned where the source turns, not at each look: of a thousand that are bad, few turn at a time.

    Attributes:
        bad: Whether it is, since its last turn.
        since: When that was.
        left: What was left then.
    """

    __slots__ = ("bad", "left", "since")

    def __init__(self, full: float, now: float) -> None:
        self.bad = True
        self.since = now
        self.left = full

    def turn(self, bad: bool, now: float, full: float) -> None:
        passed = now - self.since
        # Never below zero: a long trouble is no debt that later, short ones would have to pay.
        self.left = max(0.0, self.left - passed) if self.bad else min(full, self.left + passed * REFILL)
        self.bad = bad
        self.since = now


class ModeMeter:
    """The mode that a set of bad sources leads to, over time."""

    def __init__(self, policy: ModePolicy) -> None:
        self._policy = policy
        self._patience: dict[str, _Patience] = {}
        self.mode = Mode.NORMAL
        self._well_since = -math.inf  # since when nothing is bad at the present mode
        self._hold_down = policy.recover_after
        self._has_fallen = False  # since it last rose
        self._calm_since = -math.inf  # since when the mode is NORMAL
        self._wakes_at = math.inf

    @property
    def wakes_at(self) -> float:
        """When the mode changes by time alone, at the earliest; infinity when only an update can change it."""
        return self._wakes_at

    @property
    def hold_down(self) -> float:
        """Seconds of being well before the mode falls by one step."""
        return self._hold_down

    @property
    def falls_at(self) -> float:
        """When it falls by one step if nothing more is bad; infinity while what is bad demands the present mode."""
        return self._well_since + self._hold_down if self.mode is not Mode.NORMAL else math.inf

    def update(self, now: float, bad: Mapping[str, Mode]) -> Mode:
        """Take note at *now* of the sources that are *bad*, each with the mode that it demands."""
        policy = self._policy
        full = policy.trigger_after
        for source in bad:
            if source not in self._patience:
                self._patience[source] = _Patience(full, now)
        demanded = Mode.NORMAL
        wakes_at = math.inf
        for source, patience in list(self._patience.items()):
            demands = bad.get(source)
            if patience.bad is (demands is None):
                patience.turn(demands is not None, now, full)
            if demands is None:
                if patience.left + (now - patience.since) * REFILL >= full:
                    del self._patience[source]
                continue
            runs_out = patience.since + patience.left
            # Rounding must not leave a sliver of patience that no clock can wait out.
            if runs_out - now <= 1e-9:
                demanded = max(demanded, demands)
            elif demands > self.mode and runs_out < wakes_at:
                wakes_at = runs_out
        if demanded > self.mode:
            self._rise(demanded, now)
        worst = max(bad.values(), default=Mode.NORMAL)
        if self.mode is Mode.NORMAL:
            self._wakes_at = wakes_at
            return self.mode
        if worst >= self.mode:
            self._well_since = math.inf
        else:
            self._well_since = min(self._well_since, now)
            while self.mode > worst and now - self._well_since >= self._hold_down - 1e-9:
                self.mode = Mode(self.mode - 1)
                self._has_fallen = True
                self._well_since = now if self.mode > worst else math.inf
                if self.mode is Mode.NORMAL:
                    self._calm_since = now
            if self.mode > worst:
                wakes_at = min(wakes_at, self._well_since + self._hold_down)
        self._wakes_at = wakes_at
        return self.mode

    def _rise(self, mode: Mode, now: float) -> None:
        policy = self._policy
        if self.mode is Mode.NORMAL and now - self._calm_since >= policy.max_recover_after:
            self._hold_down = policy.recover_after
        elif self._has_fallen:  # it comes back, also from SAFE; to rise from SAFE for the first time is no re-entry
            self._hold_down = min(policy.max_recover_after, self._hold_down * 2)
        self._has_fallen = False
        self.mode = mode
        self._well_since = math.inf
