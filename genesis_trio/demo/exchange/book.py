"""The order book of the recorded market: every order of everybody else.  Pure: no time, no waiting."""

from bisect import bisect_left, insort
from collections.abc import Iterable

from genesis_trio.demo.capture import MarketOrder

__all__ = ["Book", "Level", "Side"]

#: Price and quantity.
Level = tuple[int, int]


class Side:
    """One side's price levels.

    `keys` are prices in the order of the market, the best one last: near the end is where a book changes, and
    there a list is cheap to change.
    """

    def __init__(self, sign: int) -> None:
        self.sign = sign  # +1: the highest price is the best
        self.keys: list[int] = []
        self.quantities: dict[int, int] = {}  # by key

    def add(self, price: int, quantity: int) -> None:
        """Add *quantity*, which may be below zero, to what is offered at *price*."""
        key = self.sign * price
        before = self.quantities.get(key)
        if before is None:
            insort(self.keys, key)
            self.quantities[key] = quantity
        elif before + quantity:
            self.quantities[key] = before + quantity
        else:
            del self.quantities[key]
            del self.keys[bisect_left(self.keys, key)]

    def best(self) -> int | None:
        return self.sign * self.keys[-1] if self.keys else None

    def at(self, price: int) -> int:
        """The quantity at *price*, zero for none."""
        return self.quantities.get(self.sign * price, 0)

    def top(self, depth: int) -> list[Level]:
        """The best *depth* levels, best first."""
        return [(self.sign * key, self.quantities[key]) for key in reversed(self.keys[-depth:])]

    def better_or_equal(self, price: int) -> list[Level]:
        """The levels that would trade with somebody from the other side who asks for *price*, best first."""
        first = bisect_left(self.keys, self.sign * price)
        return [(self.sign * key, self.quantities[key]) for key in reversed(self.keys[first:])]


class Book:
    """Both sides, and the orders they are made of.  Never crossed between two calls of `apply`."""

    def __init__(self) -> None:
        self.bids = Side(+1)
        self.asks = Side(-1)
        # By age: a changed order keeps its place.
        self._orders: dict[str, MarketOrder] = {}

    def apply(self, orders: Iterable[MarketOrder]) -> None:
        """Bring the book up to date by what happened in one instant."""
        known = self._orders
        for order in orders:
            before = known.get(order.order_id)
            if before is not None:
                (self.bids if before.is_bid else self.asks).add(before.price, -before.quantity)
            if order.quantity:
                known[order.order_id] = order
                (self.bids if order.is_bid else self.asks).add(order.price, order.quantity)
            elif before is not None:
                del known[order.order_id]
        bids, asks = self.bids.keys, self.asks.keys
        while bids and asks and bids[-1] >= -asks[-1]:
            self._forget_oldest(at_least=-asks[-1], at_most=bids[-1])

    def _forget_oldest(self, at_least: int, at_most: int) -> None:
        """Of the orders that cross, drop the oldest: its end was never recorded, or the market would have met it."""
        oldest = next(
            order
            for order in self._orders.values()
            if (order.price >= at_least if order.is_bid else order.price <= at_most)
        )
        del self._orders[oldest.order_id]
        (self.bids if oldest.is_bid else self.asks).add(oldest.price, -oldest.quantity)
