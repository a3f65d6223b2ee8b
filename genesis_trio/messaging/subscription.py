"""The reading side of a mailbox: what a component iterates over."""

from collections.abc import AsyncIterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import trio

from genesis_trio._runtime import current_run
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.messaging.topic import MailboxStatistics, Timer

__all__ = ["Reader", "Subscription"]

T = TypeVar("T")


class Reader(Protocol):
    """The incarnation that reads, as far as a subscription knows it."""

    @property
    def stopping(self) -> bool:
        """True once it is to end: it gets no further message."""
        ...

    def rest(self, subscription: object) -> None:
        """It asks for its next message: its state is whole, and it has made progress."""

    def resume(self, subscription: object) -> None:
        """It got one, or was cancelled."""

    def took_request(self) -> None:
        """It has a request in hand."""


class Subscription(Generic[T]):
    """One inbox for one or several topics; iterate over it, or over `batches`.

    A message is in hand from its delivery until the reader asks for the next one, or leaves the block of the
    subscription normally.  If the reader crashes, what is in hand comes again; what crashes it three times goes
    to `dead_letters`.  ``break`` asks for nothing: what follows in the block still belongs to the message.
    Iteration ends when the component is to stop, after the message in hand.
    """

    def __init__(self, mailbox: Mailbox, reader: Reader, *, every: float | None) -> None:
        self._mailbox = mailbox
        self._reader = reader
        self._every = every
        self._due = trio.current_time() + every if every is not None else None
        self._busy = False

    def __repr__(self) -> str:
        return f"<Subscription to {self._mailbox.key}>"

    @property
    def dead_letters(self) -> Sequence[T]:
        """Messages that crashed their reader three times, oldest first."""
        return tuple(self._mailbox.dead_letters)

    def statistics(self) -> MailboxStatistics:
        """What the mailbox has seen.

        Trio checkpoint: never.
        """
        return self._mailbox.statistics()

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> T:
        """The next message, or a `Timer`.

        Raises:
            trio.BusyResourceError: another task waits for the next one.

        Trio checkpoint: always.
        Cancellation: passes; no message is lost.
        """
        timer = await self._wait()
        if timer is not None:
            return cast("T", timer)
        return cast("T", self._mailbox.take_one())

    def batches(self, max_size: int | None = None) -> AsyncIterator[Sequence[T]]:
        """Iterate over all that waits, at most *max_size* at a time; a `Timer` stands first in its batch.

        One Trio checkpoint for a whole batch makes a pipeline cost about what plain calls cost.
        After a crash the batch in hand comes back one by one, and the first of it that crashes alone has crashed twice:
        so a poison message costs three restarts, in a batch or not.

        Raises:
            TypeError: *max_size* is no whole number.
            ValueError: *max_size* is below 1.

        Trio checkpoint: never; always for each batch.
        Cancellation: while it waits for a batch it passes, and no message is lost.
        """
        if max_size is not None and (isinstance(max_size, bool) or not isinstance(max_size, int)):
            raise TypeError(f"max_size is a number of messages, or None, got {max_size!r}")
        if max_size is not None and max_size < 1:
            raise ValueError(f"max_size is at least 1, or None, got {max_size!r}")
        return _Batches(self, max_size)

    async def _wait(self) -> Timer | None:
        """Settle what was in hand, and wait until there is a message (None) or a timer is due."""
        if self._busy:
            raise trio.BusyResourceError(
                f"another task is waiting for the next message of {self!r}; open one for each task"
            )
        mailbox, reader = self._mailbox, self._reader
        mailbox.settle()
        self._busy = True
        reader.rest(self)
        try:
            if len(mailbox) or self._due is not None or reader.stopping:
                await trio.lowlevel.checkpoint()  # otherwise it waits below, which is one
            while True:
                if reader.stopping:
                    raise StopAsyncIteration
                if self._due is not None and trio.current_time() >= self._due:
                    return self._tick()
                if len(mailbox):
                    return None
                if self._due is None:
                    await mailbox.wait()
                else:
                    with trio.move_on_at(self._due):
                        await mailbox.wait()
        finally:
            self._busy = False
            reader.resume(self)

    def _tick(self) -> Timer:
        assert self._due is not None
        assert self._every is not None
        late = trio.current_time() - self._due
        due = self._due + (late // self._every) * self._every
        self._due = due + self._every
        return Timer(current_run().wall_time(due))


class _Batches(AsyncIterator[Sequence[Any]]):
    def __init__(self, subscription: Subscription[Any], max_size: int | None) -> None:
        self._subscription = subscription
        self._max_size = max_size

    def __aiter__(self) -> "_Batches":
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Sequence[Any]:
        subscription = self._subscription
        timer = await subscription._wait()
        taken = subscription._mailbox.take(self._max_size)
        return [timer, *taken] if timer is not None else taken
