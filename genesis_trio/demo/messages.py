"""What the desk and the venue say to each other, and what the components of the desk say among themselves.

Money is `Decimal`, which is exact.  A quantity carries its sign: above zero buys, below zero sells.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, TypeVar

import attrs

from genesis_trio import schema

__all__ = ["Answer", "Fill", "Order", "Ping", "Position", "Quote", "Trade", "from_wire", "to_wire"]

T = TypeVar("T")


@attrs.frozen
class Ping:
    """The market data link is alive, though there is nothing to say."""


@attrs.frozen
class Quote:
    """The best prices of the market."""

    bid: Decimal = attrs.field(converter=Decimal)
    ask: Decimal = attrs.field(converter=Decimal)


@attrs.frozen
class Trade:
    """Somebody bought from somebody, at a price."""

    trade_id: str
    price: Decimal = attrs.field(converter=Decimal)
    amount: Decimal = attrs.field(converter=Decimal)


@schema("demo.order")
@attrs.frozen
class Order:
    """A limit order.  Its *client_id* is derived from what caused it: sent twice, it is still one order."""

    client_id: str
    quantity: Decimal = attrs.field(converter=Decimal)
    price: Decimal = attrs.field(converter=Decimal)
    reduces: bool


@schema("demo.answer")
@attrs.frozen
class Answer:
    """The venue has the order, or never will."""

    client_id: str
    accepted: bool


@schema("demo.fill")
@attrs.frozen
class Fill:
    """An order was executed.  The venue counts its fills from 1."""

    sequence: int
    trade_id: str
    client_id: str
    quantity: Decimal = attrs.field(converter=Decimal)
    price: Decimal = attrs.field(converter=Decimal)


@attrs.frozen
class Position:
    """What the ledger says we have."""

    quantity: Decimal


def to_wire(record: Any) -> dict[str, Any]:
    """The fields of *record* as JSON carries them: a Decimal as text."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in attrs.asdict(record, recurse=False).items()
    }


def from_wire(record_type: type[T], fields: Mapping[str, Any]) -> T:
    """The record that `to_wire` took apart.

    Raises:
        ValueError: a field is missing, unknown or unreadable; the venue sent something that is no *record_type*.
    """
    try:
        return record_type(**fields)
    except (TypeError, ArithmeticError) as error:
        raise ValueError(f"the venue sent no {record_type.__name__}: {dict(fields)!r}") from error
