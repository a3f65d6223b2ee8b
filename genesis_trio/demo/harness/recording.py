"""What one run left behind: a plain record of what was heard, in seconds after the opening of the market.

All of it comes from outside of the desk's process: what the venue said, when processes lived and died, when faults
took effect, and the lines by which the desk tells what it believes.
"""

from collections.abc import Mapping
from decimal import Decimal

import attrs

__all__ = [
    "Alive",
    "Exit",
    "Injection",
    "Intent",
    "Ledger",
    "LedgerFill",
    "LedgerOrder",
    "Position",
    "Recording",
    "Span",
]


@attrs.frozen
class Span:
    """From *start* to *end*."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@attrs.frozen
class Alive:
    """The venue heard from the desk, whose newest market data was superseded *age* seconds before (0: it is the newest)."""

    at: float
    age: float


@attrs.frozen
class Injection:
    """A fault of the plan, *planned* at a time, that took effect from *began* (None: never) to *over*."""

    kind: str
    planned: float
    began: float | None = None
    over: float | None = None


@attrs.frozen
class Intent:
    """The desk was about to send an order *at* a time, and *told* its outcome later (None: never).

    Attributes:
        status: The last one that the desk told: open, filled, cancelled, refused or unknown.
        wish: What the order was for, if the desk tells; two orders for one wish are a duplicate.
    """

    client_id: str
    at: float
    told: float | None = None
    status: str = "unknown"
    wish: str | None = None

    @property
    def known(self) -> bool:
        return self.status != "unknown"


@attrs.frozen
class Position:
    """What the desk believes that it owns."""

    position: Decimal
    cash: Decimal
    fills: int


@attrs.frozen
class LedgerOrder:
    client_id: str
    status: str


@attrs.frozen
class LedgerFill:
    client_id: str
    trade_id: str
    side: str
    quantity: Decimal
    price: Decimal


@attrs.frozen
class Ledger:
    """What the venue knows, which is how it is."""

    orders: tuple[LedgerOrder, ...]
    fills: tuple[LedgerFill, ...]
    position: Decimal
    cash: Decimal
    conflicts: tuple[str, ...] = ()
    repeated: int = 0


@attrs.frozen
class Exit:
    """The desk's process ended *at* a time with a *status*; *wanted* by the plan or at the end."""

    at: float
    status: int
    wanted: bool


@attrs.frozen
class Recording:
    """One run of *seconds*, from the opening of the market to its close.

    Attributes:
        side: "protected" or "bare".
        venue_down: When the venue could not be reached: refused by the plan, or killed until it listened again.
        modes: What the desk was in, from when on: NORMAL, SAFE, EMERGENCY, or "down" without a process that is ready.
        counts: How often the desk told of each kind of event.
        problems: What the harness could not do, in sentences.
        lag: Seconds by which the harness itself was late, at most; with a busy machine every time here is as uncertain.
    """

    side: str
    seconds: float
    alive: tuple[Alive, ...] = ()
    venue_down: tuple[Span, ...] = ()
    injections: tuple[Injection, ...] = ()
    intents: tuple[Intent, ...] = ()
    modes: tuple[tuple[float, str], ...] = ()
    exits: tuple[Exit, ...] = ()
    position: Position | None = None
    ledger: Ledger | None = None
    guard_calls: int = 0
    guard_nanoseconds: float | None = None
    counts: Mapping[str, int] = attrs.field(factory=dict)
    problems: tuple[str, ...] = ()
    lag: float = 0.0
