"""The venue's HTTP API, as JSON: what is asked for, and what is answered.  Nothing here waits."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from genesis_trio.demo.exchange.ledger import ConflictError, DeskOrder, Ledger, Status
from genesis_trio.demo.exchange.units import parse_price, parse_quantity
from genesis_trio.service.http import Request, Response

__all__ = ["Api", "answer"]

ORDER_FIELDS = ["client_id", "price", "quantity", "side"]
LONGEST_ID = 100


class NotFoundError(Exception):
    """There is nothing of that name."""


class Api:
    """Answers requests from *ledger*.

    Args:
        ledger: The orders and fills.
        is_open: Whether the market is open.
        match: Is given each order that was just accepted.
        hear_life: Is given the sequence number that a desk has got to; raises ValueError for an impossible one.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        is_open: Callable[[], bool],
        match: Callable[[DeskOrder], None],
        hear_life: Callable[[int], None],
    ) -> None:
        self._ledger = ledger
        self._is_open = is_open
        self._match = match
        self._hear_life = hear_life

    def answer(self, request: Request) -> Response:
        """Do what *request* asks for, at once."""
        try:
            return answer(200, self._carry_out(request))
        except NotFoundError as error:
            return refuse(404, error)
        except ConflictError as error:
            return refuse(409, error)
        except ValueError as error:
            return refuse(422, error)

    def _carry_out(self, request: Request) -> Mapping[str, Any]:
        match request.method, request.path.strip("/").split("/"):
            case "POST", ["orders"]:
                return self._place(read_object(request.body))
            case "GET", ["orders"]:
                return {"orders": [order.to_wire() for order in self._select(request.query.get("status"))]}
            case "DELETE", ["orders"]:
                return {"cancelled": [self._cancel(order) for order in list(self._ledger.open.values())]}
            case "GET", ["orders", client_id]:
                return self._find(client_id).to_wire()
            case "DELETE", ["orders", client_id]:
                order = self._find(client_id)
                self._cancel(order)
                return order.to_wire()
            case "GET", ["fills"]:
                after = read_count(request.query.get("after", "0"))
                return {"fills": [fill.to_wire() for fill in self._ledger.fills[after:]]}
            case "POST", ["alive"]:
                self._hear_life(read_sequence(read_object(request.body)))
                return {}
        raise NotFoundError(f"there is no {request.method} {request.path[:200]!r} here")

    def _place(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        client_id, is_buy, quantity, price = read_order(fields)
        if client_id not in self._ledger.orders and not self._is_open():
            raise ValueError("the market is closed")
        order = self._ledger.place(client_id, is_buy, quantity, price)
        if order is None:
            return self._ledger.orders[client_id].to_wire() | {"repeated": True}
        self._match(order)
        return order.to_wire()

    def _select(self, status: str | None) -> list[DeskOrder]:
        if status is None:
            return list(self._ledger.orders.values())
        wanted = Status(status)  # ValueError for what is none
        return [order for order in self._ledger.orders.values() if order.status is wanted]

    def _find(self, client_id: str) -> DeskOrder:
        try:
            return self._ledger.orders[client_id]
        except KeyError:
            raise NotFoundError(f"there is no order {client_id[:200]!r}") from None

    def _cancel(self, order: DeskOrder) -> str:
        self._ledger.cancel(order)
        return order.client_id


def answer(status: int, content: Mapping[str, Any], **headers: str) -> Response:
    """A response of JSON."""
    return Response(status, json.dumps(content).encode(), "application/json", headers)


def refuse(status: int, error: Exception) -> Response:
    return answer(status, {"error": str(error)})


def read_object(body: bytes) -> Mapping[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the body is no JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError("the body is a JSON object")
    return content


def read_order(fields: Mapping[str, Any]) -> tuple[str, bool, int, int]:
    if sorted(fields) != ORDER_FIELDS:
        raise ValueError(f"an order has the fields {', '.join(ORDER_FIELDS)}, got {', '.join(sorted(fields))[:200]}")
    client_id, side = fields["client_id"], fields["side"]
    if not isinstance(client_id, str) or not 0 < len(client_id) <= LONGEST_ID or "/" in client_id:
        raise ValueError(f"a client_id is a text of 1 to {LONGEST_ID} characters without '/', got {client_id!r:.200}")
    if side not in ("buy", "sell"):
        raise ValueError(f"a side is 'buy' or 'sell', got {side!r:.80}")
    return client_id, side == "buy", parse_quantity(fields["quantity"]), parse_price(fields["price"])


def read_sequence(fields: Mapping[str, Any]) -> int:
    sequence = fields.get("sequence")
    if type(sequence) is not int:
        raise ValueError(f"a sequence is a whole number, got {sequence!r:.80}")
    return sequence


def read_count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"'after' is a number of fills, got {text[:80]!r}")
    return int(text)
