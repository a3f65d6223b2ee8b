"""The desk's side of the link to the venue."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import attrs
import trio

from genesis_trio.demo.messages import Fill, Order, Ping, Quote, Trade, from_wire, to_wire
from genesis_trio.demo.wire import JsonLines

__all__ = ["FillSession", "MarketData", "VenueLink"]

TICKS = {"ping": Ping, "quote": Quote, "trade": Trade}


class MarketData:
    """Ticks, for as long as the venue sends them."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def __aiter__(self) -> "MarketData":
        return self

    async def __anext__(self) -> Ping | Quote | Trade:
        """The next tick.

        Raises:
            ConnectionError: the link is down.
            ValueError: the venue sent nonsense.
        """
        message = await self._lines.receive()
        return from_wire(TICKS[message.pop("kind")], message)


class FillSession:
    """Our fills: first those that were never acknowledged, then the new ones."""

    def __init__(self, lines: JsonLines) -> None:
        self._lines = lines

    def __aiter__(self) -> "FillSession":
        return self

    async def __anext__(self) -> Fill:
        return from_wire(Fill, await self._lines.receive())

    async def acknowledge(self, fill: Fill) -> None:
        """Tell the venue never to send *fill* again."""
        await self._lines.send({"acknowledged": fill.sequence})


@attrs.frozen
class VenueLink:
    """How to reach the venue.  Every method raises OSError when the link is down."""

    address: str

    async def place(self, order: Order) -> bool:
        """Send *order*; False when the venue refuses it.  An order that it knows already is not placed twice."""
        return bool((await self._ask({"op": "place", **to_wire(order)}))["accepted"])

    async def find(self, client_id: str) -> bool:
        """True if the venue has an order of that id."""
        return bool((await self._ask({"op": "find", "client_id": client_id}))["found"])

    @contextlib.asynccontextmanager
    async def market(self) -> AsyncIterator[MarketData]:
        """Subscribe to market data."""
        async with self._connect() as lines:
            await lines.send({"op": "market"})
            yield MarketData(lines)

    @contextlib.asynccontextmanager
    async def fills(self) -> AsyncIterator[FillSession]:
        """Subscribe to our own fills."""
        async with self._connect() as lines:
            await lines.send({"op": "fills"})
            yield FillSession(lines)

    async def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        async with self._connect() as lines:
            await lines.send(question)
            return await lines.receive()

    @contextlib.asynccontextmanager
    async def _connect(self) -> AsyncIterator[JsonLines]:
        async with await trio.open_unix_socket(self.address) as stream:
            yield JsonLines(stream)
