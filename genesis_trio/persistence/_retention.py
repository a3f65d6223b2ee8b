"""Which saved checkpoints and records nobody needs any more."""

from collections.abc import Mapping, Sequence

import attrs

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._ledger import Ledger
from genesis_trio.persistence._quarantine import verdicts_on

__all__ = ["find_covered_records", "find_old_cuts"]


@attrs.frozen
class OldCuts:
    """What is to go.

    Attributes:
        whole: Numbers of saved checkpoints, oldest first.
        parts: Number to the components whose parts go, of those that stay for other components.
    """

    whole: Sequence[int]
    parts: Mapping[int, Sequence[str]]


def find_old_cuts(ledger: Ledger, keep: int) -> OldCuts:
    """The saved checkpoints that nobody needs.

    One that only former components need, which are in none of the newest, stays for these alone: otherwise whoever left
    years ago would keep the records of all who were there with it, for ever.
    """
    newest_first = sorted(ledger.cuts, reverse=True)
    wanted_by: dict[int, set[str]] = {number: set() for number in newest_first}
    having: dict[str, list[Cut]] = {}
    for number in newest_first:
        for component in ledger.cuts[number].parts:
            having.setdefault(component, []).append(ledger.cuts[number])
    for component, cuts in having.items():
        for cut in _needed_cuts(ledger, component, cuts, keep):
            wanted_by[cut.number].add(component)
    living = {
        component
        for number in newest_first[:keep]
        for component, part in ledger.cuts[number].parts.items()
        if not part.is_carried
    }
    parts = {}
    for number, wanted in wanted_by.items():
        cut = ledger.cuts[number]
        if wanted and cut.label is None and living.isdisjoint(wanted) and len(wanted) < len(cut.parts):
            parts[number] = sorted(cut.parts.keys() - wanted)
    kept = {number for number, wanted in wanted_by.items() if wanted or ledger.cuts[number].label is not None}
    old = ledger.cuts.keys() - kept
    # What cannot be read is of no use once all that is kept is newer; a copy of it was put aside.
    old |= {number for number in ledger.damaged_cuts if kept and number < min(kept)}
    return OldCuts(sorted(old), parts)


def _needed_cuts(ledger: Ledger, component: str, newest_first: Sequence[Cut], keep: int) -> Sequence[Cut]:
    """Those of the saved checkpoints with *component* that it needs.

    One that has it as an older one had it counts for nothing: else whoever does not start for a day would have its last state
    as often as that, and no other one to start from.  But the newest stays, whatever becomes of the one that it is from.
    """
    newest, own = newest_first[0], [cut for cut in newest_first if not cut.parts[component].is_carried]
    verdicts = verdicts_on(ledger.control, component)
    # What is in quarantine is evidence, and can be released by hand.
    quarantined: list[Cut] = []
    fit: list[Cut] = []
    for cut in own:
        (quarantined if any(verdict.concerns(cut, component) for verdict in verdicts) else fit).append(cut)
    if len(fit) <= keep:
        return [newest, *own]
    good = next((cut for cut in ledger.usable_cuts(component) if _is_good(ledger, cut, component)), None)
    return [newest, *quarantined, *fit[:keep], *([good] if good is not None else [])]


def _is_good(ledger: Ledger, cut: Cut, component: str) -> bool:
    part = cut.parts[component]
    try:
        for digest in (part.digest, part.inbox):
            if digest is not None:
                ledger.read_part(digest)
    except CorruptError:
        return False
    return True


def find_covered_records(ledger: Ledger, limit: int, checked: dict[str, int]) -> Mapping[str, int]:
    """Component to a record up to which nobody needs them any more; at most *limit* of them together, none at the end.

    *checked* remembers, from one call to the next, up to where that is: its checkpoint is read once for all batches.

    A record is needed by every saved checkpoint that is kept and does not include it; also by one that a rewind left: who
    goes back there wants the keys of the records that it had.
    Damaged keys are made anew from the journal, so as long as they are damaged all of it is needed.
    """
    found: dict[str, int] = {}
    for component, head in sorted(ledger.heads.items()):
        state = ledger.checked_rows.get(component)
        if state is not None and not state.keys:
            continue
        if component not in checked:
            checked[component] = _covered(ledger, component)
        upto = checked[component]
        if upto <= head.base:
            continue
        if upto - head.base > limit:
            upto = _last_of_page(ledger, component, limit, upto)
        limit -= upto - head.base
        found[component] = upto
        if limit <= 0:
            break
    return found


def _covered(ledger: Ledger, component: str) -> int:
    """The last record that no saved checkpoint kept of *component* needs; 0 if there is none that is good."""
    lineage = ledger.heads[component].lineage
    parts = [cut.parts[component] for cut in ledger.cuts.values() if component in cut.parts]
    newest = next(ledger.usable_cuts(component), None)
    if newest is None or not _is_good(ledger, newest, component):
        return 0
    left = [void.after for part in parts for void in lineage if void not in part.lineage and void.after < part.journal]
    return min([*(part.journal for part in parts), *left])


def _last_of_page(ledger: Ledger, component: str, limit: int, upto: int) -> int:
    """The last of the first *limit* records; *upto* when there is nothing before it that can be read."""
    base = ledger.heads[component].base
    page = ledger.engine.read_records(ledger.scope, component, after=base, limit=max(limit, 1))
    last = page[-1][1].sequence if page else upto
    return last if base < last < upto else upto
