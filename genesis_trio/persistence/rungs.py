"""Starting from an older state than the newest one: which there are, what each of them costs, and the verdict on those that kill.

For supervisors.  Nothing here writes anything, or tells anybody, but the verdict.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import attrs

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._coding import decode_part
from genesis_trio.persistence._cut_operations import Quarantine
from genesis_trio.persistence._envelope import Head
from genesis_trio.persistence._ledger import Ledger
from genesis_trio.persistence._loading import apply_tail, passing_keys
from genesis_trio.persistence._quarantine import Verdict
from genesis_trio.persistence._telling import tell_spoilt_parts
from genesis_trio.persistence.checkpoints import Loaded
from genesis_trio.persistence.recovery import Tail, read_cut

if TYPE_CHECKING:
    from genesis_trio.persistence._cut import Cut, CutPart
    from genesis_trio.persistence.store import Receipt, Store

__all__ = ["Newest", "Verdict", "list_states", "load_first", "load_from", "put_verdicts", "read_newest"]

StateT = TypeVar("StateT")


async def list_states(store: "Store", component: str) -> Mapping[str, str]:
    """The saved checkpoints that a restore of *component* may take, newest first: id to the digest of its state."""

    def find() -> dict[str, str]:
        return {cut.id: cut.parts[component].digest.hex() for cut in store._ledger.usable_cuts(component)}

    return await store._writer.read(find)


async def load_from(
    store: "Store", component: str, state_type: type[StateT], checkpoint: str, *, make: Callable[[], StateT]
) -> Loaded[StateT]:
    """The state in that very *checkpoint*, or for ``""`` a first one, with all of the journal behind it applied.

    Raises:
        CorruptError: it is damaged, or a record behind it is, or was removed.
        SchemaError: state or event does not fit its class.
        Exception: what ``apply`` raised.

    Trio checkpoint: always.
    Cancellation: passes through; nothing was changed.
    """
    ledger = store._ledger

    def find() -> "tuple[Cut | None, StateT | None, bytes | None]":
        if not checkpoint:
            return None, None, None
        cut = next(cut for cut in ledger.usable_cuts(component) if cut.id == checkpoint)
        return cut, *read_cut(ledger, cut, component, partial(decode_part, ledger, state_type))

    cut, found, inbox = await store._writer.read(find)
    tell_spoilt_parts(store._writer)
    state = found if found is not None else make()
    tail = Tail(ledger, component, cut.parts[component] if cut is not None else None)
    replayed, keys = await apply_tail(store._writer, tail, state, state_type)
    if tail.damage is not None:
        raise CorruptError(tail.damage)
    newer = [each.id for each in ledger.usable_cuts(component, unfit=True) if cut is None or each.number > cut.number]
    lost = await store._writer.read(tail.lost, cut, newer)
    info = cut.info() if cut is not None else None
    return Loaded(
        state=state,
        info=info,
        inbox=inbox,
        journal=tail.reached,
        replayed=replayed,
        lost=lost,
        keys=keys,
    )


async def load_first(store: "Store", component: str, *, make: Callable[[], StateT]) -> Loaded[StateT]:
    """A first state, behind all that was ever recorded, with the newest mailboxes: nothing is applied.

    Its ``lost`` is the number of records; None if there are none, since nobody counts what was saved without them.

    Trio checkpoint: always.
    Cancellation: passes through; nothing was changed.
    """
    ledger = store._ledger

    def find() -> Loaded[StateT]:
        last = ledger.heads.get(component, Head()).last
        part, inbox = _newest(ledger, component)
        lost = Tail(ledger, component).lost(None) or None
        tail, keys = Tail(ledger, component, part), dict[str, int]()
        while page := tail.next_page():
            keys.update(passing_keys(page))
        return Loaded(state=make(), info=None, inbox=inbox, journal=last, replayed=0, lost=lost, keys=keys)

    return await store._writer.read(find)


@attrs.frozen
class Newest:
    """What the newest saved checkpoint of a component has beside the state.

    Attributes:
        journal: The last record that its state includes.
        inbox: Its mailboxes.
    """

    journal: int = 0
    inbox: bytes | None = None


async def read_newest(store: "Store", component: str) -> Newest:
    """What a restore of *component* would get with its state.

    Trio checkpoint: always.
    Cancellation: passes through.
    """

    def find() -> Newest:
        part, inbox = _newest(store._ledger, component)
        return Newest(part.journal if part is not None else 0, inbox)

    return await store._writer.read(find)


def _newest(ledger: Ledger, component: str) -> "tuple[CutPart | None, bytes | None]":
    """The newest part whose mailboxes can be read, and these."""
    for cut in ledger.usable_cuts(component):
        part = cut.parts[component]
        with contextlib.suppress(CorruptError):
            return part, ledger.read_part(part.inbox) if part.inbox is not None else None
    return None, None


def put_verdicts(store: "Store", component: str, verdicts: Sequence[Verdict]) -> "Receipt":
    """Queue that these states of *component* are passed over from now on; as `Store.put_control`."""
    return store._writer.submit(Quarantine(component, verdicts))
