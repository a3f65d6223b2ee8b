"""Where the desk's orders meet the recorded market, by price and then by time.  Pure.

The recording goes on as it was recorded, whatever the desk does.  So what the desk takes from a price level is
remembered until the level is gone: it cannot be taken twice.  Orders of the desk do not trade with each other.
"""

from genesis_trio.demo.capture import Instant, MarketTrade
from genesis_trio.demo.exchange.book import Book, Side
from genesis_trio.demo.exchange.ledger import DeskOrder, Ledger

__all__ = ["Matching"]


class Matching:
    """Fills orders of *ledger* from what happens in *book*."""

    def __init__(self, book: Book, ledger: Ledger) -> None:
        self.book = book
        self.ledger = ledger
        self._taken: dict[int, int] = {}  # by price: a price is on one side only

    def place(self, order: DeskOrder) -> None:
        """Execute what *order* crosses at once, level by level, and let the rest wait behind its level."""
        self._cross(order, at_level_price=True)
        if order.left:
            self._queue(order)

    def happen(self, instant: Instant) -> None:
        """Let the market do what it did, and the desk have its part of it."""
        # Trades first: what they took from those who wait before us is gone from the book after the instant.
        for trade in instant.trades:
            self._trade(trade)
        self.book.apply(instant.orders)
        if self._taken:
            self._forget_gone_levels()
        if self.ledger.open:
            self.settle()

    def settle(self) -> None:
        """Fill whoever the book has come to, and see how the queues have moved."""
        best_bid, best_ask = self.book.bids.best(), self.book.asks.best()
        for order in list(self.ledger.open.values()):
            best = best_ask if order.is_buy else best_bid
            if best is not None and (best <= order.price if order.is_buy else best >= order.price):
                self._cross(order, at_level_price=False)
            if order.left:
                self._queue(order)

    def _side(self, order: DeskOrder) -> Side:
        return self.book.bids if order.is_buy else self.book.asks

    def _queue(self, order: DeskOrder) -> None:
        there = self._side(order).at(order.price)
        order.ahead = there if order.ahead is None else min(order.ahead, there)

    def _cross(self, order: DeskOrder, *, at_level_price: bool) -> None:
        other = self.book.asks if order.is_buy else self.book.bids
        for price, quantity in other.better_or_equal(order.price):
            taken = self._taken.get(price, 0)
            part = min(order.left, quantity - taken)
            if part > 0:
                self._taken[price] = taken + part
                # Who comes to a waiting order trades at its price.
                self.ledger.fill(order, part, price if at_level_price else order.price)
            if not order.left:
                return

    def _trade(self, trade: MarketTrade) -> None:
        """Share out a recorded trade: first those who wait at better prices, then, at its own, those who came first."""
        left = trade.quantity
        reached = [
            order
            for order in self.ledger.open.values()
            if order.is_buy != trade.is_buy
            and (order.price >= trade.price if order.is_buy else order.price <= trade.price)
        ]
        reached.sort(key=lambda order: -order.price if order.is_buy else order.price)  # stable: by time in a price
        to_others = 0  # what of the trade went to the recorded queue at its price
        for order in reached:
            if order.price == trade.price:
                ahead = order.ahead or 0
                order.ahead = max(0, ahead - to_others - left)
                passing = min(max(0, ahead - to_others), left)
                to_others += passing
                left -= passing
            part = min(order.left, left)
            if part > 0:
                left -= part
                self.ledger.fill(order, part, order.price)

    def _forget_gone_levels(self) -> None:
        bids, asks = self.book.bids, self.book.asks
        for price in [price for price in self._taken if not bids.at(price) and not asks.at(price)]:
            del self._taken[price]
