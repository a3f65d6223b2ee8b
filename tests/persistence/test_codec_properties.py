"""Properties of the codec, for generated types and values of them."""

import collections
import enum
import json
import operator
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import reduce
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import SchemaInfo, check_type, decode, describe, encode, upgrade

SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@attrs.frozen
class Small:
    a: int
    b: Decimal | None = None


@attrs.frozen
class Other:
    text: str


ZONES = st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30, seconds=-1)), ZoneInfo("Europe/Paris")])
FOLDS = st.sampled_from([0, 1])
# Years that stay in range when a zone's offset is taken away.
MOMENTS = st.builds(
    lambda moment, zone, fold: moment.replace(tzinfo=zone, fold=fold),
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),  # noqa: DTZ001
    ZONES,
    FOLDS,
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SMALLS = st.builds(Small, st.integers(), st.none() | DECIMALS)

# Each type with a strategy for its values; those that may be keys come first.
KEYS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, TEXTS),
    (int, st.integers()),
    (Decimal, DECIMALS),
    (UUID, st.uuids()),
    (datetime, MOMENTS),
    (date, st.dates()),
    (Side, st.sampled_from(Side)),
    (Level, st.sampled_from(Level)),
    (timedelta, st.timedeltas()),
]
LEAVES = [
    *KEYS,
    (bool, st.booleans()),
    (float, FLOATS),
    (bytes, st.binary()),
    (time, st.times().map(lambda moment: moment.replace(fold=0))),
    (Small, SMALLS),
    (Small | Other, SMALLS | st.builds(Other, TEXTS)),
    (Decimal | None, st.none() | DECIMALS),
    (int | float | str | None, st.integers() | FLOATS | TEXTS | st.none()),
]
HASHABLE = [*KEYS, (Small, SMALLS)]

Pair = tuple[Any, st.SearchStrategy[Any]]


def _grown(pairs: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    """Containers and classes of what there is."""
    few = {"max_size": 3}
    return st.one_of(
        pairs.map(lambda p: (list[p[0]], st.lists(p[1], **few))),
        pairs.map(lambda p: (tuple[p[0], ...], st.lists(p[1], **few).map(tuple))),
        pairs.map(lambda p: (collections.deque[p[0]], st.lists(p[1], **few).map(lambda v: collections.deque(v, 4)))),
        st.tuples(st.sampled_from(KEYS), pairs).map(
            lambda kp: (dict[kp[0][0], kp[1][0]], st.dictionaries(kp[0][1], kp[1][1], **few))
        ),
        st.sampled_from(HASHABLE).map(lambda p: (set[p[0]], st.sets(p[1], **few))),
        st.lists(pairs, min_size=1, max_size=3).map(
            lambda ps: (tuple[tuple(p[0] for p in ps)], st.tuples(*(p[1] for p in ps)))
        ),
        st.lists(pairs, min_size=1, max_size=3).map(_class_of),
    )


def _class_of(pairs: list[Pair]) -> Pair:
    names = [f"field{number}" for number in range(len(pairs))]
    cls = attrs.make_class("Made", {name: attrs.field(type=tp) for name, (tp, _) in zip(names, pairs, strict=True)})
    return cls, st.tuples(*(values for _, values in pairs)).map(lambda values: cls(*values))


TYPES = st.recursive(st.sampled_from(LEAVES), _grown, max_leaves=6)


def _exact(value: Any) -> Any:
    """*value* in a form that also compares what ``==`` does not: classes, -0.0, trailing zeros, the zone, maxlen."""
    if attrs.has(type(value)):
        return type(value), [_exact(getattr(value, each.name)) for each in attrs.fields(type(value))]
    if isinstance(value, dict):
        return dict, [(_exact(key), _exact(item)) for key, item in value.items()]
    if isinstance(value, (list, tuple, collections.deque)):
        return type(value), getattr(value, "maxlen", None), [_exact(item) for item in value]
    if isinstance(value, set):
        return set, sorted(repr(_exact(item)) for item in value)
    if isinstance(value, datetime):
        return datetime, value.replace(tzinfo=None, fold=0).isoformat(), value.utcoffset(), str(value.tzinfo)
    return type(value), repr(value)


def _tried(fn: Callable[..., Any], *args: Any) -> tuple[Any, SchemaError | None]:
    try:
        return fn(*args), None
    except SchemaError as error:
        return None, error


@SETTINGS
@given(TYPES.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])))
def test_codec_round_trip_is_exact_for_any_type(typed):
    """Whatever is accepted comes back exactly, and gives the same bytes again."""
    as_type, value = typed
    check_type(as_type)

    body = encode(value, as_type)
    back = decode(body, as_type)

    assert _exact(back) == _exact(value)
    assert encode(back, as_type) == body
    assert _exact(upgrade(body, describe(as_type), as_type)) == _exact(value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | FLOATS
    | TEXTS
    | st.sampled_from(["1", "buy", "2026-01-01", "$int", "NaN"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["a", "b", "text", "$type", "$int", "items", "maxlen", "1"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@SETTINGS
@given(TYPES.map(operator.itemgetter(0)), JSON)
def test_codec_any_json_is_read_exactly_or_refused(as_type, tree):
    """There is no JSON that raises anything but SchemaError, and none that is read as something else."""
    body = json.dumps(tree).encode()

    value, error = _tried(decode, body, as_type)

    if error is None:
        assert _exact(decode(encode(value, as_type), as_type)) == _exact(value)
    else:
        assert " @ $" in str(error)


@SETTINGS
@given(TYPES.flatmap(lambda pair: st.tuples(st.just(pair[0]), pair[1])), TYPES)
def test_codec_value_of_another_type_is_written_exactly_or_refused(typed, other):
    """A writer takes no value that its reader would not give back."""
    value, as_type = typed[1], other[0]

    body, error = _tried(encode, value, as_type)

    if error is None:
        assert _exact(decode(body, as_type)) == _exact(value)
    else:
        assert " @ $" in str(error)


BAD = [
    (float, float("nan")),
    (float, float("inf")),
    (float, True),
    (int, True),
    (int, 1.0),
    (str, "\ud800"),
    (Decimal, Decimal("sNaN")),
    (datetime, datetime(2026, 1, 1)),  # noqa: DTZ001
    (Side, "buy"),
    (Small, Other("a")),
    (type(None), 0),
]


@SETTINGS
@given(st.sampled_from(BAD), st.lists(st.sampled_from(["list", "dict", "class", "tuple", "optional"]), max_size=5))
def test_codec_bad_value_at_any_depth_is_refused_with_its_path(bad, around):
    """The path leads through whatever stands around the bad value."""
    as_type, value = bad
    path = ""
    for kind in around:
        if kind == "list":
            as_type, value, path = list[as_type], [value], f"[0]{path}"
        elif kind == "dict":
            as_type, value, path = dict[str, as_type], {"k": value}, f"['k']{path}"
        elif kind == "tuple":
            as_type, value, path = tuple[int, as_type], (1, value), f"[1]{path}"
        elif kind == "class":
            cls = attrs.make_class("Around", {"field": attrs.field(type=as_type)})
            as_type, value, path = cls, cls(value), f".field{path}"
        elif as_type is not type(None):
            as_type = as_type | None

    with pytest.raises(SchemaError) as caught:
        encode(value, as_type)

    assert str(caught.value).endswith(f" @ ${path}")


@SETTINGS
@given(st.integers())
def test_codec_int_of_any_size_is_exact(number):
    """Also those that other JSON readers would round, as values, keys and floats."""
    for size in (number, number << 64, number << 3000):
        assert decode(encode(size, int), int) == size
        assert decode(encode({size: size}, dict[int, float]), dict[int, float]) == {size: size}


@SETTINGS
@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 3))
def test_fingerprint_of_any_order_is_the_same_and_without_a_field_another(names, dropped):
    """Only what is written counts."""
    types: dict[str, Any] = {"a": int, "b": Small, "c": list[Side], "d": Decimal | None}

    def info(names: list[str]) -> SchemaInfo:
        return describe(attrs.make_class("State", {name: attrs.field(type=types[name]) for name in names}))

    assert info(names).fingerprint == info(sorted(names)).fingerprint
    assert info(names).fingerprint != info(names[:dropped] + names[dropped + 1 :]).fingerprint


@SETTINGS
@given(st.sets(st.sampled_from([int, str, bool, None, Small, Other, list[int]]), min_size=2))
def test_union_of_any_members_keeps_them_apart(members):
    """What check_type accepts as a union is read as the member that was written."""
    as_type = reduce(operator.or_, members, next(each for each in members if each is not None))
    values = {int: 1, str: "1", bool: True, None: None, Small: Small(1), Other: Other("1"), list[int]: [1]}

    for member in members:
        assert _exact(decode(encode(values[member], as_type), as_type)) == _exact(values[member])
