"""From states and events to the bytes of operations, and back: where the store meets the codec."""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from genesis_trio.errors import CorruptError, SchemaError
from genesis_trio.persistence import codec
from genesis_trio.persistence._cut import CutPart, Part
from genesis_trio.persistence._cut_operations import PlannedPart
from genesis_trio.persistence._envelope import Entry, unseal
from genesis_trio.persistence._ledger import SCHEMA, Ledger
from genesis_trio.persistence._operations import NewEvent

__all__ = ["decode_entries", "decode_part", "event_candidates", "pack_event", "plan_part"]


def pack_event(event: object, key: str | None, *, key_passes: bool = False) -> NewEvent:
    """Encode *event*; SchemaError when it cannot be kept as it is."""
    event_type = type(event)
    body = codec.encode(event, event_type)
    return NewEvent(codec.event_tag(event), key, body, partial(codec.decode, body, event_type), key_passes)


def decode_entries(entries: Sequence[Entry], candidates: tuple[type, ...]) -> Iterator[tuple[int, Any]]:
    """Sequence and event of each, of one of *candidates* or of the class with its tag."""
    readers: dict[str, Callable[[bytes], Any]] = {}
    for entry in entries:
        try:
            reader = readers.get(entry.tag)
            if reader is None:
                reader = readers[entry.tag] = codec.event_reader(entry.tag, candidates)
            event = reader(entry.body)
        except SchemaError as error:
            error.add_note(f"in record {entry.sequence} of the journal, tagged {entry.tag!r}")
            raise
        yield entry.sequence, event


def event_candidates(event_type: Any) -> tuple[type, ...]:
    """The classes that ``replay(…, event_type)`` allows: one class, a union or a tuple of them."""
    import types
    import typing

    if typing.get_origin(event_type) in (types.UnionType, typing.Union):
        event_type = typing.get_args(event_type)
    candidates = tuple(event_type) if isinstance(event_type, Sequence) else (event_type,)
    for candidate in candidates:
        if not isinstance(candidate, type):
            raise TypeError(f"replay() wants an event class or a union of them, got {candidate!r}")
    return candidates


def plan_part(part: Part, proved: bool) -> PlannedPart:
    """*part* with its schema; *proved* says that the very same bytes were structured back before."""
    info = codec.describe(part.state_type)
    prove = partial(codec.decode, part.body, part.state_type) if not proved else _nothing_to_prove
    return PlannedPart(part, info.name, info.version, info.fingerprint, info.text, prove)


def _nothing_to_prove() -> None:
    pass


def decode_part(ledger: Ledger, state_type: type, body: bytes, part: CutPart) -> Any:
    """The state in *body*, brought up to the schema of *state_type*; SchemaError when that is not possible."""
    info = codec.describe(state_type)
    if (info.name, info.version, info.fingerprint) == (part.schema, part.version, part.fingerprint):
        return codec.decode(body, state_type)
    return codec.upgrade(body, _stored_schema(ledger, part), state_type)


def _stored_schema(ledger: Ledger, part: CutPart) -> "codec.SchemaInfo":
    text = ""
    sealed = ledger.engine.read_row(ledger.scope, SCHEMA, "", part.fingerprint)
    if sealed is not None:
        try:
            text = json.loads(unseal(SCHEMA, "", part.fingerprint, sealed))[3]
        except CorruptError:
            text = ""  # it only serves to name what changed
    return codec.SchemaInfo(name=part.schema, version=part.version, fingerprint=part.fingerprint, text=text)
