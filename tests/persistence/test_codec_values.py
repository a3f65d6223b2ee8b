"""Each kind of value: what comes back equals what was written, or it was refused with its path."""

import collections
import enum
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from typing import Any, Literal, NamedTuple, NewType
from uuid import UUID
from zoneinfo import ZoneInfo

import attrs
import pytest

from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import decode, encode

Price = NewType("Price", Decimal)


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Venue(enum.StrEnum):
    KRAKEN = "kraken"


class Planet(enum.Enum):
    EARTH = (5.97e24, 6.37e6)
    MARS = (6.4e23, 3.39e6)


class Wide(enum.IntEnum):
    LARGE = 2**70


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


@attrs.frozen
class Point:
    x: int
    y: int = 0


class MyInt(int):
    pass


class MyStr(str):
    __slots__ = ()


class MyDecimal(Decimal):
    pass


class MyDatetime(datetime):
    pass


class MyList(list):  # type: ignore[type-arg]
    pass


class Pair(NamedTuple):
    a: int
    b: str


class MyDict(dict):  # type: ignore[type-arg]
    pass


MIXED = Literal["a", 1, True, None, Side.BUY]
PARIS = ZoneInfo("Europe/Paris")

EXACT = [
    (None, None),
    (bool, True),
    (int, 0),
    (int, -(2**63)),
    (int, 2**63 - 1),
    (int, 2**63),
    (int, -(2**63) - 1),
    (int, 2**64),
    (int, 10**30),
    (int, -(10**700)),
    (int, 10**5000),
    (float, -0.0),
    (float, 5e-324),
    (float, sys.float_info.max),
    (float, 0.1 + 0.2),
    (float, 3),
    (float, 2**53 + 1),
    (float, 2**80),
    (str, ""),
    (str, "a\0b\u2028\U0001f600"),
    (bytes, b""),
    (bytes, b"\x00\xff{}"),
    (Decimal, Decimal("1.10")),
    (Decimal, Decimal("-0.000")),
    (Decimal, Decimal("1E+400")),
    (Decimal, Decimal("0." + "7" * 60)),
    (Price, Price(Decimal("7.50"))),
    (UUID, UUID(int=5)),
    (datetime, datetime(2026, 1, 1, tzinfo=UTC)),
    (datetime, datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
    (datetime, datetime(2026, 1, 1, 0, 0, 0, 5, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
    (datetime, datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-1, seconds=-7, microseconds=-3)))),
    (datetime, datetime(2026, 7, 1, 12, tzinfo=PARIS)),
    (date, date(2026, 2, 28)),
    (time, time(23, 59, 59, 999999)),
    (time, time(1, tzinfo=timezone(timedelta(hours=2)))),
    (timedelta, timedelta(seconds=1, microseconds=3)),
    (timedelta, timedelta(microseconds=-1)),
    (timedelta, timedelta.min),
    (timedelta, timedelta.max),
    (Side, Side.SELL),
    (Level, Level.HIGH),
    (Venue, Venue.KRAKEN),
    (Planet, Planet.MARS),
    (Wide, Wide.LARGE),
    (Rights, Rights.READ | Rights.WRITE),
    (Rights, Rights(0)),
    (MIXED, "a"),
    (MIXED, 1),
    (MIXED, True),
    (MIXED, None),
    (MIXED, Side.BUY),
    (list[int], [1, 2]),
    (list[list[str]], [[], ["a"]]),
    (tuple[int, ...], ()),
    (tuple[int, ...], (1, 2)),
    (tuple[int, str], (1, "a")),
    (tuple[()], ()),
    (set[int], {1, 10, 9}),
    (set[str], {"b", "a"}),
    (set[Level], {Level.HIGH, Level.LOW}),
    (frozenset[Point], frozenset({Point(2), Point(1, 5)})),
    (frozenset[datetime], frozenset({datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=PARIS)})),
    (collections.deque[int], collections.deque([1, 2])),
    (collections.deque[int], collections.deque([1, 2], maxlen=2)),
    (dict[str, int], {"b": 1, "a": 2, "$int": 3, "": 4}),
    (dict[int, str], {1: "a", -(2**70): "b"}),
    (dict[Side, int], {Side.BUY: 1}),
    (dict[Level, int], {Level.LOW: 1}),
    (dict[Venue, int], {Venue.KRAKEN: 1}),
    (dict[Planet, int], {Planet.EARTH: 1}),
    (dict[UUID, int], {UUID(int=5): 1}),
    (dict[Decimal, int], {Decimal("1.10"): 1}),
    (dict[datetime, int], {datetime(2026, 1, 1, tzinfo=UTC): 1, datetime(2026, 1, 2, tzinfo=PARIS): 2}),
    (dict[date, int], {date(2026, 1, 1): 1}),
    (dict[time, int], {time(1): 1}),
    (dict[timedelta, int], {timedelta(1): 1}),
    (dict[bytes, int], {b"\xff": 1}),
    (dict[Literal["a", "b"], int], {"a": 1}),
    (Decimal | None, None),
    (Decimal | None, Decimal("1.0")),
    (int | str | None, "1"),
    (int | str | None, 1),
    (int | float, 1),
    (int | float, 1.0),
    (int | float, 2**70),
    (float | None, 3),
    (float | None, 2**70),
    (bool | int, True),
    (Point | int, Point(1)),
    (Point | int, 2**70),
    (list[int] | dict[str, str], {"a": "b"}),
    (list[int] | Side, Side.BUY),
]


@pytest.mark.parametrize(("as_type", "value"), EXACT, ids=[f"{t}-{n}" for n, (t, _) in enumerate(EXACT)])
def test_value_written_and_read_is_exactly_the_same(as_type, value):
    """What comes back equals what was written, and has the same class."""
    back = decode(encode(value, as_type), as_type)

    assert back == value
    assert type(back) is type(value)
    if not isinstance(value, (int, set, frozenset)):  # Python limits the digits of an int, and sets have no order
        assert repr(back) == repr(value)  # Decimal("1.10") equals Decimal("1.1"), -0.0 equals 0.0


def test_datetime_zone_comes_back_with_its_rules():
    """A ZoneInfo is kept by its key, so that arithmetic across a change of the clocks stays right."""
    before = datetime(2026, 10, 24, 12, tzinfo=PARIS)

    body = encode(before, datetime)
    back = decode(body, datetime)

    assert body == b'"2026-10-24T12:00:00+02:00[Europe/Paris]"'
    assert back.tzinfo is PARIS
    assert (back + timedelta(days=1)).utcoffset() == timedelta(hours=1)


@pytest.mark.parametrize("fold", [0, 1])
@pytest.mark.parametrize("local", [datetime(2026, 10, 25, 2, 30), datetime(2026, 3, 29, 2, 30)])  # noqa: DTZ001
def test_datetime_in_a_repeated_or_skipped_hour_keeps_its_side(local, fold):
    """The hour that the clocks repeat, or leave out, is the same one after a restore."""
    moment = local.replace(tzinfo=PARIS, fold=fold)

    back = decode(encode(moment, datetime), datetime)

    assert (back.replace(tzinfo=None), back.fold, back.utcoffset()) == (local, fold, moment.utcoffset())


def test_datetime_whose_zone_changed_its_rules_keeps_the_instant():
    """When the offset that was written is no longer one of the zone's, the instant is what counts."""
    back = decode(b'"2026-07-01T12:00:00+05:00[Europe/Paris]"', datetime)

    assert back == datetime(2026, 7, 1, 7, tzinfo=UTC)
    assert back.tzinfo is PARIS


def test_datetime_of_a_foreign_tzinfo_keeps_the_instant_and_offset():
    """Another tzinfo has no name that could be looked up; its rules are not kept."""

    class Odd(tzinfo):
        def utcoffset(self, _):
            return timedelta(hours=3)

        def dst(self, _):
            return None

    moment = datetime(2026, 1, 1, tzinfo=Odd())

    back = decode(encode(moment, datetime), datetime)

    assert back == moment
    assert back.tzinfo == timezone(timedelta(hours=3))


def test_encode_same_set_gives_same_bytes_whatever_its_order():
    """Sets are sorted, so that equal states have equal digests in every process."""
    assert encode({"b", "a", "c"}, set[str]) == b'["a","b","c"]'
    assert encode({10, 9}, set[int]) == b"[9,10]"
    assert encode(frozenset({Point(2), Point(1)}), frozenset[Point]) == b'[{"x":1,"y":0},{"x":2,"y":0}]'


def test_encode_dict_keeps_its_order():
    """The order of a dict is part of what a program does next."""
    assert list(decode(encode({"b": 1, "a": 2}, dict[str, int]), dict[str, int])) == ["b", "a"]


def test_encode_forms_are_readable():
    """The bytes are plain JSON, which an operator can read without the code."""
    assert encode(2**70, int) == b'{"$int":"1180591620717411303424"}'
    assert encode(timedelta(hours=-1, microseconds=-5), timedelta) == b'"-PT3600.000005S"'
    assert encode(Decimal("1.10"), Decimal) == b'"1.10"'
    assert encode(b"\xff\x00", bytes) == b'"/wA="'
    assert encode(Planet.MARS, Planet) == b'"MARS"'
    assert encode(collections.deque([1], 5), collections.deque[int]) == b'{"items":[1],"maxlen":5}'


class _Unfit:
    def __repr__(self):
        return "<unfit>"


REFUSED_AT_WRITE = [
    (float, float("nan"), "expected a finite number, got float nan"),
    (float, float("inf"), "expected a finite number, got float inf"),
    (float, "1.0", "expected float, got str '1.0'"),
    (float, True, "expected float, got bool True"),
    (float, Decimal(1), "expected float, got Decimal Decimal('1')"),
    (int, True, "expected int, got bool True"),
    (int, 1.0, "expected int, got float 1.0"),
    (int, "12", "expected int, got str '12'"),
    (int, None, "expected int, got null"),
    (int, MyInt(5), "expected exactly int: a subclass would come back as its base, got MyInt 5"),
    (int, Level.LOW, "expected exactly int: a subclass would come back as its base, got Level"),
    (bool, 1, "expected bool, got int 1"),
    (bool, "false", "expected bool, got str 'false'"),
    (str, 5, "expected str, got int 5"),
    (str, MyStr("a"), "expected exactly str"),
    (str, "ab\ud800", "expected a str without lone surrogates (index 2), got str 'ab\\ud800'"),
    (bytes, "a", "expected bytes, got str 'a'"),
    (bytes, bytearray(b"a"), "expected bytes, got bytearray"),
    (Decimal, 1, "expected Decimal, got int 1"),
    (Decimal, 1.1, "expected Decimal, got float 1.1"),
    (Decimal, Decimal("NaN"), "expected a finite Decimal, got Decimal Decimal('NaN')"),
    (Decimal, Decimal("sNaN"), "expected a finite Decimal"),
    (Decimal, Decimal("-Infinity"), "expected a finite Decimal"),
    (Decimal, MyDecimal(1), "expected exactly Decimal"),
    (UUID, str(UUID(int=5)), "expected UUID, got str"),
    (datetime, datetime(2026, 1, 1), "expected a datetime with a time zone, as ctx.utcnow() gives, got"),  # noqa: DTZ001
    (datetime, date(2026, 1, 1), "expected datetime, got date"),
    (datetime, MyDatetime(2026, 1, 1, tzinfo=UTC), "expected exactly datetime"),
    (date, datetime(2026, 1, 1, tzinfo=UTC), "expected exactly date: a subclass"),
    (time, time(1, tzinfo=PARIS), "expected a time without a zone or with a fixed offset"),
    (time, time(1, fold=1), "expected a time without fold"),
    (time, 5, "expected time, got int 5"),
    (timedelta, 5, "expected timedelta, got int 5"),
    (Side, "buy", "expected Side, got str 'buy'"),
    (Side, Level.LOW, "expected Side, got Level"),
    (Planet, "MARS", "expected Planet, got str 'MARS'"),
    (Rights, 3, "expected Rights, got int 3"),
    (Rights, Rights(8), "expected flags of Rights"),
    (Literal["a", 1], True, "expected one of 'a', 1, got bool True"),
    (Literal["a"], [], "expected one of 'a', got list []"),
    (None, 0, "expected None, got int 0"),
    (list[int], (1,), "expected list, got tuple (1,)"),
    (list[int], MyList([1]), "expected exactly list: a subclass would come back as its base, got MyList [1]"),
    (tuple[int, str], Pair(1, "a"), "expected exactly tuple: a subclass would come back as its base, got Pair"),
    (tuple[int | str, ...], Pair(1, "a"), "expected exactly tuple"),
    (list[int], "12", "expected list, got str '12'"),
    (tuple[int, ...], [1], "expected tuple, got list [1]"),
    (tuple[int, str], [1, "a"], "expected tuple, got list"),
    (tuple[int, str], (1,), "expected a tuple of 2, got tuple (1,)"),
    (set[int], frozenset({1}), "expected set, got frozenset"),
    (collections.deque[int], [1], "expected deque, got list [1]"),
    (dict[str, int], MyDict(a=1), "expected exactly dict: a subclass"),
    (dict[str, int], collections.OrderedDict(a=1), "expected exactly dict"),
    (dict[str, int], [("a", 1)], "expected dict, got list"),
    (int | bytes, 1.5, "expected int or bytes, got float 1.5"),
    (Point | None, "x", "expected Point or None, got str 'x'"),
    (Literal["a"] | int, None, "expected 'a' or int, got null"),
    (Point, _Unfit(), "expected Point, got _Unfit"),
]


@pytest.mark.parametrize(
    ("as_type", "value", "reason"), REFUSED_AT_WRITE, ids=[f"{t}-{n}" for n, (t, _, _) in enumerate(REFUSED_AT_WRITE)]
)
def test_encode_value_that_would_change_is_refused(as_type, value, reason):
    """What would come back as something else, or not at all, is refused when it is written."""
    with pytest.raises(SchemaError) as caught:
        encode(value, as_type)

    assert reason in str(caught.value)
    assert str(caught.value).endswith(" @ $")


REFUSED_AT_READ: list[tuple[Any, bytes, str]] = [
    (int, b'"12"', "expected int, got str '12'"),
    (int, b"1.9", "expected int, got float 1.9"),
    (int, b"1.0", "expected int, got float 1.0"),
    (int, b"true", "expected int, got bool True"),
    (int, b"null", "expected int, got null"),
    (int, b"18446744073709551616", "expected int, got float 1.8446744073709552e+19"),
    (int, b'{"$int":"12"}', "expected int, got dict"),
    (int, b'{"$int":12}', "expected int, got dict"),
    (int, b'{"$int":"01180591620717411303424"}', "expected int, got dict"),
    (int, b'{"$int":"1_180591620717411303424"}', "expected int, got dict"),
    (int, b'{"$int":"x"}', "expected int, got dict"),
    (float, b'"1.0"', "expected float, got str '1.0'"),
    (float, b"true", "expected float, got bool True"),
    (float, b"null", "expected float, got null"),
    (float, b"{}", "expected float, got dict {}"),
    (bool, b'"false"', "expected bool, got str 'false'"),
    (bool, b"1", "expected bool, got int 1"),
    (str, b"5", "expected str, got int 5"),
    (None, b"0", "expected null, got int 0"),
    (bytes, b'"a"', "expected bytes as base 64, got str 'a'"),
    (bytes, b'"/wA"', "expected bytes as base 64"),
    (bytes, b'"/wB="', "expected bytes as base 64"),
    (bytes, b"5", "expected bytes as base 64, got int 5"),
    (Decimal, b"1.1", "expected a finite Decimal as a string, got float 1.1"),
    (Decimal, b"1", "expected a finite Decimal as a string, got int 1"),
    (Decimal, b'"NaN"', "expected a finite Decimal as a string, got str 'NaN'"),
    (Decimal, b'"Infinity"', "expected a finite Decimal"),
    (Decimal, b'" 1"', "expected a finite Decimal"),
    (Decimal, b'"1_000"', "expected a finite Decimal"),
    (Decimal, b'"abc"', "expected a finite Decimal as a string, got str 'abc'"),
    (UUID, b'"{00000000-0000-0000-0000-000000000005}"', "expected a UUID"),
    (UUID, b'"00000000000000000000000000000005"', "expected a UUID"),
    (UUID, b"5", "expected a UUID"),
    (datetime, b'"2026-01-01T00:00:00"', "expected a datetime with offset"),
    (datetime, b'"2026-01-01"', "expected a datetime with offset"),
    (datetime, b'"yesterday"', "expected a datetime with offset in ISO 8601, got str 'yesterday'"),
    (datetime, b'"2026-01-01T00:00:00.1234567Z"', "expected a datetime with offset"),
    (datetime, b'"2026-01-01T00:00:00.12345678901Z"', "expected a datetime with offset"),
    (datetime, b'"20260101T000000.1234567890+00:00"', "expected a datetime with offset"),
    (datetime, b'"20260101T000000.12345678Z"', "expected a datetime with offset"),
    (datetime, b'"2026-13-01T00:00:00+00:00[Europe/Paris]"', "expected a datetime with offset"),
    (datetime, b'"2026-01-01T00:00:00+00:00[Mars/Olympus]"', "does not know the time zone 'Mars/Olympus'"),
    (datetime, b"0", "expected a datetime with offset"),
    (date, b'"20260101"', "expected a date as YYYY-MM-DD"),
    (date, b'"2026-02-30"', "expected a date"),
    (time, b'"25:00"', "expected a time"),
    (time, b'"T01:00:00"', "expected a time"),
    (timedelta, b'"PT1.5S"', "expected a timedelta"),
    (timedelta, b"1", "expected a timedelta"),
    (timedelta, b'"PT99999999999999S"', "expected a timedelta"),
    (Side, b'"hold"', "expected Side (one of 'buy', 'sell'), got str 'hold'"),
    (Side, b"null", "expected Side (one of 'buy', 'sell'), got null"),
    (Level, b"3", "expected Level (one of 1, 2), got int 3"),
    (Level, b"true", "expected Level (one of 1, 2), got bool True"),
    (Level, b"1.0", "expected Level"),
    (Rights, b"8", "expected flags of Rights, got int 8"),
    (Rights, b"-1", "expected flags of Rights, got int -1"),
    (Rights, b'"READ"', "expected int, got str 'READ'"),
    (Literal["a", 1], b"true", "expected one of 'a', 1, got bool True"),
    (Literal["a", 1], b"[]", "expected one of 'a', 1, got list []"),
    (list[int], b'"12"', "expected a list as an array, got str '12'"),
    (list[int], b'{"a":1}', "expected a list as an array, got dict"),
    (tuple[int, str], b'[1,"a",2]', "expected a tuple of 2 as an array"),
    (set[int], b"[1,1]", "expected a set of different values, got list [1, 1]"),
    (collections.deque[int], b"[1]", "expected a deque as an object with items and maxlen"),
    (collections.deque[int], b'{"items":1,"maxlen":null}', "expected a deque with an array of items"),
    (collections.deque[int], b'{"items":[1,2],"maxlen":1}', "expected a deque with room for its 2 items"),
    (collections.deque[int], b'{"items":[],"maxlen":true}', "expected a deque with room for its 0 items"),
    (dict[str, int], b"[]", "expected a dict as an object, got list []"),
    (dict[Decimal, int], b'{"1e5":1,"1E+5":2}', "expected different keys; two of them mean the same"),
    (int | bytes, b"1.5", "expected int or bytes, got float 1.5"),
    (Point | int, b'{"$int":"5"}', "expected int, got dict"),
    (Point | None, b"[]", "expected Point or None, got list []"),
]


@pytest.mark.parametrize(
    ("as_type", "body", "reason"), REFUSED_AT_READ, ids=[f"{t}-{n}" for n, (t, _, _) in enumerate(REFUSED_AT_READ)]
)
def test_decode_value_of_another_form_is_refused(as_type, body, reason):
    """Nothing is converted: what the type does not write, it does not read."""
    with pytest.raises(SchemaError) as caught:
        decode(body, as_type)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("as_type", "body", "value"),
    [
        (Decimal, b'"1e5"', Decimal("1e5")),
        (datetime, b'"2026-01-01T00:00:00Z"', datetime(2026, 1, 1, tzinfo=UTC)),
        (datetime, b'"2026-01-01T00:00:00.5+01:00"', datetime(2025, 12, 31, 23, 0, 0, 500000, tzinfo=UTC)),
    ],
)
def test_decode_other_exact_spelling_is_read(as_type, body, value):
    """A migration or a hand may write a Decimal or a datetime in another standard form, if nothing is lost."""
    assert decode(body, as_type) == value


@pytest.mark.parametrize(
    ("as_type", "value", "path"),
    [
        (dict[int, int], {True: 1}, "as a key: expected int, got bool True @ $[True]"),
        (dict[str, int], {1: 1}, "as a key: expected str, got int 1 @ $[1]"),
        (dict[str, int], {"\ud800": 1}, "as a key: expected a str without lone surrogates (index 0)"),
        (dict[datetime, int], {datetime(2026, 1, 1): 1}, "as a key: expected a datetime with a time zone"),  # noqa: DTZ001
        (dict[UUID, float], {UUID(int=1): float("nan")}, "@ $['00000000-0000-0000-0000-000000000001']"),
        (tuple[int, str], (1, 2), "expected str, got int 2 @ $[1]"),
        (collections.deque[int], collections.deque(["a"]), "expected int, got str 'a' @ $[0]"),
        (set[float], {float("inf")}, "expected a finite number, got float inf @ $[inf]"),
        (list[dict[str, tuple[int, ...]]], [{}, {"a": (1, None)}], "expected int, got null @ $[1]['a'][1]"),
    ],
)
def test_encode_bad_part_is_named_with_its_path(as_type, value, path):
    """The path leads to the bad part through lists, tuples and dicts."""
    with pytest.raises(SchemaError) as caught:
        encode(value, as_type)

    assert path in str(caught.value)


@pytest.mark.parametrize(
    ("as_type", "body", "path"),
    [
        (dict[int, int], b'{"01":1}', "expected an int as a key, got str '01' @ $['01']"),
        (dict[Level, int], b'{"7":1}', "expected Level (one of 1, 2), got int 7 @ $['7']"),
        (dict[Level, int], b'{"x":1}', "expected Level (one of 1, 2), got str 'x' @ $['x']"),
        (tuple[int, str], b'["a",2]', "expected int, got str 'a' @ $[0]; expected str, got int 2 @ $[1]"),
        (list[set[int]], b"[[1],[2,2]]", "of different values, got list [2, 2] @ $[1]"),
        (dict[str, list[int]], b'{"a":[1,"2"],"b":[null]}', "$['a'][1]; expected int, got null @ $['b'][0]"),
    ],
)
def test_decode_bad_parts_are_all_named_with_their_paths(as_type, body, path):
    """Every problem of a document is told at once."""
    with pytest.raises(SchemaError) as caught:
        decode(body, as_type)

    assert path in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"{", b'{"x":1', b'"\xff"', b"nan", b"[1,]"])
def test_decode_truncated_or_no_json_is_a_schema_error(body):
    """What is not whole JSON is said to be that, with its size."""
    with pytest.raises(SchemaError, match=rf"the saved form of Point \({len(body)} bytes\) is not whole JSON"):
        decode(body, Point)


def test_decode_json_nested_without_end_is_a_schema_error():
    """Hostile or damaged nesting ends in an error and not in the stack."""
    with pytest.raises(SchemaError):
        decode(b"[" * 100_000, Point)
    with pytest.raises(SchemaError):
        decode(b"[" * 500 + b"]" * 500, Point)


def test_encode_many_problems_tells_the_first_twenty():
    """A message stays readable when everything is wrong."""
    with pytest.raises(SchemaError, match=r"@ \$\[19\]; and 1 more$"):
        encode(["x"] * 50, list[int])
