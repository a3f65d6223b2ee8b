"""Topics, and components that read and send, for the tests of messages."""

from contextlib import asynccontextmanager

import attrs
import trio

from genesis_trio.messaging.topic import Topic
from genesis_trio.supervision.supervisor import open_supervisor
from supervision.desk import EXACT, until_stopped


@attrs.frozen
class Tick:
    symbol: str
    price: int


NUMBERS = Topic("numbers", int)
LETTERS = Topic("letters", str)
TICKS = Topic("ticks", Tick, key=lambda tick: tick.symbol)
LATEST = Topic("latest", Tick, key=lambda tick: tick.symbol, latest=True)


class Reader:
    """A component that remembers what it got; *work* is awaited for each item."""

    def __init__(self, *topics, work=None, **options):
        self.topics = topics
        self.options = options
        self.work = work
        self.got = []
        self.subscription = None

    async def __call__(self, ctx):
        async with ctx.subscribe(*self.topics, **self.options) as inbox:
            self.subscription = inbox
            ctx.ready()
            async for item in inbox:
                self.got.append(item)
                if self.work is not None:
                    await self.work(ctx, item)


async def context_of(desk, name="sender"):
    child = await desk.start(until_stopped, name=name)
    return child.incarnation.context


@asynccontextmanager
async def desk_with(component, **options):
    """A desk whose child ``reader`` is *component*: that child, and a context to send to it; at the end it is stopped."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(component, name="reader", **options)
        yield child, await context_of(desk)
        await desk.stop()


async def stuck(ctx, item):
    """Work that never ends."""
    await trio.sleep_forever()
