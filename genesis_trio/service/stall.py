"""How long the event loop stood still: from one look at the outside world to the next."""

import contextlib
from collections.abc import Iterator

import trio

from genesis_trio._runtime import is_virtual_clock

__all__ = ["StallMeter", "measure_stall", "stall_meter"]


class StallMeter(trio.abc.Instrument):
    """The longest time in which nothing but one round of ready tasks ran, so that nobody was heard.

    Two readings of Trio's clock a round, and nothing a message.  Under a virtual clock a round takes no time,
    and is not measured: the clock jumps within a round.

    Attributes:
        longest: Seconds, since it was installed.
    """

    def __init__(self) -> None:
        self.longest = 0.0
        self._began: float | None = None

    def after_io_wait(self, timeout: float) -> None:
        self._began = trio.current_time()

    def before_io_wait(self, timeout: float) -> None:
        if self._began is not None:
            self.longest = max(self.longest, trio.current_time() - self._began)


_METER: trio.lowlevel.RunVar[StallMeter | None] = trio.lowlevel.RunVar("genesis_trio.stall", None)


def stall_meter() -> StallMeter | None:
    """The meter of this run, or None while nothing is measured."""
    return _METER.get()


@contextlib.contextmanager
def measure_stall() -> Iterator[StallMeter]:
    """Measure while inside the block; blocks inside of it share the meter.

    Trio checkpoint: never.
    """
    meter = _METER.get()
    if meter is not None:
        yield meter
        return
    meter = StallMeter()
    _METER.set(meter)
    installed = not is_virtual_clock()
    if installed:
        trio.lowlevel.add_instrument(meter)
    try:
        yield meter
    finally:
        if installed:
            trio.lowlevel.remove_instrument(meter)
        _METER.set(None)
