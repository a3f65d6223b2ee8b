"""Which saved checkpoint somebody means, and which of its components."""

from collections.abc import Sequence
from datetime import datetime

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._cut import Cut, name_cut
from genesis_trio.persistence._ledger import Ledger

__all__ = ["check_component", "check_known", "find_cut", "find_left_out", "select_components"]

SHOWN = 20  # names in a message


def find_cut(ledger: Ledger, to: str | datetime, *, by_label: bool = True) -> Cut:
    """The saved checkpoint with that id, the newest with that label, or the newest at or before that time.

    Raises:
        StoreError: there is none; lists what there is.
        CorruptError: there was one, and it cannot be read.
    """
    newest_first = [ledger.cuts[number] for number in sorted(ledger.cuts, reverse=True)]
    found: Cut | None
    if isinstance(to, datetime):
        if to.tzinfo is None:
            raise ValueError(f"a point in time needs its time zone, got {to!r}")
        # Who names a time has not looked at the checkpoint that it finds.
        fit = (cut for cut in newest_first if not cut.violations and not ledger.quarantined(cut))
        found = next((cut for cut in fit if cut.created_at <= to), None)
    elif isinstance(to, str):
        found = next((cut for cut in newest_first if cut.id == to), None)
        if found is None and by_label:
            found = next((cut for cut in newest_first if cut.label == to), None)
        damaged = [why for number, why in ledger.damaged_cuts.items() if name_cut(number) == to]
        if found is None and damaged:
            raise CorruptError(f"the saved checkpoint {to!r} cannot be read: {damaged[0]}")
    else:
        raise TypeError(f"a saved checkpoint is named by id, label or datetime, got {to!r}")
    if found is None:
        known = [cut.id + (f" ({cut.label})" if cut.label else "") for cut in newest_first]
        asked = f"at or before {to.isoformat()}" if isinstance(to, datetime) else repr(to)
        raise StoreError(f"no saved checkpoint {asked}; there are {_list(known)}")
    return found


def select_components(cut: Cut, only: Sequence[str]) -> list[str]:
    """The components of *cut* at or below the paths in *only*; all of them when it is empty."""
    if not only:
        return sorted(cut.parts)
    selected: set[str] = set()
    for path in only:
        below = {component for component in cut.parts if component == path or component.startswith(path + "/")}
        if not below:
            check_component(cut, path)
        selected |= below
    return sorted(selected)


def find_left_out(ledger: Ledger, cut: Cut) -> list[str]:
    """Components that are not in *cut*, as nobody had made them by then, say, and may have changed since."""
    return [component for component in sorted(ledger.heads.keys() - cut.parts) if _has_moved(ledger, cut, component)]


def _has_moved(ledger: Ledger, since: Cut, component: str) -> bool:
    numbers = sorted(number for number, cut in ledger.cuts.items() if component in cut.parts)
    older = [number for number in numbers if number < since.number]
    if not older:
        return True
    then, now = ledger.cuts[older[-1]].parts[component], ledger.cuts[numbers[-1]].parts[component]
    known = max(then.journal, then.acknowledged)
    return (then.digest, then.inbox) != (now.digest, now.inbox) or ledger.heads[component].last > known


def check_component(cut: Cut, component: str) -> None:
    if component not in cut.parts:
        raise StoreError(f"no component {component!r} in {cut.id}; it holds {_list(sorted(cut.parts))}")


def check_known(ledger: Ledger, component: str) -> None:
    """Refuse a component of which nothing was ever written.

    Raises:
        StoreError: lists those of which something was.
        CorruptError: nothing is there, but something is missing that may have been it.
    """
    if ledger.find_head(component) is None:
        raise StoreError(
            f"nothing of a component {component!r} is in the store; there are {_list(sorted(ledger.heads))}"
        )


def _list(names: Sequence[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(names[:SHOWN])
    return shown if len(names) <= SHOWN else f"{shown} and {len(names) - SHOWN} more"
