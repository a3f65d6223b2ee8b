"""Market data: from the venue's feed to the best prices."""

from genesis_trio import AttemptTimeoutError, Context, Guard, Retry
from genesis_trio.demo.desk.topics import MARKET, TOPS
from genesis_trio.demo.trading.link import VenueLink
from genesis_trio.demo.trading.order_book import OrderBook

__all__ = ["book", "feed", "streams"]

#: Opening a stream, again and again until the venue is back.
streams = Guard(
    "venue.streams",
    retry=Retry(on=(OSError, AttemptTimeoutError), max_retries=None, base_delay=0.05, max_delay=0.25, jitter="equal"),
    attempt_timeout=1.0,
)


async def feed(ctx: Context, venue: VenueLink) -> None:
    """Bring the market to the book.  A feed that falls silent makes no progress, and is started again."""
    async with streams.connect(venue.market) as updates:
        ctx.ready()
        async for update in updates:
            ctx.heartbeat()
            if update is not None:
                await ctx.send(MARKET, update)


async def book(ctx: Context) -> None:
    """Keep the book.  A gap ends it, and with it the feed, which requires it and asks for a whole book again."""
    levels = OrderBook()
    async with ctx.subscribe(MARKET) as updates:
        ctx.ready()
        async for update in updates:
            levels.apply(update)
            top = levels.top()
            if top is not None:
                ctx.publish(TOPS, top)
