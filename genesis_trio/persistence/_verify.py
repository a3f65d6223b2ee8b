"""Reading everything, to know whether it could be read if it had to be."""

from collections.abc import Callable, Iterator
from functools import partial

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._envelope import Root, add, seal_digest, unseal
from genesis_trio.persistence._ledger import EFFECT, KEY, ROOT_KINDS, Ledger
from genesis_trio.persistence.recovery import Tail

__all__ = ["steps"]


def steps(ledger: Ledger, problems: list[str]) -> Iterator[Callable[[], object]]:
    """Blocking functions that add to *problems*, each short enough for writers to wait for."""
    problems.extend(ledger.damage)
    problems.extend(incident.text for incident in ledger.incidents.values())
    problems.extend(f"saved checkpoint {number}: {why}" for number, why in sorted(ledger.damaged_cuts.items()))
    yield partial(_check_engine, ledger, problems)
    yield partial(_check_rows, ledger, problems)
    for number in sorted(ledger.cuts):
        yield partial(_check_cut, ledger, number, problems)
    for component in sorted(ledger.heads):
        yield partial(_check_component_rows, ledger, component, problems)
        problems.extend(
            f"records {void.after + 1} to {void.upto} of {component!r} are damaged and were given up"
            for void in ledger.heads[component].lineage
            if void.is_given_up and void.upto > ledger.heads[component].base
        )
        tail = Tail.whole(ledger, component)
        over = False
        while not over:

            def read_page(tail: Tail = tail) -> None:
                nonlocal over
                over = not tail.next_page()

            yield read_page
        if tail.damage is not None:
            problems.append(tail.damage)


def _check_engine(ledger: Ledger, problems: list[str]) -> None:
    try:
        problems.extend(ledger.engine.check())
    except StoreError as error:
        problems.append(str(error))


def _check_rows(ledger: Ledger, problems: list[str]) -> None:
    try:
        inside = ledger.engine.read_head(ledger.scope)
        if inside is not None and Root.unpack(inside) != ledger.root:
            problems.append("the head on disk is not the one of the last commit")
        total = 0
        for kind in ROOT_KINDS:
            for row in ledger.rows(kind):
                assert row.body is not None
                total = add(total, seal_digest(row.body))
                _check_row(kind, row.component, row.key, row.body, problems)
        if total != ledger.root.rows_sum:
            problems.append("rows are missing or were changed: their digests do not add up to what the head says")
    except StoreError as error:
        problems.append(str(error))


def _check_row(kind: str, component: str, key: str, sealed: bytes, problems: list[str]) -> None:
    try:
        unseal(kind, component, key, sealed)
    except StoreError as error:
        problems.append(str(error))


def _check_component_rows(ledger: Ledger, component: str, problems: list[str]) -> None:
    head = ledger.heads[component]
    for kind, expected in ((KEY, (head.keys, head.keys_sum)), (EFFECT, (head.effects, head.effects_sum))):
        try:
            count = total = 0
            for row in ledger.rows(kind, component):
                assert row.body is not None
                count, total = count + 1, add(total, seal_digest(row.body))
                _check_row(kind, component, row.key, row.body, problems)
            if (count, total) != expected:
                problems.append(f"{kind} rows of {component!r} are missing or were changed: {count} of {expected[0]}")
        except StoreError as error:
            problems.append(str(error))


def _check_cut(ledger: Ledger, number: int, problems: list[str]) -> None:
    cut = ledger.cuts.get(number)  # pruned meanwhile: no problem
    for component, part in sorted(cut.parts.items()) if cut is not None else ():
        for digest in (part.digest, part.inbox):
            if digest is None:
                continue
            for second in ledger.copies(digest):
                try:
                    ledger.read_copy(digest, second=second)
                except CorruptError as error:
                    problems.append(f"{cut.id if cut is not None else number}, {component!r}: {error}")
