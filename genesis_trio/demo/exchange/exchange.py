"""The exchange: a recorded market that is played, a desk's orders in it, and all who listen.

It knows no process, no ports and no files, so it works over sockets in real time as well as over memory streams in
virtual time.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from websockets.trio.server import ServerConnection

from genesis_trio.demo.capture import Instant
from genesis_trio.demo.exchange.api import Api, answer, read_count
from genesis_trio.demo.exchange.book import Book
from genesis_trio.demo.exchange.faults import Faults
from genesis_trio.demo.exchange.ledger import DeskFill, DeskOrder, Ledger, Record
from genesis_trio.demo.exchange.links import Links
from genesis_trio.demo.exchange.market_data import MarketData
from genesis_trio.demo.exchange.matching import Matching
from genesis_trio.demo.exchange.streams import Stream
from genesis_trio.demo.exchange.websocket import serve_websocket
from genesis_trio.service.http import Request, Response, serve_connection

__all__ = ["TICK", "Exchange"]

TICK = 0.05  # seconds of changes that are gathered into one update
SLOW = 3.0  # seconds until a slow reply
LATE = 0.5  # seconds by which repeated messages are late
POLICY_VIOLATION = 1008

Tell = Callable[[dict[str, Any]], None]


class Exchange:
    """One venue.  `run` plays the market; `serve_orders` and `serve_feed` are for one connection each.

    Args:
        instants: The recorded market.
        start: Second of the recording at which the market opens.
        speed: Seconds of the recording in one real second.
        opened: When the market opened, on *clock*.  The book begins where the market is by now; without, the
            market waits for `open`.
        journal: Is given each record of the ledger before anybody hears of it.
        records: What an earlier life of this venue has given to its journal.
        tell: Is given each event.
        clock: The time, in seconds; it runs as Trio's clock does.
    """

    def __init__(
        self,
        instants: Iterable[Instant],
        *,
        start: float = 0.0,
        speed: float = 1.0,
        opened: float | None = None,
        journal: Callable[[Record], None] = lambda record: None,
        records: Iterable[Record] = (),
        tell: Tell = lambda event: None,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._instants = iter(instants)
        self._next = next(self._instants, None)
        self._start, self._speed = start, speed
        self._clock = clock
        self._tell_event = tell
        self._opened = opened
        self._opening = trio.Event()
        self._late_send, self._late_receive = trio.open_memory_channel[tuple[float, str]](10**6)
        self._late = 0

        self.ledger = Ledger(journal, self._publish_change)
        self.ledger.restore(records)
        self._book = Book()
        self._matching = Matching(self._book, self.ledger)
        now = clock()
        while (instant := self._take_until(self._market_time(now))) is not None:
            self._book.apply(instant.orders)  # nobody could trade in that time, so nothing is matched
        # Many more than messages: a number that an earlier life has used is never used again.
        used = 0 if opened is None else max(0, int((now - opened) * 1000))
        self._data = MarketData(self._book, sequence=used, now=now)
        self._data.publish([], now)

        self.links = Links()
        self._market = Stream(self._data.heartbeat)
        self._private = Stream(lambda: json.dumps({"type": "heartbeat"}))
        self.faults = Faults(self.links, self._market, self._tell)
        self._api = Api(self.ledger, is_open=self._is_open, match=self._matching.place, hear_life=self._hear_life)

    # ------------------------------------------------------------ the market

    def open(self, at: float) -> None:
        """Let the market begin when the clock shows *at*."""
        if self._opened is not None:
            raise ValueError(f"the market opened at {self._opened} already")
        self._opened = at
        self._opening.set()

    def close(self) -> None:
        """No more orders and no more fills; what is open is cancelled."""
        self.ledger.close()
        self._tell("closed")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Play the market, for ever.

        Trio checkpoint: always.
        Cancellation: the market stands still.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._deliver_late)
            task_status.started()
            if self._opened is None:
                await self._opening.wait()
            while True:
                self._play()
                await trio.sleep(TICK)

    def _play(self) -> None:
        """Let everything happen that has happened by now, and say so in one go."""
        now = self._clock()
        until = self._market_time(now)
        trades = []
        while (instant := self._take_until(until)) is not None:
            if self.ledger.is_closed:
                self._book.apply(instant.orders)
            else:
                self._matching.happen(instant)
            trades.extend(instant.trades)
        for message in self._data.publish(trades, now):
            self._market.publish(message)

    def _market_time(self, now: float) -> float:
        return self._start + (0.0 if self._opened is None else max(0.0, now - self._opened) * self._speed)

    def _take_until(self, until: float) -> Instant | None:
        instant = self._next
        if instant is None or instant.at > until:
            return None
        self._next = next(self._instants, None)
        return instant

    def _is_open(self) -> bool:
        return not self.ledger.is_closed and self._opened is not None and self._clock() >= self._opened

    # ------------------------------------------------------------ what is told

    def _tell(self, event: str, **fields: Any) -> None:
        self._tell_event({"event": event, "at": self._clock(), **fields})

    def _hear_life(self, sequence: int) -> None:
        self._tell("alive", sequence=sequence, age=self._data.age(sequence, self._clock()))

    def _publish_change(self, what: DeskOrder | DeskFill) -> None:
        kind = "fill" if isinstance(what, DeskFill) else "order"
        fields = what.to_wire()
        self._tell(kind, **fields)
        message = json.dumps({"type": kind, **fields})
        if self.faults.is_active("orders.repeated") or self._late:
            self._late += 1  # what comes after the fault does not overtake what comes late
            self._late_send.send_nowait((trio.current_time() + LATE, message))
        else:
            self._private.publish(message)

    async def _deliver_late(self) -> None:
        async for due, message in self._late_receive:
            await trio.sleep_until(due)
            self._private.publish(message)
            self._private.publish(message)
            self._late -= 1

    # ------------------------------------------------------------ connections

    async def serve_orders(self, stream: trio.abc.Stream) -> None:
        """Be the HTTP server for one connection."""
        with self.links.hold():
            await serve_connection(self.handle, stream)

    async def serve_feed(self, stream: trio.abc.Stream) -> None:
        """Be the WebSocket server for one connection."""
        with self.links.hold():
            await serve_websocket(self.converse, stream)

    async def handle(self, request: Request) -> Response | None:
        """Answer a request of the HTTP API; None: without a word.

        Trio checkpoint: always, after the request was dealt with.
        """
        if self.faults.is_active("orders.error"):
            return answer(503, {"error": "out of order; nothing was done"})
        if self.faults.is_active("orders.busy"):
            return answer(429, {"error": "too many requests; nothing was done"}, **{"Retry-After": "1"})
        orders = len(self.ledger.orders)
        response = self._api.answer(request)
        if len(self.ledger.orders) > orders and self.faults.lose_this_reply():
            return None
        await trio.sleep(SLOW if self.faults.is_active("orders.slow") else 0)
        return response

    async def converse(self, websocket: ServerConnection) -> None:
        """Serve one WebSocket: the market, or what is private to the desk."""
        assert websocket.request is not None
        target = urlsplit(websocket.request.path)
        match target.path:
            case "/market":
                await self._market.converse(websocket, [self._data.snapshot()])
            case "/private":
                try:
                    after = read_count(parse_qs(target.query).get("after", ["0"])[-1])
                except ValueError as error:
                    await websocket.aclose(POLICY_VIOLATION, str(error)[:100])
                    return
                fills = [json.dumps({"type": "fill", **fill.to_wire()}) for fill in self.ledger.fills[after:]]
                await self._private.converse(websocket, fills)
            case _:
                await websocket.aclose(POLICY_VIOLATION, "there is no such stream; there are /market and /private")
