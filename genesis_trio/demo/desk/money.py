"""Money: every fill is booked exactly once, whatever happens."""

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

import attrs

from genesis_trio import Component, Context, Criticality, Overflow, schema
from genesis_trio.demo.desk.market import streams
from genesis_trio.demo.desk.topics import BOOKED, POSITIONS, UPDATES, Position
from genesis_trio.demo.trading.link import VenueLink
from genesis_trio.demo.trading.records import Fill, OrderState

__all__ = ["Ledger", "LedgerState", "drop_copy"]


@schema("desk.ledger")
@attrs.define
class LedgerState:
    """What we have: coins, money, and how many fills made it so."""

    position: Decimal = Decimal(0)
    cash: Decimal = Decimal(0)
    fills: int = 0
    last_price: Decimal = Decimal(0)

    def apply(self, fill: Fill) -> None:
        self.position += fill.quantity
        self.cash -= fill.quantity * fill.price
        self.fills += 1
        self.last_price = fill.price


class Ledger(Component[LedgerState]):
    """The books."""

    criticality = Criticality.CRITICAL

    def __init__(self, tell: Callable[[Mapping[str, Any]], None]) -> None:
        self.tell = tell

    async def run(self, ctx: Context) -> None:
        async with ctx.requests(BOOKED) as requests:
            self.publish(ctx)
            ctx.ready()
            async for request in requests:
                fill = request.message
                await ctx.record(fill, key=fill.trade_id)  # durable, then applied, never twice
                request.reply(self.state.fills)
                self.publish(ctx)

    def publish(self, ctx: Context) -> None:
        state = self.state
        ctx.publish(POSITIONS, Position(state.position, state.cash, state.fills, state.last_price))
        self.tell(
            {
                "event": "position",
                "position": str(state.position),
                "cash": str(state.cash),
                "fills": state.fills,
            }
        )


async def drop_copy(ctx: Context, venue: VenueLink) -> None:
    """Carry fills to the ledger, from the one after the last that is booked, and news of orders to execution."""
    async with ctx.subscribe(POSITIONS, overflow=Overflow.CONFLATE) as positions:
        booked = await anext(aiter(positions), None)
    if booked is None:
        return  # told to stop before the ledger said anything
    async with streams.connect(lambda: venue.private(after=booked.fills)) as messages:
        ctx.ready()
        async for message in messages:
            ctx.heartbeat()
            match message:
                case Fill():
                    await ctx.request(BOOKED, message)
                case OrderState():
                    await ctx.send(UPDATES, message)
