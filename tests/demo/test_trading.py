"""What both desks know: records, the order book, the quoting rule, and the way to the venue."""

import contextlib
import json
from decimal import Decimal

import httpx2
import pytest
from websockets.exceptions import ConnectionClosedOK

from genesis_trio.demo.trading.link import (
    Messages,
    VenueBusyError,
    VenueDownError,
    VenueLink,
    levels,
    market_update,
    private_message,
)
from genesis_trio.demo.trading.market_maker import LIMIT, LOT, Cancel, MarketMaker, exposure
from genesis_trio.demo.trading.order_book import GapError, OrderBook
from genesis_trio.demo.trading.records import Fill, MarketUpdate, Order, OrderState, Status, Top, VenueError

TOP = Top(7, Decimal(100), Decimal(101))
BID, ASK = Order("7-bid", LOT, Decimal(100)), Order("7-ask", -LOT, Decimal(101))


# ------------------------------------------------------------------ the order book


def side(*pairs):
    return tuple((Decimal(price), Decimal(quantity)) for price, quantity in pairs)


def test_book_before_snapshot_ignores_updates():
    """Without a snapshot there is nothing to change."""
    book = OrderBook()
    book.apply(MarketUpdate(3, bids=side((1, 1))))

    assert book.sequence is None
    assert book.top() is None


def test_book_increments_change_levels():
    """A quantity replaces a level's, and zero takes the level away."""
    book = OrderBook()
    book.apply(MarketUpdate(3, side((99, 1), (98, 2)), side((101, 1)), is_snapshot=True))
    book.apply(MarketUpdate(4, side((99, 0)), side((Decimal("100.5"), 1))))

    assert book.top() == Top(4, Decimal(98), Decimal("100.5"))


@pytest.mark.parametrize("sequence", [3, 5, 2])
def test_book_gap_is_an_error(sequence):
    """What does not follow the last update means that one is missing."""
    book = OrderBook()
    book.apply(MarketUpdate(3, side((99, 1)), side((101, 1)), is_snapshot=True))

    with pytest.raises(GapError, match=rf"update {sequence} follows 3"):
        book.apply(MarketUpdate(sequence))


def test_book_snapshot_replaces_everything():
    """A snapshot may come at any time, and forgets what was before."""
    book = OrderBook()
    book.apply(MarketUpdate(3, side((99, 1)), side((101, 1)), is_snapshot=True))
    book.apply(MarketUpdate(90, side((50, 1)), is_snapshot=True))

    assert book.sequence == 90
    assert book.top() is None  # there are no asks


# ------------------------------------------------------------------ the quoting rule


def decide(position=Decimal(0), working=(), top=TOP):
    return list(MarketMaker().decide(top, position, working))


def test_maker_with_nothing_wants_both_sides():
    """One order at each side's best price."""
    assert decide() == [BID, ASK]


def test_maker_near_order_stays():
    """An order within the tolerance of the best price is left alone."""
    assert decide(working=[Order("a", LOT, Decimal(98)), ASK]) == []


def test_maker_far_order_is_cancelled_first():
    """An order that the market has left is taken back; its successor waits until it is gone."""
    assert decide(working=[Order("a", LOT, Decimal("97.9")), ASK]) == [Cancel("a")]


@pytest.mark.parametrize("sign", [1, -1])
def test_maker_at_limit_only_reduces(sign):
    """With as much in hand as is allowed, the only order is the one that makes it less."""
    (order,) = decide(position=sign * LIMIT)

    assert order.quantity == -sign * LOT
    assert order.reduces


def test_maker_counts_orders_that_wait():
    """What may still be filled counts as if it were."""
    assert exposure(LIMIT - LOT, [BID, ASK], LOT) == LIMIT + LOT


# ------------------------------------------------------------------ records


def test_order_to_wire_has_side_and_positive_quantity():
    """The venue knows sides, we know signs."""
    assert ASK.to_wire() == {"client_id": "7-ask", "side": "sell", "quantity": "0.01", "price": "101"}


def test_fill_from_wire_has_signed_quantity():
    """A sale is below zero."""
    wire = {"sequence": 3, "trade_id": "t", "client_id": "c", "side": "sell", "quantity": "0.5", "price": "100.25"}

    assert Fill.from_wire(wire) == Fill(3, "t", "c", Decimal("-0.5"), Decimal("100.25"))


@pytest.mark.parametrize("broken", [{}, {"status": "open"}, {"client_id": "a", "status": "odd", "filled": "0"}])
@pytest.mark.parametrize("record", [Fill, OrderState])
def test_records_from_wire_nonsense_is_refused(record, broken):
    """What is not part of the protocol never becomes a record."""
    with pytest.raises(VenueError, match=r"this is no "):
        record.from_wire(broken)


# ------------------------------------------------------------------ the way to the venue


def link(answer, messages=()):
    """A link to a venue that gives *answer* to each request."""

    @contextlib.asynccontextmanager
    async def open_socket(path):
        yield FakeSocket(messages)

    return VenueLink(httpx2.AsyncClient(base_url="http://venue", transport=httpx2.MockTransport(answer)), open_socket)


class FakeSocket:
    """A WebSocket that says *texts* and is closed."""

    def __init__(self, texts):
        self.texts = iter(texts)

    async def recv(self):
        for text in self.texts:
            return text
        raise ConnectionClosedOK(None, None)


async def test_link_place_known_order_is_its_state():
    """The venue's answer is what became of the order."""
    seen = []

    def answer(request):
        seen.append((request.method, request.url.path, json.loads(request.content)))
        return httpx2.Response(200, json={"client_id": "7-bid", "status": "open", "filled": "0"})

    assert await link(answer).place(BID) == OrderState("7-bid", Status.OPEN, Decimal(0))
    assert seen == [("POST", "/orders", BID.to_wire())]


@pytest.mark.parametrize("status", [409, 422])
async def test_link_place_unwanted_order_is_refused(status):
    """An order that the venue does not want is no failure of the venue."""
    state = await link(lambda request: httpx2.Response(status, json={"error": "no"})).place(BID)

    assert state.status is Status.REFUSED


async def test_link_missing_order_is_none():
    """404 is an answer."""
    venue = link(lambda request: httpx2.Response(404))

    assert await venue.find("x") is None
    assert await venue.cancel("x") is None


async def test_link_busy_venue_names_the_delay():
    """429 carries the seconds that a retry has to wait."""
    venue = link(lambda request: httpx2.Response(429, headers={"Retry-After": "1.5"}))

    with pytest.raises(VenueBusyError, match="too many requests") as caught:
        await venue.open_orders()
    assert caught.value.retry_after == 1.5


def refuse(request):
    raise httpx2.ConnectError("refused")


@pytest.mark.parametrize("answer", [refuse, lambda request: httpx2.Response(503)])
async def test_link_no_answer_is_venue_down(answer):
    """No connection and an error of the venue are the same to us: nobody knows what was done."""
    with pytest.raises(VenueDownError, match=r"GET /orders/x: "):
        await link(answer).find("x")


async def test_link_odd_answer_is_venue_error():
    """An answer that the protocol does not have is told with its text."""
    with pytest.raises(VenueError, match="the venue answered 404: gone"):
        await link(lambda request: httpx2.Response(404, text="gone")).show_life(3)


async def test_link_market_reads_messages_until_the_stream_closes():
    """Each message becomes a record, a sign of life is None, and an end is an error."""
    texts = [
        '{"type": "snapshot", "sequence": 1, "bids": [["99", "1"]], "asks": []}',
        '{"type": "heartbeat", "sequence": 1}',
        '{"type": "trade", "sequence": 2, "price": "99", "quantity": "1"}',
    ]
    read = []
    with pytest.raises(VenueDownError, match=r"^/market: "):
        async with link(refuse, texts).market() as updates:
            async for update in updates:
                read.append(update)

    assert read == [MarketUpdate(1, levels([["99", "1"]]), (), is_snapshot=True), None, MarketUpdate(2)]


async def test_link_private_reads_fills_and_orders():
    """The private stream carries fills and states of orders."""
    texts = [
        '{"type": "heartbeat"}',
        '{"type": "order", "client_id": "a", "status": "filled", "filled": "0.01"}',
        '{"type": "fill", "sequence": 1, "trade_id": "t", "client_id": "a", "side": "buy", "quantity": "1", "price": "2"}',
    ]
    async with link(refuse, texts).private(after=0) as messages:
        read = [await anext(messages) for _ in texts]

    assert read == [None, OrderState("a", Status.FILLED, Decimal("0.01")), Fill(1, "t", "a", Decimal(1), Decimal(2))]


@pytest.mark.parametrize("text", ["no json", "[1]", '{"type": "odd"}', '{"type": "update", "sequence": 1}'])
@pytest.mark.parametrize("read", [market_update, private_message])
async def test_link_nonsense_is_venue_error(text, read):
    """A message that is none of ours ends the stream, with the text."""
    with pytest.raises(VenueError):
        await anext(Messages(FakeSocket([text]), read))
