"""The order book as the market data tells it: price levels of two sides."""

from decimal import Decimal

from genesis_trio.demo.trading.records import Levels, MarketUpdate, Top

__all__ = ["GapError", "OrderBook"]


class GapError(Exception):
    """An update is missing, so the book is wrong: subscribe again."""


class OrderBook:
    """A snapshot, then increments.  What comes before the first snapshot is of no use, and is ignored."""

    def __init__(self) -> None:
        self.sequence: int | None = None
        self._bids: dict[Decimal, Decimal] = {}
        self._asks: dict[Decimal, Decimal] = {}

    def apply(self, update: MarketUpdate) -> None:
        """Bring the book up to date.

        Raises:
            GapError: an update between the last one and this one never arrived.
        """
        if update.is_snapshot:
            self._bids.clear()
            self._asks.clear()
        elif self.sequence is None:
            return
        elif update.sequence != self.sequence + 1:
            raise GapError(f"update {update.sequence} follows {self.sequence}; the book has to be asked for again")
        self.sequence = update.sequence
        change(self._bids, update.bids)
        change(self._asks, update.asks)

    def top(self) -> Top | None:
        """The best prices; None while a side is empty."""
        if self.sequence is None or not self._bids or not self._asks:
            return None
        return Top(self.sequence, max(self._bids), min(self._asks))


def change(side: dict[Decimal, Decimal], levels: Levels) -> None:
    for price, quantity in levels:
        if quantity:
            side[price] = quantity
        else:
            side.pop(price, None)
