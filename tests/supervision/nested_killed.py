"""A desk that is killed while the host of its nested ledger is down; run as a process, with what it is to do.

``down URL SAVES``: let the ledger take two messages, take a cut, let it be stuck in a third, let its host crash, send more meanwhile,
take a cut if SAVES is 1, send one more, say what the ledger was given, and wait to be killed.  ``live URL``: let the ledger handle all
that comes, and end.  Each line that it prints is JSON.
"""

import json
import sys

import attrs
import trio
import trio.testing

from genesis_trio import (
    Backoff,
    Component,
    Lifecycle,
    Topic,
    open_store,
    open_supervisor,
    schema,
)
from supervision.desk import QUIET

COUNT = 16
LATE = Backoff(base_delay=3600.0, max_delay=3600.0, multiplier=1.0, jitter="none")


@schema("nested_killed.fill")
@attrs.frozen
class Fill:
    number: int


@schema("nested_killed.book")
@attrs.define
class Book:
    fills: list[int] = attrs.Factory(list)  # by record
    handled: int = 0  # by nothing but the saved state

    def apply(self, fill: Fill) -> None:
        self.fills.append(fill.number)


@schema("nested_killed.sent")
@attrs.define
class Sent:
    count: int = 0


FILLS = Topic("nested_killed.fills", Fill)


class World:
    """One process of the desk."""

    def __init__(self, url, *, lives):
        self.url = url
        self.lives = lives
        self.given = []
        self.two, self.stuck, self.done = trio.Event(), trio.Event(), trio.Event()
        self.crash = trio.Event()
        self.orders, self.to_send = trio.open_memory_channel(COUNT)
        self.sent = trio.Event()
        self.book = None

    async def send(self, count):
        """Let the feed send *count* fills more, each after the state that knows the one before."""
        for _ in range(count):
            self.sent = trio.Event()
            self.orders.send_nowait(None)
            await self.sent.wait()

    async def host(self, ctx):
        async with open_supervisor("venue") as venue:
            await venue.start(Ledger, self, name="ledger", stop_grace=0.0)
            ctx.ready()
            await self.crash.wait()
            raise OSError("down")


class Ledger(Component[Book]):
    def __init__(self, world):
        self.world = world

    async def run(self, ctx):
        world, world.book = self.world, self.state
        async with ctx.subscribe(FILLS) as fills:
            ctx.ready()
            async for fill in fills:
                world.given.append(fill.number)
                await ctx.record(fill, key=f"t{fill.number}")
                if not world.lives and len(world.given) == 3:
                    world.stuck.set()
                    await trio.sleep_forever()
                self.state.handled += 1
                if len(world.given) == 2:
                    world.two.set()
                if self.state.handled == COUNT:
                    world.done.set()


class Feed(Component[Sent]):
    def __init__(self, world):
        self.world = world

    async def run(self, ctx):
        ctx.ready()
        async for _ in self.world.to_send:
            await ctx.send(FILLS, Fill(self.state.count + 1))
            self.state.count += 1
            await ctx.safe_point()
            self.world.sent.set()


def say(**fields):
    print(json.dumps(fields), flush=True)


async def go_down(world, desk, child, feed, *, saves):
    await world.send(2)
    await world.two.wait()
    await trio.testing.wait_all_tasks_blocked()  # the ledger asks for its next one
    await desk.create_checkpoint()
    await world.send(1)
    await world.stuck.wait()
    world.crash.set()
    await child.wait(Lifecycle.BACKOFF)
    await world.send(3)
    if saves:
        await desk.create_checkpoint()
    await world.send(1)
    say(given=world.given, sent=feed.incarnation.component.state.count, status=child.status.name)
    await trio.sleep_forever()


async def live(world, desk, feed):
    await world.send(COUNT - feed.incarnation.component.state.count)
    with trio.fail_after(30):
        await world.done.wait()
    await desk.stop()
    say(given=world.given, fills=world.book.fills, handled=world.book.handled)


async def main(what, url, saves="1"):
    world = World(url, lives=what == "live")
    settings = {"checkpoint": QUIET, "backoff": LATE, "max_restarts": 5, "within": 1e5}
    async with open_store(url) as store, open_supervisor("desk", store=store, **settings) as desk:
        child = await desk.start(world.host, name="host", stop_grace=0.0)
        feed = await desk.start(Feed, world, name="feed", stop_grace=0.0)
        if world.lives:
            await live(world, desk, feed)
        else:
            await go_down(world, desk, child, feed, saves=saves == "1")


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
