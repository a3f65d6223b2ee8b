"""The way to the venue: HTTP for orders, WebSockets for what the venue has to say.

Nothing here tries again or waits for long: that is for those who call.  Every way of not getting an answer is a
`VenueDownError`, which is an OSError; an answer that makes no sense is a `VenueError`.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from decimal import Decimal, InvalidOperation
from typing import Any, Generic, TypeVar

import attrs
import httpx2
from websockets.exceptions import WebSocketException
from websockets.trio.client import ClientConnection, connect

from genesis_trio.demo.trading.records import Fill, Levels, MarketUpdate, Order, OrderState, Status, VenueError

__all__ = ["VenueBusyError", "VenueDownError", "VenueLink", "open_link"]

T = TypeVar("T")

#: The biggest message that we take, in bytes.
MAX_MESSAGE = 4 * 2**20


class VenueDownError(ConnectionError):
    """There was no answer: the venue may have done what it was asked, or not."""


class VenueBusyError(Exception):
    """The venue refuses for now, and has done nothing."""

    def __init__(self, text: str, retry_after: float) -> None:
        super().__init__(text)
        self.retry_after = retry_after


OpenSocket = Callable[[str], AbstractAsyncContextManager[ClientConnection]]


@attrs.frozen
class VenueLink:
    """Orders go over *http*; *open_socket* opens a WebSocket for a path."""

    http: httpx2.AsyncClient
    open_socket: OpenSocket

    # ------------------------------------------------------------ orders

    async def place(self, order: Order) -> OrderState:
        """Send *order*.  One that the venue has already is not placed twice; one that it does not want is REFUSED."""
        answer = await self._ask("POST", "/orders", order.to_wire())
        if answer.status_code in (409, 422):
            return OrderState(order.client_id, Status.REFUSED, Decimal(0))
        return OrderState.from_wire(expect(answer))

    async def cancel(self, client_id: str) -> OrderState | None:
        """Take an order back; None if the venue has none of that id."""
        return found(await self._ask("DELETE", f"/orders/{client_id}"))

    async def find(self, client_id: str) -> OrderState | None:
        """What the venue knows of an order; None if it has none of that id."""
        return found(await self._ask("GET", f"/orders/{client_id}"))

    async def cancel_all(self) -> list[str]:
        """Take every order back; the ids of those that were open."""
        return list(expect(await self._ask("DELETE", "/orders"))["cancelled"])

    async def open_orders(self) -> list[OrderState]:
        """Every order of ours that is open."""
        return list(map(OrderState.from_wire, expect(await self._ask("GET", "/orders?status=open"))["orders"]))

    async def show_life(self, sequence: int) -> None:
        """Tell the venue that we are here, and how far our book is."""
        expect(await self._ask("POST", "/alive", {"sequence": sequence}))

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> httpx2.Response:
        try:
            answer = await self.http.request(method, path, json=body)
        except httpx2.TransportError as error:
            raise VenueDownError(f"{method} {path}: {type(error).__name__} {error}") from error
        if answer.status_code == 429:
            raise VenueBusyError(f"{method} {path}: too many requests", float(answer.headers.get("Retry-After", 1)))
        if answer.status_code >= 500:
            raise VenueDownError(f"{method} {path}: the venue answered {answer.status_code}")
        return answer

    # ------------------------------------------------------------ streams

    @contextlib.asynccontextmanager
    async def market(self) -> AsyncIterator[AsyncIterator[MarketUpdate | None]]:
        """Market data: a snapshot, then what changes; None is a sign of life."""
        async with self._listen("/market") as connection:
            yield Messages(connection, market_update)

    @contextlib.asynccontextmanager
    async def private(self, *, after: int) -> AsyncIterator[AsyncIterator[Fill | OrderState | None]]:
        """Our fills, from the one that follows fill number *after*, and the changes of our orders."""
        async with self._listen(f"/private?after={after}") as connection:
            yield Messages(connection, private_message)

    @contextlib.asynccontextmanager
    async def _listen(self, path: str) -> AsyncIterator[ClientConnection]:
        try:
            async with self.open_socket(path) as connection:
                yield connection
        except WebSocketException as error:
            raise VenueDownError(f"{path}: {error}") from error


@contextlib.asynccontextmanager
async def open_link(http_url: str, feed_url: str, *, timeout: float | None = None) -> AsyncIterator[VenueLink]:
    """Be ready to talk to the venue; *timeout* seconds limit each request, None leaves that to the caller."""
    # No proxies: `trust_env` would look for them.
    async with httpx2.AsyncClient(base_url=http_url, timeout=timeout, trust_env=False) as http:
        yield VenueLink(http, lambda path: open_socket(feed_url + path))


def open_socket(url: str, **options: Any) -> connect:
    """A WebSocket.  Its own keepalive is off: the venue gives signs of life, and whoever reads watches for them."""
    return connect(
        url,
        compression=None,
        proxy=None,
        ping_interval=None,
        close_timeout=0.1,
        max_size=MAX_MESSAGE,
        max_queue=None,  # with a limit, websockets 17.4 waits for ever on leaving with more than that unread
        **options,
    )


# ---------------------------------------------------------------- messages


def expect(answer: httpx2.Response) -> Any:
    """The JSON of an answer that has to be a good one."""
    if answer.status_code != 200:
        raise VenueError(f"the venue answered {answer.status_code}: {answer.text[:200]}")
    return answer.json()


def found(answer: httpx2.Response) -> OrderState | None:
    return None if answer.status_code == 404 else OrderState.from_wire(expect(answer))


class Messages(Generic[T]):
    """The messages of a WebSocket, each of them read by *read*.

    Not an async generator: one that is left early would have to be closed.
    """

    def __init__(self, connection: ClientConnection, read: Callable[[dict[str, Any]], T]) -> None:
        self._connection = connection
        self._read = read

    def __aiter__(self) -> "Messages[T]":
        return self

    async def __anext__(self) -> T:
        """The next message.

        Raises:
            WebSocketException: the stream is closed; the link makes a `VenueDownError` of it.
            VenueError: the venue sent nonsense.
        """
        text = await self._connection.recv()
        try:
            message = json.loads(text)
        except ValueError as error:
            raise VenueError(f"this is not JSON: {text[:80]!r}") from error
        if not isinstance(message, dict):
            raise VenueError(f"a message is a JSON object, got {text[:80]!r}")
        return self._read(message)


def market_update(message: dict[str, Any]) -> MarketUpdate | None:
    match message.get("type"):
        case "heartbeat":
            return None
        case "trade":
            return MarketUpdate(message["sequence"])  # the fills that it makes for us come by themselves
        case "snapshot" | "update" as kind:
            try:
                bids, asks = levels(message["bids"]), levels(message["asks"])
                return MarketUpdate(message["sequence"], bids, asks, kind == "snapshot")
            except (KeyError, TypeError, ValueError, InvalidOperation) as error:
                raise VenueError(f"this is no {kind} of the market: {message!r:.200}") from error
    raise VenueError(f"nobody knows this kind of market data: {message!r:.200}")


def levels(pairs: Any) -> Levels:
    return tuple((Decimal(price), Decimal(quantity)) for price, quantity in pairs)


def private_message(message: dict[str, Any]) -> Fill | OrderState | None:
    match message.get("type"):
        case "heartbeat":
            return None
        case "fill":
            return Fill.from_wire(message)
        case "order":
            return OrderState.from_wire(message)
    raise VenueError(f"nobody knows this kind of message: {message!r:.200}")
