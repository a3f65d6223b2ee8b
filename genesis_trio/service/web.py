"""What a service answers over HTTP: ``/livez``, ``/readyz``, ``/metrics``.

- ``/livez``: 200 whenever the loop answers at all.
- ``/readyz``: 200 once every child is ready or done and the mode is not EMERGENCY; otherwise 503, with who and why.
- ``/metrics``: the text format of Prometheus.

Whoever reaches the address may read all of it, so it belongs on loopback, or behind something that asks who is there.
"""

import json
import socket
from functools import partial

import trio

from genesis_trio.errors import ConfigError
from genesis_trio.service.address import parse_address
from genesis_trio.service.http import Request, Response, load_h11, serve_connection
from genesis_trio.service.state import ServiceState

__all__ = ["Probes", "address_of", "open_http", "serve_http"]

PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
# A client that says nothing for so long is left alone; scrapers come more often.
TIMEOUT = 60.0
# Who opens connections and never asks must not use up the file descriptors that the store needs, nor keep out the
# probe that decides whether this process lives: the oldest connection makes room.
MAX_CONNECTIONS = 64
BACKLOG = 64


def address_of(listener: trio.SocketListener) -> str:
    """Where *listener* is bound, as `parse_address` reads it."""
    host, port, *_ = listener.socket.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def open_http(address: str) -> trio.SocketListener:
    """Bind *address*.

    Raises:
        ConfigError: it is in use or cannot be bound, or h11 is not installed.

    Trio checkpoint: always.
    """
    load_h11()
    host, port = parse_address(address)
    try:
        # The first one only: with port 0 two families would get two ports.
        family, kind, protocol, _, where = (
            await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        )[0]
        bound = trio.socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await bound.bind(where)
            bound.listen(BACKLOG)
        except BaseException:
            bound.close()
            raise
    except OSError as error:
        raise ConfigError(
            f"the HTTP address {address!r} cannot be used: {error.strerror or error}; stop what listens there, or give "
            f"another address (port 0 is any free one)"
        ) from error
    return trio.SocketListener(bound)


class Probes:
    """The handler: one `Request` to one `Response`."""

    def __init__(self, state: ServiceState) -> None:
        self._state = state
        self._pages = {"/livez": self._livez, "/readyz": self._readyz, "/metrics": self._metrics}

    async def __call__(self, request: Request) -> Response:
        page = self._pages.get(request.path)
        if page is None:
            return Response(404, f"there is no {request.path}; there are: {', '.join(self._pages)}\n".encode())
        if request.method not in ("GET", "HEAD"):
            return Response(405, b"this is read with GET\n", headers={"allow": "GET, HEAD"})
        return page()

    def _livez(self) -> Response:
        return Response(body=b"alive\n")

    def _readyz(self) -> Response:
        found = self._state.readiness()
        body = json.dumps(found, indent=2).encode() + b"\n"
        return Response(200 if found["ready"] else 503, body, "application/json")

    def _metrics(self) -> Response:
        return Response(body=self._state.metrics().encode(), content_type=PROMETHEUS)


async def serve_http(listener: trio.SocketListener, state: ServiceState) -> None:
    """Answer whoever connects to *listener*, until cancelled."""
    probes = Probes(state)
    connections: dict[trio.CancelScope, None] = {}  # the oldest first
    async with trio.open_nursery() as nursery:
        await trio.serve_listeners(partial(_serve, probes, connections), [listener], handler_nursery=nursery)


async def _serve(probes: Probes, connections: dict[trio.CancelScope, None], stream: trio.SocketStream) -> None:
    if len(connections) >= MAX_CONNECTIONS:
        oldest = next(iter(connections))
        del connections[oldest]
        oldest.cancel()
    scope = trio.CancelScope()
    connections[scope] = None
    try:
        with scope:
            await serve_connection(probes, stream, timeout=TIMEOUT)
    finally:
        connections.pop(scope, None)
