"""State to bytes and back: strictly, and only what comes back as it was.

The bytes are JSON in UTF-8, and the same value gives the same bytes in every process: fields in
the order of the class, dicts in their own order, sets sorted.

Types that can be saved: int, float, bool, str, bytes, None, Decimal, UUID, aware datetime, date,
time and timedelta (their forms are in `genesis_trio.persistence._scalars`), enums, Literal, list,
tuple, set, frozenset, deque with its maxlen, dict with keys that JSON can write, attrs classes,
generic ones too, and unions whose members JSON keeps apart.  Several attrs classes in one union
carry ``"$type"`` with the name of their schema.

Of an attrs class every field is saved, private ones and those with ``init=False`` too.  What is
read goes through ``__init__``, with its converters and validators; ``init=False`` fields are set
afterwards.

This module imports cattrs and orjson, so it is itself imported where it is used.
"""

from genesis_trio.persistence._encoding import check_state_type, check_type, decode, describe, encode, fitted
from genesis_trio.persistence._fingerprint import SchemaInfo, changes
from genesis_trio.persistence._tags import (
    apply_candidates,
    apply_classes,
    decode_event,
    event_class,
    event_reader,
    event_tag,
)
from genesis_trio.persistence._upgrade import StoredSchema, upgrade, upgrading_reader

__all__ = [
    "SchemaInfo",
    "StoredSchema",
    "apply_candidates",
    "apply_classes",
    "changes",
    "check_state_type",
    "check_type",
    "decode",
    "decode_event",
    "describe",
    "encode",
    "event_class",
    "event_reader",
    "event_tag",
    "fitted",
    "upgrade",
    "upgrading_reader",
]
