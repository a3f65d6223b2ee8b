"""JSON lines over a stream: one object a line."""

import json
from collections.abc import Mapping
from typing import Any

import trio

__all__ = ["JsonLines", "NoSending"]

CHUNK = 65536


class JsonLines:
    """Both directions of one connection.  An unexpected end is a ConnectionError, which is an OSError."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one object.

        Raises:
            ConnectionError: nobody reads any longer.

        Trio checkpoint: always.
        """
        try:
            await self._stream.send_all(json.dumps(message).encode() + b"\n")
        except trio.BrokenResourceError as error:
            raise ConnectionError("the link broke while sending") from error

    async def receive(self) -> dict[str, Any]:
        """The next object.

        Raises:
            ConnectionError: the other side is gone; what it had begun to say is dropped.

        Trio checkpoint: when there is no whole line yet.
        Cancellation: passes; what has arrived stays for the next call.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            try:
                data = await self._stream.receive_some(CHUNK)
            except trio.BrokenResourceError as error:
                raise ConnectionError("the link broke while receiving") from error
            if not data:
                raise ConnectionError("the other side closed the link")
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"a message is a JSON object, got {line[:80]!r}")
        return message


class NoSending(trio.abc.SendStream):
    """The half of a stream that is not there."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise trio.ClosedResourceError("this side only listens")

    async def wait_send_all_might_not_block(self) -> None:
        raise trio.ClosedResourceError("this side only listens")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
