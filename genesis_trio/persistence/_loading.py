"""Handing back what was saved: the newest good state, the records behind it, and word of whatever was passed over."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from genesis_trio.persistence._choice import check_component, find_cut
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._envelope import Entry
from genesis_trio.persistence._housekeeping import GiveUp
from genesis_trio.persistence._ledger import Ledger
from genesis_trio.persistence._replay import decode_page
from genesis_trio.persistence._telling import tell_recovery, tell_spoilt_parts
from genesis_trio.persistence._writer import Writer
from genesis_trio.persistence.checkpoints import Loaded, Restored
from genesis_trio.persistence.recovery import Decode, Tail, find_newer_inbox, find_newest, read_cut

__all__ = ["apply_tail", "load", "passing_keys", "restore", "restore_latest"]

StateT = TypeVar("StateT")


async def restore_latest(writer: Writer, component: str, state_type: type[StateT]) -> Restored[StateT] | None:
    """See `Store.restore_latest`."""
    ledger = writer.ledger
    found = await writer.read(find_newest, ledger, component, _decoder(ledger, state_type))
    tell_spoilt_parts(writer)
    if found is None:
        return None
    fell_back_from = tuple(name for name, _ in found.failures)
    tail, lost = await _read_tail(writer, found.cut, component, fell_back_from)
    _tell(ledger, component, found.cut, found.failures, tail, lost, replayed=0)
    return Restored(state=found.state, info=found.cut.info(), fell_back_from=fell_back_from, lost=lost)


async def restore(writer: Writer, checkpoint_id: str, component: str, state_type: type[StateT]) -> Restored[StateT]:
    """See `Store.restore`."""
    decode = _decoder(writer.ledger, state_type)

    def find() -> tuple[Cut, Any]:
        cut = find_cut(writer.ledger, checkpoint_id, by_label=False)
        check_component(cut, component)
        return cut, read_cut(writer.ledger, cut, component, decode)[0]

    cut, state = await writer.read(find)
    tell_spoilt_parts(writer)
    _, lost = await _read_tail(writer, cut, component, ())
    return Restored(state=state, info=cut.info(), lost=lost)


async def _read_tail(
    writer: Writer, cut: Cut, component: str, fell_back_from: Sequence[str]
) -> tuple[Tail, int | None]:
    """Read the records behind *cut* without applying them, to know how many are lost."""
    tail = Tail(writer.ledger, component, cut.parts[component])
    while await writer.read(tail.next_page):
        pass
    return tail, await writer.read(tail.lost, cut, fell_back_from)


async def load(
    writer: Writer, component: str, state_type: type[StateT], *, make: Callable[[], StateT]
) -> Loaded[StateT]:
    """See `Store.load`."""
    ledger = writer.ledger
    found = await writer.read(find_newest, ledger, component, _decoder(ledger, state_type))
    tell_spoilt_parts(writer)
    state: StateT = found.state if found is not None else make()
    tail = Tail(ledger, component, found.part if found is not None else None)
    replayed, keys = await apply_tail(writer, tail, state, state_type)
    if tail.damage is not None:
        await writer.write(GiveUp(component, tail.reached))
    failures = found.failures if found is not None else ()
    fell_back_from = tuple(name for name, _ in failures)
    cut = found.cut if found is not None else None
    lost = await writer.read(tail.lost, cut, fell_back_from)
    newer = await writer.read(find_newer_inbox, ledger, component, cut) if failures else None
    _tell(ledger, component, cut, failures, tail, lost, replayed)
    return Loaded(
        state=state,
        info=cut.info() if cut is not None else None,
        inbox=found.inbox if found is not None else None,
        journal=tail.reached,
        replayed=replayed,
        fell_back_from=fell_back_from,
        lost=lost,
        keys=keys,
        newer_inbox=newer,
    )


async def apply_tail(writer: Writer, tail: Tail, state: Any, state_type: type) -> tuple[int, Mapping[str, int]]:
    """Apply the records of *tail* to *state*, page by page; how many they were, and their keys that pass."""
    candidates: tuple[type, ...] | None = None
    replayed = 0
    keys: dict[str, int] = {}
    while page := await writer.read(tail.next_page):
        if candidates is None:
            from genesis_trio.persistence import codec

            candidates = codec.apply_candidates(state_type)
        events, error = await writer.read(decode_page, page, candidates)
        for _, event in events:
            state.apply(event)
        if error is not None:
            raise error
        replayed += len(events)
        keys.update(passing_keys(page))
    return replayed, keys


def passing_keys(page: Iterable[Entry]) -> Iterator[tuple[str, int]]:
    """The keys in *page* that are known from their records alone, and the sequences of these."""
    return ((entry.key, entry.sequence) for entry in page if entry.key is not None and entry.key_passes)


def _decoder(ledger: Ledger, state_type: type) -> Decode:
    from genesis_trio.persistence._coding import decode_part

    return partial(decode_part, ledger, state_type)


def _tell(
    ledger: Ledger,
    component: str,
    cut: Cut | None,
    failures: Sequence[tuple[str, str]],
    tail: Tail,
    lost: int | None,
    replayed: int,
) -> None:
    damage = [*(f"{each}: {why}" for each, why in failures), *filter(None, [tail.damage])]
    tell_recovery(
        component,
        cut.id if cut is not None else "",
        replayed=replayed,
        is_whole=not damage and lost == 0,
        damage=damage or ledger.missing_from(component),
        lost=lost,
    )
