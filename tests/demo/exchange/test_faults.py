"""Each fault of the venue: what a client sees of it, and that it ends."""

import json

import httpx2
import pytest
import trio
import trio.testing
from websockets.exceptions import ConnectionClosed

from demo.exchange.made_market import QUIET, bid, instant, open_venue
from genesis_trio.demo.exchange.exchange import TICK
from genesis_trio.demo.exchange.faults import KINDS, SKIPPED, UnknownFaultError

BUSY_MARKET = [QUIET, *(instant(TICK * n, bid("c", 90 + n % 2)) for n in range(1, 400))]


def over(kind):
    return [{"event": "fault", "kind": kind}, {"event": "fault_over", "kind": kind}]


# ------------------------------------------------------------------ the network


async def test_fault_dropped_link_ends_every_connection(autojump_clock):
    """WebSockets end without a closing handshake, and new ones are welcome at once."""
    async with open_venue(QUIET) as venue:
        async with venue.listen("/market") as market, venue.listen("/private") as private:
            await market(), await private()
            await venue.exchange.faults.carry_out("link.dropped")
            for receive in (market, private):
                with pytest.raises(ConnectionClosed) as closed:
                    while True:
                        await receive()
                assert closed.value.rcvd is None
        assert venue.told("fault", "fault_over") == over("link.dropped")
        async with venue.listen("/market") as market:
            assert (await market())["type"] == "snapshot"


async def test_fault_dropped_link_takes_an_answer_that_is_on_its_way(autojump_clock):
    """The order was dealt with, and the client does not hear of it."""
    async with open_venue(QUIET) as venue, trio.open_nursery() as nursery:
        nursery.start_soon(venue.exchange.faults.carry_out, "orders.slow", 1)
        await trio.testing.wait_all_tasks_blocked()
        stream = await venue.http.connect()
        body = json.dumps({"client_id": "x", "side": "buy", "quantity": "1", "price": "98"}).encode()
        await stream.send_all(b"POST /orders HTTP/1.1\r\nHost: v\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await trio.sleep(0.5)

        await venue.exchange.faults.carry_out("link.dropped")

        assert await stream.receive_some() == b""
        assert trio.current_time() == 0.5
        assert "x" in venue.exchange.ledger.orders


async def test_fault_refused_link_lets_nobody_in_until_it_is_over(autojump_clock):
    """Connections end at once, and those that come are turned away; then all is well."""
    async with open_venue(QUIET) as venue:
        links = venue.exchange.links
        async with venue.listen("/market") as receive, trio.open_nursery() as nursery:
            await receive()
            nursery.start_soon(venue.exchange.faults.carry_out, "link.refused", 2)
            with pytest.raises(ConnectionClosed):
                while True:
                    await receive()
            assert (trio.current_time(), links.is_refusing) == (0.0, True)
            stream = await venue.feed.connect()
            assert await stream.receive_some() == b""
            await links.wait_accepting()
            assert trio.current_time() == 2.0
        assert venue.told("fault", "fault_over") == over("link.refused")
        async with venue.listen("/market") as receive:
            assert (await receive())["type"] == "snapshot"


async def test_fault_refused_link_twice_ends_with_the_later_end(autojump_clock):
    """Two that overlap are one that is longer."""
    async with open_venue(QUIET) as venue, trio.open_nursery() as nursery:
        nursery.start_soon(venue.exchange.faults.carry_out, "link.refused", 3)
        await trio.sleep(1)
        await venue.exchange.faults.carry_out("link.refused", 1)
        assert venue.exchange.links.is_refusing
        await venue.exchange.links.wait_accepting()
        assert trio.current_time() == 3.0


# ------------------------------------------------------------------ market data


async def test_fault_silent_feed_stays_connected_and_says_nothing(autojump_clock):
    """No update and no heartbeat any more for those who listen; who comes anew hears everything."""
    async with open_venue(*BUSY_MARKET) as venue, trio.open_nursery() as nursery:
        async with venue.listen("/market") as old, venue.listen("/private") as private:
            await old()
            nursery.start_soon(venue.exchange.faults.carry_out, "feed.silent")
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(5) as waited:
                while True:
                    await old()
            assert waited.cancelled_caught
            async with venue.listen("/market") as new:
                assert [(await new())["type"] for _ in range(3)] == ["snapshot", "update", "update"]
            assert await private() == {"type": "heartbeat"}
            assert venue.told("fault_over") == []
        await trio.testing.wait_all_tasks_blocked()
        assert venue.told("fault", "fault_over") == over("feed.silent")


async def test_fault_gap_skips_numbers(autojump_clock):
    """Messages are missing for those who listen, and the numbers show it; a new snapshot mends it."""
    async with open_venue(*BUSY_MARKET) as venue, venue.listen("/market") as receive:
        snapshot = await receive()
        before = await receive()
        await venue.exchange.faults.carry_out("feed.gap")
        while (after := await receive())["type"] == "heartbeat":
            assert after["sequence"] > before["sequence"]  # also from a sign of life, a client can tell

        assert before["sequence"] == snapshot["sequence"] + 1
        assert after["sequence"] == before["sequence"] + 1 + SKIPPED
        assert (await receive())["sequence"] == after["sequence"] + 1
        async with venue.listen("/market") as again:
            first = await again()
            assert (await again())["sequence"] == first["sequence"] + 1
    assert venue.told("fault", "fault_over") == over("feed.gap")


async def test_fault_nonsense_is_no_json(autojump_clock):
    """One message that nobody can read, and the stream goes on as if nothing had been."""
    async with open_venue(*BUSY_MARKET) as venue, venue.listen("/market") as receive:
        sequence = (await receive())["sequence"]
        await venue.exchange.faults.carry_out("feed.nonsense")
        with pytest.raises(json.JSONDecodeError):
            await receive()
        assert (await receive())["sequence"] == sequence + 1
    assert venue.told("fault", "fault_over") == over("feed.nonsense")


# ------------------------------------------------------------------ orders


@pytest.mark.parametrize(("kind", "status", "headers"), [("orders.error", 503, {}), ("orders.busy", 429, {"1"})])
async def test_fault_refused_requests_do_nothing(autojump_clock, kind, status, headers):
    """Nothing is dealt with, not even a sign of life; afterwards everything is."""
    async with open_venue(QUIET) as venue, trio.open_nursery() as nursery:
        await venue.place("x", "buy", "1", "98")
        nursery.start_soon(venue.exchange.faults.carry_out, kind, 1.5)
        await trio.testing.wait_all_tasks_blocked()
        answers = [
            await venue.place("y", "buy", "1", "98"),
            await venue.client.delete("/orders/x"),
            await venue.client.get("/orders"),
            await venue.client.post("/alive", json={"sequence": 1}),
        ]

        assert {answer.status_code for answer in answers} == {status}
        assert {answer.headers.get("retry-after") for answer in answers} - {None} == set(headers)
        assert list(venue.exchange.ledger.open) == ["x"]
        assert venue.told("alive") == []
        await trio.sleep(2)
        assert venue.told("fault", "fault_over") == over(kind)
        assert (await venue.place("y", "buy", "1", "98")).status_code == 200


async def test_fault_slow_replies_are_to_orders_that_were_dealt_with(autojump_clock):
    """The order is in the market at once; the answer takes three seconds, also if the fault is over before."""
    async with open_venue(QUIET) as venue, trio.open_nursery() as nursery:
        nursery.start_soon(venue.exchange.faults.carry_out, "orders.slow", 1)
        await trio.testing.wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await venue.place("x", "buy", "1", "98")
        assert "x" in venue.exchange.ledger.open

    async with open_venue(QUIET, opened=1.0) as venue, trio.open_nursery() as nursery:
        nursery.start_soon(venue.exchange.faults.carry_out, "orders.slow", 1)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        assert (await venue.place("x", "buy", "1", "98")).json()["status"] == "open"
        assert trio.current_time() - began == pytest.approx(3.0)
        assert (await venue.client.get("/orders/x")).status_code == 200
        assert trio.current_time() - began == pytest.approx(3.0)


async def test_fault_lost_reply_loses_the_next_new_order_s(autojump_clock):
    """The order is accepted and the connection ends without an answer; sent again, it is known."""
    async with open_venue(QUIET) as venue, trio.open_nursery() as nursery:
        await venue.place("old", "buy", "1", "98")
        nursery.start_soon(venue.exchange.faults.carry_out, "orders.lost_reply")
        await trio.testing.wait_all_tasks_blocked()
        assert (await venue.place("old", "buy", "1", "98")).json()["repeated"]
        assert (await venue.place("bad", "buy", "x", "98")).status_code == 422
        assert venue.told("fault") == []

        with pytest.raises(httpx2.TransportError):
            await venue.place("new", "buy", "1", "98")

        await trio.testing.wait_all_tasks_blocked()
        assert venue.told("fault", "fault_over") == over("orders.lost_reply")
        assert (await venue.place("new", "buy", "1", "98")).json()["repeated"]
        assert (await venue.place("next", "buy", "1", "98")).status_code == 200


async def test_fault_repeated_messages_come_twice_late_and_in_order(autojump_clock):
    """What is private comes half a second late and twice; nothing that follows overtakes it."""
    async with open_venue(QUIET) as venue, venue.listen("/private") as receive, trio.open_nursery() as nursery:
        await trio.sleep(TICK * 1.5)
        nursery.start_soon(venue.exchange.faults.carry_out, "orders.repeated", 0.3)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await venue.place("x", "buy", "1", "101")
        await trio.sleep(0.4)
        await venue.place("y", "buy", "1", "98")
        heard = []
        with trio.move_on_after(3):
            while True:
                message = await receive()
                if message["type"] != "heartbeat":
                    heard.append((round(trio.current_time() - began, 6), message["client_id"], message.get("status")))

    assert heard == [
        *[(0.5, "x", "open")] * 2,
        *[(0.5, "x", None)] * 2,
        *[(0.5, "x", "filled")] * 2,
        *[(0.9, "y", "open")] * 2,
    ]
    assert venue.told("fault", "fault_over") == over("orders.repeated")


# ------------------------------------------------------------------ all of them


@pytest.mark.parametrize("kind", KINDS)
async def test_fault_without_clients_harms_nobody(autojump_clock, kind):
    """Each kind can happen when nobody is there, and the venue serves whoever comes afterwards."""
    async with open_venue(QUIET) as venue, trio.open_nursery() as nursery:
        nursery.start_soon(venue.exchange.faults.carry_out, kind, 0.5)
        await trio.sleep(1)
        if kind == "orders.lost_reply":
            with pytest.raises(httpx2.TransportError):
                await venue.place("lost", "buy", "1", "98")
            await trio.testing.wait_all_tasks_blocked()

        assert venue.told("fault", "fault_over") == over(kind)
        assert (await venue.place("x", "buy", "1", "98")).status_code == 200
        async with venue.listen("/market") as receive:
            assert (await receive())["type"] == "snapshot"


@pytest.mark.parametrize("kind", KINDS)
async def test_fault_cancelled_is_over_at_once(autojump_clock, kind):
    """Whoever stops a fault has a venue that works."""
    async with open_venue(QUIET) as venue:
        async with venue.listen("/market"), trio.open_nursery() as nursery:
            nursery.start_soon(venue.exchange.faults.carry_out, kind, 60)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

        assert trio.current_time() < 1
        assert venue.told("fault_over") == [{"event": "fault_over", "kind": kind}]
        assert (await venue.place("x", "buy", "1", "98")).status_code == 200
        async with venue.listen("/market") as receive:
            assert (await receive())["type"] == "snapshot"


async def test_fault_that_there_is_not_is_named(autojump_clock):
    """The text says what there is."""
    async with open_venue(QUIET) as venue:
        with pytest.raises(UnknownFaultError, match=r"the venue has no fault 'earthquake'; it has: link.refused, "):
            await venue.exchange.faults.carry_out("earthquake", 1)
    assert venue.events == []
