"""A venue in one screen: it speaks the harness's lines, and lines of JSON with the fake desk over TCP.

FAKE_VENUE says what is wrong with it: "mute" (never listens), "broken" (ends at once), "dies" (ends when it opens).
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path

import trio

from genesis_trio.demo.wire import JsonLines


def tell(**fields):
    print(json.dumps({"at": time.clock_gettime(time.CLOCK_MONOTONIC), **fields}), flush=True)


class Venue:
    def __init__(self, options):
        self.options = options
        self.orders: dict[str, dict] = {}
        self.connections: set[trio.SocketStream] = set()
        self.refusing = self.silent = False
        if options.journal.exists():
            for line in options.journal.read_text().splitlines():
                order = json.loads(line)
                self.orders[order["client_id"]] = order

    async def serve(self, stream):
        if self.refusing:
            return await stream.aclose()
        self.connections.add(stream)
        lines = JsonLines(stream)
        try:
            while True:
                message = await lines.receive()
                if "alive" in message:
                    tell(event="alive", sequence=message["alive"], age=message.get("age", 0.0))
                else:
                    order = {"client_id": message["client_id"], "status": "filled"}
                    with self.options.journal.open("a") as file:
                        file.write(json.dumps(order) + "\n")
                    self.orders[order["client_id"]] = order
                    tell(event="order", **order)
                    await lines.send(order)
        except (OSError, trio.ClosedResourceError):
            pass
        finally:
            self.connections.discard(stream)

    async def obey(self, nursery):
        lines = JsonLines(trio.StapledStream(trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0))))
        while True:
            try:
                message = await lines.receive()
            except ConnectionError:
                return nursery.cancel_scope.cancel()
            match message:
                case {"op": "open"}:
                    if os.environ.get("FAKE_VENUE") == "dies":
                        sys.exit("the market went up in smoke")
                case {"op": "close"}:
                    tell(event="closed")
                case {"op": "ledger"}:
                    fills = [
                        {"client_id": each, "trade_id": f"t-{each}", "side": "buy", "quantity": "0.1", "price": "100.5"}
                        for each in self.orders
                    ]
                    position, cash = len(fills) * 0.1, -len(fills) * 10.05
                    tell(
                        event="ledger",
                        orders=list(self.orders.values()),
                        fills=fills,
                        position=f"{position:.1f}",
                        cash=f"{cash:.2f}",
                        conflicts=[],
                        repeated=0,
                    )
                case {"op": "fault", "kind": kind, "seconds": seconds}:
                    nursery.start_soon(self.suffer, kind, seconds)

    async def suffer(self, kind, seconds):
        tell(event="fault", kind=kind)
        if kind.startswith("link."):
            self.refusing = kind == "link.refused"
            for stream in tuple(self.connections):
                await stream.aclose()
        await trio.sleep(seconds)
        self.refusing = False
        if seconds:
            tell(event="fault_over", kind=kind)

    async def run(self):
        async with trio.open_nursery() as nursery:
            (listener,) = await trio.open_tcp_listeners(self.options.http_port, host="127.0.0.1")
            nursery.start_soon(trio.serve_listeners, self.serve, [listener])
            if os.environ.get("FAKE_VENUE") != "mute":
                tell(event="listening", http=listener.socket.getsockname()[1], feed=self.options.feed_port or 1)
            await self.obey(nursery)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in (("start-minute", float), ("minutes", float), ("speed", float), ("journal", Path)):
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name, kind in (("http-port", int), ("feed-port", int), ("opened", float), ("capture", Path)):
        parser.add_argument(f"--{name}", type=kind, default=0)
    if os.environ.get("FAKE_VENUE") == "broken":
        sys.exit("venue: there is no market today")
    trio.run(Venue(parser.parse_args()).run)
