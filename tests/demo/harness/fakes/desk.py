"""A desk in one screen: it shows life, places an order each 0.2 s, keeps what it knows in a file, and obeys sabotage.

FAKE_DESK says what is wrong with it, words with commas: "late" (never ready), "deaf" (does not stop), "forgets" (no
saved state), "restless" (ends by itself after 1 s), "loses" (never tells an outcome), "stale" (lives on old data).
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import trio

from genesis_trio.demo.wire import JsonLines

WRONG = os.environ.get("FAKE_DESK", "").split(",")


def tell(**fields):
    print(json.dumps(fields), flush=True)


class Desk:
    def __init__(self, options):
        self.port = urlsplit(options.http).port
        self.store = options.store
        self.orders: dict[str, str] = {}
        self.sabotage: dict = {}
        if self.store is not None and self.store.exists() and "forgets" not in WRONG:
            self.orders = json.loads(self.store.read_text())

    async def work(self, task_status=trio.TASK_STATUS_IGNORED):
        while True:
            try:
                stream = await trio.open_tcp_stream("127.0.0.1", self.port)
                async with stream:
                    await self.trade(JsonLines(stream), task_status)
            except (OSError, ExceptionGroup):
                await trio.sleep(0.05)

    async def trade(self, lines, task_status):
        for client_id, status in list(self.orders.items()):
            if status == "unknown":
                await self.place(lines, client_id)
            elif "loses" not in WRONG:
                tell(event="outcome", client_id=client_id, status=status)  # it may have been killed before it said so
        if not getattr(self, "started", False):
            self.started = True
            task_status.started()
        for number in range(10**9):
            match self.sabotage:
                case {"sabotage": "raise"}:
                    self.sabotage = {}
                    raise OSError("it was ordered to")
                case {"sabotage": "hang"}:
                    self.sabotage = {}
                    await trio.sleep(0.8)
                case {"sabotage": "block", "seconds": seconds}:
                    self.sabotage = {}
                    time.sleep(seconds)  # to block the loop is the sabotage
            await lines.send({"alive": number, "age": 2.0 if "stale" in WRONG else 0.0})
            if number % 4 == 0:
                client_id = f"{os.getpid()}-{len(self.orders)}"
                self.orders[client_id] = "unknown"
                self.save()
                tell(event="intent", client_id=client_id)
                await self.place(lines, client_id)
            await trio.sleep(0.05)

    async def place(self, lines, client_id):
        with trio.move_on_after(1.0, shield=True):  # an ordered stop does not leave an order in the air
            await lines.send({"client_id": client_id})
            self.orders[client_id] = (await lines.receive())["status"]
        self.save()
        if "loses" not in WRONG:
            tell(event="outcome", client_id=client_id, status=self.orders[client_id])
        self.tell_position()

    def save(self):
        if self.store is not None:
            temporary = self.store.with_suffix(".new")
            temporary.write_text(json.dumps(self.orders))
            temporary.replace(self.store)

    def tell_position(self):
        fills = sum(status == "filled" for status in self.orders.values())
        tell(event="position", position=f"{fills * 0.1:.1f}", cash=f"{-fills * 10.05:.2f}", fills=fills)

    async def obey(self):
        lines = JsonLines(trio.StapledStream(trio.lowlevel.FdStream(os.dup(1)), trio.lowlevel.FdStream(os.dup(0))))
        while True:
            try:
                self.sabotage = await lines.receive()
            except ConnectionError:
                break
        if "deaf" in WRONG:
            await trio.sleep_forever()

    async def run(self):
        async with trio.open_nursery() as nursery:
            if "late" in WRONG:
                await self.obey()
                return
            await nursery.start(self.work)
            tell(event="desk_ready")
            tell(event="mode_raised", scope="desk", before="NORMAL", mode="SAFE")
            tell(event="mode_raised", scope="desk/feed", before="NORMAL", mode="EMERGENCY")
            tell(event="mode_lowered", scope="desk", before="SAFE", mode="NORMAL")
            if "restless" in WRONG:
                await trio.sleep(1.0)
                sys.exit(3)
            await self.obey()
            nursery.cancel_scope.cancel()
        self.tell_position()
        tell(event="guard", calls=10, nanoseconds_per_call=250.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in (("http", str), ("feed", str), ("store", Path), ("seed", int)):
        parser.add_argument(f"--{name}", type=kind)
    trio.run(Desk(parser.parse_args()).run)
