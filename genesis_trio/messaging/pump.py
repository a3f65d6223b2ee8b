"""Moving items between mailboxes and the object streams of others.

Trio's memory channels, anyio's object streams and whatever wraps them (WebSockets, brokers, pub/sub clients) have one
shape: ``await receive()`` and ``await send(item)``.  Nothing of anyio is imported here; its end of a stream is
known by where it comes from.
"""

import sys
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import trio

from genesis_trio.messaging.subscription import Subscription

__all__ = ["ItemSink", "ItemSource", "pump_items", "sender_of"]

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[object]]


class ItemSource(Protocol):
    """Trio's ``ReceiveChannel``, anyio's ``ObjectReceiveStream``, and the like."""

    async def receive(self) -> Any:
        """The next item; raises Trio's or anyio's error for the end of the stream."""


class ItemSink(Protocol):
    """Trio's ``SendChannel``, anyio's ``ObjectSendStream``, and the like."""

    async def send(self, item: Any, /) -> Any:
        """Take *item*, once there is room for it."""


def receiver_of(source: object) -> Receive:
    """How the next item of *source* is got: by ``receive()``, or else by iterating."""
    receive = getattr(source, "receive", None)
    if callable(receive):
        return receive  # type: ignore[no-any-return]
    if hasattr(source, "__aiter__"):
        return aiter(source).__anext__  # type: ignore[no-any-return]
    raise TypeError(f"pump() takes items from a subscription or an object with `async def receive()`, got {source!r}")


def sender_of(target: object) -> Send:
    """How *target* takes an item."""
    send = getattr(target, "send", None)
    if callable(send):
        return send  # type: ignore[no-any-return]
    raise TypeError(f"pump() puts items into a Topic or an object with `async def send(item)`, got {target!r}")


def is_end(error: Exception) -> bool:
    """True if *error* says that a stream has ended as it should."""
    anyio = sys.modules.get("anyio")  # who got an error of anyio has imported it
    return isinstance(error, (trio.EndOfChannel, StopAsyncIteration)) or (
        anyio is not None and isinstance(error, anyio.EndOfStream)
    )


async def pump_items(
    source: object,
    send: Send,
    convert: Callable[[Any], Any] | None,
    *,
    beat: Callable[[], None],
    wait_stopping: Callable[[], Awaitable[object]],
) -> int:
    """`Context.pump`: *beat* is called for each item that *send* took; returns how many there were."""
    moved = 0

    async def put(item: Any) -> None:
        nonlocal moved
        if convert is not None:
            item = convert(item)
            if item is None:
                return
        await send(item)
        moved += 1
        beat()

    if isinstance(source, Subscription):
        async for item in source:
            await put(item)
    else:
        await pump_stream(receiver_of(source), put, wait_stopping)
    return moved


async def pump_stream(receive: Receive, put: Send, wait_stopping: Callable[[], Awaitable[object]]) -> None:
    """Move items until the stream ends, or *wait_stopping* returns: then the item in hand is the last one."""
    failure: Exception | None = None
    is_stopping = False
    receiving = trio.CancelScope()

    async def watch() -> None:
        nonlocal is_stopping
        await wait_stopping()
        is_stopping = True
        receiving.cancel(reason="the component is to stop")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        try:
            while not is_stopping:
                # Only the waiting is cut short; what was received is put where it belongs.
                item = None
                with trio.CancelScope() as receiving:
                    item = await receive()
                if receiving.cancelled_caught:
                    break
                await put(item)
        except Exception as error:
            if not is_end(error):
                failure = error  # raised below: the nursery would wrap it
        nursery.cancel_scope.cancel(reason="the pump has ended")
    if failure is not None:
        raise failure
