"""The exchange over memory streams: HTTP and WebSockets for real, time and network not."""

import json

import pytest
import trio
from websockets.exceptions import ConnectionClosed

from demo.exchange.made_market import QUIET, ask, bid, bought, coins, instant, open_venue, sold
from genesis_trio.demo.exchange.exchange import TICK
from genesis_trio.demo.exchange.streams import BACKLOG
from genesis_trio.demo.trading.link import open_socket
from genesis_trio.service.http import Request

# ------------------------------------------------------------------ orders


async def test_exchange_order_has_a_life(autojump_clock):
    """An order is accepted, found, listed while it is open, cancelled, and found again."""
    async with open_venue(QUIET) as venue:
        placed = await venue.place("x", "buy", "0.10", "98.50")
        assert placed.status_code == 200
        assert placed.headers["content-type"] == "application/json"
        assert placed.json() == {
            "client_id": "x",
            "side": "buy",
            "quantity": "0.1",
            "price": "98.5",
            "filled": "0",
            "status": "open",
        }
        assert (await venue.client.get("/orders/x")).json() == placed.json()
        assert (await venue.client.get("/orders?status=open")).json() == {"orders": [placed.json()]}

        cancelled = (await venue.client.delete("/orders/x")).json()
        assert cancelled == placed.json() | {"status": "cancelled"}
        assert (await venue.client.delete("/orders/x")).json() == cancelled
        assert (await venue.client.get("/orders?status=open")).json() == {"orders": []}
        assert (await venue.client.get("/orders")).json() == {"orders": [cancelled]}
    assert trio.current_time() == 0.0


async def test_exchange_order_that_crosses_is_filled_at_once(autojump_clock):
    """The answer says what was filled, and the fills are there to be asked for."""
    async with open_venue(QUIET) as venue:
        await trio.sleep(TICK * 1.5)
        order = (await venue.place("x", "buy", "1.5", "101")).json()

        assert (order["filled"], order["status"]) == ("1", "open")
        (fill,) = (await venue.client.get("/fills")).json()["fills"]
        assert fill == {
            "sequence": 1,
            "trade_id": "fill-1",
            "client_id": "x",
            "side": "buy",
            "quantity": "1",
            "price": "101",
        }
        assert (await venue.client.get("/fills?after=1")).json() == {"fills": []}


async def test_exchange_same_order_twice_is_one(autojump_clock):
    """The second answer is that of the first order as it is now, and says so."""
    async with open_venue(QUIET) as venue:
        await venue.place("x", "sell", "1", "102")
        await venue.client.delete("/orders/x")

        again = await venue.place("x", "sell", "1.0", "102.00")

        assert (again.status_code, again.json()["status"], again.json()["repeated"]) == (200, "cancelled", True)
        assert len(venue.exchange.ledger.orders) == 1


async def test_exchange_other_order_under_the_same_id_is_a_conflict(autojump_clock):
    """409, and nothing is done."""
    async with open_venue(QUIET) as venue:
        await venue.place("x", "sell", "1", "102")

        refused = await venue.place("x", "sell", "2", "102")

        assert refused.status_code == 409
        assert refused.json() == {"error": "the id 'x' belongs to another order; nothing was done"}
        assert venue.exchange.ledger.conflicts == ["x"]


async def test_exchange_cancel_all_names_what_it_cancelled(autojump_clock):
    """Only what was open, in the order of its arrival."""
    async with open_venue(QUIET) as venue:
        for client_id in "cab":
            await venue.place(client_id, "buy", "1", "98")
        await venue.client.delete("/orders/a")

        assert (await venue.client.delete("/orders")).json() == {"cancelled": ["c", "b"]}
        assert (await venue.client.delete("/orders")).json() == {"cancelled": []}


GOOD = {"client_id": "x", "side": "buy", "quantity": "1", "price": "100"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is no JSON"),
        (b"{", "the body is no JSON"),
        (b"\xff", "the body is no JSON"),
        (b"[" * 100_000, "the body is no JSON"),
        (b"[]", "the body is a JSON object"),
        (b"{}", "an order has the fields client_id, price, quantity, side"),
        (json.dumps(GOOD | {"type": "market"}).encode(), "got client_id, price, quantity, side, type"),
        (json.dumps(GOOD | {"side": "hold"}).encode(), "a side is 'buy' or 'sell', got 'hold'"),
        (json.dumps(GOOD | {"side": ["buy"]}).encode(), "a side is 'buy' or 'sell'"),
        (json.dumps(GOOD | {"client_id": ""}).encode(), "a client_id is a text of 1 to 100 characters"),
        (json.dumps(GOOD | {"client_id": "x" * 101}).encode(), "a client_id is"),
        (json.dumps(GOOD | {"client_id": "a/b"}).encode(), "without '/'"),
        (json.dumps(GOOD | {"client_id": 7}).encode(), "a client_id is"),
        (json.dumps(GOOD | {"quantity": "0"}).encode(), "a quantity is above 0"),
        (json.dumps(GOOD | {"quantity": 1}).encode(), "a quantity is a decimal number as text"),
        (json.dumps(GOOD | {"price": "1e999999999"}).encode(), "a price is above 0 and at most"),
        (json.dumps(GOOD | {"price": "NaN"}).encode(), "a price is above 0"),
        (json.dumps(GOOD | {"price": "1.001"}).encode(), "a price is a multiple of 0.01"),
    ],
)
async def test_exchange_malformed_order_is_refused_and_forgotten(autojump_clock, body, said):
    """422 with what is wrong; the id is free for a good order."""
    async with open_venue(QUIET) as venue:
        refused = await venue.client.post("/orders", content=body)

        assert refused.status_code == 422
        assert said in refused.json()["error"]
        assert len(refused.content) < 500
        assert (await venue.place("x", "buy", "1", "100")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/orders/nobody", 404),
        ("DELETE", "/orders/nobody", 404),
        ("GET", "/", 404),
        ("PUT", "/orders", 404),
        ("GET", "/alive", 404),
        ("GET", "/orders?status=sold", 422),
        ("GET", "/fills?after=-1", 422),
        ("GET", "/fills?after=" + "9" * 10_000, 422),
    ],
)
async def test_exchange_question_that_makes_no_sense_gets_an_error(autojump_clock, method, path, status):
    """An answer with the reason, as JSON, on a connection that goes on."""
    async with open_venue(QUIET) as venue:
        answer = await venue.client.request(method, path)

        assert answer.status_code == status
        assert 0 < len(answer.json()["error"]) < 300
        assert (await venue.client.get("/orders")).status_code == 200


async def test_exchange_giant_body_is_refused_unread(autojump_clock):
    """More than a mebibyte is not an order."""
    async with open_venue(QUIET) as venue:
        assert (await venue.client.post("/orders", content=b" " * (2**20 + 1))).status_code == 413


# ------------------------------------------------------------------ opening and closing


async def test_exchange_before_the_opening_takes_no_orders(autojump_clock):
    """The market opens at its time; until then the book stands as it was at the start."""
    async with open_venue(QUIET, instant(1, bid("c", 100)), opened=None) as venue:
        await trio.sleep(1)
        assert (await venue.place("x", "buy", "1", "98")).json() == {"error": "the market is closed"}

        venue.exchange.open(at=3.0)
        await trio.sleep(1.9)
        assert (await venue.place("x", "buy", "1", "98")).status_code == 422
        await trio.sleep(0.1)
        assert (await venue.place("x", "buy", "1", "98")).status_code == 200
        with pytest.raises(ValueError, match=r"the market opened at 3.0 already"):
            venue.exchange.open(at=4.0)


async def test_exchange_closed_cancels_and_refuses(autojump_clock):
    """After the close nothing changes any more; what is known can still be asked for."""
    async with open_venue(QUIET, instant(2, sold(90, 9))) as venue:
        await venue.place("x", "buy", "1", "98")

        venue.exchange.close()

        assert venue.told("closed", "order")[-2:] == [
            {"event": "order", **GOOD, "price": "98", "filled": "0", "status": "cancelled"},
            {"event": "closed"},
        ]
        assert (await venue.place("y", "buy", "1", "98")).status_code == 422
        assert (await venue.place("x", "buy", "1", "98")).json()["repeated"]
        await trio.sleep(5)
        assert venue.exchange.ledger.fills == []


async def test_exchange_plays_the_market_at_its_speed(autojump_clock):
    """Second m of the recording happens at (m - start) / speed after the opening, at the next tick."""
    market = [instant(0, bid("b", 99), ask("a", 101)), instant(60.1, bid("c", 99.5)), instant(80, sold(99, 1))]
    async with open_venue(*market, start=60, speed=10, opened=1.0) as venue, venue.listen("/market") as receive:
        snapshot = await receive()
        assert snapshot["bids"] == [["99", "1"]]

        update = await receive()
        while update["type"] == "heartbeat":
            update = await receive()
        assert (trio.current_time(), update["bids"]) == (pytest.approx(1.0 + TICK), [["99.5", "1"]])
        trade = await receive()
        while trade["type"] == "heartbeat":
            trade = await receive()
        assert trade["type"] == "trade"
        assert trio.current_time() == pytest.approx(3.0 + TICK)


async def test_exchange_started_in_the_middle_is_where_the_market_is(autojump_clock):
    """A venue that was away comes back with today's book, yesterday's orders, and numbers that nobody has seen."""
    market = [QUIET, instant(5, sold(90, 9), bid("b", 99, 0)), instant(8, bid("c", 95)), instant(20, bid("d", 96))]
    records = [{"record": "order", **GOOD, "price": "98"}]
    await trio.sleep(10)

    async with open_venue(*market, opened=0.0, records=records) as venue, venue.listen("/market") as receive:
        snapshot = await receive()

        assert snapshot["bids"] == [["95", "1"]]
        assert snapshot["sequence"] > 200  # of at most 200 ticks that were before
        assert venue.exchange.ledger.fills == []  # while it was away, nobody traded
        assert (await venue.client.get("/orders/x")).json()["status"] == "open"


# ------------------------------------------------------------------ streams


async def test_exchange_market_snapshot_then_increments(autojump_clock):
    """A listener can keep the book: numbers without a gap, from the snapshot on."""
    market = [QUIET, *(instant(second, bid("b", 99 - second), bought(101, 0.1)) for second in range(1, 4))]
    async with open_venue(*market) as venue:
        await trio.sleep(TICK * 1.5)
        async with venue.listen("/market") as receive:
            first = await receive()
            assert (first["type"], first["bids"], first["asks"]) == ("snapshot", [["99", "1"]], [["101", "1"]])
            messages = []
            while len(messages) < 6:
                message = await receive()
                if message["type"] != "heartbeat":
                    messages.append(message)

    assert [message["type"] for message in messages] == ["trade", "update"] * 3
    assert [message["sequence"] for message in messages] == [first["sequence"] + n for n in range(1, 7)]
    assert messages[-1]["bids"] == [["97", "0"], ["96", "1"]]


async def test_exchange_changes_of_one_tick_are_one_update(autojump_clock):
    """What goes back to what it was within a tick is nothing at all."""
    market = [QUIET, instant(0.11, bid("c", 98)), instant(0.12, bid("c", 98, 0)), instant(0.13, bid("d", 97))]
    async with open_venue(*market) as venue, venue.listen("/market") as receive:
        messages = [await receive() for _ in range(2)]

    assert [message["type"] for message in messages] == ["snapshot", "update"]
    assert messages[-1]["bids"] == [["97", "1"]]


async def test_exchange_quiet_streams_give_signs_of_life(autojump_clock):
    """Every 0.2 s without anything to say."""
    async with open_venue(QUIET) as venue:
        await trio.sleep(TICK * 1.5)
        began = trio.current_time()
        async with venue.listen("/market") as market, venue.listen("/private") as private:
            sequence = (await market())["sequence"]

            assert await market() == {"type": "heartbeat", "sequence": sequence}
            assert trio.current_time() - began == pytest.approx(0.2)
            assert await market() == {"type": "heartbeat", "sequence": sequence}
            assert await private() == {"type": "heartbeat"}
            assert await private() == {"type": "heartbeat"}
            assert trio.current_time() - began == pytest.approx(0.4)


async def test_exchange_private_stream_begins_after_the_last_known_fill(autojump_clock):
    """What was missed comes first, then what happens; a fill is followed by the state that it made."""
    async with open_venue(QUIET, instant(0.5, sold(98, 1))) as venue:
        await trio.sleep(TICK * 1.5)
        for client_id in "abc":
            await venue.place(client_id, "buy", "0.25", "101")
        async with venue.listen("/private?after=1") as receive:
            assert [(await receive())["sequence"] for _ in range(2)] == [2, 3]
            await venue.place("d", "buy", "0.5", "98")

            told = []
            while len(told) < 3:
                message = await receive()
                if message["type"] != "heartbeat":
                    told.append(message)

    assert [(message["type"], message.get("status")) for message in told] == [
        ("order", "open"),
        ("fill", None),
        ("order", "filled"),
    ]
    assert (told[1]["sequence"], told[1]["client_id"], told[1]["price"]) == (4, "d", "98")


@pytest.mark.parametrize("path", ["/", "/nothing", "/private?after=x", "/private?after=-1"])
async def test_exchange_stream_that_there_is_not_is_closed_with_a_reason(autojump_clock, path):
    """1008, which says that trying again is of no use."""
    async with open_venue(QUIET) as venue, venue.listen(path) as receive:
        with pytest.raises(ConnectionClosed) as closed:
            await receive()
    assert closed.value.rcvd.code == 1008
    assert closed.value.rcvd.reason


async def test_exchange_listener_that_hangs_up_is_forgotten(autojump_clock):
    """Nobody keeps messages for those who have gone."""
    async with open_venue(QUIET) as venue:
        for path in ("/market", "/private"):
            async with venue.listen(path) as receive:
                await receive()
        await trio.sleep(1)

        assert not venue.exchange._market.listeners
        assert not venue.exchange._private.listeners


async def test_exchange_client_may_leave_with_much_unread(autojump_clock):
    """A client that has fallen behind and gives up is free at once: that of the library waits for ever by default."""
    market = [QUIET, *(instant(TICK * n, bid("c", 90 + n % 2)) for n in range(1, 100))]
    async with open_venue(*market) as venue:
        async with venue.listen("/market"):
            await trio.sleep(4)
        assert trio.current_time() < 4.5


async def test_exchange_client_that_does_not_read_is_disconnected(autojump_clock):
    """A queue without an end would be paid for by the others: 1,000 messages behind is enough."""
    market = [QUIET, *(instant(TICK * n, bid("c", 90 + n % 2)) for n in range(1, BACKLOG + 200))]
    async with open_venue(*market) as venue, venue.listen("/market") as receive:
        full = trio.testing.lockstep_stream_pair()  # what one side sends, the other has to take
        async with trio.open_nursery() as nursery:
            nursery.start_soon(venue.exchange.serve_feed, full[1])
            await full[0].send_all(HANDSHAKE)
            await full[0].receive_some()
            for _ in range(100):
                await receive()
            assert len(venue.exchange._market.listeners) == 2
            for _ in range(BACKLOG + 50):
                await receive()
            assert len(venue.exchange._market.listeners) == 1
            nursery.cancel_scope.cancel()


HANDSHAKE = (
    b"GET /market HTTP/1.1\r\nHost: venue\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_exchange_listener_that_speaks_is_not_listened_to(autojump_clock):
    """Whatever a client says is taken from the wire and forgotten; too much of it ends the connection."""
    async with open_venue(QUIET) as venue:
        async with open_socket("ws://venue/market", stream=await venue.feed.connect()) as connection:
            for _ in range(100):
                await connection.send("{" * 1000)
            assert json.loads(await connection.recv())["type"] == "snapshot"
            await connection.send("x" * 70_000)
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    await connection.recv()
    assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    "said", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 5000, b"GET /market HTTP/1.1\r\nHost: a\r\n"]
)
async def test_exchange_client_that_speaks_no_websocket_is_cut_off(autojump_clock, said):
    """It gets an error or nothing, and within the time for the handshake it is gone."""
    async with open_venue(QUIET) as venue:
        stream = await venue.feed.connect()
        if said:
            await stream.send_all(said)
        with trio.fail_after(1.5):
            while await stream.receive_some():
                pass
        async with venue.listen("/market") as receive:
            assert (await receive())["type"] == "snapshot"


# ------------------------------------------------------------------ signs of life


async def test_exchange_alive_tells_how_old_the_desk_s_book_is(autojump_clock):
    """A is the time since the desk's message was followed by another, and 0 while it is the newest."""
    async with open_venue(QUIET, instant(0.92, bid("c", 98)), instant(9, bid("d", 97))) as venue:
        await trio.sleep(0.975)
        first = (await venue.exchange.handle(request("/alive", {"sequence": 1}))).status
        await trio.sleep(2)
        await venue.client.post("/alive", json={"sequence": 1})
        await venue.client.post("/alive", json={"sequence": 2})

    assert first == 200
    alive = [(event["sequence"], round(event["age"], 6), event["at"]) for event in venue.events]
    assert alive == [
        (1, 0.025, pytest.approx(0.975)),
        (1, 2.025, pytest.approx(2.975)),
        (2, 0.0, pytest.approx(2.975)),
    ]


@pytest.mark.parametrize("sequence", [99, "1", 1.0, True, None])
async def test_exchange_alive_with_an_impossible_number_is_refused(autojump_clock, sequence):
    """Who claims a message that there was not, is not alive."""
    async with open_venue(QUIET) as venue:
        assert (await venue.client.post("/alive", json={"sequence": sequence})).status_code == 422
        assert venue.events == []


def request(path, content):
    return Request("POST", path, body=json.dumps(content).encode())


# ------------------------------------------------------------------ the truth


async def test_exchange_ledger_knows_what_the_desk_was_told(autojump_clock):
    """Every fill of the stream is in the ledger, and the journal has everything before it is told."""
    journal = []
    market = [QUIET, *(instant(n / 10, sold(98, 0.3), bought(102, 0.2)) for n in range(1, 20))]
    async with open_venue(*market, journal=journal.append) as venue, venue.listen("/private") as receive:
        await venue.place("b", "buy", "2", "98")
        await venue.place("s", "sell", "1", "102")
        told = []
        with trio.move_on_after(3):
            while True:
                told.append(await receive())

        fills = [{key: value for key, value in m.items() if key != "type"} for m in told if m["type"] == "fill"]
        ledger = venue.exchange.ledger
        assert fills == ledger.as_dict()["fills"]
        assert (ledger.position, ledger.as_dict()["cash"]) == (coins(1), str(-2 * 98 + 102))
        assert [entry["record"] for entry in journal].count("fill") == len(fills)
        assert venue.told("fill") == [{"event": "fill", **fill} for fill in fills]
