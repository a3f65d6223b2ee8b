"""A WebSocket server for one connection, over any stream: so also over a memory stream, in virtual time."""

import logging
from collections.abc import Awaitable, Callable

import trio
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.trio.server import Server, ServerConnection

__all__ = ["serve_websocket"]

OPENING = 1.0  # seconds for the opening handshake
CLOSING = 0.5  # seconds for the closing one
MOST_BYTES = 65536  # in a message from a client, who has nothing to say

# A client that hangs up in the middle of something is what this venue is for.
quiet = logging.getLogger("genesis_trio.demo.exchange.websocket")
quiet.setLevel(logging.CRITICAL)


async def serve_websocket(handler: Callable[[ServerConnection], Awaitable[None]], stream: trio.abc.Stream) -> None:
    """Do the opening handshake, call *handler*, do the closing one; *stream* is closed in every case.

    Trio checkpoint: always.
    Cancellation: the stream is closed at once, without a handshake.
    """
    async with trio.open_nursery() as nursery:
        try:
            connection = ServerConnection(
                nursery,
                stream,
                ServerProtocol(max_size=MOST_BYTES, logger=quiet),
                Server([], lambda stream: serve_websocket(handler, stream), quiet),
                ping_interval=None,  # the heartbeats of the streams are signs of life enough
                close_timeout=CLOSING,
            )
            with trio.move_on_after(OPENING):
                await connection.handshake()
            if connection.protocol.state is State.OPEN:
                await handler(connection)
                with trio.move_on_after(CLOSING):  # a client that does not read would let us wait
                    await connection.aclose()
        finally:
            await trio.aclose_forcefully(stream)
            nursery.cancel_scope.cancel()
