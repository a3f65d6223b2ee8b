"""The desk's orders and fills.  What it says is the truth: by it the desks are measured.

Pure but for the journal: each change is handed to it before it is made, so before anybody hears of it.
"""

import enum
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from genesis_trio.demo.exchange.units import cash_text, parse_price, parse_quantity, price_text, quantity_text

__all__ = ["ConflictError", "DeskFill", "DeskOrder", "Ledger", "Status"]

Record = Mapping[str, Any]


class ConflictError(Exception):
    """Another order has this client id."""


class Status(enum.Enum):
    """What is left of an order: ``OPEN`` while it may be filled, ``FILLED`` or ``CANCELLED`` for ever."""

    OPEN = "open"
    FILLED = "filled"
    CANCELLED = "cancelled"


@attrs.define(eq=False)
class DeskOrder:
    """A limit order of the desk."""

    client_id: str
    is_buy: bool
    quantity: int
    price: int
    filled: int = 0
    status: Status = Status.OPEN
    # What waits at its price before it; None until somebody has looked, so also after a restart of the venue.
    ahead: int | None = None

    @property
    def left(self) -> int:
        return self.quantity - self.filled

    def to_wire(self) -> dict[str, Any]:
        return {
            "client_id": self.client_id,
            "side": "buy" if self.is_buy else "sell",
            "quantity": quantity_text(self.quantity),
            "price": price_text(self.price),
            "filled": quantity_text(self.filled),
            "status": self.status.value,
        }


@attrs.frozen
class DeskFill:
    """A part of an order was executed; *sequence* counts the fills from 1."""

    sequence: int
    client_id: str
    is_buy: bool
    quantity: int
    price: int

    @property
    def trade_id(self) -> str:
        return f"fill-{self.sequence}"

    def to_wire(self) -> dict[str, Any]:
        return {
            "sequence": self.sequence,
            "trade_id": self.trade_id,
            "client_id": self.client_id,
            "side": "buy" if self.is_buy else "sell",
            "quantity": quantity_text(self.quantity),
            "price": price_text(self.price),
        }


class Ledger:
    """Orders by their client ids, in the order of their arrival, and what was filled of them."""

    def __init__(
        self,
        journal: Callable[[Record], None] = lambda record: None,
        changed: Callable[[DeskOrder | DeskFill], None] = lambda what: None,
    ) -> None:
        """Write each change to *journal*, make it, and tell it to *changed*."""
        self.orders: dict[str, DeskOrder] = {}
        self.open: dict[str, DeskOrder] = {}
        self.fills: list[DeskFill] = []
        self.conflicts: list[str] = []  # another order under an id that is taken
        self.repeated = 0  # the same order again: known, not placed twice
        self.position = 0
        self.cash = 0
        self.is_closed = False
        self._journal = journal
        self._changed = changed

    def place(self, client_id: str, is_buy: bool, quantity: int, price: int) -> DeskOrder | None:
        """Accept an order; None if this very order is here already.

        Raises:
            ConflictError: another one is.
        """
        known = self.orders.get(client_id)
        if known is not None:
            if (known.is_buy, known.quantity, known.price) != (is_buy, quantity, price):
                self._record("conflict", client_id=client_id)
                raise ConflictError(f"the id {client_id!r} belongs to another order; nothing was done")
            self._record("repeated", client_id=client_id)
            return None
        self._record(
            "order",
            client_id=client_id,
            side="buy" if is_buy else "sell",
            quantity=quantity_text(quantity),
            price=price_text(price),
        )
        order = self.orders[client_id]
        self._changed(order)
        return order

    def fill(self, order: DeskOrder, quantity: int, price: int) -> None:
        """Execute so much of *order* at *price*."""
        self._record("fill", client_id=order.client_id, quantity=quantity_text(quantity), price=price_text(price))
        self._changed(self.fills[-1])
        self._changed(order)

    def cancel(self, order: DeskOrder) -> None:
        """Take back what is open of *order*; nothing if that is nothing."""
        if order.status is Status.OPEN:
            self._record("cancel", client_id=order.client_id)
            self._changed(order)

    def close(self) -> None:
        """No orders and no fills any more; what is open is cancelled."""
        if not self.is_closed:
            for order in list(self.open.values()):
                self.cancel(order)
            self._record("close")

    def _record(self, kind: str, **fields: str) -> None:
        record = {"record": kind, **fields}
        self._journal(record)
        self._apply(record)

    def restore(self, records: Iterable[Record]) -> None:
        """Become what *records* made of an earlier ledger; nothing is written or told."""
        for record in records:
            self._apply(record)

    def _apply(self, record: Record) -> None:
        match record["record"]:
            case "order":
                client_id = record["client_id"]
                order = DeskOrder(
                    client_id,
                    record["side"] == "buy",
                    parse_quantity(record["quantity"]),
                    parse_price(record["price"]),
                )
                self.orders[client_id] = self.open[client_id] = order
            case "fill":
                order = self.orders[record["client_id"]]
                self._apply_fill(order, parse_quantity(record["quantity"]), parse_price(record["price"]))
            case "cancel":
                self.open.pop(record["client_id"]).status = Status.CANCELLED
            case "repeated":
                self.repeated += 1
            case "conflict":
                self.conflicts.append(record["client_id"])
            case "close":
                self.is_closed = True
            case unknown:
                raise ValueError(f"the journal has a record {unknown!r}, which nobody writes")

    def _apply_fill(self, order: DeskOrder, quantity: int, price: int) -> None:
        signed = quantity if order.is_buy else -quantity
        self.fills.append(DeskFill(len(self.fills) + 1, order.client_id, order.is_buy, quantity, price))
        self.position += signed
        self.cash -= signed * price
        order.filled += quantity
        if not order.left:
            order.status = Status.FILLED
            del self.open[order.client_id]

    def as_dict(self) -> dict[str, Any]:
        """All of it, as JSON has it."""
        return {
            "orders": [order.to_wire() for order in self.orders.values()],
            "fills": [fill.to_wire() for fill in self.fills],
            "position": quantity_text(self.position),
            "cash": cash_text(self.cash),
            "conflicts": list(self.conflicts),
            "repeated": self.repeated,
        }
