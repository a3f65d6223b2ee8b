"""From the best prices to orders that may be sent: the strategy wants, the risk desk allows."""

from decimal import Decimal

import attrs

from genesis_trio import Capability, Component, Context, Mode, Overflow, Timer
from genesis_trio.demo.desk.topics import (
    APPROVED,
    DECISIONS,
    POSITIONS,
    TOPS,
    WORKING,
    Decision,
    Position,
    Working,
)
from genesis_trio.demo.trading.market_maker import LIMIT, Cancel, MarketMaker, exposure
from genesis_trio.demo.trading.records import Order, Top

__all__ = ["MAX_LOSS", "Strategy", "needs", "risk"]

PACE = 0.1  # seconds between two looks at the market
MAX_AGE = 1.0  # seconds; with older prices we are not well
MAX_LOSS = Decimal(1000)  # of the highest value that the desk ever had
SLIPPAGE = Decimal("0.05")  # how much worse than the last fill a price may be when the position has to go


class Strategy(Component[None]):
    """Look at the market ten times a second and say what should change.  One decision at a time is on its way."""

    def __init__(self) -> None:
        self.maker = MarketMaker()
        self.top: Top | None = None
        self.position: Position | None = None
        self.working: Working | None = None
        self.decisions = 0
        self.asked: str | None = None

    async def run(self, ctx: Context) -> None:
        async with ctx.subscribe(
            TOPS, POSITIONS, WORKING, overflow=Overflow.CONFLATE, every=PACE, max_age=MAX_AGE
        ) as inbox:
            ctx.ready()
            async for message in inbox:
                match message:
                    case Top():
                        self.top = message
                    case Position():
                        self.position = message
                    case Working():
                        self.working = message
                    case Timer():
                        await self.look(ctx)

    async def look(self, ctx: Context) -> None:
        """Decide, unless the last decision is still on its way."""
        if self.top is None or self.position is None or self.working is None:
            return
        if self.asked is not None and self.working.after != self.asked:
            return
        self.decisions += 1
        self.asked = f"{ctx.generation}.{self.decisions}"
        wanted = list(self.maker.decide(self.top, self.position.quantity, self.working.orders))
        decision = Decision(
            self.asked,
            self.top.sequence,
            tuple(item.client_id for item in wanted if isinstance(item, Cancel)),
            tuple(item for item in wanted if isinstance(item, Order)),
        )
        await ctx.send(DECISIONS, decision)


def needs(order: Order) -> Capability:
    """What the mode must allow for *order* to be sent."""
    return Capability.REDUCE if order.reduces else Capability.OPEN


async def risk(ctx: Context, max_loss: Decimal = MAX_LOSS) -> None:
    """Let through what the limits and the mode allow.  In EMERGENCY: cancel everything, and trade back to zero."""
    position, working = Position(Decimal(0), Decimal(0), 0, Decimal(0)), Working()
    best = Decimal("-Infinity")
    desk = ctx.supervisor_scope
    async with ctx.subscribe(DECISIONS, POSITIONS, WORKING, TOPS, every=0.25) as inbox:
        ctx.ready()
        async for message in inbox:
            match message:
                case Position():
                    position = message
                case Working():
                    working = message
                case Decision():
                    await ctx.send(APPROVED, within_limits(ctx, message, position, working))
                case Top(middle=price):
                    value = position.cash + position.quantity * price
                    best = max(best, value)
                    if best - value > max_loss:
                        reason = f"the desk lost {best - value:.2f}, and {max_loss} is the limit"
                        desk.hold(Mode.EMERGENCY, reason=reason, latched=True)
                case Timer() if desk.mode is Mode.EMERGENCY:
                    decision = get_out(ctx, position, working)
                    if decision is not None:
                        await ctx.send(APPROVED, decision)


def within_limits(ctx: Context, decision: Decision, position: Position, working: Working) -> Decision:
    """*decision* without the orders that are too much."""
    allowed = [
        order
        for order in decision.orders
        if ctx.scope.allows(needs(order)) and abs(exposure(position.quantity, working.orders, order.quantity)) <= LIMIT
    ]
    return attrs.evolve(decision, orders=tuple(allowed))


def get_out(ctx: Context, position: Position, working: Working) -> Decision | None:
    """What takes us out of the market; None if it is under way, or done."""
    # One for each fill: what is left of the position then is what the order has to be about.
    name = f"flat-{ctx.generation}-{position.fills}"
    cancels = tuple(order.client_id for order in working.orders if not order.client_id.startswith("flat-"))
    orders: tuple[Order, ...] = ()
    if position.quantity and all(order.client_id != name for order in working.orders):
        worst = position.last_price * (1 - SLIPPAGE if position.quantity > 0 else 1 + SLIPPAGE)
        orders = (Order(name, -position.quantity, worst.quantize(Decimal(1)), reduces=True),)
    return Decision(name, 0, cancels, orders) if cancels or orders else None
