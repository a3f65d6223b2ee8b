"""SIGINT and SIGTERM of a service: caught before anything is opened, heard until everything is closed.

Trio's own receiver lives inside a run, so a signal before it or after it would be a KeyboardInterrupt somewhere
in the middle of things.  Here one pair of handlers stands for the whole time:

- a signal is only noted, and whoever waits in `wait` hears of it;
- when the loop has not heard of an earlier SIGINT for `DEAF` seconds, something blocks it, and the next SIGINT is a
  KeyboardInterrupt in that very code: the one way to get rid of it without ``kill -9``.
"""

import contextlib
import math
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import trio

__all__ = ["StopSignals"]

DEAF = 1.0


class StopSignals:
    """The signals that ask a process to stop, in the order in which they came.

    Outside of the main thread it does nothing: Python delivers signals to the main thread only, and whoever owns
    that one stops us.
    """

    def __init__(self) -> None:
        self.received: list[signal.Signals] = []
        #: Called in the handler itself, also while nothing else is heard.
        self.on_arrival: Callable[[], None] | None = None
        self._token: trio.lowlevel.TrioToken | None = None
        self._changed: trio.Event | None = None
        self._unheard_since = math.inf

    @property
    def interrupted(self) -> bool:
        """True if the first signal was Ctrl-C."""
        return self.received[:1] == [signal.SIGINT]

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Catch both signals inside the block; the handlers that were there before come back after it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[signal.Signals, Any] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                before[number] = signal.getsignal(number)
                signal.signal(number, self._arrived)
            yield
        finally:
            for number, handler in before.items():
                # None: it was not Python that had installed it, and it cannot be given back.
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """Let the running ``trio.run`` hear of signals inside the block."""
        self._changed = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        try:
            yield
        finally:
            self._token = None

    async def wait(self, count: int) -> None:
        """Wait for the *count*-th signal.

        Trio checkpoint: only if it has to wait.
        """
        while len(self.received) < count:
            assert self._changed is not None, "wait() is for inside of heard()"
            await self._changed.wait()

    def _arrived(self, number: int, frame: FrameType | None) -> None:
        self.received.append(signal.Signals(number))
        if self.on_arrival is not None:
            self.on_arrival()
        if self._token is not None:
            self._pass_on(self._token, number)

    def _pass_on(self, token: trio.lowlevel.TrioToken, number: int) -> None:
        now = trio.current_time()
        deaf = now - self._unheard_since >= DEAF
        self._unheard_since = min(self._unheard_since, now)
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(self._hear)
        # Not inside of Trio or of our own bookkeeping, which would not survive it.
        if deaf and number == signal.SIGINT and not trio.lowlevel.currently_ki_protected():
            raise KeyboardInterrupt

    def _hear(self) -> None:
        self._unheard_since = math.inf
        assert self._changed is not None
        self._changed.set()
        self._changed = trio.Event()
