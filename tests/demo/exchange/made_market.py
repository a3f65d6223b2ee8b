"""Markets made by hand, and a venue in memory that plays them."""

import contextlib
import json
from functools import partial

import httpx2
import trio

from genesis_trio.demo.capture import COINS, DOLLARS, Instant, MarketOrder, MarketTrade
from genesis_trio.demo.exchange.exchange import Exchange
from genesis_trio.demo.memory_network import MemoryListener, MemoryTransport
from genesis_trio.demo.trading.link import open_socket


def dollars(price):
    return round(price * DOLLARS)


def coins(quantity):
    return round(quantity * COINS)


def bid(order_id, price, quantity=1):
    """Somebody wants to buy; quantity 0: no longer."""
    return MarketOrder(order_id, True, dollars(price), coins(quantity))


def ask(order_id, price, quantity=1):
    return MarketOrder(order_id, False, dollars(price), coins(quantity))


def bought(price, quantity):
    """Somebody came and bought from those who wait to sell."""
    return MarketTrade(f"{price}x{quantity}", True, dollars(price), coins(quantity))


def sold(price, quantity):
    return MarketTrade(f"{price}x{quantity}", False, dollars(price), coins(quantity))


def instant(at, *things):
    return Instant(
        at,
        [thing for thing in things if isinstance(thing, MarketTrade)],
        [thing for thing in things if isinstance(thing, MarketOrder)],
    )


#: One bid and one ask, a dollar around 100.
QUIET = instant(0, bid("b", 99), ask("a", 101))


class VenueInMemory:
    """An exchange and ways to talk to it."""

    def __init__(self, exchange, events, http, feed):
        self.exchange = exchange
        self.events = events
        self.http = http
        self.feed = feed
        self.client = httpx2.AsyncClient(base_url="http://venue", transport=MemoryTransport(http), timeout=None)

    async def place(self, client_id, side, quantity, price, **more):
        order = {"client_id": client_id, "side": side, "quantity": quantity, "price": price, **more}
        return await self.client.post("/orders", json=order)

    def told(self, *kinds):
        """The events of these kinds, without their times."""
        return [
            {key: value for key, value in event.items() if key != "at"}
            for event in self.events
            if event["event"] in kinds
        ]

    @contextlib.asynccontextmanager
    async def listen(self, path):
        """What a stream says, as JSON."""
        async with open_socket(f"ws://venue{path}", stream=await self.feed.connect()) as connection:
            yield partial(self._receive, connection)

    async def _receive(self, connection):
        return json.loads(await connection.recv())


@contextlib.asynccontextmanager
async def open_venue(*instants, opened=0.0, **options):
    """A venue whose market opened when the clock began, at the market's own pace."""
    events = []
    exchange = Exchange(instants, opened=opened, tell=events.append, **options)
    http, feed = MemoryListener(), MemoryListener()
    async with trio.open_nursery() as nursery:
        await nursery.start(exchange.run)
        nursery.start_soon(trio.serve_listeners, exchange.serve_orders, [http])
        nursery.start_soon(trio.serve_listeners, exchange.serve_feed, [feed])
        venue = VenueInMemory(exchange, events, http, feed)
        async with venue.client:
            yield venue
        nursery.cancel_scope.cancel()
