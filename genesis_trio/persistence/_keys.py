"""Which keys of records count: after damage, after a rewind, and where the records themselves were removed.

A key that somebody gave outlives its record when the journal is shortened behind a saved checkpoint: what was recorded
once is still known then.  So keys are made anew from two sources, the records that are there and the keys of those that
are not.  A key that was made from the message in hand passes: whoever reads the journal finds it there, and it is none of
these (decision 0028).
"""

from collections.abc import Iterable, Iterator, Mapping

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._cut import CutPart
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._envelope import Entry, unseal
from genesis_trio.persistence._ledger import KEY
from genesis_trio.persistence.recovery import Tail

__all__ = ["keys_in_past", "keys_upto", "readable_keys", "repair_keys"]


def keys_upto(draft: Draft, component: str, upto: int) -> dict[str, int]:
    """The keys of records up to *upto*; CorruptError when one cannot be read."""
    found: dict[str, int] = {}
    for row in draft.ledger.rows(KEY, component):
        assert row.body is not None
        sequence = int.from_bytes(unseal(KEY, component, row.key, row.body), "little")
        if sequence <= upto:
            found[row.key] = sequence
    return found


def repair_keys(draft: Draft, component: str) -> None:
    """Make the keys anew if they are damaged.

    Raises:
        CorruptError: that is not possible, so whether a key is new cannot be known.
    """
    if draft.ledger.row_state(component).keys or component in draft.repaired_keys:
        return
    expected = draft.head(component)
    draft.replace_keys(component, _keys_from_journal(draft, component))
    found = draft.head(component)
    if found.base and (found.keys, found.keys_sum) != (expected.keys, expected.keys_sum):
        raise CorruptError(
            f"keys of {component!r} are damaged or missing, and the records up to {found.base}, which they could be made "
            f"anew from, were removed: whether a key is new cannot be known. accept_damage() goes on with those that are left"
        )
    draft.repaired_keys.add(component)


def keys_in_past(draft: Draft, component: str, part: CutPart) -> Mapping[str, int]:
    """The keys that count once *part* is the newest: those of the records in its own past."""
    head = draft.head(component)
    # A rewind forwards, to a state that an earlier one had left: its keys were freed, and count again.
    returns = any(void.after < part.journal for void in head.lineage if void not in part.lineage)
    if returns or not draft.ledger.row_state(component).keys:
        return _keys_from_journal(draft, component, part)
    return keys_upto(draft, component, part.journal)


def readable_keys(draft: Draft, component: str) -> Mapping[str, int]:
    """All that can be read, in the journal and beside it."""
    tail = Tail.whole(draft.ledger, component)
    found = _kept_keys(draft, component)
    while page := tail.next_page():
        found.update(_given_keys(page))
    return found


def _keys_from_journal(draft: Draft, component: str, part: CutPart | None = None) -> Mapping[str, int]:
    """The keys of all records that count, made anew; with *part* those of the records in its past."""
    tail = Tail.past_of(draft.ledger, component, part) if part is not None else Tail.whole(draft.ledger, component)
    found = _kept_keys(draft, component)
    while page := tail.next_page():
        found.update(_given_keys(page))
    if tail.damage is not None:
        raise CorruptError(f"the keys of {component!r} cannot be made anew: {tail.damage}")
    return found


def _kept_keys(draft: Draft, component: str) -> dict[str, int]:
    """Keys whose records were removed, as far as they can be read; no rewind goes back behind them."""
    found: dict[str, int] = {}
    base = draft.head(component).base
    for row in draft.ledger.rows(KEY, component) if base else ():
        assert row.body is not None
        try:
            sequence = int.from_bytes(unseal(KEY, component, row.key, row.body), "little")
        except CorruptError:
            continue
        if sequence <= base:
            found[row.key] = sequence
    return found


def _given_keys(page: Iterable[Entry]) -> Iterator[tuple[str, int]]:
    """The keys in *page* that have a row, and the sequences of their records."""
    return ((entry.key, entry.sequence) for entry in page if entry.key is not None and not entry.key_passes)
