"""Requests: a message that wants one answer.

A request goes to one responder of its topic.  It is never part of a saved checkpoint: who asked is gone
when the process is.
"""

import math
from collections import deque
from collections.abc import AsyncIterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Generic, TypeVar

import trio

from genesis_trio.errors import GenesisError, MailboxFullError, NoResponderError, TotalTimeoutError
from genesis_trio.messaging._crashes import POISON_LIMIT
from genesis_trio.messaging.subscription import Reader
from genesis_trio.messaging.topic import Topic

__all__ = ["Request", "RequestQueue", "RequestReader"]

T = TypeVar("T")

#: Seconds that a request without a timeout waits while nobody answers: as long as a child may take to start by default.
PATIENCE = 30.0


class Request(Generic[T]):
    """One request in the hands of its responder; answer it once, now or from another task.

    Attributes:
        message: What was asked.
    """

    def __init__(self, message: T) -> None:
        self.message = message
        self._done = trio.Event()
        self._value: Any = None
        self._error: Exception | None = None
        self._abandoned = False
        self._is_begun = False
        self._crashes = 0
        self._asker = ""

    @property
    def is_open(self) -> bool:
        """True while somebody waits for the answer."""
        return not self._abandoned and not self._done.is_set()

    def reply(self, value: Any) -> None:
        """Answer with *value*.  Nothing happens when nobody waits any more.

        Raises:
            RuntimeError: it was answered before.

        Trio checkpoint: never.
        """
        self._answer()
        self._value = value

    def fail(self, error: Exception) -> None:
        """Answer by raising *error* in the task that asked.  Nothing happens when nobody waits any more.

        Raises:
            RuntimeError: it was answered before.
            TypeError: *error* is no `Exception`.

        Trio checkpoint: never.
        """
        if not isinstance(error, Exception):
            raise TypeError(f"fail() wants an exception, got {error!r}")
        self._answer()
        self._error = error

    def _answer(self) -> None:
        if self._done.is_set():
            raise RuntimeError(f"the request {self.message!r} was answered already; a request has one answer")
        self._done.set()


class RequestQueue:
    """The requests on one topic that wait for a responder.

    Attributes:
        capacity: How many may wait for a responder.
    """

    def __init__(self, topic: Topic[Any], cut_off: Mapping[str, AbstractSet[str]]) -> None:
        self.topic = topic
        self.capacity = 1024
        self._cut_off = cut_off  # of the whole bus, see `Bus.cut_off`
        self._waiting: deque[Request[Any]] = deque()
        #: Everything that waits for an answer, with how long it waits while nobody answers; None: it has a timeout of its own.
        self._asked: dict[Request[Any], trio.CancelScope | None] = {}
        #: Paths of children, each True while it answers or is between restarts, False once it left its block and lives on.
        self._responders: dict[str, bool] = {}
        self._readers = trio.lowlevel.ParkingLot()

    async def ask(self, message: Any, timeout: float | None, asker: str) -> Any:
        """Put *message* in, for the child at *asker*, and wait for its answer: at most *timeout* seconds; see `Context.request`.

        Trio checkpoint: always, unless it raises before it waits.
        Cancellation: the request is withdrawn.
        """
        if not isinstance(message, self.topic.message_type):
            raise TypeError(f"topic {self.topic.name!r} carries {self.topic.message_type.__name__}, got {message!r}")
        if len(self._waiting) >= self.capacity:
            raise MailboxFullError(
                f"{len(self._waiting)} requests on topic {self.topic.name!r} wait for an answer, which is its capacity",
                topic=self.topic.name,
            )
        request: Request[Any] = Request(message)
        request._asker = asker
        if self._cut_off and self._is_cut_off(asker):
            raise self._ends_first(request)
        scope = trio.CancelScope()
        if timeout is not None:
            scope.deadline = trio.current_time() + timeout
        elif not self._is_answered():
            scope.deadline = trio.current_time() + PATIENCE
        self._asked[request] = scope if timeout is None else None
        self._waiting.append(request)
        self.wake()
        try:
            with scope:
                await request._done.wait()
        finally:
            del self._asked[request]
            if not request._done.is_set():
                request._abandoned = True
                if request in self._waiting:
                    self._waiting.remove(request)
        if request._abandoned:
            raise self._nobody_answered(request, timeout)
        if request._error is not None:
            raise request._error
        return request._value

    def _nobody_answered(self, request: Request[Any], timeout: float | None) -> GenesisError:
        name = self.topic.name
        if timeout is None:
            return NoResponderError(
                f"nobody has answered requests on topic {name!r} for {PATIENCE:g} s; start a component that is in "
                f"`ctx.requests(...)` of that topic, or give `timeout=` to wait for one longer",
                topic=name,
                begun=request._is_begun,
            )
        responders = ", ".join(map(repr, self._responders))
        if request._is_begun:
            state = f"{responders} took it and gave no answer; `genesis why` shows where it waits"
        elif responders:
            state = f"{responders} did not come to it, and {len(self._waiting)} others wait; `genesis why` shows what it does"
        else:
            state = "nobody answers there; start a component that is in `ctx.requests(...)` of that topic"
        return TotalTimeoutError(f"no answer to a request on topic {name!r} within {timeout} s: {state}")

    # ------------------------------------------------------------ who answers

    def begin_to_answer(self, path: str) -> None:
        """The child at *path* answers from now on, also while it restarts, is parked or suspended."""
        self._responders[path] = True
        for patience in self._asked.values():
            if patience is not None:
                patience.deadline = math.inf

    def pause_answering(self, path: str) -> None:
        """The child at *path* left its block and lives on."""
        self._responders[path] = False
        self._lose_patience()

    def stop_answering(self, path: str, *, for_good: bool) -> None:
        """The child at *path* has ended; if that is *for_good* and it was the last one, everything that waits fails."""
        if self._responders.pop(path, None) is None:
            return
        if self._responders or not for_good:
            self._lose_patience()
            return
        self._waiting.clear()
        for request in self._asked:
            if request.is_open:
                request.fail(self._stopped(request, path))

    def fail_cut_off(self, asker: str) -> None:
        """What the child at *asker* waits for fails, if nobody can answer before it has ended."""
        if self._is_cut_off(asker):
            for request in self._asked:
                if request._asker == asker and request.is_open:
                    request.fail(self._ends_first(request))
            self._waiting = deque(request for request in self._waiting if request.is_open)

    def _is_cut_off(self, asker: str) -> bool:
        away = self._cut_off.get(asker)
        return away is not None and bool(self._responders) and self._responders.keys() <= away

    def _lose_patience(self) -> None:
        """If nobody answers, wait for somebody from now on, but not for ever."""
        if not self._is_answered():
            for patience in self._asked.values():
                if patience is not None and patience.deadline == math.inf:
                    patience.deadline = trio.current_time() + PATIENCE

    def _is_answered(self) -> bool:
        return any(self._responders.values())

    def _stopped(self, request: Request[Any], path: str) -> NoResponderError:
        return _no_answer(
            request, self.topic, f"{path!r}, the last one to answer requests on topic {self.topic.name!r}, was stopped"
        )

    def _ends_first(self, request: Request[Any]) -> NoResponderError:
        responders = ", ".join(map(repr, self._responders))
        return _no_answer(
            request,
            self.topic,
            f"requests on topic {self.topic.name!r} are answered by {responders}, and not before {request._asker!r} has "
            f"ended: they restart together",
        )

    def wake(self) -> None:
        """Make its responders look again."""
        self._readers.unpark_all()

    async def wait(self) -> None:
        """Wait until something is asked, or somebody calls `wake`."""
        await self._readers.park()

    def take(self) -> Request[Any] | None:
        """Hand out the first request, or None if there is none."""
        if not self._waiting:
            return None
        request = self._waiting.popleft()
        request._is_begun = True
        return request

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


def _no_answer(request: Request[Any], topic: Topic[Any], why: str) -> NoResponderError:
    begun = (
        "it had begun with this request, so look at what was done before you ask again"
        if request._is_begun
        else "it had not begun with this request"
    )
    return NoResponderError(f"{why}; {begun}", topic=topic.name, begun=request._is_begun)


class RequestReader(AsyncIterator[Request[T]]):
    """What a responder iterates over; it ends when the component is to stop."""

    def __init__(self, queue: RequestQueue, reader: Reader) -> None:
        self.queue = queue
        self._reader = reader
        self._taken: list[Request[T]] = []
        #: What ended its block, while the supervisor is still to say whether that was a crash.
        self.left_by: BaseException | None = None

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
                    self._reader.took_request()
                    return request
                await self.queue.wait()
        finally:
            self._reader.resume(self)

    def wake(self) -> None:
        """Make it look again: its component is to stop."""
        self.queue.wake()

    def close(self, error: BaseException | None) -> None:
        """The responder is gone."""
        self.queue.give_back(self._taken, error=error)
        self._taken = []
