"""The reckoning: what the desk saved against what the venue knows."""

from decimal import Decimal

import attrs

from genesis_trio.demo.desk import ExecutionState, LedgerState
from genesis_trio.demo.venue import Venue

__all__ = ["Report", "Tally", "make_report"]


@attrs.define
class Tally:
    """What was seen of the desk while it ran."""

    kills_planned: int = 0
    kills: int = 0
    starts: int = 0
    restarts: int = 0
    parked: int = 0
    checkpoints: int = 0
    faults: int = 0
    seconds: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(("NORMAL", "SAFE", "EMERGENCY", "down"), 0.0))
    problems: list[str] = attrs.field(factory=list)


@attrs.frozen
class Report:
    """The numbers, and the invariants that do not hold (none, one hopes)."""

    numbers: dict[str, int | float | str]
    violations: tuple[str, ...]

    def as_text(self) -> str:
        width = max(map(len, self.numbers))
        lines = [f"{name:<{width}}  {value}" for name, value in self.numbers.items()]
        lines += [f"BROKEN: {violation}" for violation in self.violations]
        return "\n".join([*lines, "" if self.violations else "nothing lost, nothing done twice"]).rstrip()


def make_report(venue: Venue, execution: ExecutionState, ledger: LedgerState, tally: Tally) -> Report:
    """Compare, and name each invariant that is broken."""
    book = venue.book
    accepted = {client_id for client_id, yes in execution.answers.items() if yes}
    open_intents = sorted(execution.orders.keys() - execution.answers.keys())
    lost = sorted(accepted - book.orders.keys())
    unknown = sorted(book.orders.keys() - accepted)
    filled = [fill.client_id for fill in book.fills]
    duplicated = sorted({client_id for client_id in filled if filled.count(client_id) > 1})
    checks: list[tuple[str, bool, object]] = [
        ("every intent has an answer", not open_intents, open_intents),
        ("no accepted order is lost", not lost, lost),
        ("the desk knows every order of the venue", not unknown, unknown),
        ("no order is duplicated", not duplicated, duplicated),
        ("one client id is one order", not book.conflicts, book.conflicts),
        ("no acknowledgement went backwards", not venue.forgotten, venue.forgotten),
        ("the fills are equal", ledger.fills == len(book.fills), (ledger.fills, len(book.fills))),
        ("the position is equal", ledger.position == book.position, (str(ledger.position), str(book.position))),
        ("the cash is equal", ledger.cash == book.cash, (str(ledger.cash), str(book.cash))),
        ("every kill took place", tally.kills == tally.kills_planned, (tally.kills, tally.kills_planned)),
    ]
    violations = [f"{name}: {found}" for name, holds, found in checks if not holds]
    numbers: dict[str, int | float | str] = {
        "orders sent": len(accepted),
        "orders known to the venue": len(book.orders),
        "orders not sent or refused": len(execution.answers) - len(accepted),
        "orders lost": len(lost) + len(open_intents),
        "orders duplicated": len(duplicated),
        "repeats that the venue recognised": book.repeated,
        "open orders": book.open_orders,
        "fills, desk": ledger.fills,
        "fills, venue": len(book.fills),
        "position, desk": plain(ledger.position),
        "position, venue": plain(book.position),
        "cash, desk": plain(ledger.cash),
        "cash, venue": plain(book.cash),
        "faults injected": tally.faults,
        "kills (SIGKILL)": tally.kills,
        "starts of the desk": tally.starts,
        "restarts of components": tally.restarts,
        "components parked": tally.parked,
        "saved checkpoints": tally.checkpoints,
        **{f"seconds {where}": round(seconds, 1) for where, seconds in tally.seconds.items()},
    }
    return Report(numbers, (*tally.problems, *violations))


def plain(number: Decimal) -> str:
    return f"{number.normalize():f}" if number else "0"
