"""What a signal does while a command is loaded: it ends the process at once, as nothing has begun.

Not by an exception: Python loses one that is raised in a callback of its import system, and the command would go on.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

__all__ = ["INTERRUPTED", "ended_by"]

INTERRUPTED = 130


@contextlib.contextmanager
def ended_by(*numbers: signal.Signals) -> Iterator[None]:
    """End the process at these signals while inside the block, unless somebody catches them there."""
    before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            # None: it was not Python that had installed it, and it cannot be given back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED if number == signal.SIGINT else 0)
