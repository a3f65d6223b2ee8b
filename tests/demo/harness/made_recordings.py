"""Recordings made by hand, for the tests of what is calculated from them."""

from decimal import Decimal

from genesis_trio.demo.harness.recording import (
    Alive,
    Injection,
    Intent,
    Ledger,
    LedgerFill,
    LedgerOrder,
    Position,
    Recording,
    Span,
)


def signs_of_life(seconds: float, *silences: tuple[float, float]) -> tuple[Alive, ...]:
    """One each 0.1 s, a little before the sample, except in the *silences*."""
    times = [round(number / 10 - 0.01, 2) for number in range(round(seconds * 10) + 1)]
    return tuple(Alive(at, 0.0) for at in times if not any(start <= at < end for start, end in silences))


def order(client_id: str, status: str = "filled") -> LedgerOrder:
    return LedgerOrder(client_id, status)


def fill(client_id: str, trade_id: str) -> LedgerFill:
    return LedgerFill(client_id, trade_id, "buy", Decimal(1), Decimal(100))


GOOD = Recording(
    side="protected",
    seconds=20.0,
    # Silent from 5 s: it is seen at 5.5 s, when half a second without a sign has passed, and over at 6.5 s.
    alive=signs_of_life(20.0, (5.0, 6.45)),
    injections=(Injection("feed.silent", planned=5.0, began=5.0),),
    intents=(Intent("a", 1.0, 1.02, "filled"), Intent("b", 2.0, 2.1, "cancelled"), Intent("c", 3.0, 3.5, "refused")),
    modes=((0.0, "NORMAL"), (5.5, "SAFE"), (7.0, "NORMAL")),
    position=Position(Decimal(1), Decimal(-100), 1),
    ledger=Ledger((order("a"), order("b", "cancelled")), (fill("a", "t1"),), Decimal(1), Decimal(-100)),
)

DOWN_FOR_TWO_SECONDS = Span(8.0, 10.0)
