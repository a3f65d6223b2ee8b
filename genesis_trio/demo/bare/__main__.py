"""The process of the bare desk."""

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import trio

from genesis_trio.demo.trading.link import VenueBusyError, VenueLink, open_link
from genesis_trio.demo.trading.market_maker import Cancel, MarketMaker
from genesis_trio.demo.trading.order_book import GapError, OrderBook
from genesis_trio.demo.trading.process import Sabotage, listen_to_orders, make_parser, tell
from genesis_trio.demo.trading.records import Fill, Order, OrderState, Status, Top

__all__ = ["BareDesk", "main"]

PACE = 0.1  # seconds between two looks at the market
RECONNECT = 0.5  # seconds before a stream is opened again
TIMEOUT = 1.0  # seconds, of a request


class BareDesk:
    """Everything that the desk knows is in this object, and goes with the process."""

    def __init__(
        self, venue: VenueLink, tell: Callable[[Mapping[str, Any]], None], sabotage: Sabotage | None = None
    ) -> None:
        self.venue = venue
        self.tell = tell
        self.sabotage = sabotage or Sabotage()
        self.maker = MarketMaker()
        self.top: Top | None = None
        self.working: dict[str, Order] = {}
        self.position = self.cash = Decimal(0)
        self.fills = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.follow_market)
            nursery.start_soon(self.follow_orders)
            nursery.start_soon(self.quote)

    async def follow_market(self) -> None:
        while True:
            try:
                async with self.venue.market() as updates:
                    book = OrderBook()
                    async for update in updates:
                        if update is not None:
                            book.apply(update)
                            self.top = book.top()
            except (OSError, GapError):
                await trio.sleep(RECONNECT)

    async def follow_orders(self) -> None:
        while True:
            try:
                async with self.venue.private(after=self.fills) as messages:
                    async for message in messages:
                        match message:
                            case Fill():
                                self.book(message)
                            case OrderState():
                                self.hear(message)
            except OSError:
                await trio.sleep(RECONNECT)

    async def quote(self) -> None:
        while True:
            await trio.sleep(PACE)
            top = self.top
            if top is None:
                continue
            await self.sabotage.strike()
            try:
                for wanted in list(self.maker.decide(top, self.position, self.working.values())):
                    match wanted:
                        case Cancel(client_id=client_id):
                            await self.cancel(client_id)
                        case Order():
                            await self.place(wanted)
                await self.venue.show_life(top.sequence)
            except (OSError, VenueBusyError):
                pass  # the next look at the market tries again

    async def place(self, order: Order) -> None:
        self.tell({"event": "intent", "client_id": order.client_id})
        state = await self.venue.place(order)
        if state.status is Status.OPEN:
            self.working[order.client_id] = order
        self.tell_outcome(state)

    async def cancel(self, client_id: str) -> None:
        state = await self.venue.cancel(client_id)
        self.working.pop(client_id, None)
        if state is not None:
            self.tell_outcome(state)

    def hear(self, state: OrderState) -> None:
        if state.status is not Status.OPEN:
            self.working.pop(state.client_id, None)
        self.tell_outcome(state)

    def book(self, fill: Fill) -> None:
        self.position += fill.quantity
        self.cash -= fill.quantity * fill.price
        self.fills += 1
        self.tell_position()

    def tell_outcome(self, state: OrderState) -> None:
        self.tell({"event": "outcome", "client_id": state.client_id, "status": state.status.value})

    def tell_position(self) -> None:
        self.tell({"event": "position", "position": str(self.position), "cash": str(self.cash), "fills": self.fills})


async def run_bare(http: str, feed: str) -> None:
    """Run the desk until standard input ends."""
    async with open_link(http, feed, timeout=TIMEOUT) as venue:
        sabotage = Sabotage()
        desk = BareDesk(venue, tell, sabotage)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.run)
            tell({"event": "desk_ready"})
            await listen_to_orders(sabotage)
            nursery.cancel_scope.cancel()
        await venue.cancel_all()
        desk.tell_position()


def main(argv: Sequence[str] | None = None) -> None:
    options = make_parser("bare", "The desk on plain Trio.").parse_args(argv)
    trio.run(run_bare, options.http, options.feed)


if __name__ == "__main__":
    main()
