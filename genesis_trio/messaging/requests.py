"""Requests: a message that wants one answer.

A request goes to one responder of its topic.  It is never part of a saved checkpoint: who asked is gone
when the process is.
"""

from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar

import trio

from genesis_trio.errors import GenesisError, MailboxFullError, TotalTimeoutError
from genesis_trio.messaging.mailbox import POISON_LIMIT
from genesis_trio.messaging.subscription import Reader
from genesis_trio.messaging.topic import Topic

__all__ = ["Request", "RequestQueue", "RequestReader"]

T = TypeVar("T")


class Request(Generic[T]):
    """One request in the hands of its responder; answer it once, now or from another task."""

    def __init__(self, message: T) -> None:
        self.message = message
        self._done = trio.Event()
        self._value: Any = None
        self._error: Exception | None = None
        self._abandoned = False
        self._crashes = 0

    @property
    def is_open(self) -> bool:
        """True while somebody waits for the answer."""
        return not self._abandoned and not self._done.is_set()

    def reply(self, value: Any) -> None:
        """Answer with *value*.  Nothing happens when nobody waits any more.

        Raises:
            RuntimeError: it was answered before.
        """
        self._answer()
        self._value = value

    def fail(self, error: Exception) -> None:
        """Answer by raising *error* in the task that asked."""
        if not isinstance(error, Exception):
            raise TypeError(f"fail() wants an exception, got {error!r}")
        self._answer()
        self._error = error

    def _answer(self) -> None:
        if self._done.is_set():
            raise RuntimeError(f"the request {self.message!r} was answered already; a request has one answer")
        self._done.set()


class RequestQueue:
    """The requests on one topic that wait for a responder."""

    def __init__(self, topic: Topic[Any]) -> None:
        self.topic = topic
        self.capacity = 1024
        self._waiting: deque[Request[Any]] = deque()
        self._readers = trio.lowlevel.ParkingLot()

    async def ask(self, message: Any, timeout: float | None) -> Any:
        """Put *message* in and wait for its answer."""
        if not isinstance(message, self.topic.message_type):
            raise TypeError(f"topic {self.topic.name!r} carries {self.topic.message_type.__name__}, got {message!r}")
        if len(self._waiting) >= self.capacity:
            raise MailboxFullError(
                f"{len(self._waiting)} requests on topic {self.topic.name!r} wait for an answer, which is its capacity"
            )
        request: Request[Any] = Request(message)
        self._waiting.append(request)
        self.wake()
        try:
            if timeout is None:
                await request._done.wait()
            else:
                with trio.CancelScope(relative_deadline=timeout):
                    await request._done.wait()
        finally:
            if not request._done.is_set():
                request._abandoned = True
                if request in self._waiting:
                    self._waiting.remove(request)
        if request._abandoned:
            raise TotalTimeoutError(
                f"no answer to a request on topic {self.topic.name!r} within {timeout} s; is a component in "
                f"`ctx.requests({self.topic.name!r})`?"
            )
        if request._error is not None:
            raise request._error
        return request._value

    def wake(self) -> None:
        self._readers.unpark_all()

    async def wait(self) -> None:
        await self._readers.park()

    def take(self) -> Request[Any] | None:
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, requests: list[Request[Any]], *, error: BaseException | None) -> None:
        """A responder is gone: what it took and did not answer comes again, unless it crashed it three times."""
        for request in reversed(requests):
            if not request.is_open:
                continue
            if error is not None:
                request._crashes += 1
                if request._crashes >= POISON_LIMIT:
                    failure = GenesisError(
                        f"the request {request.message!r} on topic {self.topic.name!r} crashed its responder {POISON_LIMIT} times"
                    )
                    failure.__cause__ = error
                    request.fail(failure)
                    continue
            self._waiting.appendleft(request)
        self.wake()


class RequestReader(AsyncIterator[Request[T]]):
    """What a responder iterates over; it ends when the component is to stop."""

    def __init__(self, queue: RequestQueue, reader: Reader) -> None:
        self.queue = queue
        self._reader = reader
        self._taken: list[Request[T]] = []

    def __aiter__(self) -> "RequestReader[T]":
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Request[T]:
        """The next request.

        Trio checkpoint: always.
        Cancellation: passes; no request is lost.
        """
        self._taken = [request for request in self._taken if request.is_open]
        self._reader.rest(self)
        try:
            await trio.lowlevel.checkpoint()
            while True:
                if self._reader.stopping:
                    raise StopAsyncIteration
                request = self.queue.take()
                if request is not None:
                    self._taken.append(request)
                    return request
                await self.queue.wait()
        finally:
            self._reader.resume(self)

    def wake(self) -> None:
        self.queue.wake()

    def close(self, error: BaseException | None) -> None:
        """The responder is gone."""
        self.queue.give_back(self._taken, error=error)
        self._taken = []
