"""The fault plan: what goes wrong, and when, drawn from a seed before anything starts.

A plan is a TOML file of ``[[fault]]`` tables::

    [[fault]]
    kind = "link.refused"
    seconds = 1.5  # how long it lasts, for kinds that last
    count = 2      # at times drawn from the seed (default 1) ...

    [[fault]]
    kind = "venue.kill"
    at = 20.0      # ... or at a fixed one, in real seconds after the opening

Drawn faults keep a distance from each other and from fixed ones, so that each can show its own recovery.
"""

import math
import random
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

__all__ = ["DEFAULT_PLAN", "KINDS", "Fault", "FaultKind", "Entry", "PlanError", "draw_plan", "parse_plan", "read_plan"]

DEFAULT_PLAN = Path(__file__).with_name("default_faults.toml")

GAP = 3.0  # seconds between the end of one fault and the next: more than any bound, on a machine that is not overloaded
QUIET_START = 2.0  # seconds before the first fault: the desk has orders by then
QUIET_END = 4.0  # seconds after the last one: its recovery is to be seen

MOST_SECONDS = 60.0
MOST_FAULTS = 1000


class PlanError(Exception):
    """The plan cannot be used; the text names the file, the key and what is allowed."""


@attrs.frozen
class FaultKind:
    """One way to fail.

    Attributes:
        seconds: How long it lasts if the plan does not say; None for what happens in a moment.
        limit: Seconds within which a desk should notice it, or its end; one second more is the bound of its recovery.
        by: Who carries it out: the venue (asked on its standard input), the harness (a signal), or the desk itself.
        venue_down: The venue cannot be reached while it lasts.
        needs_order: It happens to the next order, whenever that comes.
    """

    name: str
    text: str
    limit: float
    seconds: float | None = None
    by: str = "venue"
    venue_down: bool = False
    needs_order: bool = False

    @property
    def bound(self) -> float:
        """Seconds, after its end, within which a desk has recovered."""
        return self.limit + 1.0


KINDS: dict[str, FaultKind] = {
    kind.name: kind
    for kind in (
        FaultKind("link.refused", "all connections dropped, new ones refused", 1.0, 1.5, venue_down=True),
        FaultKind("link.dropped", "all connections dropped", 0.5),
        FaultKind("feed.silent", "market data stays connected and says nothing", 1.0),
        FaultKind("feed.gap", "updates are missing from the market data", 0.5),
        FaultKind("feed.nonsense", "a message that is none", 0.5),
        FaultKind("orders.error", "503 to every request", 1.0, 1.5),
        FaultKind("orders.busy", "429 to every request, Retry-After 1 s", 1.0, 1.5),
        FaultKind("orders.slow", "replies take 3 s", 1.0, 1.5),
        FaultKind("orders.lost_reply", "an order is accepted, its reply is lost", 1.0, needs_order=True),
        FaultKind("orders.repeated", "acknowledgements and fills come twice, and late", 0.5, 2.0),
        FaultKind("venue.kill", "the venue is killed, and started again", 1.0, 1.0, by="harness", venue_down=True),
        FaultKind("desk.kill", "the desk is killed with SIGKILL", 1.0, by="harness"),
        FaultKind("desk.raise", "a component of the desk raises", 0.5, by="desk"),
        FaultKind("desk.hang", "a component of the desk hangs", 1.0, by="desk"),
        FaultKind("desk.block", "something blocks the desk's loop", 0.5, 1.0, by="desk"),
    )
}


@attrs.frozen
class Entry:
    """One ``[[fault]]`` of a plan: *count* faults of a kind, or one *at* a time."""

    kind: FaultKind
    seconds: float | None
    count: int = 1
    at: float | None = None


@attrs.frozen
class Fault:
    """*kind* happens *at* seconds after the opening, and lasts so many *seconds* (0: a moment)."""

    at: float
    kind: FaultKind
    seconds: float

    @property
    def end(self) -> float:
        return self.at + self.seconds


def read_plan(path: Path) -> tuple[Entry, ...]:
    """The plan in the file at *path*.

    Raises:
        PlanError: it cannot be read, or a line of it is wrong.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read: {error}") from error
    return parse_plan(text, str(path))


def parse_plan(text: str, file: str) -> tuple[Entry, ...]:
    """The plan that *text* holds; *file* is what errors call it.

    Raises:
        PlanError: it is not TOML, or has keys, kinds or numbers that there are not.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanError(f"{file}: no TOML: {error}") from error
    for key in document:
        if key != "fault":
            raise PlanError(f"{file}: unknown key {key!r}; allowed: [[fault]] tables")
    tables = document.get("fault", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise PlanError(f"{file}: fault = {tables!r}; allowed: [[fault]] tables, with two brackets")
    entries = tuple(_parse_fault(table, f"{file}: fault {number}") for number, table in enumerate(tables, 1))
    if (total := sum(entry.count for entry in entries)) > MOST_FAULTS:
        raise PlanError(f"{file}: {total} faults; allowed: up to {MOST_FAULTS}")
    return entries


def _parse_fault(table: dict[str, Any], where: str) -> Entry:
    for key in table:
        if key not in ("kind", "seconds", "count", "at"):
            raise PlanError(f"{where}: unknown key {key!r}; allowed: kind, seconds, count, at")
    name = table.get("kind")
    if not isinstance(name, str) or name not in KINDS:
        said = f"kind = {name!r}" if "kind" in table else "kind is missing"
        raise PlanError(f"{where}: {said}; allowed: {', '.join(KINDS)}")
    kind = KINDS[name]
    seconds = kind.seconds
    if "seconds" in table:
        if kind.seconds is None:
            raise PlanError(f"{where}: seconds = {table['seconds']!r}; {name} happens in a moment, leave seconds out")
        seconds = _number(table, "seconds", where, MOST_SECONDS)
        if seconds == 0:
            raise PlanError(f"{where}: seconds = 0; allowed: more than 0, up to {MOST_SECONDS:g}")
    count = table.get("count", 1)
    if type(count) is not int or not 0 <= count <= MOST_FAULTS:
        raise PlanError(f"{where}: count = {count!r}; allowed: a whole number from 0 to {MOST_FAULTS}")
    if "at" not in table:
        return Entry(kind, seconds, count)
    if "count" in table:
        raise PlanError(
            f"{where}: count = {count!r} beside at = {table['at']!r}; a fixed time is one fault: leave one out"
        )
    return Entry(kind, seconds, at=_number(table, "at", where, 86_400.0))


def _number(table: dict[str, Any], key: str, where: str, most: float) -> float:
    value = table[key]
    if type(value) not in (int, float) or not 0 <= value <= most:  # not NaN either
        raise PlanError(f"{where}: {key} = {value!r}; allowed: seconds from 0 to {most:g}")
    return float(value)


def draw_plan(entries: Sequence[Entry], *, seed: int, window: float, file: str = "the plan") -> tuple[Fault, ...]:
    """The faults of a run of *window* real seconds, by time: the same for the same seed.

    Raises:
        PlanError: a fixed time lies outside of the window, or there is no room for all of them.
    """
    rng = random.Random(seed)
    fixed = sorted((_fault(entry, entry.at) for entry in entries if entry.at is not None), key=lambda fault: fault.at)
    for fault in fixed:
        if fault.at >= window:
            raise PlanError(
                f"{file}: at = {fault.at:g} of {fault.kind.name}; allowed: less than the {window:g} s of the run"
            )
    waiting = [entry for entry in entries if entry.at is None for _ in range(entry.count)]
    edges = [
        QUIET_START,
        *(edge for fault in fixed for edge in (fault.at - GAP, fault.end + GAP)),
        window - QUIET_END + GAP,
    ]
    rooms = [_Room(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    # The longest first, each to a room where it fits: chosen at random by what is left, so that none is crowded.
    for entry in sorted(waiting, key=lambda entry: -(entry.seconds or 0.0)):
        needed = (entry.seconds or 0.0) + GAP
        fitting = [room for room in rooms if room.left >= needed]
        if not fitting:
            least = sum((entry.seconds or 0.0) + GAP for entry in waiting) + QUIET_START + QUIET_END - GAP
            raise PlanError(
                f"{file}: no room for {len(waiting)} faults at drawn times, which are {GAP:g} s apart, in the {window:g} s "
                f"of this run ({least:g} s at least); allowed: fewer faults, or a longer or slower run"
            )
        (room,) = rng.choices(fitting, [room.left for room in fitting])
        room.entries.append(entry)
    drawn = [fault for room in rooms for fault in room.draw(rng)]
    return tuple(sorted([*fixed, *drawn], key=lambda fault: (fault.at, fault.kind.name)))


def _fault(entry: Entry, at: float) -> Fault:
    return Fault(round(at, 3), entry.kind, entry.seconds or 0.0)


@attrs.define
class _Room:
    """The time between two fixed faults."""

    start: float
    end: float
    entries: list[Entry] = attrs.field(factory=list)

    @property
    def left(self) -> float:
        return self.end - self.start - math.fsum((entry.seconds or 0.0) + GAP for entry in self.entries)

    def draw(self, rng: random.Random) -> list[Fault]:
        """Any placement that keeps the distances is as likely as any other: what is left is cut at random."""
        rng.shuffle(self.entries)
        cuts = sorted(rng.uniform(0.0, max(self.left, 0.0)) for _ in self.entries)
        faults: list[Fault] = []
        taken = self.start
        for entry, cut in zip(self.entries, cuts, strict=True):
            faults.append(_fault(entry, taken + cut))
            taken += (entry.seconds or 0.0) + GAP
        return faults
