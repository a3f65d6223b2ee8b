"""The process of the protected desk."""

import time
from collections.abc import Sequence

import trio

from genesis_trio import CircuitBreaker, Guard, Retry
from genesis_trio.demo.desk.running import run_desk
from genesis_trio.demo.trading.link import open_link
from genesis_trio.demo.trading.process import Sabotage, listen_to_orders, make_parser, tell

__all__ = ["main"]


async def run(http: str, feed: str, store_path: str, seed: int) -> None:
    """Run the desk until standard input ends."""
    sabotage = Sabotage()
    async with open_link(http, feed) as venue:
        await run_desk(
            venue,
            f"sqlite:{store_path}",
            seed=seed,
            tell=tell,
            sabotage=sabotage,
            wait_stop=lambda: listen_to_orders(sabotage),
        )
    tell({"event": "guard", **await measure_guard()})


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
    trio.run(run, options.http, options.feed, options.store, options.seed)


if __name__ == "__main__":
    main()
