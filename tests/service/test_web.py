"""What a service answers over HTTP about itself."""

import contextlib
import json
import socket
import sys

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from trio.testing import memory_stream_pair

from genesis_trio import ChildSpec, ConfigError, Mode, Service, observe, open_supervisor, run_service
from genesis_trio.service.address import parse_address
from genesis_trio.service.admin import ask
from genesis_trio.service.http import Request, serve_connection
from genesis_trio.service.state import Phase, ServiceState
from genesis_trio.service.web import MAX_CONNECTIONS, Probes, open_http, serve_http
from service.parts import broken, job, worker


@contextlib.asynccontextmanager
async def supervised(*children):
    """Probes of a tree that has started, in virtual time."""
    async with open_supervisor("desk") as desk:
        await desk.start_all(children)
        yield Probes(ServiceState(desk, Phase.RUNNING)), desk
        await desk.stop()


async def get(probes, path, method="GET"):
    return await probes(Request(method, path))


async def test_livez_answers_whatever_the_state(autojump_clock):
    """It says that the loop runs, and nothing about the children."""
    async with supervised(ChildSpec(broken, name="broken", unpark_after=None)) as (probes, _):
        assert (await get(probes, "/livez")).status == 200


async def test_readyz_is_200_when_all_are_ready_or_done(autojump_clock):
    """A job that is done does not count against it."""
    async with supervised(ChildSpec(worker, name="worker"), ChildSpec(job, name="job")) as (probes, _):
        response = await get(probes, "/readyz")

    assert (response.status, response.content_type) == (200, "application/json")
    assert json.loads(response.body)["ready"] is True


async def test_readyz_is_503_and_says_who_and_why(autojump_clock):
    """The body names each child that is not ready, with its last error."""
    children = ChildSpec(worker, name="worker"), ChildSpec(broken, name="broken", unpark_after=None)
    async with supervised(*children) as (probes, _):
        response = await get(probes, "/readyz")

    found = json.loads(response.body)
    assert (response.status, found["ready"], found["mode"]) == (503, False, "SAFE")
    (who,) = found["not_ready"]
    assert (who["child"], who["status"]) == ("desk/broken", "parked")
    assert "no venue" in who["why"]
    assert "parked" in found["mode_why"]


@pytest.mark.parametrize(("mode", "status"), [(Mode.SAFE, 200), (Mode.EMERGENCY, 503)])
async def test_readyz_follows_the_mode(autojump_clock, mode, status):
    """SAFE is a mode to work in; EMERGENCY is not, even if every child runs."""
    async with supervised(ChildSpec(job, name="job")) as (probes, desk):
        with desk.scope.hold(mode, owner="me", reason="drill"):
            response = await get(probes, "/readyz")
            assert response.status == status
            assert "drill" in json.loads(response.body)["mode_why"]


@pytest.mark.parametrize("phase", [Phase.STARTING, Phase.STOPPING])
async def test_readyz_is_503_before_and_after(autojump_clock, phase):
    """Nobody is sent to a service that has not started all of its children, or is about to stop."""
    async with open_supervisor("desk") as desk:
        response = await get(Probes(ServiceState(desk, phase)), "/readyz")

    assert (response.status, json.loads(response.body)["phase"]) == (503, phase.value)


async def test_metrics_are_prometheus_text(autojump_clock):
    """What is scraped parses, and is about this tree."""
    async with supervised(ChildSpec(worker, name="worker")) as (probes, _):
        response = await get(probes, "/metrics")

    names = {family.name for family in text_string_to_metric_families(response.body.decode())}
    assert response.content_type.startswith("text/plain; version=0.0.4")
    assert "genesis_mode" in names


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/", 404), ("POST", "/livez", 405), ("HEAD", "/livez", 200)]
)
async def test_probes_refuse_what_they_do_not_have(autojump_clock, method, path, status):
    """Another path is not found, another method not allowed; nothing over HTTP changes anything."""
    async with supervised() as (probes, _):
        assert (await get(probes, path, method)).status == status


async def test_probes_answer_over_a_stream(autojump_clock):
    """The same over a connection: a probe and a scrape, one after the other."""
    client, server = memory_stream_pair()
    async with supervised(ChildSpec(worker, name="worker")) as (probes, _), trio.open_nursery() as nursery:
        nursery.start_soon(serve_connection, probes, server)
        await client.send_all(
            b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        received = b"".join([chunk async for chunk in client])

    assert received.count(b"HTTP/1.1 200 OK") == 2
    assert b"genesis_component_status" in received


# ------------------------------------------------------------------ over real loopback


async def fetch(address, path):
    host, port = parse_address(address)
    async with await trio.open_tcp_stream(host, port) as stream:
        await stream.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        received = b"".join([chunk async for chunk in stream])
    head, _, body = received.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


async def test_service_serves_probes_on_a_free_port_and_tells_which(tmp_path):
    """Port 0 is any free port; the event and the status tell which, and it is closed at the end."""
    seen = []
    path = str(tmp_path / "desk.sock")
    service = Service("desk", [ChildSpec(worker, name="a")], store="memory:", admin=path, http="127.0.0.1:0")
    with observe(seen.append):
        async with trio.open_nursery() as nursery:
            await nursery.start(run_service, service)
            address = (await ask(path, "status"))["http"]
            assert (await fetch(address, "/livez"))[0] == 200
            assert (await fetch(address, "/readyz"))[0] == 200
            assert b"genesis_mode" in (await fetch(address, "/metrics"))[1]
            with pytest.raises(ConfigError, match=rf"'{address}' cannot be used: Address already in use; stop what"):
                await run_service(Service("two", store="memory:", http=address))
            await ask(path, "stop")

    told = {event.what: event.address for event in seen if event.name == "listening"}
    assert told == {"http": address, "admin": path}
    with pytest.raises(OSError, match="failed"):
        await fetch(address, "/livez")


async def test_service_answers_probes_while_it_starts():
    """A service whose first child takes its time is alive, and says that it is not ready and who is not."""
    ready = trio.Event()

    async def slow(ctx):
        await ready.wait()
        ctx.ready()
        await ctx.wait_stopping()

    listening = trio.Event()
    addresses = []

    def note(event):
        if event.name == "listening":
            addresses.append(event.address)
            listening.set()

    with observe(note):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                run_service, Service("desk", [ChildSpec(slow, name="a")], store="memory:", http="127.0.0.1:0")
            )
            await listening.wait()
            assert (await fetch(addresses[0], "/livez"))[0] == 200
            status, body = await fetch(addresses[0], "/readyz")
            assert (status, json.loads(body)["not_ready"][0]["child"]) == (503, "desk/a")
            ready.set()
            nursery.cancel_scope.cancel()


async def test_serve_http_many_silent_clients_use_up_no_descriptors_and_keep_no_probe_out():
    """Beyond a number of connections the oldest is closed for the next one: a probe that gets no answer has the process killed."""
    listener = await open_http("127.0.0.1:0")
    where = listener.socket.getsockname()
    async with open_supervisor("desk") as desk, trio.open_nursery() as nursery:
        nursery.start_soon(serve_http, listener, ServiceState(desk))
        async with contextlib.AsyncExitStack() as stack:
            silent = [
                await stack.enter_async_context(await trio.open_tcp_stream(*where)) for _ in range(MAX_CONNECTIONS)
            ]
            with trio.fail_after(5):
                for _ in range(3):
                    assert (await fetch(f"{where[0]}:{where[1]}", "/livez"))[0] == 200
                assert await silent[0].receive_some() == b""
                await silent[1].send_all(b"GET /livez HTTP/1.1\r\nHost: desk\r\n\r\n")
                assert (await silent[1].receive_some()).startswith(b"HTTP/1.1 200")
        nursery.cancel_scope.cancel()


async def test_open_http_without_h11_is_told_before_anything_begins(monkeypatch):
    """The extra is named at the start, not at the first probe."""
    monkeypatch.setitem(sys.modules, "h11", None)

    with pytest.raises(ConfigError, match=r"genesis_trio\[web\]"):
        await run_service(Service("desk", store="memory:", http="127.0.0.1:0"))


async def test_open_http_name_that_is_not_known_is_told():
    """A host that does not resolve is one line as well."""
    with pytest.raises(ConfigError, match=r"'no.such.host.invalid:1' cannot be used"):
        await open_http("no.such.host.invalid:1")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9100", ("127.0.0.1", 9100)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:65535", ("::1", 65535)),
    ],
)
def test_parse_address_reads_host_and_port(text, expected):
    """IPv6 stands in brackets, as in a URL."""
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", "9100", ":9100", "host:", "host:x", "host:65536", "host:-1", "host:²", "::1:80", "[]:1"]
)
def test_parse_address_refuses_anything_else(text):
    """The message shows what was given and what is meant."""
    with pytest.raises(ValueError, match="address"):
        parse_address(text)
    with pytest.raises(ValueError, match="address"):
        Service("desk", http=text)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
async def test_open_http_ipv6_is_told_in_brackets():
    """What is told can be used as it is."""
    from genesis_trio.service.web import address_of

    try:
        listener = await open_http("[::1]:0")
    except ConfigError:
        pytest.skip("IPv6 is switched off here")
    async with listener:
        assert address_of(listener).startswith("[::1]:")
