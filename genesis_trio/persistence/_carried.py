"""What a cut holds of a component that has not started yet: the part that its start will find.

Without it a cut that is taken while a tree starts would lack whoever comes later, and a restore of it would leave them where they
are: at another moment than the others.
"""

import attrs

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._cut import Cut, CutPart
from genesis_trio.persistence._draft import Draft
from genesis_trio.persistence._ledger import Ledger
from genesis_trio.persistence.recovery import unreadable_cuts

__all__ = ["carry_over"]


def carry_over(draft: Draft, component: str, acknowledged: int) -> CutPart | None:
    """The newest part of *component* for one more cut, with its records up to *acknowledged*; None if there is none to carry.

    Nor is one carried that recovery would not take without a word, as it is damaged, not fit, or less than what was acknowledged:
    behind a newer checkpoint nobody would see that any more.
    """
    if any(cut is not None and component in cut.parts for cut in draft.cuts.values()):
        return None  # somebody else saves it in this very commit
    ledger = draft.ledger
    newest = next(ledger.usable_cuts(component, unfit=True), None)
    if newest is None or not _is_all_there_is(ledger, newest, component):
        return None
    part = newest.parts[component]
    try:
        for digest in (part.digest, part.inbox):
            if digest is not None:
                draft.share_part(digest)
    except CorruptError:
        return None
    return attrs.evolve(part, lineage=draft.head(component).lineage, acknowledged=acknowledged, is_carried=True)


def _is_all_there_is(ledger: Ledger, newest: Cut, component: str) -> bool:
    return (
        ledger.unfitness(newest, component) is None
        and not ledger.missing_from(component, newest.commit)
        and not any(number > newest.number for number, _ in unreadable_cuts(ledger, component))
    )
