"""Which components there are, what each of them needs, and how the tree keeps them."""

from collections.abc import Callable, Mapping
from typing import Any

from genesis_trio import Backoff, CheckpointPolicy, ChildSpec, Criticality, Mode, ModePolicy
from genesis_trio.demo.desk.market import book, feed
from genesis_trio.demo.desk.money import Ledger, drop_copy
from genesis_trio.demo.desk.orders import Execution
from genesis_trio.demo.desk.quoting import Strategy, risk
from genesis_trio.demo.trading.link import VenueLink

__all__ = ["SETTINGS", "make_desk"]

#: How the supervisor keeps the desk.  The times are those of a market that is played fast.
SETTINGS: dict[str, Any] = {
    "checkpoint": CheckpointPolicy(every=1.0, messages=500),
    "backoff": Backoff(base_delay=0.05, max_delay=0.25, jitter="equal"),
    "max_restarts": 5,
    "within": 2.0,
    "mode_policy": ModePolicy(trigger_after=0.5, recover_after=0.5, max_recover_after=2.0, critical_failure=Mode.SAFE),
}


def make_desk(
    venue: VenueLink, tell: Callable[[Mapping[str, Any]], None], *, strategy: type[Strategy] = Strategy
) -> list[ChildSpec]:
    """The children of the desk's supervisor, in the order of their start.

    What the desk cannot be safe without is CRITICAL: books, fills, orders, limits.  In EMERGENCY the rest is gone.
    """
    critical = Criticality.CRITICAL
    # A stream that says nothing for a second, not even that it lives, is as good as closed.
    stream: dict[str, Any] = {"heartbeat_timeout": 1.0, "stop_grace": 0.0, "unpark_after": 0.5}
    return [
        ChildSpec(Ledger, tell, name="ledger"),
        ChildSpec(drop_copy, venue, name="drop-copy", requires=["ledger"], criticality=critical, **stream),
        ChildSpec(Execution, venue, tell, name="execution", requires=["ledger"], unpark_after=0.5),
        ChildSpec(risk, name="risk", requires=["execution"], criticality=critical),
        ChildSpec(strategy, name="strategy", requires=["risk"], heartbeat_timeout=1.0),
        ChildSpec(book, name="book", unpark_after=0.5),
        ChildSpec(feed, venue, name="feed", requires=["book"], **stream),
    ]
