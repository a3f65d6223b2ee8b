"""What the feed says: a snapshot of the best levels, then increments under one sequence.  Pure."""

import json
from collections import deque
from collections.abc import Iterable
from typing import Any

from genesis_trio.demo.capture import MarketTrade
from genesis_trio.demo.exchange.book import Book, Level
from genesis_trio.demo.exchange.units import price_text, quantity_text

__all__ = ["DEPTH", "MarketData"]

DEPTH = 50  # levels a side
REMEMBERED = 10_000  # messages, of which we know when they were superseded


class MarketData:
    """Turns changes of *book* into messages, each encoded once for whoever listens."""

    def __init__(self, book: Book, *, sequence: int, now: float) -> None:
        """Start counting after *sequence*: a venue that starts again must not use a number twice."""
        self.sequence = sequence
        self._book = book
        self._bids: dict[int, int] = {}
        self._asks: dict[int, int] = {}
        # When the newest messages were published, the oldest first; the first entry stands for all before.
        self._published: deque[float] = deque([now], REMEMBERED)

    def publish(self, trades: Iterable[MarketTrade], now: float) -> list[str]:
        """The messages that say what happened since the last call: the trades, then the change of the book."""
        messages = [
            self._message(
                "trade",
                now,
                trade_id=trade.trade_id,
                price=price_text(trade.price),
                quantity=quantity_text(trade.quantity),
                side="buy" if trade.is_buy else "sell",
            )
            for trade in trades
        ]
        bids, asks = dict(self._book.bids.top(DEPTH)), dict(self._book.asks.top(DEPTH))
        changed_bids, changed_asks = difference(self._bids, bids), difference(self._asks, asks)
        self._bids, self._asks = bids, asks
        if changed_bids or changed_asks:
            messages.append(self._message("update", now, bids=to_wire(changed_bids), asks=to_wire(changed_asks)))
        return messages

    def snapshot(self) -> str:
        """The levels as they are after the last message."""
        return json.dumps(
            {
                "type": "snapshot",
                "sequence": self.sequence,
                "bids": to_wire(self._bids.items()),
                "asks": to_wire(self._asks.items()),
            }
        )

    def heartbeat(self) -> str:
        return json.dumps({"type": "heartbeat", "sequence": self.sequence})

    def age(self, sequence: int, now: float) -> float:
        """Seconds since message *sequence* was followed by another: 0 for the newest.

        Of one that was published by an earlier life of the venue, or too long ago, they are a lower bound.

        Raises:
            ValueError: no message has had that number yet.
        """
        behind = self.sequence - sequence
        if behind < 0:
            raise ValueError(f"the newest message is {self.sequence}; {sequence} was never published")
        if behind == 0:
            return 0.0
        return now - self._published[max(0, len(self._published) - behind)]

    def _message(self, kind: str, now: float, **fields: Any) -> str:
        self.sequence += 1
        self._published.append(now)
        return json.dumps({"type": kind, "sequence": self.sequence, **fields})


def difference(before: dict[int, int], after: dict[int, int]) -> list[Level]:
    """The levels that changed, with quantity 0 for those that are gone."""
    if before == after:
        return []
    changed = [(price, 0) for price in before if price not in after]
    changed.extend((price, quantity) for price, quantity in after.items() if before.get(price) != quantity)
    return changed


def to_wire(levels: Iterable[Level]) -> list[tuple[str, str]]:
    return [(price_text(price), quantity_text(quantity)) for price, quantity in levels]
