"""How state comes back: the newest part that is whole, and the records behind it, each checked on the way."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._cut import Cut, CutPart, name_cut
from genesis_trio.persistence._envelope import START, Entry, Head, chain_of, unpack_entry
from genesis_trio.persistence._ledger import PAGE, Ledger, is_void

__all__ = ["Found", "Tail", "find_newer_inbox", "find_newest", "read_cut", "unreadable_cuts"]


Decode = Callable[[bytes, CutPart], Any]


@attrs.frozen
class Found:
    """A part that could be read.

    Attributes:
        failures: Of newer saved checkpoints: id, and why it was passed over.
    """

    state: Any
    cut: Cut
    part: CutPart
    inbox: bytes | None
    failures: tuple[tuple[str, str], ...]


def read_cut(ledger: Ledger, cut: Cut, component: str, decode: Decode) -> tuple[Any, bytes | None]:
    """State and mailboxes of *component* as they were in *cut*; CorruptError when they are damaged."""
    part = cut.parts[component]
    body = ledger.read_part(part.digest)
    inbox = ledger.read_part(part.inbox) if part.inbox is not None else None
    return decode(body, part), inbox


def find_newest(ledger: Ledger, component: str, decode: Decode) -> Found | None:
    """The newest good part of *component*; None when none was ever saved.

    A state that does not fit its class is no damage: SchemaError reaches the caller, and no older one is tried.

    Raises:
        CorruptError: there are saved checkpoints, and all of them are damaged.
    """
    if ledger.find_head(component) is None:
        return None
    failures: list[tuple[int, str]] = []
    for cut in ledger.usable_cuts(component, unfit=True):
        unfitness = ledger.unfitness(cut, component)
        if unfitness is not None:
            failures.append((cut.number, unfitness))
            continue
        try:
            state, inbox = read_cut(ledger, cut, component, decode)
        except CorruptError as error:
            failures.append((cut.number, str(error)))
            continue
        failures += [entry for entry in unreadable_cuts(ledger, component) if entry[0] > cut.number]
        failures.sort(reverse=True)
        return Found(state, cut, cut.parts[component], inbox, tuple((name_cut(n), why) for n, why in failures))
    failures = sorted([*failures, *unreadable_cuts(ledger, component)], reverse=True)
    if failures:
        raise CorruptError(
            f"no saved checkpoint of {component!r} can be read: "
            + "; ".join(f"{name_cut(number)}: {why}" for number, why in failures)
            + ". Nothing was deleted; restore the files of the store from a copy"
        )
    return None


def find_newer_inbox(ledger: Ledger, component: str, cut: Cut) -> bytes | None:
    """The mailboxes of *component* in the newest saved checkpoint after *cut* that has readable ones; None if there is none."""
    for newer in ledger.usable_cuts(component, unfit=True):
        inbox = newer.parts[component].inbox
        if newer.number > cut.number and inbox is not None:
            with contextlib.suppress(CorruptError):
                return ledger.read_part(inbox)
    return None


def unreadable_cuts(ledger: Ledger, component: str) -> list[tuple[int, str]]:
    """Saved checkpoints whose description is damaged: any component may have been in them, and so *component*."""
    lineage = ledger.heads[component].lineage
    return [
        (number, why)
        for number, why in ledger.damaged_cuts.items()
        if not any(void.voids_cut(number) for void in lineage)
    ]


class Tail:
    """The records of one component from a point on, page by page, each checked against the one before.

    Attributes:
        reached: The last sequence that was read and is whole.
        damage: Why it ended before the end of the journal; None if it did not.
    """

    def __init__(self, ledger: Ledger, component: str, part: CutPart | None = None) -> None:
        self._ledger = ledger
        self._component = component
        head = ledger.heads.get(component, Head())
        self._end, self._end_chain, self._lineage = head.last, head.chain, head.lineage
        self._is_over = False
        self._stops_where_given_up = False
        self.damage: str | None = None
        if part is not None:
            self.reached, self._chain, self._start = part.journal, part.chain, part.start
        else:
            self.reached, self._chain, self._start = 0, START, 0

    @classmethod
    def past_of(cls, ledger: Ledger, component: str, part: CutPart) -> "Tail":
        """The records that led to *part*, as far as they were not pruned."""
        tail = cls.whole(ledger, component)
        tail._end, tail._end_chain, tail._lineage = part.journal, part.chain, part.lineage
        return tail

    @classmethod
    def whole(cls, ledger: Ledger, component: str) -> "Tail":
        """All records that were not pruned."""
        tail = cls(ledger, component)
        head = ledger.heads.get(component, Head())
        tail.reached, tail._chain = head.base, head.base_chain
        return tail

    @classmethod
    def after(cls, ledger: Ledger, component: str, after: int) -> "Tail":
        """The records behind *after*; what stands before is taken as it is.

        Raises:
            StoreError: they were pruned, in part.
        """
        tail = cls.whole(ledger, component)
        tail._stops_where_given_up = True
        if tail.reached > after:
            raise StoreError(
                f"records up to {tail.reached} of {component!r} were pruned; begin with the state of a saved checkpoint, "
                f"and replay what comes after it"
            )
        after = min(after, tail._end)
        if after > tail.reached:
            start = ledger.start_of(component, after - 1)
            found = next(ledger.raw_records(component, after=after - 1, start=start), None)
            if found is None or found[0] != after:
                tail._end_with(f"record {after} of {component!r} is missing")
                return tail
            tail.reached, tail._chain, tail._start = after, chain_of(found[1]), start
        return tail

    def next_page(self) -> Sequence[Entry]:
        """The next entries that no rewind made void; none once it is over.  Raises nothing but StoreError of the engine."""
        found: list[Entry] = []
        while not found and not self._is_over:
            try:
                self._skip_void()
                self._read_page(found)
            except CorruptError as error:
                self._end_with(str(error))
        return found

    def _skip_void(self) -> None:
        """What is void may be damaged, too: go on behind it."""
        for void in self._lineage:
            if void.after <= self.reached < void.upto <= self._end:
                if void.is_given_up and self._stops_where_given_up:
                    raise CorruptError(
                        f"records {void.after + 1} to {void.upto} of {self._component!r} are damaged and were given up; "
                        f"replay those behind them with after={void.upto}"
                    )
                self.reached, self._chain = void.upto, void.chain

    def _read_page(self, found: list[Entry]) -> None:
        lineage = self._lineage
        page = self._ledger.engine.read_records(
            self._ledger.scope, self._component, after=self.reached, start=self._start, limit=PAGE
        )
        for position, record in page:
            if record.sequence > self._end:
                break
            if record.sequence != self.reached + 1:
                self._end_with(
                    f"records {self.reached + 1} to {record.sequence - 1} of {self._component!r} are missing"
                )
                return
            entry, self._chain = unpack_entry(self._component, record.sequence, record.body, self._chain)
            self.reached, self._start = record.sequence, position + 1
            if not lineage:
                found.append(entry)
                continue
            if not is_void(lineage, record.sequence):
                found.append(entry)
            if any(void.after == self.reached for void in lineage):
                return  # the next page begins behind it
        if self.reached >= self._end:
            self._is_over = True
            if self._chain != self._end_chain:
                self._end_with(f"the journal of {self._component!r} does not end as its head says")
        elif len(page) < PAGE:
            self._end_with(f"records {self.reached + 1} to {self._end} of {self._component!r} are missing")

    def _end_with(self, damage: str) -> None:
        self._is_over = True
        self.damage = damage

    def lost(self, cut: Cut | None, fell_back_from: Sequence[str] = ()) -> int | None:
        """Acknowledged records that are not recovered, once the tail was read; None when that cannot be known."""
        ledger, component = self._ledger, self._component
        if ledger.missing_from(component, cut.commit if cut is not None else 0):
            return None
        part = cut.parts[component] if cut is not None else None
        if part is not None and not self._explains(part, fell_back_from):
            return None
        begin = part.journal if part is not None else 0
        given_up = [void for void in self._lineage if void.is_given_up and begin <= void.after < self.reached]
        missing = [number for number in range(self.reached + 1, self._end + 1) if not is_void(self._lineage, number)]
        return len(missing) + sum(void.upto - void.after for void in given_up)

    def _explains(self, part: CutPart, fell_back_from: Sequence[str]) -> bool:
        """Whether records can say what newer states had more than *part*: not if it changed without a record."""
        known = {
            cut.id: cut.parts.get(self._component) for cut in self._ledger.cuts.values() if cut.id in fell_back_from
        }
        for name in fell_back_from:
            newer = known.get(name)
            if newer is None and name not in known and self._end == part.journal:
                return False
            if newer is not None and newer.journal == part.journal and newer.digest != part.digest:
                return False
        return True
