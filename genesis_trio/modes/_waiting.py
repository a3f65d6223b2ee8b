"""Reacting to a mode: waiting for one, seeing every change, being cancelled by one."""

import contextlib
import inspect
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Protocol

import trio

from genesis_trio._members import check_member
from genesis_trio.modes._values import Mode

__all__ = ["Changes", "Watchable", "cancelled_when", "wait_for"]


class Watchable(Protocol):
    """A scope, as far as those who wait for its mode know it."""

    @property
    def path(self) -> str: ...

    @property
    def mode(self) -> Mode: ...

    def watch(self, watcher: Callable[[Mode], None]) -> Callable[[], None]:
        """Call *watcher* in the step of every change of the mode; what is returned ends that."""
        ...


async def wait_for(scope: Watchable, predicate: Callable[[Mode], bool]) -> Mode:
    """See `ModeScope.wait_for`."""
    if not callable(predicate):
        raise TypeError(
            f"wait_for() wants a function of the mode, as in lambda mode: mode is Mode.NORMAL, got {predicate!r}"
        )
    if inspect.iscoroutinefunction(predicate):
        raise TypeError(f"wait_for() wants a plain function of the mode, which decides at once; {predicate!r} is async")
    found: list[Mode] = []
    failed: list[Exception] = []
    arrived = trio.Event()

    def judge(mode: Mode) -> None:
        if arrived.is_set():
            return
        try:
            if predicate(mode):
                found.append(mode)
                arrived.set()
        except Exception as error:
            # It is judged in the task of whoever holds a cause, who has nothing to do with it.
            failed.append(error)
            arrived.set()

    mode = scope.mode
    if predicate(mode):
        await trio.lowlevel.checkpoint()
        return mode
    unwatch = scope.watch(judge)
    try:
        await arrived.wait()
    finally:
        unwatch()
    if failed:
        raise failed.pop()
    return found[0]


@contextlib.contextmanager
def cancelled_when(scope: Watchable, mode: Mode) -> Iterator[trio.CancelScope]:
    """See `ModeScope.cancel_when`."""
    check_member("mode", mode, Mode)
    with trio.CancelScope() as cancelled:

        def judge(now: Mode) -> None:
            if now >= mode:
                cancelled.cancel(reason=f"the mode of {scope.path!r} is {now.name}")

        judge(scope.mode)
        unwatch = scope.watch(judge)
        try:
            yield cancelled
        finally:
            unwatch()


class Changes(AsyncIterator[Mode]):
    """The iterator of `ModeScope.changes`.  The scope knows it weakly, so an abandoned one goes away by itself."""

    def __init__(self, scope: Watchable) -> None:
        self._seen: deque[Mode] = deque()
        self._arrived = trio.Event()
        itself = weakref.ref(self)

        def remember(mode: Mode) -> None:
            changes = itself()
            if changes is None:
                unwatch()
            else:
                changes._seen.append(mode)
                changes._arrived.set()

        unwatch = scope.watch(remember)
        weakref.finalize(self, unwatch)

    def __aiter__(self) -> "Changes":
        return self

    async def __anext__(self) -> Mode:
        await trio.lowlevel.checkpoint()
        while not self._seen:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._seen.popleft()
