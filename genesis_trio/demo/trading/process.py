"""What both desk processes have in common: how they are called, stopped and sabotaged, and how they tell.

A line of JSON on standard output tells one event.  The end of standard input asks for an ordered stop, so a desk
also ends with the process that started it, however that one went.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import trio

from genesis_trio.demo.wire import JsonLines, NoSending

__all__ = ["Sabotage", "SabotagedError", "listen_to_orders", "make_parser", "tell"]


class SabotagedError(Exception):
    """Somebody wanted to see what happens."""


class Sabotage:
    """A fault inside of the desk, of which the desk knows nothing: it strikes when somebody next decides.

    Args:
        block: Blocks the loop for so many seconds.
    """

    def __init__(self, block: Callable[[float], None] = time.sleep) -> None:
        self._next: dict[str, Any] | None = None
        self._block = block

    def prepare(self, order: dict[str, Any]) -> None:
        self._next = order

    async def strike(self) -> None:
        """Raise, hang or block the loop, if that was ordered."""
        order, self._next = self._next, None
        match order:
            case {"sabotage": "raise"}:
                raise SabotagedError("a component raised, as it was ordered to")
            case {"sabotage": "hang"}:
                await trio.sleep_forever()
            case {"sabotage": "block", "seconds": seconds}:
                self._block(seconds)


async def listen_to_orders(sabotage: Sabotage) -> None:
    """Prepare what standard input orders; return when it ends."""
    async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stream:
        lines = JsonLines(trio.StapledStream(NoSending(), stream))
        while True:
            try:
                sabotage.prepare(await lines.receive())
            except ConnectionError:
                return


def tell(fields: Mapping[str, Any]) -> None:
    """One event, as a line of JSON."""
    sys.stdout.write(json.dumps(dict(fields), default=str) + "\n")
    sys.stdout.flush()


def make_parser(name: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m genesis_trio.demo.{name}", description=description)
    parser.add_argument("--http", required=True, help="where the venue takes orders, as http://127.0.0.1:8000")
    parser.add_argument("--feed", required=True, help="where the venue's streams are, as ws://127.0.0.1:8001")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is drawn (default: %(default)s)")
    return parser
