"""Networking without a network: streams in memory, for the real protocols under a virtual clock."""

import socket
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2
import trio
import trio.testing

__all__ = ["Door", "MemoryListener", "MemoryTransport", "Wire"]


class Wire(trio.abc.Stream):
    """One end of a connection, which somebody may cut."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self._stream = stream
        self.is_cut = False

    def cut(self) -> None:
        """Whoever reads sees the end, whoever writes an error; both at once, here and there."""
        self.is_cut = True
        self._stream.send_stream.close()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.ClosedResourceError:
            if self.is_cut:
                raise trio.BrokenResourceError("the connection was cut") from None
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        if not self.is_cut:
            await self._stream.send_eof()

    async def aclose(self) -> None:
        self.is_cut = True
        await self._stream.aclose()


class _NoSocket:
    """What a library that logs where it listens asks for."""

    family = socket.AF_UNIX

    def getsockname(self) -> str:
        return "memory"


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Where a server listens and clients connect.

    Attributes:
        is_refusing: New connections are refused.
    """

    def __init__(self) -> None:
        self.is_refusing = False
        self.socket = _NoSocket()
        self._ends: dict[tuple[Wire, Wire], None] = {}
        self._arrivals, self._accepted = trio.open_memory_channel[trio.abc.Stream](1000)

    async def connect(self) -> Wire:
        """The client's end of a new connection.

        Raises:
            ConnectionRefusedError: nobody listens.

        Trio checkpoint: always.
        """
        await trio.lowlevel.checkpoint()
        if self.is_refusing:
            raise ConnectionRefusedError("nobody listens")
        here, there = trio.testing.memory_stream_pair()
        ends = Wire(here), Wire(there)
        self._ends[ends] = None
        for old in [old for old in self._ends if old[0].is_cut and old[1].is_cut]:
            del self._ends[old]
        self._arrivals.send_nowait(ends[1])
        return ends[0]

    def cut(self) -> None:
        """Cut every connection."""
        for ends in self._ends:
            for end in ends:
                end.cut()
        self._ends.clear()

    async def accept(self) -> trio.abc.Stream:
        return await self._accepted.receive()

    async def aclose(self) -> None:
        """Whoever served it has ended; another may serve it next."""
        await trio.lowlevel.checkpoint()


class Door:
    """One client's way to *listener*; shut, it leads nowhere any more."""

    def __init__(self, listener: MemoryListener) -> None:
        self._listener = listener
        self._wires: list[Wire] = []
        self._is_shut = False

    async def connect(self) -> Wire:
        """As `MemoryListener.connect`."""
        if self._is_shut:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError("the client is gone")
        wire = await self._listener.connect()
        self._wires = [old for old in self._wires if not old.is_cut]
        self._wires.append(wire)
        return wire

    def shut(self) -> None:
        """The client is gone, and all its connections with it."""
        self._is_shut = True
        for wire in self._wires:
            wire.cut()


# ---------------------------------------------------------------- HTTP clients


class _Connection(httpcore2.AsyncNetworkStream):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        try:
            return bytes(await self._wire.receive_some(max_bytes))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.ReadError(str(error)) from error

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            await self._wire.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        await self._wire.aclose()

    def get_extra_info(self, info: str) -> Any:
        # A connection that waits in the pool and has something to read was closed by the other side.
        return self._wire.is_cut if info == "is_readable" else None


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, listener: Door | MemoryListener) -> None:
        self._listener = listener

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        try:
            return _Connection(await self._listener.connect())
        except ConnectionRefusedError as error:
            raise httpcore2.ConnectError(str(error)) from error


class MemoryTransport(httpx2.AsyncBaseTransport):
    """A transport of httpx2 whose requests go to *listener*, in real HTTP."""

    def __init__(self, listener: Door | MemoryListener) -> None:
        self._pool = httpcore2.AsyncConnectionPool(network_backend=_Backend(listener))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url = request.url
        try:
            answer = await self._pool.handle_async_request(
                httpcore2.Request(
                    request.method,
                    httpcore2.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                )
            )
            body = await answer.aread()
            await answer.aclose()
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise httpx2.NetworkError(str(error)) from error
        return httpx2.Response(answer.status, headers=answer.headers, content=body)

    async def aclose(self) -> None:
        await self._pool.aclose()
