"""The HTTP of a service: what a client gets, whatever it sends."""

import re
import sys
from functools import partial

import pytest
import trio
from trio.testing import memory_stream_pair

from genesis_trio import ConfigError
from genesis_trio.service.http import Request, Response, serve_connection

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = Response()
LAST = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


class Echo:
    """Answers with what it was asked, and remembers the requests."""

    def __init__(self, answer: Response | None = OK) -> None:
        self.requests: list[Request] = []
        self.answer = answer

    async def __call__(self, request: Request) -> Response | None:
        self.requests.append(request)
        return self.answer


async def converse(handler, *sent: bytes, hang_up: bool = False, **settings) -> bytes:
    """What a client receives until the server closes, after it has sent *sent* piece by piece."""
    client, server = memory_stream_pair()
    received = bytearray()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(serve_connection, handler, server, **settings))
        try:
            for piece in sent:
                await client.send_all(piece)
                await trio.testing.wait_all_tasks_blocked()
            if hang_up:
                await client.send_eof()
            async for chunk in client:
                received += chunk
        except trio.BrokenResourceError:
            pass  # the server has closed while we still sent
        await client.aclose()
    return bytes(received)


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+)", received)]


async def test_serve_connection_one_request_is_answered_in_full(autojump_clock):
    """Status, type, length, the handler's own headers and the body arrive, and nothing that depends on the day."""
    handler = Echo(Response(201, b"made", "text/x", {"X-Id": "7"}))

    received = await converse(handler, LAST)

    head, _, body = received.partition(b"\r\n\r\n")
    assert body == b"made"
    assert sorted(head.split(b"\r\n")) == [
        b"Connection: close",
        b"HTTP/1.1 201 Created",
        b"content-length: 4",
        b"content-type: text/x",
        b"x-id: 7",
    ]


async def test_serve_connection_request_arrives_with_path_query_headers_and_body(autojump_clock):
    """The handler sees the request taken apart: escapes decoded, names in lower case, repeated ones joined."""
    handler = Echo()

    await converse(
        handler,
        b"POST /o%20r/?a=1&a=2&b=%C3%A9&c HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 4\r\nConnection: close\r\n\r\nab",
        b"cd",
    )

    (request,) = handler.requests
    assert (request.method, request.path, request.body) == ("POST", "/o r/", b"abcd")
    assert request.query == {"a": "2", "b": "é", "c": ""}
    assert request.headers["x-a"] == "1, 2"


@pytest.mark.parametrize(
    ("target", "path"), [("/", "/"), ("//a/b", "//a/b"), ("http://x/y?z=1", "/y"), ("http://x", "/"), ("*", "*")]
)
async def test_serve_connection_each_form_of_target_gives_its_path(autojump_clock, target, path):
    """A target is a path, a whole URL, or a star; two slashes at its start do not make a host of it."""
    handler = Echo()

    await converse(handler, f"OPTIONS {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())

    assert [request.path for request in handler.requests] == [path]


async def test_serve_connection_two_requests_in_one_piece_are_answered_in_order(autojump_clock):
    """A client that does not wait for its answers gets all of them, one after the other, on one connection."""
    handler = Echo(Response(body=b"x"))

    received = await converse(handler, GET + GET.replace(b"/a", b"/b"), LAST)

    assert [request.path for request in handler.requests] == ["/a", "/b", "/a"]
    assert statuses(received) == [200, 200, 200]


async def test_serve_connection_request_in_single_bytes_is_one_request(autojump_clock):
    """It does not matter in how many pieces a request arrives."""
    handler = Echo()

    received = await converse(handler, *(bytes([byte]) for byte in LAST))

    assert len(handler.requests) == 1
    assert statuses(received) == [200]


async def test_serve_connection_http_1_0_closes_after_the_answer(autojump_clock):
    """An old client does not know of connections that stay."""
    received = await converse(Echo(), b"GET / HTTP/1.0\r\n\r\n")

    assert statuses(received) == [200]


async def test_serve_connection_expecting_client_is_told_to_go_on(autojump_clock):
    """A client that asks first whether its body is welcome hears that it is."""
    handler = Echo()
    head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"

    received = await converse(handler, head, b"hi")

    assert statuses(received) == [100, 200]
    assert handler.requests[0].body == b"hi"


@pytest.mark.parametrize("status", [200, 304, 500])
async def test_serve_connection_head_gets_the_head_alone(autojump_clock, status):
    """The answer to HEAD says how long the body would be, and has none."""
    received = await converse(Echo(Response(status, b"long")), LAST.replace(b"GET", b"HEAD"))

    assert received.endswith(b"\r\n\r\n")
    assert b"content-length: 4" in received


async def test_serve_connection_answer_without_content_has_neither_length_nor_body(autojump_clock):
    """204 is the one answer that may not even say that its length is 0."""
    received = await converse(Echo(Response(204)), LAST)

    assert b"content-length" not in received
    assert received.endswith(b"\r\n\r\n")


async def test_serve_connection_none_closes_without_an_answer(autojump_clock):
    """A handler that returns None hangs up on the client, also when more requests are waiting."""
    handler = Echo(None)

    assert await converse(handler, GET + GET) == b""
    assert len(handler.requests) == 1


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS spoken to a plain port
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /" + b"a" * 20000, 431),
        (b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"HEAD /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" + b"a" * 101, 413),
    ],
)
async def test_serve_connection_request_that_cannot_be_served_is_refused(autojump_clock, sent, status):
    """What is no HTTP, too large or not for us gets its own status and the end of the connection, not the handler."""
    handler = Echo()
    began = trio.current_time()

    received = await converse(handler, sent, max_body_size=100)

    assert trio.current_time() == began  # it sees at once that the answer is whole
    assert handler.requests == []
    assert statuses(received) == [status]
    assert b"connection: close" in received.lower()


async def test_serve_connection_refused_client_that_goes_on_sending_is_left_after_a_second(autojump_clock):
    """The client has a second to read why it was refused; one that never ends does not hold the server."""
    client, server = memory_stream_pair()
    await client.send_all(b"nonsense\r\n\r\n")
    began = trio.current_time()

    await serve_connection(Echo(), server)

    assert trio.current_time() - began == 1.0


async def test_serve_connection_failing_handler_becomes_500_and_the_next_request_is_served(autojump_clock):
    """What a handler raises goes to the hook; the client gets 500 without the error's text, and may go on."""
    seen = []

    async def handler(request: Request) -> Response:
        if request.path == "/a":
            raise ValueError("secret")
        return Response(body=b"fine")

    received = await converse(handler, GET + LAST.replace(b"/a", b"/b"), on_error=lambda *given: seen.append(given))

    assert statuses(received) == [500, 200]
    assert b"secret" not in received
    assert [(request.path, repr(error)) for request, error in seen] == [("/a", "ValueError('secret')")]


@pytest.mark.parametrize(
    "answer",
    [
        "text",
        Response(headers={"Content-Length": "3"}),
        Response(headers={"a\r\nb": "c"}),
        Response(headers={"a": "c\r\nInjected: 1"}),
        Response(99),
        Response(204, b"body"),
        Response(body="text"),  # type: ignore[arg-type]
    ],
)
async def test_serve_connection_impossible_answer_is_a_500_not_a_broken_connection(autojump_clock, answer):
    """An answer that cannot be sent is an error of the handler, found before the first byte."""
    seen = []

    received = await converse(Echo(answer), LAST, on_error=lambda request, error: seen.append(type(error)))

    assert statuses(received) == [500]
    assert len(seen) == 1


async def test_serve_connection_error_without_a_hook_is_logged_once(autojump_clock, caplog):
    """Without a hook the error is in the log of genesis_trio, with its traceback."""

    async def handler(request: Request) -> Response:
        raise ValueError("why")

    await converse(handler, LAST)

    (record,) = caplog.records
    assert record.name == "genesis_trio"
    assert record.getMessage() == "the handler of GET /a failed; the client got status 500"
    assert "ValueError: why" in caplog.text


async def test_serve_connection_failing_hook_changes_nothing_for_the_client(autojump_clock, caplog):
    """A hook that fails itself is logged, and the client is answered all the same."""

    async def handler(request: Request) -> Response:
        raise ValueError

    def hook(request: Request, error: Exception) -> None:
        raise KeyError("hook")

    assert statuses(await converse(handler, LAST, on_error=hook)) == [500]
    assert "KeyError: 'hook'" in caplog.text


@pytest.mark.parametrize("sent", [b"", GET[:10], b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nab"])
async def test_serve_connection_client_that_hangs_up_is_no_event(autojump_clock, sent, caplog):
    """A client that leaves before or within a request is not answered, and nothing is logged."""
    handler = Echo()

    assert await converse(handler, sent, hang_up=True) == b""
    assert (handler.requests, caplog.records) == ([], [])


async def test_serve_connection_client_that_only_stopped_sending_is_answered(autojump_clock):
    """A client that has said all it had to say still gets its answer."""
    assert statuses(await converse(Echo(), GET, hang_up=True)) == [200]


async def test_serve_connection_client_gone_before_its_answer_is_no_error(autojump_clock, caplog):
    """An answer that nobody reads any longer is dropped."""
    client, server = memory_stream_pair()

    async def handler(request: Request) -> Response:
        await client.aclose()
        return Response(body=b"x")

    await client.send_all(GET)
    await serve_connection(handler, server)

    assert caplog.records == []


@pytest.mark.parametrize("sent", [(), (GET[:10],), (GET,)])
async def test_serve_connection_silent_client_is_left_after_the_timeout(autojump_clock, sent):
    """Neither a client that never asks, nor one that stops within a request, holds a connection for ever."""
    began = trio.current_time()

    await converse(Echo(), *sent, timeout=5.0)

    assert trio.current_time() - began == 5.0


async def test_serve_connection_timeout_does_not_cut_a_slow_handler(autojump_clock):
    """The timeout is the client's; how long the handler takes is its own affair."""

    async def handler(request: Request) -> Response:
        await trio.sleep(60)
        return Response()

    assert statuses(await converse(handler, LAST, timeout=5.0)) == [200]


async def test_serve_connection_cancelled_closes_the_stream(autojump_clock):
    """Whoever cancels the server leaves no connection behind."""
    client, server = memory_stream_pair()
    with trio.move_on_after(1):
        await serve_connection(Echo(), server)

    assert await client.receive_some() == b""


async def test_serve_connection_without_h11_names_the_extra(autojump_clock, monkeypatch):
    """Where h11 is not installed, the error says what to install, and the stream is closed all the same."""
    monkeypatch.setitem(sys.modules, "h11", None)
    client, server = memory_stream_pair()

    with pytest.raises(ConfigError, match=r"pip install 'genesis_trio\[web\]'"):
        await serve_connection(Echo(), server)

    assert await client.receive_some() == b""
