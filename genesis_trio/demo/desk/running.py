"""The protected desk from its start to its ordered stop, in whatever process, at whatever venue."""

import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from genesis_trio import Context, Event, observe, open_store, open_supervisor
from genesis_trio.demo.desk.quoting import Strategy
from genesis_trio.demo.desk.tree import SETTINGS, make_desk
from genesis_trio.demo.trading.link import VenueLink
from genesis_trio.demo.trading.process import Sabotage

__all__ = ["run_desk"]


async def run_desk(
    venue: VenueLink,
    store_url: str,
    *,
    seed: int,
    tell: Callable[[Mapping[str, Any]], None],
    sabotage: Sabotage,
    wait_stop: Callable[[], Awaitable[None]],
) -> None:
    """Run the desk until *wait_stop* returns, then stop it in order.

    Args:
        tell: Is given what happens, event by event.
        sabotage: Strikes inside of the strategy, which knows nothing of it.
    """

    class SabotagedStrategy(Strategy):
        async def look(self, ctx: Context) -> None:
            await sabotage.strike()
            await super().look(ctx)

    def tell_event(event: Event) -> None:
        tell(event.as_dict())

    async with open_store(store_url) as store:
        async with open_supervisor("desk", store=store, rng=random.Random(seed), **SETTINGS) as desk:
            with observe(tell_event):  # of this desk's tree; a simulation has more than one
                await desk.start_all(make_desk(venue, tell, strategy=SabotagedStrategy))
                tell({"event": "desk_ready"})
                await wait_stop()
                await desk.stop()
