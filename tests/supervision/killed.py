"""A desk that is killed: run as a process, which forks the desk again after each kill, until its ten fills are booked.

Each line that it prints is the report on one store, as JSON.
"""

import json
import os
import random
import signal
import sys
import traceback

import attrs
import trio

from genesis_trio import CheckpointPolicy, Component, Topic, open_store, open_supervisor, schema
from supervision.interrupted import hear

COUNT = 10
PATHS = ("desk/ledger", "desk/feed")


@schema("killed.fill")
@attrs.frozen
class Fill:
    trade_id: str
    quantity: int


@schema("killed.book")
@attrs.define
class Book:
    trades: list[str] = attrs.Factory(list)  # by record
    position: int = 0
    handled: int = 0  # by nothing but the saved state: as many as its mailbox has settled

    def apply(self, fill: Fill) -> None:
        self.trades.append(fill.trade_id)
        self.position += fill.quantity


@schema("killed.sent")
@attrs.define
class Sent:
    count: int = 0


FILLS = Topic("killed.fills", Fill)


class Ledger(Component[Book]):
    async def run(self, ctx):
        async with ctx.subscribe(FILLS) as fills:
            if fills._mailbox.settled != self.state.handled:
                raise SystemExit(f"the mailbox is at {fills._mailbox.settled}, the state at {self.state.handled}")
            ctx.ready()
            async for fill in fills:
                await ctx.record(fill, key=fill.trade_id)
                self.state.handled += 1


class Feed(Component[Sent]):
    """Sends each fill at least once: what it has sent is saved together with the mailbox that it is in."""

    async def run(self, ctx):
        ctx.ready()
        while self.state.count < COUNT:
            await trio.sleep(0.002)
            number = self.state.count + 1
            ctx.publish(FILLS, Fill(f"t{number}", number))
            self.state.count = number
            await ctx.safe_point()
        await ctx.wait_stopping()


async def desk(url, say):
    policy = CheckpointPolicy(every=None, messages=3)
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=policy) as supervisor:
        ledger = await supervisor.start(Ledger, name="ledger")
        await supervisor.start(Feed, name="feed")
        say(b"running\n")
        while True:
            await trio.sleep(0.003)
            await supervisor.create_checkpoint()
            incarnation = ledger.incarnation
            # Not by its trades: replayed from the journal, they are complete before the messages that come again are.
            if incarnation is not None and incarnation.component.state.handled >= COUNT:
                break
        await supervisor.stop()
    say(b"done\n")


def once(url, delay):
    """Fork a desk and kill it *delay* seconds after its start; what it said."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, b"go\n")
            trio.run(desk, url, lambda word: os.write(writing, word))
            status = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.close(writing)
    said = hear(reading, b"done\n", delay, hear(reading, b"go\n", 20.0))
    os.kill(pid, signal.SIGKILL)
    said += hear(reading, None, 20.0)
    os.close(reading)
    os.waitpid(pid, 0)
    return said.decode()


async def look(url):
    async with open_store(url) as store:
        book = (await store.load("desk/ledger", Book, make=Book)).state
        sent = (await store.load("desk/feed", Sent, make=Sent)).state
        return {"verified": (await store.verify()).ok, "book": attrs.asdict(book), "sent": sent.count}


def main():
    folder, kills, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    rng = random.Random(seed)
    number = killed = 0
    while killed < kills:
        number += 1
        url = f"sqlite:{folder}/{number}.db"
        errors = []
        here = 0
        while True:
            # After five kills of one store it may come to its end.
            said = once(url, rng.uniform(0.0, 0.1) if here < 5 else 20.0)
            if "Traceback" in said or "Error" in said:
                errors.append(said)
                break
            if "done" in said:
                break
            here += 1
        killed += here
        print(json.dumps({"kills": here, "errors": errors, **trio.run(look, url)}), flush=True)


if __name__ == "__main__":
    main()
