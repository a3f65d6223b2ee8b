"""The venue: what it says about orders and fills is the truth that the desk is measured by.

It lives in the process that is not killed.  `Book` is what it knows; `Venue` talks to the desk.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import trio

from genesis_trio.demo.capture import Moment
from genesis_trio.demo.messages import Fill, Order, Quote, Trade, from_wire, to_wire
from genesis_trio.demo.wire import JsonLines

__all__ = ["Book", "Venue"]

PING_EVERY = 0.2
BACKLOG = 1000  # ticks; a reader that slow gets later quotes only


class Book:
    """Orders by their client ids, and the fills that the market made of them."""

    def __init__(self) -> None:
        self.orders: dict[str, Order] = {}
        self.fills: list[Fill] = []
        self.repeated = 0  # the same order again: known, not placed twice
        self.conflicts: list[str] = []  # another order under an id that is taken
        self.refused = 0
        self.is_closed = False
        self._open: dict[str, Order] = {}

    def place(self, order: Order) -> bool:
        """Accept *order*, once; False when the market is closed."""
        known = self.orders.get(order.client_id)
        if known is not None:
            self.repeated += 1
            if known != order:
                self.conflicts.append(order.client_id)
            return True
        if self.is_closed:
            self.refused += 1
            return False
        self.orders[order.client_id] = self._open[order.client_id] = order
        return True

    def trade(self, price: Decimal) -> bool:
        """Fill what a trade at *price* crosses; True if there was any."""
        crossed = [
            order
            for order in self._open.values()
            if (price <= order.price if order.quantity > 0 else price >= order.price)
        ]
        for order in crossed:
            del self._open[order.client_id]
            number = len(self.fills) + 1
            self.fills.append(Fill(number, f"fill-{number}", order.client_id, order.quantity, order.price))
        return bool(crossed)

    @property
    def open_orders(self) -> int:
        return len(self._open)

    @property
    def position(self) -> Decimal:
        return sum((fill.quantity for fill in self.fills), Decimal(0))

    @property
    def cash(self) -> Decimal:
        return -sum((fill.quantity * fill.price for fill in self.fills), Decimal(0))


class Venue:
    """The venue on the wire, with the ways in which it fails."""

    def __init__(self) -> None:
        self.book = Book()
        self.acknowledged = 0
        self.forgotten: list[int] = []  # acknowledgements that went backwards
        self._changed = trio.Event()  # a fill, or an acknowledgement
        self._subscribers: dict[trio.MemorySendChannel[dict[str, Any]], None] = {}
        self._connections: dict[trio.CancelScope, None] = {}
        self._is_down = False
        self._withheld: trio.Event | None = None

    # ------------------------------------------------------------ the market

    def happen(self, moment: Moment) -> None:
        """Let the market do what it did."""
        tick = moment.tick
        if isinstance(tick, Trade) and self.book.trade(tick.price):
            self._wake()
        self._tell({"kind": "quote" if isinstance(tick, Quote) else "trade", **to_wire(tick)})

    def close(self) -> None:
        """The market closes: no more orders, no more fills."""
        self.book.is_closed = True

    async def wait_acknowledged(self) -> None:
        """Wait until the desk has acknowledged every fill."""
        while self.acknowledged < len(self.book.fills):
            await self._changed.wait()

    def _tell(self, message: dict[str, Any]) -> None:
        for subscriber in self._subscribers:
            try:
                subscriber.send_nowait(message)
            except trio.WouldBlock:
                continue  # it gets the next one

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # ------------------------------------------------------------ what goes wrong

    def send_nonsense(self) -> None:
        """A tick whose price is none."""
        self._tell({"kind": "trade", "trade_id": "?", "price": "n/a", "amount": "0"})

    def fall_silent(self) -> None:
        """Those who listen to the market hear nothing more, not even that the link is alive."""
        self._subscribers.clear()

    async def go_down(self, seconds: float) -> None:
        """Drop every connection and refuse new ones for so many seconds."""
        self._is_down = True
        for scope in list(self._connections):
            scope.cancel()
        await trio.sleep(seconds)
        self._is_down = False

    def withhold_reply(self) -> trio.Event:
        """Accept the next order without a word; the event tells when."""
        self._withheld = trio.Event()
        return self._withheld

    # ------------------------------------------------------------ the wire

    async def serve(self, address: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Listen at the Unix socket *address*, for ever."""
        socket = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM)
        await socket.bind(address)
        socket.listen()
        task_status.started()
        await trio.serve_listeners(self._converse, [trio.SocketListener(socket)])

    async def _converse(self, stream: trio.SocketStream) -> None:
        if self._is_down:
            await stream.aclose()
            return
        lines = JsonLines(stream)
        async with stream:
            with self._connected():
                try:
                    while True:
                        await self._answer(lines, await lines.receive())
                except* ConnectionError:
                    pass  # it hung up; everything it said was dealt with

    @contextmanager
    def _connected(self) -> Iterator[None]:
        with trio.CancelScope() as scope:
            self._connections[scope] = None
            try:
                yield
            finally:
                del self._connections[scope]

    async def _answer(self, lines: JsonLines, question: dict[str, Any]) -> None:
        match question.pop("op", None):
            case "place":
                await self._place(lines, from_wire(Order, question))
            case "find":
                await lines.send({"found": question["client_id"] in self.book.orders})
            case "market":
                await self._send_market(lines)
            case "fills":
                await self._send_fills(lines)
            case unknown:
                raise ConnectionError(f"nobody here knows how to {unknown!r}")

    async def _place(self, lines: JsonLines, order: Order) -> None:
        is_new = order.client_id not in self.book.orders
        accepted = self.book.place(order)
        if is_new and accepted and self._withheld is not None:
            self._withheld.set()
            self._withheld = None
            await trio.sleep_forever()
        await lines.send({"accepted": accepted})

    async def _send_market(self, lines: JsonLines) -> None:
        send, receive = trio.open_memory_channel[dict[str, Any]](BACKLOG)
        self._subscribers[send] = None
        try:
            while True:
                message: dict[str, Any] = {"kind": "ping"}
                with trio.move_on_after(PING_EVERY) as waited:
                    message = await receive.receive()
                if waited.cancelled_caught and send not in self._subscribers:
                    await lines.receive()  # silent, until the other side has had enough and hangs up
                await lines.send(message)
        finally:
            self._subscribers.pop(send, None)

    async def _send_fills(self, lines: JsonLines) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._hear_acknowledgements, lines)
            sent = self.acknowledged
            while True:
                for fill in self.book.fills[sent:]:
                    await lines.send(to_wire(fill))
                    sent += 1
                await self._changed.wait()

    async def _hear_acknowledgements(self, lines: JsonLines) -> None:
        while True:
            sequence = (await lines.receive())["acknowledged"]
            if sequence != self.acknowledged + 1:
                self.forgotten.append(sequence)
            self.acknowledged = max(self.acknowledged, sequence)
            self._wake()
