"""Removing what nobody needs any more, in commits so small that nobody waits for long."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from itertools import islice

from genesis_trio.persistence._housekeeping import Remove
from genesis_trio.persistence._retention import find_covered_records, find_old_cuts
from genesis_trio.persistence._writer import Writer

__all__ = ["remove_cuts", "remove_records"]

SHORTEN_AT_ONCE = 1000  # records in one commit
REMOVE_AT_ONCE = 10  # saved checkpoints in one commit: a large deletion needs room, and makes everybody wait


def _batched(numbers: Iterable[int], size: int) -> Iterator[Sequence[int]]:
    """*size* of *numbers* at a time."""
    left = iter(numbers)
    while batch := list(islice(left, size)):
        yield batch


async def remove_cuts(writer: Writer, keep: int) -> int:
    """Remove the saved checkpoints that `Store.prune` leaves out; how many they were."""
    old = await writer.read(find_old_cuts, writer.ledger, keep)
    removed = 0
    for numbers in _batched(old.whole, REMOVE_AT_ONCE):
        removed += await writer.write(Remove(numbers))
    for numbers in _batched(old.parts, REMOVE_AT_ONCE):
        await writer.write(Remove(parts={number: old.parts[number] for number in numbers}))
    return removed


async def remove_records(writer: Writer, check_rows: Callable[[str], Awaitable[None]], *, forgets_keys: bool) -> int:
    """Remove the records that `Store.shorten_journal` speaks of; how many they were.

    *check_rows* makes sure that the keys of a component are all there: what they can be made anew from stays.
    """
    ledger = writer.ledger
    removed = 0
    checked: dict[str, int] = {}
    while covered := await writer.read(find_covered_records, ledger, SHORTEN_AT_ONCE, checked):
        for component in covered:
            await check_rows(component)
        if not all(ledger.row_state(component).keys for component in covered):
            continue
        before = {component: ledger.heads[component].base for component in covered}
        await writer.write(Remove(records=covered, forgets_keys=forgets_keys))
        removed += sum(upto - before[component] for component, upto in covered.items())
    return removed
