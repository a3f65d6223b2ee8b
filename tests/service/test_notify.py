"""What systemd is told, read from a Unix datagram socket as it would."""

import contextlib
import os
import signal
import socket

import pytest
import trio

from genesis_trio import ChildSpec, Mode, Service, run_service
from genesis_trio.service.notify import Notifier
from service.parts import worker


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path, monkeypatch):
    """The socket of a service manager, named in the environment."""
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listening.setblocking(False)
    address = str(tmp_path / "notify") if request.param == "path" else f"@genesis-test-{os.getpid()}"
    listening.bind(address.replace("@", "\0"))
    monkeypatch.setenv("NOTIFY_SOCKET", address)
    with listening:
        yield listening


def told(manager):
    """Every datagram that has arrived, in order."""
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(4096).decode())
    return found


async def test_notify_tells_ready_mode_and_stopping(manager, autojump_clock):
    """READY when every child has begun, the mode when it changes, STOPPING with the first signal."""
    async with trio.open_nursery() as nursery:
        desk = await nursery.start(run_service, Service("desk", [ChildSpec(worker, name="a")], store="memory:"))
        with desk.scope.hold(Mode.SAFE, owner="me", reason="drill"):
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        signal.raise_signal(signal.SIGTERM)

    assert told(manager) == [
        "READY=1\nSTATUS=running, NORMAL, 1 of 1 children ready",
        "STATUS=running, SAFE, 1 of 1 children ready",
        "STATUS=running, NORMAL, 1 of 1 children ready",
        "STOPPING=1\nSTATUS=stopping, NORMAL, 1 of 1 children ready",
    ]


async def test_notify_says_not_ready_before_every_child_has_begun(manager, autojump_clock):
    """A service that is stopped while it starts was never ready."""

    async def never_ready(ctx):
        await ctx.wait_stopping()

    async with trio.open_nursery() as nursery:

        async def kill():
            await trio.sleep(3)
            signal.raise_signal(signal.SIGTERM)

        nursery.start_soon(kill)
        await nursery.start(run_service, Service("desk", [ChildSpec(never_ready, name="a")], store="memory:"))

    assert [message.split("\n")[0] for message in told(manager)] == ["STOPPING=1"]


async def test_notify_feeds_the_watchdog_at_half_its_time(manager, autojump_clock, monkeypatch):
    """WATCHDOG_USEC of 10 s is a sign of life every 5 s, from the start on."""
    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    async with trio.open_nursery() as nursery:
        await nursery.start(run_service, Service("desk", [ChildSpec(worker, name="a")], store="memory:"))
        await trio.sleep(14)
        nursery.cancel_scope.cancel()

    assert told(manager).count("WATCHDOG=1") == 3  # at 0, 5 and 10 s


@pytest.mark.parametrize(
    ("environment", "watchdog"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, float("inf")),  # another process is meant
        ({"WATCHDOG_USEC": "soon"}, float("inf")),
        ({"WATCHDOG_USEC": "0"}, float("inf")),
        ({}, float("inf")),
    ],
)
def test_notifier_reads_the_watchdog_from_the_environment(environment, watchdog):
    """Only a positive number that is meant for this process counts."""
    with Notifier.from_environment({"NOTIFY_SOCKET": "/run/x", **environment}).open() as notifier:
        assert notifier.watchdog == watchdog


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234", "relative"])
def test_notifier_without_an_address_it_knows_tells_nobody(address):
    """Nothing is sent, and nothing fails."""
    notifier = Notifier.from_environment({} if address is None else {"NOTIFY_SOCKET": address})

    assert not notifier
    notifier.tell(READY=1)


def test_notifier_keeps_a_field_on_its_line(manager):
    """A line break in a text would begin another field."""
    with Notifier.from_environment().open() as notifier:
        notifier.tell(STATUS="a\nREADY=1")

    assert told(manager) == ["STATUS=a READY=1"]


def test_notifier_nobody_there_is_logged_once(tmp_path, caplog):
    """A manager that is gone stops no service."""
    with Notifier(str(tmp_path / "nowhere")).open() as notifier:
        notifier.tell(READY=1)
        notifier.tell(READY=1)

    assert len(caplog.records) == 1
    assert "NOTIFY_SOCKET" in caplog.text


def test_notifier_slow_manager_is_not_waited_for(tmp_path):
    """A full queue drops what is told, and the service goes on."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening, Notifier(path).open() as notifier:
        listening.bind(path)
        for _ in range(10_000):
            notifier.tell(WATCHDOG=1)

        assert notifier
