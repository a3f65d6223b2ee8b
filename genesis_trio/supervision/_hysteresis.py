"""From failing children to a mode, without missing trouble and without flapping.

A plain delay never fires on a signal that is bad for 0.9 s and well for 0.3 s; a plain threshold fires a
hundred times.  So each source of trouble has a store of patience that burns while it is bad
and refills at a quarter of that speed while it is well, and what was raised falls one step at a time, after
a time of being well that doubles when the mode comes back soon.
"""

import heapq
import itertools
import math
from collections import OrderedDict

from genesis_trio.modes import Mode, ModePolicy

__all__ = ["ModeMeter", "Source"]

#: What may be bad, by its name, and the mode that it demands while it is.
Source = tuple[str, Mode]

REFILL = 0.25
SLIVER = 1e-9  # rounding must not leave a rest of patience that no clock can wait out


class _Patience:
    """How much longer one source may be bad.  Times are of any one clock, in seconds.

    Attributes:
        bad: Whether it is, since its last turn.
        since: When that was.
        left: What was left then.
        in_line: It stands among those whose patience runs out.
    """

    __slots__ = ("bad", "in_line", "left", "since")

    def __init__(self, full: float, now: float) -> None:
        self.bad = False
        self.since = now
        self.left = full
        self.in_line = False

    @property
    def runs_out(self) -> float:
        return self.since + self.left

    def turn(self, now: float, full: float) -> None:
        passed = now - self.since
        # Never below zero: a long trouble is no debt that later, short ones would have to pay.
        self.left = max(0.0, self.left - passed) if self.bad else min(full, self.left + passed * REFILL)
        self.bad = not self.bad
        self.since = now


class ModeMeter:
    """The mode that a set of bad sources leads to, over time.

    It is told which sources turn, and looks at no others: of thousands that are bad, few turn at a time.
    """

    def __init__(self, policy: ModePolicy) -> None:
        self._policy = policy
        self._patience: dict[Source, _Patience] = {}
        self._bad = dict.fromkeys(Mode, 0)  # how many are, by the mode that they demand
        # Those that run out, the first one first, by the mode that they demand: only modes above the present one, which
        # nothing but patience keeps from rising.  A time here may be too early, where its source was well meanwhile.
        self._lines: dict[Mode, list[tuple[float, int, _Patience]]] = {mode: [] for mode in Mode}
        self._number = itertools.count()  # so that two of one time are never compared further
        # In the order in which they turned.  A dict would walk over the gaps of all that it forgot to find the first one.
        self._well: OrderedDict[Source, _Patience] = OrderedDict()
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

    def turn(self, now: float, source: Source, bad: bool) -> None:
        """Take note at *now* of whether *source* is bad; the mode changes at the next `update`."""
        full = self._policy.trigger_after
        patience = self._patience.get(source)
        if bad is (patience is not None and patience.bad):
            return
        if patience is None:
            patience = self._patience[source] = _Patience(full, now)
        patience.turn(now, full)
        mode = source[1]
        if bad:
            self._bad[mode] += 1
            self._well.pop(source, None)
            if mode > self.mode and not patience.in_line:
                patience.in_line = True
                heapq.heappush(self._lines[mode], (patience.runs_out, next(self._number), patience))
        else:
            self._bad[mode] -= 1
            self._well[source] = patience

    def update(self, now: float) -> Mode:
        """The mode at *now*."""
        self._forget_full(now)
        above = [mode for mode in Mode if mode > self.mode]
        demanded = [mode for mode in above if self._runs_out(mode) - now <= SLIVER]
        if demanded:
            self._rise(max(demanded), now)
        wakes_at = min((self._runs_out(mode) for mode in above if mode > self.mode), default=math.inf)
        if self.mode is not Mode.NORMAL:
            wakes_at = min(wakes_at, self._fall(now))
        self._wakes_at = wakes_at
        return self.mode

    def _runs_out(self, mode: Mode) -> float:
        """When the patience with something that demands *mode* runs out, at the earliest."""
        line = self._lines[mode]
        while line:
            at, _, patience = line[0]
            if not patience.bad:
                heapq.heappop(line)
                patience.in_line = False
            elif at < patience.runs_out:
                heapq.heapreplace(line, (patience.runs_out, next(self._number), patience))
            else:
                return at
        return math.inf

    def _forget_full(self, now: float) -> None:
        """Those that were well for so long that their patience is full are like those that were never bad."""
        refilled = now - self._policy.trigger_after / REFILL
        while self._well:
            source = next(iter(self._well))
            if self._well[source].since > refilled:
                return
            del self._well[source], self._patience[source]

    def _fall(self, now: float) -> float:
        """Fall by the steps that are due; when the next one is, if nothing turns."""
        worst = max((mode for mode, count in self._bad.items() if count), default=Mode.NORMAL)
        if worst >= self.mode:
            self._well_since = math.inf
            return math.inf
        self._well_since = min(self._well_since, now)
        while self.mode > worst and now - self._well_since >= self._hold_down - SLIVER:
            self.mode = Mode(self.mode - 1)
            self._has_fallen = True
            self._well_since = now if self.mode > worst else math.inf
            if self.mode is Mode.NORMAL:
                self._calm_since = now
        return self._well_since + self._hold_down

    def _rise(self, mode: Mode, now: float) -> None:
        policy = self._policy
        if self.mode is Mode.NORMAL and now - self._calm_since >= policy.max_recover_after:
            self._hold_down = policy.recover_after
        elif self._has_fallen:  # it comes back, also from SAFE; to rise from SAFE for the first time is no re-entry
            self._hold_down = min(policy.max_recover_after, self._hold_down * 2)
        self._has_fallen = False
        self.mode = mode
        self._well_since = math.inf
        for each in Mode:
            if each <= mode:  # what demands these is bad or well, and no longer in need of patience
                for _, _, patience in self._lines[each]:
                    patience.in_line = False
                self._lines[each].clear()
