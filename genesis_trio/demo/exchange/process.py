"""The venue as a process of its own: two ports, a journal, orders on standard input, events on standard output."""

import argparse
import contextlib
import json
import math
import os
import random
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import trio

from genesis_trio.demo.capture import CaptureError, find_capture, read_instants
from genesis_trio.demo.exchange.exchange import Exchange
from genesis_trio.demo.exchange.faults import KINDS
from genesis_trio.demo.exchange.journal import Journal, JournalError
from genesis_trio.demo.wire import JsonLines, NoSending

__all__ = ["main"]

OK, BAD_INPUT, INTERRUPTED = 0, 2, 130
HOST = "127.0.0.1"
SEND_BUFFER = 65536  # bytes
CHOICE, TRIES = range(20_000, 32_000), 100

Handler = Callable[[trio.SocketStream], Awaitable[None]]


class PortError(Exception):
    """A port cannot be used; the text says which, and what to do."""


# ---------------------------------------------------------------- ports


class Port:
    """A port that stays ours while nobody listens on it."""

    def __init__(self, number: int) -> None:
        """Take port *number*, or any that is free for 0.

        Raises:
            PortError: somebody else has it.
        """
        self._socket = self._bind(number) if number else self._bind_any()
        self.number: int = self._socket.getsockname()[1]

    def listen(self) -> trio.SocketListener:
        """A listener, which is closed by whoever gets it; after that, connections are refused."""
        listening = self._socket
        try:
            listening.listen(128)
        except OSError as error:
            raise PortError(f"port {self.number} of {HOST} cannot be listened on: {error.strerror}") from error
        return trio.SocketListener(trio.socket.from_stdlib_socket(listening))

    def take_again(self) -> None:
        """After the listener was closed: bound but not listening, the port refuses, and nobody else gets it."""
        self._socket = self._bind(self.number)

    def close(self) -> None:
        self._socket.close()

    def _bind_any(self) -> socket.socket:
        # Not one of the system's choice: those are for clients as well, and while a killed venue is away, one that
        # tries to connect to it could be given this very port, connect to itself, and keep the venue out.
        for number in random.sample(CHOICE, TRIES):
            with contextlib.suppress(PortError):
                return self._bind(number)
        raise PortError(f"{TRIES} ports of {HOST} between {CHOICE[0]} and {CHOICE[-1]} were in use; give a number")

    def _bind(self, number: int) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it.  Else the system would hide megabytes of messages that a slow reader is behind.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        try:
            bound.bind((HOST, number))
        except OSError as error:
            bound.close()
            raise PortError(
                f"port {number} of {HOST} cannot be used: {error.strerror}; give another one, or 0 for any"
            ) from error
        return bound


async def serve(
    exchange: Exchange,
    ports: Mapping[Port, Handler],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Accept connections at *ports*, except while they are to be refused."""
    while True:
        listeners = [(handler, port.listen()) for port, handler in ports.items()]
        async with trio.open_nursery() as nursery:
            for handler, listener in listeners:
                nursery.start_soon(trio.serve_listeners, handler, [listener])
            task_status.started()
            task_status = trio.TASK_STATUS_IGNORED
            await exchange.links.wait_refusing()
            nursery.cancel_scope.cancel()  # which closes the listeners and every connection
        for port in ports:
            port.take_again()
        await exchange.links.wait_accepting()


# ---------------------------------------------------------------- standard input and output


def monotonic() -> float:
    """The machine's clock, which is the same in all processes."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


def tell(event: Mapping[str, Any]) -> None:
    """One event, as a line of JSON."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


async def obey(exchange: Exchange) -> None:
    """Do what standard input says, until it ends."""
    async with (
        trio.open_nursery() as nursery,
        trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream,
    ):
        lines = JsonLines(trio.StapledStream(NoSending(), stream))
        while True:
            try:
                carry_out(exchange, await lines.receive(), nursery)
            except ConnectionError:
                break
            except ValueError as error:  # no JSON, or no order of ours
                tell({"event": "refused", "at": monotonic(), "error": str(error)})
        nursery.cancel_scope.cancel()


def carry_out(exchange: Exchange, order: dict[str, Any], nursery: trio.Nursery) -> None:
    match order:
        case {"op": "open", "at": float() | int() as at}:
            exchange.open(at)
        case {"op": "close"}:
            exchange.close()
        case {"op": "ledger"}:
            tell({"event": "ledger", "at": monotonic(), **exchange.ledger.as_dict()})
        case {"op": "fault", "kind": str() as kind, **rest}:
            seconds = rest.get("seconds", 0.0)
            if kind not in KINDS:
                raise ValueError(f"there is no fault {kind!r}; there are: {', '.join(KINDS)}")
            if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
                raise ValueError(f"seconds of a fault are 0 or more, got {seconds!r}")
            nursery.start_soon(exchange.faults.carry_out, kind, seconds)
        case _:
            raise ValueError(f"nobody knows the order {order!r:.200}")


# ---------------------------------------------------------------- the process


async def run(options: argparse.Namespace, journal: Journal) -> None:
    """Be the venue until standard input ends."""
    with (
        contextlib.closing(Port(options.http_port)) as http,
        contextlib.closing(Port(options.feed_port)) as feed,
    ):
        exchange = make_exchange(options, journal)
        async with trio.open_nursery() as nursery:
            await nursery.start(serve, exchange, {http: exchange.serve_orders, feed: exchange.serve_feed})
            await nursery.start(exchange.run)
            tell({"event": "listening", "http": http.number, "feed": feed.number})
            await obey(exchange)
            nursery.cancel_scope.cancel()


def make_exchange(options: argparse.Namespace, journal: Journal) -> Exchange:
    ends = 60 * (options.start_minute + options.minutes)
    recording = read_instants(options.capture or find_capture())
    return Exchange(
        takewhile(lambda instant: instant.at < ends, recording),
        start=60 * options.start_minute,
        speed=options.speed,
        opened=options.opened,
        journal=journal.write,
        records=journal.records,
        tell=tell,
        clock=monotonic,
    )


def at_least_zero(text: str) -> float:
    number = float(text)
    if not 0 <= number < math.inf:
        raise argparse.ArgumentTypeError(f"it is 0 or more and finite, got {text}")
    return number


def positive(text: str) -> float:
    number = at_least_zero(text)
    if not number:
        raise argparse.ArgumentTypeError(f"it is above 0, got {text}")
    return number


def port(text: str) -> int:
    number = int(text)
    if not 0 <= number < 65536:
        raise argparse.ArgumentTypeError(f"it is between 0 and 65535, got {text}")
    return number


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m genesis_trio.demo.exchange",
        description="Play a recorded market as an exchange: orders over HTTP, streams over WebSockets, on loopback.",
        epilog="It ends with its standard input.  exit status: 0 ended; 2 bad input; 130 interrupted",
    )
    parser.add_argument("--journal", type=Path, required=True, help="the file of the ledger, which outlives a kill")
    parser.add_argument("--start-minute", type=at_least_zero, default=0.0, help="of the recording (default: 0)")
    parser.add_argument("--minutes", type=positive, default=30.0, help="of the recording (default: 30)")
    parser.add_argument("--speed", type=positive, default=1.0, help="times the market's own pace (default: 1)")
    parser.add_argument("--http-port", type=port, default=0, help="for orders (default: any that is free)")
    parser.add_argument("--feed-port", type=port, default=0, help="for streams (default: any that is free)")
    parser.add_argument("--opened", type=float, help="when the market opened, on the monotonic clock")
    parser.add_argument("--capture", type=Path, help="a folder with another recording, in the same files")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the venue and return its exit status."""
    try:
        options = make_parser().parse_args(argv)
    except SystemExit as refused:  # argparse has said why, or helped
        return BAD_INPUT if refused.code else OK
    try:
        with contextlib.closing(Journal(options.journal)) as journal:
            trio.run(run, options, journal)
    except (CaptureError, JournalError, PortError) as error:
        return refuse(error)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseExceptionGroup as group:
        match only_cause(group):
            case KeyboardInterrupt():
                return INTERRUPTED
            case BrokenPipeError():
                # Whoever started the venue is gone.  What is left for it goes nowhere, without a complaint at exit.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return OK
            case CaptureError() | PortError() as cause:
                return refuse(cause)
        raise
    return OK


def refuse(error: Exception) -> int:
    print(error, file=sys.stderr)
    return BAD_INPUT


def only_cause(error: BaseException) -> BaseException:
    """What is wrong, without the groups of the nurseries it came through, if it is one thing."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
