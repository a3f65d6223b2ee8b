"""The tasks of entry actions: beside the children, and waited for when they are gone."""

from collections.abc import Awaitable, Callable

import trio

from genesis_trio.modes import ModeScope
from genesis_trio.supervision._services import Services

__all__ = ["Entries"]


class Entries:
    """The entry actions of one supervisor's scope and of those below that run now.

    Args:
        services: Starts their tasks.
        fatal: Told of Ctrl-C and the like that comes out of one.
    """

    def __init__(self, services: Services, fatal: Callable[[BaseException], None]) -> None:
        self._services = services
        self._fatal = fatal
        self._running = 0
        self._ended = trio.Event()
        self._ended.set()

    def spawn(self, fn: Callable[[], Awaitable[None]], scope: ModeScope, name: str) -> None:
        """Run *fn*, which shields itself and keeps a time of its own, in the context of *scope*."""
        self._running += 1
        if self._ended.is_set():
            self._ended = trio.Event()

        async def run() -> None:
            try:
                await fn()
            except BaseException as error:  # noqa: ASYNC103 - raised by the supervisor
                # It answers for its own errors; what comes out is Ctrl-C or the like.
                self._fatal(error)
            finally:
                self._running -= 1
                if not self._running:
                    self._ended.set()

        self._services.spawn(run, scope, name)

    async def finished(self) -> None:
        """Wait until none runs."""
        while self._running:
            await self._ended.wait()
