"""The process of the protected desk: its supervisor over its store."""

import random
import time
from collections.abc import Sequence

import trio

from genesis_trio import CircuitBreaker, Context, Event, Guard, Retry, observe, open_store, open_supervisor
from genesis_trio.demo.newdesk import make_desk
from genesis_trio.demo.newdesk.quoting import Strategy
from genesis_trio.demo.newdesk.tree import SETTINGS
from genesis_trio.demo.trading.link import open_link
from genesis_trio.demo.trading.process import Sabotage, listen_to_orders, make_parser, tell
from genesis_trio.demo.trading.records import Top

__all__ = ["main", "run_desk"]


async def run_desk(http: str, feed: str, store_path: str, seed: int) -> None:
    """Run the desk until standard input ends."""
    sabotage = Sabotage()

    class SabotagedStrategy(Strategy):
        async def look(self, ctx: Context, top: Top) -> None:
            await sabotage.strike()
            await super().look(ctx, top)

    async with open_link(http, feed) as venue:
        async with open_store(f"sqlite:{store_path}") as store:
            with observe(tell_event):
                async with open_supervisor("desk", store=store, rng=random.Random(seed), **SETTINGS) as desk:
                    await desk.start_all(make_desk(venue, tell, strategy=SabotagedStrategy))
                    tell({"event": "desk_ready"})
                    await listen_to_orders(sabotage)
                    await desk.stop()
    tell({"event": "guard", **await measure_guard()})


def tell_event(event: Event) -> None:
    tell(event.as_dict())


async def measure_guard(calls: int = 5000) -> dict[str, float]:
    """What a guard with a retry and a breaker adds to a call that does nothing, in this very process."""
    guard = Guard("measured", retry=Retry(OSError), breaker=CircuitBreaker("measured"))

    async def bare() -> None:
        pass

    guarded = guard(bare)
    spent = {}
    for name, call in (("bare", bare), ("guarded", guarded)):
        began = time.perf_counter_ns()
        for _ in range(calls):
            await call()
        spent[name] = (time.perf_counter_ns() - began) / calls
    await trio.lowlevel.checkpoint()
    return {"calls": calls, "nanoseconds_per_call": round(spent["guarded"] - spent["bare"], 1)}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser("desk", "The desk under its supervisor.")
    parser.add_argument("--store", required=True, help="the file that holds its state")
    options = parser.parse_args(argv)
    trio.run(run_desk, options.http, options.feed, options.store, options.seed)


if __name__ == "__main__":
    main()
