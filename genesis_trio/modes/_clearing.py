"""The clock that clears causes which end by themselves.

One task per run serves every scope, also those that have no supervisor around them, and
ends when nothing is left to watch.  It is a system task because a cause may be held by
code that has no nursery to offer, and it outlives that code.
"""

import logging
from collections.abc import Callable
from typing import Protocol

import trio

logger = logging.getLogger("genesis_trio")

# A condition is an ordinary function that nobody can watch, so it is asked again and again.
# A tenth of a second is short against every hold-down and costs microseconds a second.
CONDITION_PERIOD = 0.1


class Clearing(Protocol):
    """A held cause with an end of its own."""

    due: float
    clears_when: Callable[[], bool] | None

    def cleared(self, by: str) -> None: ...


class Clock:
    """Watches every cause of one run that expires or clears when a condition holds."""

    def __init__(self) -> None:
        self._watched: dict[int, Clearing] = {}
        self._woken = trio.Event()
        self._running = False

    def watch(self, clearing: Clearing) -> None:
        """Begin to watch, in the order of the calls; watching twice is watching once."""
        self._watched[id(clearing)] = clearing
        self._woken.set()
        if not self._running:
            self._running = True
            trio.lowlevel.spawn_system_task(self._serve, name="genesis_trio mode clock")

    def forget(self, clearing: Clearing) -> None:
        """Stop to watch; nothing happens when it was not watched."""
        self._watched.pop(id(clearing), None)

    async def _serve(self) -> None:
        while self._watched:
            self._woken = trio.Event()
            now = trio.current_time()
            for clearing in list(self._watched.values()):
                if clearing.due <= now:
                    clearing.cleared("expired")
                elif clearing.clears_when is not None and self._holds(clearing):
                    clearing.cleared("condition")
            wakes = [clearing.due for clearing in self._watched.values()]
            if any(clearing.clears_when is not None for clearing in self._watched.values()):
                wakes.append(now + CONDITION_PERIOD)
            if wakes:
                with trio.move_on_at(min(wakes)):
                    await self._woken.wait()
        self._running = False

    def _holds(self, clearing: Clearing) -> bool:
        assert clearing.clears_when is not None
        try:
            return bool(clearing.clears_when())
        except Exception:
            # Fail closed: a broken condition never loosens anything.  Reported once, then only its expiry clears it.
            logger.exception("clears_when=%r failed and is not asked again; the cause stays held", clearing.clears_when)
            clearing.clears_when = None
            return False


_CLOCK: trio.lowlevel.RunVar[Clock] = trio.lowlevel.RunVar("genesis_trio.clearing")


def clearing_clock() -> Clock:
    """The clock of the current run."""
    try:
        return _CLOCK.get()
    except LookupError:
        clock = Clock()
        _CLOCK.set(clock)
        return clock
