"""The venue as a process: real sockets, a journal on disk, and a kill."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from demo.exchange.made_capture import order_row, trade_row, write_capture, write_market
from genesis_trio.demo.exchange.process import Port, main

ROOT = Path(__file__).parents[3]
PATIENCE = 20.0  # seconds, on a machine that has much else to do


def now():
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Venue:
    """The process, and ways to talk to it."""

    def __init__(self, folder, *arguments, **ports):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "genesis_trio.demo.exchange", "--capture", str(folder)]
            + ["--journal", str(folder / "journal"), *arguments]
            + [f"--{name}-port={number}" for name, number in ports.items()],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        listening = self.hear("listening")
        self.ports = {"http": listening["http"], "feed": listening["feed"]}
        self.http = httpx2.Client(base_url=f"http://127.0.0.1:{self.ports['http']}", trust_env=False, timeout=PATIENCE)

    def say(self, **order):
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def hear(self, kind):
        """The next event of this kind."""
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == kind:
                return event
        raise AssertionError(f"the venue ended without {kind!r}: {self.process.stderr.read()}")

    def ledger(self):
        self.say(op="ledger")
        return self.hear("ledger")

    def place(self, client_id, side, quantity, price):
        order = {"client_id": client_id, "side": side, "quantity": quantity, "price": price}
        return self.http.post("/orders", json=order)

    def listen(self, path):
        return connect(f"ws://127.0.0.1:{self.ports['feed']}{path}", proxy=None, compression=None, close_timeout=1)

    def close(self):
        self.http.close()
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


@pytest.fixture
def start(tmp_path):
    write_market(tmp_path)
    with contextlib.ExitStack() as stack:

        def start_venue(*arguments, **ports):
            venue = Venue(tmp_path, *arguments, **ports)
            stack.callback(venue.close)
            return venue

        yield start_venue


@pytest.mark.slow
def test_process_killed_and_started_again_goes_on(start):
    """A SIGKILL takes nothing that anybody has heard of, and the venue is back on its ports, where the market is."""
    venue = start("--speed", "20")
    opened = now()
    venue.say(op="open", at=opened)
    with venue.listen("/private") as private:
        assert [venue.place(f"x{n}", "buy", "0.05", "999").status_code for n in range(3)] == [200] * 3
        fills = []
        while len(fills) < 2:
            message = json.loads(private.recv(timeout=PATIENCE))
            if message["type"] == "fill":
                fills.append(message)
    with venue.listen("/market") as market:
        before = json.loads(market.recv(timeout=PATIENCE))
    venue.process.send_signal(signal.SIGKILL)
    venue.process.wait()
    with pytest.raises(httpx2.ConnectError):
        venue.http.get("/orders")

    again = start("--speed", "20", "--opened", str(opened), **venue.ports)

    assert again.ports == venue.ports
    known = again.http.get("/fills").json()["fills"]
    assert [{"type": "fill", **fill} for fill in known[:2]] == fills
    assert again.place("x0", "buy", "0.05", "999").json()["repeated"]
    assert again.place("x0", "buy", "0.06", "999").status_code == 409
    with again.listen("/market") as market:
        after = json.loads(market.recv(timeout=PATIENCE))
    assert after["type"] == "snapshot"
    assert after["sequence"] > before["sequence"]
    ledger = again.ledger()
    assert [order["client_id"] for order in ledger["orders"]] == ["x0", "x1", "x2"]
    assert (ledger["repeated"], ledger["conflicts"]) == (1, ["x0"])
    again.say(op="close")
    again.hear("closed")
    again.process.stdin.close()
    assert again.process.wait(PATIENCE) == 0


@pytest.mark.slow
def test_process_link_refused_is_really_refused(start):
    """The sockets are closed, so clients get an error of the system; then they are back on the same ports."""
    venue = start()
    venue.say(op="open", at=now())
    with venue.listen("/market") as market:
        market.recv(timeout=PATIENCE)
        venue.say(op="fault", kind="link.refused", seconds=1.0)
        effect = venue.hear("fault")
        with pytest.raises(ConnectionClosed):
            while True:
                market.recv(timeout=PATIENCE)
    for port in venue.ports.values():
        with pytest.raises(ConnectionRefusedError):
            while now() < effect["at"] + 0.9:  # the listeners are closed right after the connections
                with contextlib.suppress(ConnectionResetError):  # it was still waiting to be let in
                    socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    over = venue.hear("fault_over")
    assert effect["kind"] == over["kind"] == "link.refused"
    assert 1.0 <= over["at"] - effect["at"] < 3.0
    deadline = now() + PATIENCE
    while True:
        try:
            assert venue.http.get("/orders").status_code == 200
            break
        except httpx2.TransportError:
            assert now() < deadline
            time.sleep(0.01)  # polling: nobody tells when the listeners are open again, up to the deadline
    with venue.listen("/market") as market:
        assert json.loads(market.recv(timeout=PATIENCE))["type"] == "snapshot"


@pytest.mark.slow
def test_process_client_that_never_reads_is_cut_off(start, tmp_path):
    """A thousand messages behind, and the connection is gone; whoever comes afterwards is served."""
    trades = [trade_row(f"t{n}", 1000 + 2 * n, 999, 0.1, "sell") for n in range(20_000)]  # 500 in a tick
    write_capture(tmp_path, [order_row("bid", 0, 999, 5.0, "created", "bid")], trades)
    venue = start("--speed", "20")
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        lazy.settimeout(PATIENCE)
        lazy.connect(("127.0.0.1", venue.ports["feed"]))
        lazy.sendall(
            b"GET /market HTTP/1.1\r\nHost: venue\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        venue.say(op="open", at=now())
        time.sleep(2.5)  # does not read while more is sent than its backlog holds: that is the test
        received = bytearray()
        with contextlib.suppress(ConnectionResetError):
            while chunk := lazy.recv(65536):
                received += chunk
        assert received.count(b'"type": "trade"') < len(trades) / 2
    with venue.listen("/market") as market:
        assert json.loads(market.recv(timeout=PATIENCE))["type"] == "snapshot"


@pytest.mark.slow
def test_process_says_what_is_wrong_with_an_order_and_goes_on(start):
    """Nonsense on standard input is answered, and nothing else happens."""
    venue = start()
    lines = ["nonsense", "[]", "{}", '{"op": "dance"}', '{"op": "open", "at": "now"}']
    lines += [f'{{"op": "fault", "kind": "{kind}", "seconds": {seconds}}}' for kind, seconds in FAULTS]
    for line in lines:
        venue.process.stdin.write(line + "\n")
    venue.process.stdin.flush()

    said = [venue.hear("refused")["error"] for _ in lines]

    assert said[3] == "nobody knows the order {'op': 'dance'}"
    assert said[5].startswith("there is no fault 'earthquake'; there are: link.refused, ")
    assert said[6] == "seconds of a fault are 0 or more, got -1"
    assert venue.ledger()["orders"] == []


FAULTS = [("earthquake", 1), ("orders.slow", -1), ("orders.slow", "Infinity"), ("orders.slow", '"1"')]


@pytest.mark.slow
def test_process_interrupted_ends_with_130(start):
    """Ctrl-C, without a traceback."""
    venue = start()

    venue.process.send_signal(signal.SIGINT)

    assert venue.process.wait(PATIENCE) == 130
    assert venue.process.stderr.read() == ""


@pytest.mark.slow
def test_process_whose_reader_is_gone_ends_quietly(start):
    """Nobody hears of anything any more, so there is nothing to be a venue for."""
    venue = start()
    venue.process.stdout.close()

    venue.say(op="ledger")

    assert venue.process.wait(PATIENCE) == 0
    assert venue.process.stderr.read() == ""


# ------------------------------------------------------------------ what does not start


def test_port_of_any_number_is_none_that_clients_get():
    """While a killed venue is away, no client may be given its port."""
    with contextlib.closing(Port(0)) as one, contextlib.closing(Port(0)) as other:
        assert one.number != other.number
        assert max(one.number, other.number) < 32_768  # from there on the system gives them to clients


@pytest.mark.parametrize("name", ["http", "feed"])
def test_process_port_in_use_is_one_line(tmp_path, capsys, name):
    """Which port, why, and what to do; nothing is started."""
    write_market(tmp_path, seconds=3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = ["--capture", str(tmp_path), "--journal", str(tmp_path / "j"), f"--{name}-port", str(port)]

        assert main(arguments) == 2

    said = capsys.readouterr()
    assert (
        said.err == f"port {port} of 127.0.0.1 cannot be used: Address already in use; give another one, or 0 for any\n"
    )
    assert said.out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--speed", "0"], "argument --speed: it is above 0, got 0"),
        (["--minutes", "inf"], "argument --minutes: it is 0 or more and finite, got inf"),
        (["--start-minute", "-1"], "argument --start-minute: it is 0 or more and finite, got -1"),
        (["--http-port", "70000"], "argument --http-port: it is between 0 and 65535, got 70000"),
        (["--opened", "yesterday"], "argument --opened: invalid float value: 'yesterday'"),
    ],
)
def test_process_bad_arguments_are_refused(tmp_path, capsys, arguments, said):
    """Exit status 2, and the last line says which."""
    assert main(["--journal", str(tmp_path / "j"), *arguments]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_process_without_a_recording_says_so(tmp_path, capsys):
    """One line, exit status 2."""
    assert main(["--journal", str(tmp_path / "j"), "--capture", str(tmp_path / "nowhere")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere cannot be used" in line


def test_process_with_something_else_as_journal_says_so(tmp_path, capsys):
    """A file that is no journal is neither read nor overwritten."""
    (tmp_path / "j").write_text("dear diary\n")

    assert main(["--journal", str(tmp_path / "j")]) == 2

    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"line 1 of the journal {tmp_path / 'j'} is no record: b'dear diary'"
    assert (tmp_path / "j").read_text() == "dear diary\n"


def test_process_help_is_no_failure(capsys):
    """Whoever asks is told."""
    assert main(["--help"]) == 0
    assert "--journal" in capsys.readouterr().out
