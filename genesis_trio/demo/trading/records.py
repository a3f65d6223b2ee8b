"""The records of a desk.  Money is `Decimal`, which is exact; a quantity above zero buys, one below zero sells."""

import enum
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import attrs

from genesis_trio import schema

__all__ = ["Fill", "Levels", "MarketUpdate", "Order", "OrderState", "Status", "Top", "VenueError"]


class VenueError(ValueError):
    """The venue sent something that is not part of its protocol; the text says what."""


class Status(enum.Enum):
    """What became of an order.

    - ``OPEN``: it rests at the venue.
    - ``FILLED``, ``CANCELLED``: it is over.
    - ``REFUSED``: it never became an order at the venue.
    """

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REFUSED = "refused"


#: Changed price levels of one side: price and the quantity that is there now, zero for none.
Levels = tuple[tuple[Decimal, Decimal], ...]


@attrs.frozen
class MarketUpdate:
    """What the market data says: a whole book, or what changed in it.  *sequence* counts without gaps."""

    sequence: int
    bids: Levels = ()
    asks: Levels = ()
    is_snapshot: bool = False


@attrs.frozen
class Top:
    """The best prices, as of *sequence* of the market data."""

    sequence: int
    bid: Decimal
    ask: Decimal

    @property
    def middle(self) -> Decimal:
        return (self.bid + self.ask) / 2


@schema("desk.order")
@attrs.frozen
class Order:
    """A limit order.  Whoever sends it again sends it with the same *client_id*, so it is still one order."""

    client_id: str
    quantity: Decimal
    price: Decimal
    reduces: bool = False

    def to_wire(self) -> dict[str, str]:
        side = "buy" if self.quantity > 0 else "sell"
        return {
            "client_id": self.client_id,
            "side": side,
            "quantity": str(abs(self.quantity)),
            "price": str(self.price),
        }


@attrs.frozen
class OrderState:
    """What the venue says about an order."""

    client_id: str
    status: Status
    filled: Decimal

    @classmethod
    def from_wire(cls, message: Mapping[str, Any]) -> "OrderState":
        """Raises VenueError for anything else."""
        try:
            return cls(str(message["client_id"]), Status(message["status"]), Decimal(message["filled"]))
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise VenueError(f"this is no state of an order: {message!r}") from error


@schema("desk.fill")
@attrs.frozen
class Fill:
    """A part of an order was executed.  The venue counts the desk's fills from 1, without gaps."""

    sequence: int
    trade_id: str
    client_id: str
    quantity: Decimal
    price: Decimal

    @classmethod
    def from_wire(cls, message: Mapping[str, Any]) -> "Fill":
        """Raises VenueError for anything else."""
        try:
            quantity = Decimal(message["quantity"])
            return cls(
                int(message["sequence"]),
                str(message["trade_id"]),
                str(message["client_id"]),
                {"buy": quantity, "sell": -quantity}[message["side"]],
                Decimal(message["price"]),
            )
        except (KeyError, TypeError, ValueError, InvalidOperation) as error:
            raise VenueError(f"this is no fill: {message!r}") from error
