"""Removing what nobody needs, and giving up what nobody can read, as operations."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._envelope import Lineage, name_second_copy
from genesis_trio.persistence._keys import keys_upto, readable_keys
from genesis_trio.persistence._ledger import KEY
from genesis_trio.persistence._operations import Operation

__all__ = ["Accept", "GiveUp", "Remove"]


@attrs.define(eq=False)
class Remove(Operation):
    """Saved checkpoints that nobody needs any more, parts of some, or records in front of all that are kept.

    The keys of the records stay, unless they are to be forgotten.  It is committed alone: an engine removes and adds in
    different calls.
    """

    cuts: Sequence[int] = ()
    parts: Mapping[int, Sequence[str]] = attrs.Factory(dict)
    records: Mapping[str, int] = attrs.Factory(dict)
    forgets_keys: bool = False
    uses_reserve = True
    outcome: Any = 0

    def plan(self, draft: Draft) -> None:
        ledger = draft.ledger
        doomed = [number for number in self.cuts if number in ledger.cuts or number in ledger.damaged_cuts]
        chains = {component: draft.chain_at(component, upto)[0] for component, upto in self.records.items()}
        forgotten = self.records if self.forgets_keys else {}
        keys = {component: keys_upto(draft, component, upto) for component, upto in forgotten.items()}
        trimmed = {
            number: ledger.cuts[number].without(self.parts[number]) for number in self.parts if number in ledger.cuts
        }
        kept = [trimmed.get(number, cut).digests() for number, cut in ledger.cuts.items() if number not in doomed]
        needed = set().union(*kept)
        changed = [number for number in (*doomed, *trimmed) if number in ledger.cuts]
        gone = set().union(*(ledger.cuts[number].digests() for number in changed)) - needed
        for digest in sorted(gone - ledger.good_parts):
            # What is damaged is put aside by reading it; what is gone is gone.
            with contextlib.suppress(CorruptError):
                ledger.read_part(digest)
        for number in doomed:
            draft.remove_cut(number)
        for cut in trimmed.values():
            draft.replace_cut(cut)
        draft.remove_parts(gone | ({name_second_copy(digest) for digest in gone} & ledger.stored_parts()))
        for component, found in keys.items():
            for key in found:
                draft.set_row(KEY, component, key, None)
        for component, upto in self.records.items():
            draft.remove_records(component, upto, chains[component])
        self.outcome = len(doomed)


@attrs.define(eq=False)
class GiveUp(Operation):
    """Damaged records were passed over: what is recorded from now on must be found behind them at the next start."""

    component: str
    after: int
    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        head = draft.head_to_change(self.component)
        if self.after < head.last:
            head.lineage = (*head.lineage, Lineage(self.after, head.last, 0, 0, head.chain))


@attrs.define(eq=False)
class Accept(Operation):
    """Somebody has looked at what is missing: it counts as never written from now on."""

    uses_reserve = True

    def plan(self, draft: Draft) -> None:
        for key in list(draft.ledger.incidents):
            draft.forget(key)
        for component, head in sorted(draft.ledger.heads.items()):
            if any(void.is_given_up for void in head.lineage):
                draft.head_to_change(component).lineage = tuple(void.accepted() for void in head.lineage)
            if not draft.ledger.row_state(component).effects:
                draft.accept_effects(component)
                draft.accepted_effects.add(component)
            if not draft.ledger.row_state(component).keys:
                draft.replace_keys(component, readable_keys(draft, component))
                draft.repaired_keys.add(component)
