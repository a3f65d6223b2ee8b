"""A ledger of fills, for the tests of state: its class, its topic, and the component that keeps it."""

import attrs

from genesis_trio.messaging.topic import Topic
from genesis_trio.persistence.schema import schema
from genesis_trio.supervision.component import Component


@schema("test.fill", version=1)
@attrs.frozen
class Fill:
    trade_id: str
    quantity: int


@schema("test.book", version=1)
@attrs.define
class Book:
    position: int = 0
    handled: int = 0
    note: float = 0.0

    def apply(self, fill: Fill) -> None:
        self.position += fill.quantity
        if fill.quantity == 666:
            raise ValueError("apply failed")


FILLS = Topic("state.fills", Fill)


class Ledger(Component[Book]):
    """Records each fill and counts the messages; crashes where it is told."""

    def __init__(self, crash_on=(), key=True):
        self.crash_on = crash_on
        self.key = key

    async def run(self, ctx):
        async with ctx.subscribe(FILLS) as fills:
            ctx.ready()
            async for fill in fills:
                if (ctx.generation, fill.quantity, "before") in self.crash_on:
                    raise OSError("before")
                await ctx.record(fill, key=fill.trade_id if self.key else None)
                if (ctx.generation, fill.quantity, "between") in self.crash_on:
                    raise OSError("between")
                self.state.handled += 1
                if (ctx.generation, fill.quantity, "after") in self.crash_on:
                    raise OSError("after")
