"""A small HTTP/1.1 server for one connection: h11 does the protocol, the caller's nursery the rest.

::

    async def answer(request: Request) -> Response:
        return Response(body=b"alive\\n")

    await trio.serve_tcp(partial(serve_connection, answer), 9100, host="127.0.0.1")

It works over any Trio stream, so a memory stream and a virtual clock serve in tests.  An answer carries no
``Date``: two runs of one seed send the same bytes.
"""

import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import attrs
import trio

from genesis_trio.errors import ConfigError

__all__ = ["Handler", "Request", "Response", "load_h11", "serve_connection"]

logger = logging.getLogger("genesis_trio")

CHUNK = 65536
# After a refusal the rest of the request is read for so long, and so much of it: a socket that is closed with
# unread bytes in it is reset, and the client would see that instead of our answer.
LINGER = 1.0
LINGER_BYTES = 16 * 2**20
PHRASES = {status.value: status.phrase for status in HTTPStatus}
# What h11 works out from the body; a handler that gives its own would make the two disagree.
FRAMING = ("content-length", "transfer-encoding")


@attrs.frozen
class Request:
    """What the client asked for.

    Attributes:
        method: ``GET``, ``POST``, as sent.
        path: Without the query; percent escapes are decoded.
        query: Of a key that is given twice, the last value.
        headers: With lower-case names; of a name that is given twice, the values joined by commas.
        body: All of it.
    """

    method: str
    path: str
    query: Mapping[str, str] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)
    body: bytes = b""


@attrs.frozen
class Response:
    """What it gets; the length is worked out from *body*, and *headers* come on top."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = attrs.field(factory=dict)


Handler = Callable[[Request], Awaitable[Response | None]]
OnError = Callable[[Request, Exception], None]


class _RefusedError(Exception):
    """The request is not one we serve; the connection ends after the answer."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def load_h11() -> ModuleType:
    """The package that does the protocol.

    Raises:
        ConfigError: it is not installed; names the extra that brings it.
    """
    try:
        import h11
    except ImportError as error:
        raise ConfigError(
            "serving HTTP needs the package h11; install it with: pip install 'genesis_trio[web]'"
        ) from error
    return h11


def _log_error(request: Request, error: Exception) -> None:
    logger.error("the handler of %s %s failed; the client got status 500", request.method, request.path, exc_info=error)


async def serve_connection(
    handler: Handler,
    stream: trio.abc.Stream,
    *,
    on_error: OnError = _log_error,
    max_header_size: int = 16384,
    max_body_size: int = 2**20,
    timeout: float = math.inf,
) -> None:
    """Answer the requests that arrive on *stream*, one after the other, and close it at the end.

    The connection ends when the client wants it to, hangs up, or sends what is no HTTP (400), a head that is too
    large (431) or a body that is too large (413).  What a client does is never an error here: this returns.

    Args:
        handler: Called with each `Request`.  None from it closes the connection without an answer.  An exception
            becomes an answer of status 500, and goes to *on_error*.
        stream: Any stream; it is closed in every case.
        on_error: Sees what *handler* raised; as it is, it writes to the log of ``genesis_trio``.
        max_header_size: Bytes of the request line and the headers together.
        max_body_size: Bytes of the body.
        timeout: Seconds that a client may take to send one request in whole, the wait for its first byte included,
            and to take one answer; then the connection is closed.  Infinity: as long as it likes.

    Raises:
        ConfigError: h11 is not installed.

    Trio checkpoint: always.
    Cancellation: the stream is closed at once; a handler that is under way is cancelled.
    """
    try:
        async with stream:
            connection = _Connection(load_h11(), stream, max_header_size, max_body_size, timeout)
            while await _serve_one(handler, connection, on_error):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the client hung up; there is nobody to tell


async def _serve_one(handler: Handler, connection: "_Connection", on_error: OnError) -> bool:
    """Serve one request; whether another may follow on this connection."""
    try:
        request = await connection.receive()
    except _RefusedError as refused:
        await connection.refuse(refused.status)
        return False
    if request is None:
        return False
    try:
        response = await handler(request)
        head = None if response is None else connection.head_of(response)
    except Exception as error:
        _report(on_error, request, error)
        response = _say(500)
        head = connection.head_of(response)
    return response is not None and await connection.send(head, response.body)


def _say(status: int, **headers: str) -> Response:
    return Response(status, f"{status} {PHRASES.get(status, '')}\n".encode(), headers=headers)


def _report(on_error: OnError, request: Request, error: Exception) -> None:
    try:
        on_error(request, error)
    except Exception:
        logger.exception("the hook for errors of an HTTP handler failed")


class _Connection:
    """h11's state of one connection, and the stream below it."""

    def __init__(
        self, h11: ModuleType, stream: trio.abc.Stream, max_header_size: int, max_body_size: int, timeout: float
    ) -> None:
        self._h11 = h11
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=max_header_size)
        self._stream = stream
        self._max_header_size = max_header_size
        self._max_body_size = max_body_size
        self._timeout = timeout
        self._method = b""

    async def receive(self) -> Request | None:
        """The next request, or None when there is none to come."""
        with trio.move_on_after(self._timeout):
            head = await self._next_event()
            if not isinstance(head, self._h11.Request):
                return None
            self._method = head.method
            request = self._read_head(head)
            return attrs.evolve(request, body=await self._receive_body(request.headers))
        return None

    def _read_head(self, head: Any) -> Request:
        size = len(head.target) + sum(len(name) + len(value) for name, value in head.headers)
        if size > self._max_header_size:
            raise _RefusedError(431)
        if head.method == b"CONNECT":
            raise _RefusedError(405)  # no proxy: the answer's framing would be another one
        path, query = _split_target(head.target.decode("ascii"))
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return Request(head.method.decode("ascii"), path, query, headers)

    async def _receive_body(self, headers: Mapping[str, str]) -> bytes:
        # h11 has seen to it that a given length is a number.
        if int(headers.get("content-length", "0")) > self._max_body_size:
            raise _RefusedError(413)
        body = bytearray()
        while True:
            if self._protocol.they_are_waiting_for_100_continue:
                await self._send(self._h11.InformationalResponse(status_code=100, headers=[]))
            event = await self._next_event()
            if isinstance(event, self._h11.EndOfMessage):
                return bytes(body)
            body += event.data
            if len(body) > self._max_body_size:
                raise _RefusedError(413)

    async def _next_event(self) -> Any:
        while True:
            try:
                event = self._protocol.next_event()
            except self._h11.RemoteProtocolError as error:
                if self._protocol.trailing_data[1]:
                    raise trio.BrokenResourceError("the client hung up within a request") from error
                raise _RefusedError(error.error_status_hint) from error
            if event is not self._h11.NEED_DATA:
                return event
            self._protocol.receive_data(await self._stream.receive_some(CHUNK))

    def head_of(self, response: Response) -> Any:
        """The head of *response*, judged before a byte of it is sent."""
        if not isinstance(response, Response):
            raise TypeError(f"a handler returns a Response or None, got {response!r}")
        if not isinstance(response.body, bytes):
            raise TypeError(f"the body of an answer is bytes, got {response.body!r}")
        headers = {name.lower(): value for name, value in response.headers.items()}
        for name in FRAMING:
            if name in headers:
                raise ValueError(f"the header {name!r} is worked out from the body; leave it out")
        headers.setdefault("content-type", response.content_type)
        if response.status != 204:
            headers["content-length"] = str(len(response.body))
        elif response.body:
            raise ValueError("an answer of status 204 has no body")
        reason = PHRASES.get(response.status, "")
        return self._h11.Response(status_code=response.status, reason=reason, headers=list(headers.items()))

    async def send(self, head: Any, body: bytes) -> bool:
        """Send an answer; whether another request may follow."""
        with trio.move_on_after(self._timeout) as scope:
            await self._send_answer(head, body)
        if scope.cancelled_caught or self._protocol.our_state is not self._h11.DONE:
            return False
        if self._protocol.their_state is not self._h11.DONE:
            return False
        self._protocol.start_next_cycle()
        return True

    async def _send_answer(self, head: Any, body: bytes) -> None:
        bare = not body or self._method == b"HEAD" or head.status_code == HTTPStatus.NOT_MODIFIED
        data = [] if bare else [self._h11.Data(data=body)]
        await self._send(head, *data, self._h11.EndOfMessage())

    async def _send(self, *events: Any) -> None:
        # One piece: a head and a body in two would wait for each other in Nagle's algorithm.
        await self._stream.send_all(b"".join(self._protocol.send(event) for event in events))

    async def refuse(self, status: int) -> None:
        """Tell the client why, and let it read that before the stream is closed."""
        with trio.move_on_after(min(self._timeout, LINGER)):
            response = _say(status, connection="close")
            await self._send_answer(self.head_of(response), response.body)
            if isinstance(self._stream, trio.abc.HalfCloseableStream):
                await self._stream.send_eof()
            left = LINGER_BYTES
            while left > 0 and (chunk := await self._stream.receive_some(CHUNK)):
                left -= len(chunk)


def _split_target(target: str) -> tuple[str, Mapping[str, str]]:
    """Path and query of a request target, which is ``/path?query`` or, as for a proxy, a whole URL."""
    if target.startswith("/"):
        path, _, query = target.partition("?")
    else:
        try:
            parts = urlsplit(target)
        except ValueError as error:
            raise _RefusedError(400) from error
        path, query = parts.path or "/", parts.query
    return unquote(path), dict(parse_qsl(query, keep_blank_values=True))
