"""Networking without a network: the real protocols over streams in memory, and what a cut does to them."""

import contextlib
from functools import partial

import httpx2
import pytest
import trio
from websockets.trio.server import serve

from genesis_trio.demo.memory_network import MemoryListener, MemoryTransport
from genesis_trio.demo.trading.link import VenueDownError, VenueLink, open_socket
from genesis_trio.service.http import Response, serve_connection


@contextlib.asynccontextmanager
async def venue():
    """A link to a small venue, and the listeners of its HTTP and its WebSockets."""
    http, feed = MemoryListener(), MemoryListener()

    async def answer(request):
        if request.path == "/orders":
            return Response(body=b'{"orders": []}')
        if request.path == "/orders/slow":
            await trio.sleep_forever()
        return None

    async def converse(connection):
        while True:
            await connection.send('{"type": "heartbeat"}')
            await trio.sleep(1)

    @contextlib.asynccontextmanager
    async def open_memory(path):
        async with open_socket(f"ws://venue{path}", stream=await feed.connect()) as connection:
            yield connection

    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, partial(serve_connection, answer), [http]))
        nursery.start_soon(partial(serve, converse, listeners=[feed], compression=None, ping_interval=None))
        async with httpx2.AsyncClient(base_url="http://venue", transport=MemoryTransport(http)) as client:
            yield VenueLink(client, open_memory), http, feed
        nursery.cancel_scope.cancel()


async def test_network_http_answers(autojump_clock):
    """A request gets its answer, again and again on one connection, and costs no time."""
    async with venue() as (link, _, _):
        assert await link.open_orders() == []
        assert await link.open_orders() == []
        assert trio.current_time() == 0.0


async def test_network_connection_closed_without_an_answer_is_venue_down(autojump_clock):
    """A server that hangs up has said nothing."""
    async with venue() as (link, _, _):
        with pytest.raises(VenueDownError, match="POST /alive"):
            await link.show_life(1)


async def test_network_cut_ends_requests_under_way(autojump_clock):
    """Who waits for an answer when the connection is cut learns it at once; the next request gets a new one."""
    async with venue() as (link, http, _):
        with pytest.RaisesGroup(VenueDownError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.find, "slow")
                await trio.sleep(3)
                http.cut()
        assert trio.current_time() == 3.0
        assert await link.open_orders() == []


async def test_network_cut_ends_streams(autojump_clock):
    """Who listens when the connection is cut learns it at once."""
    async with venue() as (link, _, feed):
        with pytest.raises(VenueDownError, match="/private"):
            async with link.private(after=0) as messages:
                assert [await anext(messages), await anext(messages)] == [None, None]
                feed.cut()
                await anext(messages)


async def test_network_refusing_listener_is_venue_down(autojump_clock):
    """Nobody listens: requests and streams fail at once, and come back when somebody does."""
    async with venue() as (link, http, feed):
        http.is_refusing = feed.is_refusing = True
        http.cut()
        with pytest.raises(VenueDownError, match="nobody listens"):
            await link.open_orders()
        with pytest.raises(ConnectionRefusedError):
            async with link.private(after=0):
                raise AssertionError("this is not reached")
        http.is_refusing = False
        assert await link.open_orders() == []
