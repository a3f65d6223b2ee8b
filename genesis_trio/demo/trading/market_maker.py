"""The quoting rule: a bid and an ask at the best prices, and never more than a little in hand."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

import attrs

from genesis_trio.demo.trading.records import Order, Top

__all__ = ["LIMIT", "LOT", "Cancel", "MarketMaker", "exposure"]

LOT = Decimal("0.01")
LIMIT = 5 * LOT  # of position, orders that are still open included
TOLERANCE = Decimal(2)  # an order this near to the best price may stay


@attrs.frozen
class Cancel:
    """Take an order back."""

    client_id: str


@attrs.frozen
class MarketMaker:
    """Pure: what it is told goes in, what it wants comes out."""

    lot: Decimal = LOT
    limit: Decimal = LIMIT
    tolerance: Decimal = TOLERANCE

    def decide(self, top: Top, position: Decimal, working: Iterable[Order]) -> Iterator[Order | Cancel]:
        """What has to change for there to be one order at each side's best price, within the limit."""
        working = list(working)
        for quantity, price in ((self.lot, top.bid), (-self.lot, top.ask)):
            side = [order for order in working if (order.quantity > 0) == (quantity > 0)]
            for order in side:
                if abs(order.price - price) > self.tolerance:
                    yield Cancel(order.client_id)
            if not side and abs(exposure(position, working, quantity)) <= self.limit:
                # The same moment of the market makes the same id, in whatever incarnation of whatever process.
                name = f"{top.sequence}-{'bid' if quantity > 0 else 'ask'}"
                yield Order(name, quantity, price, reduces=abs(position + quantity) < abs(position))


def exposure(position: Decimal, working: Iterable[Order], quantity: Decimal) -> Decimal:
    """The position if *quantity* and everything that works in the same direction is filled."""
    return sum(
        (order.quantity for order in working if (order.quantity > 0) == (quantity > 0)),
        position + quantity,
    )
