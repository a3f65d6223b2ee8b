"""What a run looks like right now: read from a recorder while it is being filled."""

from genesis_trio.demo.harness.measure import SAMPLE, SILENCE, State, look
from genesis_trio.demo.harness.recorder import Recorder

__all__ = ["Glance"]


class Glance:
    """Samples one side of a market of *seconds* as time goes on, by the same rule as the measurement afterwards."""

    def __init__(self, recorder: Recorder, seconds: float) -> None:
        self.recorder = recorder
        self._seconds = seconds
        self.states: list[State] = []

    def advance(self, now: float) -> None:
        """Take the samples that are due at *now*."""
        opened = self.recorder.opened
        if opened is None:
            return
        ends = opened + self._seconds - SAMPLE / 2
        while (at := opened + SILENCE + len(self.states) * SAMPLE) <= min(now, ends):
            # The newest sign of life may be younger than the sample; for a look that does not matter.
            last = self.recorder.alive[-1] if self.recorder.alive else None
            self.states.append(State.VENUE_DOWN if self.recorder.venue_is_down else look(last, at))

    @property
    def state(self) -> State | None:
        """Of the newest sample; None before the opening."""
        return self.states[-1] if self.states else None

    @property
    def availability(self) -> float | None:
        """Share of the samples until now that were up, of those that count."""
        counted = [state for state in self.states if state is not State.VENUE_DOWN]
        return counted.count(State.UP) / len(counted) if counted else None
