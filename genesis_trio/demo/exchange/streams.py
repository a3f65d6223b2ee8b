"""Who listens: each message is encoded once, and queued for everybody.

Whoever is too far behind is disconnected: a queue without an end would be paid for by those who do keep up.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator

import trio
from websockets.exceptions import ConnectionClosed
from websockets.trio.server import ServerConnection

__all__ = ["BACKLOG", "HEARTBEAT", "Listener", "Stream"]

BACKLOG = 1000  # messages
HEARTBEAT = 0.2  # seconds without anything to say
TRY_AGAIN_LATER = 1013  # the code with which a slow reader is disconnected
LAST_CHANCE = 1.0  # seconds for a slow reader to take what is on its way, so that it hears why


class Listener:
    """One connection to one stream."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[str](BACKLOG)
        self.scope = trio.CancelScope()
        self.gone = trio.Event()
        self.is_slow = False
        self.is_silent = False
        self.to_skip = 0  # messages that it will miss

    def put(self, message: str) -> None:
        if self.to_skip:
            self.to_skip -= 1
            return
        if self.is_silent or self.is_slow:
            return
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            self.is_slow = True
            self.scope.deadline = trio.current_time() + LAST_CHANCE

    async def get(self) -> str | None:
        """The next message, or None when there was none for the time of a heartbeat."""
        with trio.move_on_after(HEARTBEAT):
            return await self._receive.receive()
        # A heartbeat says how far the stream is: it must not overtake what came in this very moment.
        with contextlib.suppress(trio.WouldBlock):
            return self._receive.receive_nowait()
        return None


class Stream:
    """All who listen to the same messages."""

    def __init__(self, heartbeat: Callable[[], str]) -> None:
        self.listeners: dict[Listener, None] = {}
        self._heartbeat = heartbeat

    def publish(self, message: str) -> None:
        for listener in self.listeners:
            listener.put(message)

    async def converse(self, websocket: ServerConnection, greeting: Iterable[str]) -> None:
        """Send *greeting* and then whatever is published, until the other side has gone.

        *greeting* has to say how things are now: nothing that is published after this call is missed.

        Trio checkpoint: always.
        Cancellation: passes; the connection is the caller's to close.
        """
        with self._listening() as listener:
            with listener.scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_hear_the_end, websocket, nursery.cancel_scope)
                    try:
                        await self._send_all(websocket, listener, greeting)
                    except ConnectionClosed:
                        nursery.cancel_scope.cancel()

    @contextlib.contextmanager
    def _listening(self) -> Iterator[Listener]:
        listener = Listener()
        self.listeners[listener] = None
        try:
            yield listener
        finally:
            del self.listeners[listener]
            listener.gone.set()

    async def _send_all(self, websocket: ServerConnection, listener: Listener, greeting: Iterable[str]) -> None:
        for message in greeting:
            await websocket.send(message)
        while not listener.is_slow:
            next_message = await listener.get()
            if listener.is_silent:
                await trio.sleep_forever()  # until the other side has had enough, and hangs up
            await websocket.send(self._heartbeat() if next_message is None else next_message)
        await websocket.aclose(TRY_AGAIN_LATER, f"more than {BACKLOG} messages behind")


async def _hear_the_end(websocket: ServerConnection, scope: trio.CancelScope) -> None:
    """What a client says is of no interest; that it has gone, is."""
    try:
        while True:
            await websocket.recv()
    except ConnectionClosed:
        scope.cancel()
