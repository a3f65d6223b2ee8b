"""Looking at what is saved, without the code that saved it: as JSON, by component, and as a difference of two.

Everything is checked as a restore checks it; what is damaged is an error, never a gap in the answer.
"""

import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any

import attrs

from genesis_trio._runtime import utcnow
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._choice import check_component, check_known, find_cut
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._cut_operations import Release, ReplaceInbox
from genesis_trio.persistence._envelope import Entry, unseal
from genesis_trio.persistence._ledger import SCHEMA, Ledger
from genesis_trio.persistence.checkpoints import CheckpointInfo
from genesis_trio.persistence.opening import open_store
from genesis_trio.persistence.recovery import Tail
from genesis_trio.persistence.store import Store

__all__ = ["Difference", "Inspector", "SavedEvent", "SavedInbox", "SavedState", "open_inspector"]

NEWEST = "newest"
MOST_DIGITS = 2000  # of a delta


@attrs.frozen(kw_only=True)
class SavedState:
    """One component in a saved checkpoint.

    Attributes:
        schema: Name and version of its schema.
        fields: The schema in words, a line for each field; empty when it is not in the store any more.
        journal: The last record that the state includes.
        state: The state as JSON, numbers exact.
        inbox: Its mailboxes as JSON; None when it has none.
    """

    component: str
    schema: tuple[str, int]
    fields: str
    journal: int
    state: Any
    inbox: Any


@attrs.frozen(kw_only=True)
class SavedEvent:
    """One record of a journal; *event* is JSON, *at* the wall time in seconds since 1970."""

    component: str
    sequence: int
    tag: str
    key: str | None
    at: float
    event: Any


@attrs.frozen(kw_only=True)
class SavedInbox:
    """The mailboxes that a restart of one component would find.

    Attributes:
        checkpoint: Where they are saved.
        digest: What tells whether they are still the same.
        body: As a supervisor wrote them.
    """

    component: str
    checkpoint: str
    digest: bytes
    body: bytes


@attrs.frozen(kw_only=True)
class Difference:
    """One place where two states differ.

    Attributes:
        path: The JSON path, as in ``$.orders[2].price``; ``$`` when the whole component came or went.
        kind: added, removed or changed.
        delta: Exactly how much was added, where both are numbers; also where they are kept as decimal text.
    """

    component: str
    path: str
    kind: str
    old: Any = None
    new: Any = None
    delta: Decimal | None = None


@contextlib.asynccontextmanager
async def open_inspector(url: str) -> "AsyncIterator[Inspector]":
    """Open the store that *url* names for the block, to look at it while no service holds it.

    Raises:
        StoreError: there is none; a service holds it, with which process; else as `open_store`.

    Trio checkpoint: on entering and on leaving, always.
    Cancellation: as `open_store`.
    """
    _check_that_it_is_there(url)
    async with open_store(url) as store:
        yield Inspector(store)


def _check_that_it_is_there(url: str) -> None:
    scheme, _, location = url.partition(":")
    if scheme != "sqlite" or not location:
        return
    from genesis_trio.persistence.engines._place import refuse_name, refuse_no_store
    from genesis_trio.persistence.engines.sqlite import APPLICATION_ID

    refuse_name(location)
    refuse_no_store(location, APPLICATION_ID)


class Inspector:
    """Looks at an open store.

    Attributes:
        store: The store itself, for what it can do: `list_checkpoints`, `verify`, `rewind`, `prune`.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._writer = store._writer
        self._ledger = store._ledger

    async def show(self, checkpoint: str) -> tuple[CheckpointInfo, Sequence[SavedState]]:
        """What is in *checkpoint*: an id, a label, a time with its zone, or ``newest``.

        Raises:
            StoreError: there is no such checkpoint; lists what there is.
            CorruptError: a part of it is damaged.

        Trio checkpoint: always.
        Cancellation: passes through.
        """

        def read() -> tuple[CheckpointInfo, list[SavedState]]:
            cut = _find(self._ledger, checkpoint)
            return self._ledger.info(cut), [_state(self._ledger, cut, component) for component in sorted(cut.parts)]

        return await self._writer.read(read)

    async def diff(self, old: str, new: str, *, component: str | None = None) -> Sequence[Difference]:
        """Where the states of two checkpoints differ, by component and JSON path; of one *component* or of all.

        Raises:
            StoreError: there is no such checkpoint or component; lists what there is.
            CorruptError: a part is damaged.

        Trio checkpoint: always.
        Cancellation: passes through.
        """

        def read() -> list[Difference]:
            first, second = _find(self._ledger, old), _find(self._ledger, new)
            if component is not None and component not in first.parts:
                check_component(second, component)
            names = [component] if component is not None else sorted({*first.parts, *second.parts})
            return [found for name in names for found in _differences(self._ledger, first, second, name)]

        return await self._writer.read(read)

    async def tail(self, component: str | None = None, *, count: int = 20) -> Sequence[SavedEvent]:
        """The last *count* records of *component*, or of each component, that no restore made void, oldest first.

        Raises:
            StoreError: nothing was ever recorded for *component*; lists what there is.
            CorruptError: a record is damaged.

        Trio checkpoint: always.
        Cancellation: passes through.
        """
        heads = self._ledger.heads
        if component is not None and component not in heads:
            raise StoreError(
                f"no component {component!r} in {self.store.url}; there are {', '.join(sorted(heads)) or 'none'}"
            )
        found: list[SavedEvent] = []
        for name in sorted(heads) if component is None else [component]:
            found += await self._writer.read(_last_events, self._ledger, name, count)
        return found

    async def release(self, checkpoint: str, *, component: str | None = None) -> tuple[CheckpointInfo, Sequence[str]]:
        """Let a restart take states again that were put into quarantine: those in *checkpoint*, of one *component* or of all.

        Returns:
            What is known of the checkpoint now, and the components that were in quarantine.

        Raises:
            StoreError: there is no such checkpoint or component; lists what there is.

        Trio checkpoint: always.
        Cancellation: seen before it is queued; then the true outcome is returned or raised.
        """

        def find() -> Cut:
            cut = _find(self._ledger, checkpoint)
            if component is not None:
                check_component(cut, component)
            return cut

        cut = await self._writer.read(find)
        released: Sequence[str] = await self._writer.write(
            Release(cut.number, [component] if component is not None else sorted(cut.parts))
        )
        return await self._writer.read(self._ledger.info, cut), released

    async def inboxes(self, component: str | None = None) -> Sequence[SavedInbox]:
        """The mailboxes of *component*, or of all components, that restarts would find; none of those that have none.

        Raises:
            StoreError: there is no such component; lists what there is.
            CorruptError: they are damaged.

        Trio checkpoint: always.
        Cancellation: passes through.
        """

        def read() -> list[SavedInbox]:
            if component is not None:
                check_known(self._ledger, component)
            names = sorted(self._ledger.heads) if component is None else [component]
            return [found for name in names if (found := _inbox(self._ledger, name)) is not None]

        return await self._writer.read(read)

    async def replace_inbox(self, old: SavedInbox, body: bytes) -> CheckpointInfo:
        """Save *body* in the place of *old*, in a new checkpoint that holds all the rest as it was saved last.

        Raises:
            StoreError: something else was saved meanwhile, or what is saved is not all there is.

        Trio checkpoint: always.
        Cancellation: seen before it is queued; then the true outcome is returned or raised.
        """
        cut: Cut = await self._writer.write(
            ReplaceInbox(old.component, old.digest, body, utcnow(), self.store.code_version)
        )
        return cut.info()

    async def export(self, checkpoint: str) -> Mapping[str, Any]:
        """*checkpoint* as one JSON document: metadata, and for each component schema, state, mailboxes and journal position.

        Raises:
            StoreError: there is no such checkpoint; lists what there is.
            CorruptError: a part of it is damaged.

        Trio checkpoint: always.
        Cancellation: passes through.
        """
        info, states = await self.show(checkpoint)
        return {
            "format": 1,
            "store": self.store.url,
            "checkpoint": describe(info),
            "components": {each.component: attrs.asdict(each, filter=_not_component) for each in states},
        }


def describe(info: CheckpointInfo) -> dict[str, Any]:
    """The metadata of a saved checkpoint as JSON has it."""
    fields = attrs.asdict(info)
    fields.update(created_at=info.created_at.isoformat(), mode=info.mode.name, components=list(info.components))
    fields["schemas"] = {name: list(schema) for name, schema in info.schemas.items()}
    return fields


def _not_component(attribute: "attrs.Attribute[Any]", value: object) -> bool:
    return attribute.name != "component"


def _find(ledger: Ledger, checkpoint: str) -> Cut:
    if checkpoint == NEWEST and ledger.cuts:
        return ledger.cuts[max(ledger.cuts)]
    try:
        return find_cut(ledger, checkpoint)
    except CorruptError:
        raise
    except StoreError as error:
        try:
            moment = datetime.fromisoformat(checkpoint)
        except ValueError:
            raise error from None
        if moment.tzinfo is None:
            raise StoreError(f"{error}; a time needs its zone, as in {moment.isoformat()}+00:00") from None
        return find_cut(ledger, moment)


def _state(ledger: Ledger, cut: Cut, component: str) -> SavedState:
    part = cut.parts[component]
    inbox = ledger.read_part(part.inbox) if part.inbox is not None else None
    return SavedState(
        component=component,
        schema=(part.schema, part.version),
        fields=_schema_text(ledger, part.fingerprint),
        journal=part.journal,
        state=_parsed(ledger.read_part(part.digest)),
        inbox=_parsed(inbox) if inbox is not None else None,
    )


def _inbox(ledger: Ledger, component: str) -> SavedInbox | None:
    cut = next(ledger.usable_cuts(component), None)
    digest = cut.parts[component].inbox if cut is not None else None
    if cut is None or digest is None:
        return None
    return SavedInbox(component=component, checkpoint=cut.id, digest=digest, body=ledger.read_part(digest))


def _schema_text(ledger: Ledger, fingerprint: str) -> str:
    sealed = ledger.engine.read_row(ledger.scope, SCHEMA, "", fingerprint)
    return str(json.loads(unseal(SCHEMA, "", fingerprint, sealed))[3]) if sealed is not None else ""


def _parsed(body: bytes) -> Any:
    """JSON as the codec writes it; ints of any size as ints."""

    def widened(pairs: dict[str, Any]) -> Any:
        if pairs.keys() == {"$int"}:
            return int(pairs["$int"])
        return pairs

    return json.loads(body, object_hook=widened)


def _last_events(ledger: Ledger, component: str, count: int) -> list[SavedEvent]:
    tail = Tail.whole(ledger, component)
    last: deque[Entry] = deque(maxlen=count)
    while page := tail.next_page():
        last.extend(page)
    if tail.damage is not None:
        raise CorruptError(f"{tail.damage}; the records up to {tail.reached} are good")
    return [
        SavedEvent(
            component=component,
            sequence=entry.sequence,
            tag=entry.tag,
            key=entry.key,
            at=entry.at,
            event=_parsed(entry.body),
        )
        for entry in last
    ]


# ------------------------------------------------------------------ differences


def _differences(ledger: Ledger, first: Cut, second: Cut, component: str) -> Iterator[Difference]:
    if component not in first.parts or component not in second.parts:
        kind = "added" if component in second.parts else "removed"
        found = _state(ledger, second if kind == "added" else first, component).state
        yield Difference(component=component, path="$", kind=kind, **{"new" if kind == "added" else "old": found})
        return
    if first.parts[component].digest == second.parts[component].digest:
        return
    old, new = _state(ledger, first, component).state, _state(ledger, second, component).state
    yield from _compare(component, "$", old, new)


def _compare(component: str, path: str, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _compare_at(component, path + _step(key), key in old, old.get(key), key in new, new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for at in range(max(len(old), len(new))):
            is_old, is_new = at < len(old), at < len(new)
            yield from _compare_at(
                component, f"{path}[{at}]", is_old, old[at] if is_old else None, is_new, new[at] if is_new else None
            )
    elif old != new or type(old) is not type(new):
        delta = _delta(_number(old), _number(new))
        yield Difference(component=component, path=path, kind="changed", old=old, new=new, delta=delta)


def _compare_at(component: str, path: str, is_old: bool, old: Any, is_new: bool, new: Any) -> Iterator[Difference]:
    if is_old and is_new:
        yield from _compare(component, path, old, new)
    elif is_old:
        yield Difference(component=component, path=path, kind="removed", old=old)
    else:
        yield Difference(component=component, path=path, kind="added", new=new)


def _step(key: str) -> str:
    return f".{key}" if re.fullmatch(r"[A-Za-z_]\w*", key) else f"[{json.dumps(key, ensure_ascii=False)}]"


def _delta(old: Decimal | None, new: Decimal | None) -> Decimal | None:
    """*new* - *old*, exactly; None where one is no number, or the two are too far apart to write it down."""
    if old is None or new is None:
        return None
    exponents = [int(number.as_tuple().exponent) for number in (old, new)]
    digits = max(old.adjusted(), new.adjusted(), 0) - min(exponents) + 2
    if digits > MOST_DIGITS:
        return None
    with localcontext(prec=max(digits, 1)):
        return new - old


_DECIMAL = re.compile(r"-?\d+(\.\d+)?([Ee][+-]?\d+)?")


def _number(value: Any) -> Decimal | None:
    """*value* as an exact number; text counts where it is what the codec writes for a Decimal."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    text = value if isinstance(value, str) else repr(value)
    if not _DECIMAL.fullmatch(text):
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None
