"""Which saved checkpoints and records nobody needs any more."""

from collections.abc import Mapping, Sequence

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._ledger import Ledger

__all__ = ["find_old_cuts", "find_old_records"]


def find_old_cuts(ledger: Ledger, keep: int) -> Sequence[int]:
    """Numbers of the saved checkpoints to remove, oldest first."""
    kept = {number for number, cut in ledger.cuts.items() if cut.label is not None}
    for component in sorted({name for cut in ledger.cuts.values() for name in cut.parts}):
        numbers = sorted((number for number, cut in ledger.cuts.items() if component in cut.parts), reverse=True)
        kept.update(numbers[:keep])
        good = next((cut for cut in ledger.usable_cuts(component) if _is_good(ledger, cut, component)), None)
        if good is not None:
            kept.add(good.number)
    old = set(ledger.cuts) - kept
    # What cannot be read is of no use once all that is kept is newer; a copy of it was put aside.
    old |= {number for number in ledger.damaged_cuts if kept and number < min(kept)}
    return sorted(old)


def _is_good(ledger: Ledger, cut: Cut, component: str) -> bool:
    part = cut.parts[component]
    try:
        for digest in (part.digest, part.inbox):
            if digest is not None:
                ledger.read_part(digest)
    except CorruptError:
        return False
    return True


def find_old_records(ledger: Ledger) -> Mapping[str, int]:
    """Component to the last record that no saved checkpoint kept needs."""
    found = {}
    for component, head in sorted(ledger.heads.items()):
        needed = [cut.parts[component].journal for cut in ledger.cuts.values() if component in cut.parts]
        if needed and min(needed) > head.base:
            found[component] = min(needed)
    return found
