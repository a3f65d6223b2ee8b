"""What the components of the desk say to each other."""

from decimal import Decimal

import attrs

from genesis_trio import Topic
from genesis_trio.demo.trading.records import Fill, MarketUpdate, Order, OrderState, Top

__all__ = [
    "APPROVED",
    "BOOKED",
    "DECISIONS",
    "MARKET",
    "POSITIONS",
    "TOPS",
    "UPDATES",
    "WORKING",
    "Decision",
    "Position",
    "Working",
]


@attrs.frozen
class Decision:
    """What the strategy wants after it has looked at *sequence* of the market; it may be nothing.

    Its *name* comes back in `Working` once it was carried out.
    """

    name: str
    sequence: int
    cancels: tuple[str, ...] = ()
    orders: tuple[Order, ...] = ()


@attrs.frozen
class Working:
    """The orders that are not over; the last decision that was carried out is *after*."""

    orders: tuple[Order, ...] = ()
    after: str | None = None


@attrs.frozen
class Position:
    """What the ledger says we have."""

    quantity: Decimal
    cash: Decimal
    fills: int
    last_price: Decimal


MARKET = Topic("market", MarketUpdate)
TOPS = Topic("tops", Top, key=lambda top: "top", latest=True)
DECISIONS = Topic("decisions", Decision)
APPROVED = Topic("approved", Decision)
WORKING = Topic("working", Working, key=lambda working: "working", latest=True)
UPDATES = Topic("updates", OrderState)
BOOKED = Topic("booked", Fill)
POSITIONS = Topic("positions", Position, key=lambda position: "position", latest=True)
