"""The desk: four components that trade, each of them a few lines.

::

    feed ──QUOTES, TRADES──► strategy ──ORDERS──► execution ──► venue
                                ▲                                 │
                                └──POSITIONS── ledger ◄──BOOK── drop copy

None of them handles a crash, a lost link or a killed process.  Whatever fails raises, the supervisor
starts it again, and it goes on from the state that was saved.
"""

from decimal import Decimal

import attrs

from genesis_trio import (
    NOT_DONE,
    AttemptTimeoutError,
    Capability,
    ChildSpec,
    Component,
    Context,
    Criticality,
    Guard,
    ModeRefusedError,
    Overflow,
    Retry,
    Topic,
    schema,
)
from genesis_trio.demo.link import VenueLink
from genesis_trio.demo.messages import Answer, Fill, Order, Ping, Position, Quote, Trade

__all__ = ["Execution", "ExecutionState", "Ledger", "LedgerState", "Strategy", "StrategyState", "make_desk"]

QUOTES = Topic("quotes", Quote, key=lambda quote: "quote", latest=True)
TRADES = Topic("trades", Trade, key=lambda trade: "trade")
POSITIONS = Topic("positions", Position, key=lambda position: "position", latest=True)
ORDERS = Topic("orders", Order)
BOOK = Topic("book", Fill)

LOT = Decimal("0.01")
LIMIT = 5 * LOT


# ------------------------------------------------------------------ market data


async def feed(ctx: Context, venue: VenueLink) -> None:
    """Bring the market to whoever wants it."""
    async with venue.market() as ticks:
        ctx.ready()
        async for tick in ticks:
            ctx.heartbeat()
            match tick:
                case Quote():
                    ctx.publish(QUOTES, tick)
                case Trade():
                    ctx.publish(TRADES, tick)
                case Ping():
                    pass


# ------------------------------------------------------------------ strategy


@schema("demo.strategy")
@attrs.define
class StrategyState:
    """What the strategy has learned.  A signal may be a float; money may not."""

    average: float | None = None
    trades: int = 0


class Strategy(Component[StrategyState]):
    """Buy below the average of the last trades, sell above it, and hold only a little."""

    def __init__(self) -> None:
        self.quote: Quote | None = None
        self.position = Decimal(0)

    async def run(self, ctx: Context) -> None:
        async with ctx.subscribe(QUOTES, TRADES, POSITIONS, overflow=Overflow.CONFLATE) as inbox:
            ctx.ready()
            async for message in inbox:
                match message:
                    case Quote():
                        self.quote = message
                    case Position():
                        self.position = message.quantity
                    case Trade():
                        order = self.decide(message)
                        if order is not None and ctx.scope.allows(needs(order)):
                            await ctx.send(ORDERS, order)

    def decide(self, trade: Trade) -> Order | None:
        """The order that *trade* calls for, if any.  Orders that wait for their fill are not counted as position."""
        state, price = self.state, float(trade.price)
        average = price if state.average is None else state.average
        state.average = 0.9 * average + 0.1 * price
        state.trades += 1
        if self.quote is None or price == average:
            return None
        quantity, limit = (LOT, self.quote.bid) if price < average else (-LOT, self.quote.ask)
        if abs(self.position + quantity) > LIMIT:
            return None
        # The same trade makes the same id, in whatever incarnation of whatever process.
        reduces = abs(self.position + quantity) < abs(self.position)
        return Order(f"on-{trade.trade_id}", quantity, limit, reduces)


def needs(order: Order) -> Capability:
    """What the mode must allow for *order* to be sent."""
    return Capability.REDUCE if order.reduces else Capability.OPEN


# ------------------------------------------------------------------ execution


@schema("demo.execution")
@attrs.define
class ExecutionState:
    """Every order that we meant to send, and what the venue said to it."""

    orders: dict[str, Order] = attrs.field(factory=dict)
    answers: dict[str, bool] = attrs.field(factory=dict)

    def apply(self, event: Order | Answer) -> None:
        match event:
            case Order():
                self.orders[event.client_id] = event
            case Answer():
                self.answers[event.client_id] = event.accepted


class Execution(Component[ExecutionState]):
    """Write down what is meant, send it, write down the answer."""

    def __init__(self, venue: VenueLink) -> None:
        self.venue = venue
        # No answer is not a no: before another attempt, the venue is asked whether it has the order.
        self.place = Guard(
            "venue.orders",
            retry=Retry(on=(OSError, AttemptTimeoutError), max_retries=4, base_delay=0.05, max_delay=0.5),
            attempt_timeout=0.5,
            repeatable=False,
            reconcile=self.find,
        )

    async def run(self, ctx: Context) -> None:
        # First of all: what was meant before we died, and never answered.
        for order in list(self.state.orders.values()):
            if order.client_id not in self.state.answers:
                if await self.venue.find(order.client_id):
                    await self.answer(ctx, order, accepted=True)
                else:
                    await self.send(ctx, order)
        async with ctx.subscribe(ORDERS) as orders:
            ctx.ready()
            async for order in orders:
                await ctx.record(order, key=order.client_id)
                if order.client_id not in self.state.answers:
                    await self.send(ctx, order)

    async def send(self, ctx: Context, order: Order) -> None:
        try:
            ctx.scope.require(needs(order))
        except ModeRefusedError:
            accepted = False  # and it was never sent
        else:
            accepted = await self.place.execute(self.venue.place, order)
        await self.answer(ctx, order, accepted=accepted)

    async def find(self, order: Order) -> object:
        return True if await self.venue.find(order.client_id) else NOT_DONE

    async def answer(self, ctx: Context, order: Order, *, accepted: bool) -> None:
        await ctx.record(Answer(order.client_id, accepted), key=f"{order.client_id}: answer")


# ------------------------------------------------------------------ ledger


@schema("demo.ledger")
@attrs.define
class LedgerState:
    """What we have: coins, money, and how many fills made it so."""

    position: Decimal = Decimal(0)
    cash: Decimal = Decimal(0)
    fills: int = 0

    def apply(self, fill: Fill) -> None:
        self.position += fill.quantity
        self.cash -= fill.quantity * fill.price
        self.fills += 1


class Ledger(Component[LedgerState]):
    """Book every fill exactly once, whatever happens."""

    criticality = Criticality.CRITICAL

    async def run(self, ctx: Context) -> None:
        async with ctx.requests(BOOK) as requests:
            ctx.publish(POSITIONS, Position(self.state.position))
            ctx.ready()
            async for request in requests:
                fill = request.message
                await ctx.record(fill, key=fill.trade_id)  # durable, then applied, never twice
                request.reply(self.state.fills)
                ctx.publish(POSITIONS, Position(self.state.position))


async def drop_copy(ctx: Context, venue: VenueLink) -> None:
    """Carry fills to the ledger; acknowledge each to the venue once it is durable, and not before."""
    async with venue.fills() as fills:
        ctx.ready()
        async for fill in fills:
            await ctx.request(BOOK, fill)
            await fills.acknowledge(fill)


# ------------------------------------------------------------------ the tree


def make_desk(venue: VenueLink) -> list[ChildSpec]:
    """The children of the desk's supervisor."""
    return [
        ChildSpec(Ledger, name="ledger"),
        ChildSpec(drop_copy, venue, name="drop-copy", requires=["ledger"], stop_grace=0.0, unpark_after=0.5),
        ChildSpec(Execution, venue, name="execution", unpark_after=0.5),
        ChildSpec(Strategy, name="strategy", requires=["execution"]),
        ChildSpec(feed, venue, name="feed", heartbeat_timeout=1.0, stop_grace=0.0, unpark_after=0.5),
    ]
