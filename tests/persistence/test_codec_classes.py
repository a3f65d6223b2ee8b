"""attrs classes: every field comes back, nothing is cut, and every problem has its path."""

import collections
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Generic, Optional, Self, TypeVar

import attrs
import pytest

from genesis_trio import schema
from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import decode, encode

T = TypeVar("T")


@attrs.define
class Position:
    size: Decimal
    opened: datetime | None = None


@attrs.define
class Desk:
    cash: Decimal
    positions: dict[str, Position] = attrs.Factory(dict)
    limit: Final[int] = 5


@attrs.define
class Base:
    at: int


@attrs.define
class Filled(Base):
    price: Decimal


@schema("rejected.v1")
@attrs.frozen
class Rejected:
    why: str


@attrs.frozen
class Log:
    events: list[Filled | Rejected | None]


@attrs.define
class Node:
    name: str
    below: list["Node"] = attrs.Factory(list)
    peer: Optional["Node"] = None


@attrs.define
class Hidden:
    _token: str
    _seq: int = attrs.field(init=False, default=0)
    total: Decimal = attrs.field(init=False)


@attrs.frozen
class FrozenLate:
    a: int
    b: int = attrs.field(init=False, default=1)


@attrs.define
class Careful:
    name: str = attrs.field(converter=str.upper, validator=attrs.validators.max_len(3))


@attrs.define
class Secret:
    key: str = attrs.field(repr=False)
    keys: dict[str, int] = attrs.field(repr=False, factory=dict)


@attrs.define
class Box(Generic[T]):
    item: T
    more: list[T] = attrs.Factory(list)
    maybe: T | None = None


@attrs.define
class IntBox(Box[int]):
    extra: int = 0


@attrs.define
class Linked:
    value: int
    next: Self | None = None


def _round_trip(value: Any, as_type: Any = None) -> Any:
    as_type = as_type or type(value)
    return decode(encode(value, as_type), as_type)


@pytest.mark.parametrize(
    ("value", "as_type"),
    [
        (
            Desk(
                Decimal("1.0"),
                {"BTC": Position(Decimal(2), datetime(2026, 1, 1, tzinfo=UTC)), "": Position(Decimal(0))},
            ),
            Desk,
        ),
        (Log([Filled(1, Decimal("2.50")), Rejected("no"), None]), Log),
        (Node("a", [Node("b", [Node("c")])], Node("d")), Node),
        (FrozenLate(5), FrozenLate),
        (Box(5, [1]), Box[int]),
        (Box(Box("a"), [], Box("b")), Box[Box[str]]),
        (IntBox(5, [6], None, 7), IntBox),
        (Linked(1, Linked(2)), Linked),
        ([Base(1)], list[Base]),
        ({"a": Position(Decimal(1))}, dict[str, Position]),
    ],
)
def test_class_round_trip_is_equal(value, as_type):
    """What was written comes back equal, of the same classes all the way down."""
    back = _round_trip(value, as_type)

    assert back == value
    assert repr(back) == repr(value)


def test_class_private_and_init_false_fields_are_state_too():
    """Counters that the constructor does not take would otherwise start anew at each restore."""
    hidden = Hidden(token="t")
    hidden._seq = 7
    hidden.total = Decimal("1.5")

    body = encode(hidden, Hidden)

    assert body == b'{"_token":"t","_seq":7,"total":"1.5"}'
    assert decode(body, Hidden) == hidden


def test_class_frozen_with_init_false_field_comes_back():
    """A frozen class cannot be assigned to, and its late fields are restored all the same."""
    frozen = FrozenLate(1)
    object.__setattr__(frozen, "b", 2**70)

    assert _round_trip(frozen).b == 2**70


def test_class_init_false_problems_are_told_with_the_others():
    """No problem is swallowed because another one came first."""
    with pytest.raises(SchemaError) as caught:
        decode(b'{"_token":1,"_seq":"x","extra":2}', Hidden)

    assert str(caught.value) == (
        "the saved form of Hidden cannot be restored as Hidden: expected str, got int 1 @ $._token; "
        "expected int, got str 'x' @ $._seq; required field missing @ $.total; unknown field 'extra' @ $"
    )


def test_class_init_false_field_alone_is_wrong_is_refused():
    """The error of a late field alone is an error as well."""
    with pytest.raises(SchemaError, match=r"expected int, got str 'x' @ \$\._seq"):
        decode(b'{"_token":"t","_seq":"x","total":"1"}', Hidden)


def test_class_init_false_default_fills_a_missing_field():
    """A migration may leave out what has a default."""
    assert decode(b'{"_token":"t","total":"1"}', Hidden)._seq == 0


def test_class_of_late_fields_that_is_no_object_is_refused():
    """A class with late fields is read as strictly as any other."""
    with pytest.raises(SchemaError, match=r"expected an object with the fields of Hidden, got list \[\] @ \$"):
        decode(b"[]", Hidden)


def test_class_with_unset_field_is_refused_at_write():
    """A field that was never set has no value to save."""
    with pytest.raises(SchemaError, match=r"Hidden has no value for this field; set it before it is saved @ \$\.total"):
        encode(Hidden("t"), Hidden)


def test_class_converters_and_validators_run_when_it_is_read():
    """What the class promises about its fields holds after a restore too."""
    assert decode(b'{"name":"abc"}', Careful).name == "ABC"

    with pytest.raises(SchemaError, match=r"ValueError: Length of 'name' must be <= 3: 4 @ \$$"):
        decode(b'{"name":"abcd"}', Careful)


def test_class_key_error_in_a_constructor_is_not_a_missing_field():
    """What a constructor raises is told as it is."""

    @attrs.define
    class Looked:
        symbol: str = attrs.field(converter={"a": "A"}.__getitem__)

    with pytest.raises(SchemaError, match=r"KeyError: b @ \$$"):
        decode(b'{"symbol":"b"}', Looked)


def test_class_error_in_a_nested_constructor_has_its_path():
    """The path of a validator's error is the object that it refused."""
    with pytest.raises(SchemaError, match=r"ValueError: Length of 'name' must be <= 3: 4 @ \$\[1\]$"):
        decode(b'[{"name":"a"},{"name":"abcd"}]', list[Careful])


def test_class_subclass_of_a_field_is_refused_at_write():
    """What a subclass adds would be gone without a word."""
    with pytest.raises(SchemaError) as caught:
        encode([Base(1), Filled(2, Decimal(1))], list[Base])

    assert str(caught.value) == (
        "list[Base] cannot be saved: expected exactly Base: what Filled adds to it would be cut; "
        "declare the field as Base | Filled @ $[1]"
    )


def test_class_subclass_defined_later_is_refused_at_write():
    """It does not matter whether the subclass existed when the type was first used."""
    encode([Position(Decimal(1))], list[Position])

    @attrs.define
    class Margin(Position):
        rate: int = 0

    with pytest.raises(SchemaError, match=r"what Margin adds to it would be cut"):
        encode([Margin(Decimal(1))], list[Position])


def test_class_subclass_in_a_recursive_class_is_refused_at_write():
    """Also where a class contains itself, the declared type decides."""

    @attrs.define
    class Leaf(Node):
        colour: str = "red"

    with pytest.raises(SchemaError, match=r"what Leaf adds to it would be cut.* @ \$\.below\[0\]\.peer"):
        encode(Node("a", [Node("b", peer=Leaf("c"))]), Node)


def test_class_bad_values_are_all_named_with_their_paths():
    """A path looks like the expression that would find the value."""
    desk = Desk(Decimal("NaN"), {"BTC": Position(0.5), "ETH": Position(Decimal(1), datetime(2026, 1, 1))}, True)  # noqa: DTZ001

    with pytest.raises(SchemaError) as caught:
        encode(desk, Desk)

    assert str(caught.value) == (
        "Desk cannot be saved: expected a finite Decimal, got Decimal Decimal('NaN') @ $.cash; "
        "expected Decimal, got float 0.5 @ $.positions['BTC'].size; "
        "expected a datetime with a time zone, as ctx.utcnow() gives, got datetime datetime.datetime(2026, 1, 1, 0, 0) @ $.positions['ETH'].opened; "
        "expected int, got bool True @ $.limit"
    )


def test_class_bad_forms_are_all_named_with_their_paths():
    """All problems of one document are told at once."""
    with pytest.raises(SchemaError) as caught:
        decode(b'{"positions":{"k":{"size":1.1,"more":0},"l":null},"limit":true,"x":1,"y":2}', Desk)

    assert str(caught.value) == (
        "the saved form of Desk cannot be restored as Desk: required field missing @ $.cash; "
        "expected a finite Decimal as a string, got float 1.1 @ $.positions['k'].size; "
        "unknown field 'more' @ $.positions['k']; "
        "expected an object with the fields of Position, got null @ $.positions['l']; "
        "expected int, got bool True @ $.limit; unknown field 'x', 'y' @ $"
    )


@pytest.mark.parametrize("body", [b"null", b"1", b'"s"', b"[]"])
def test_class_root_of_another_kind_is_a_schema_error(body):
    """A root that is no object is refused like any other value."""
    with pytest.raises(SchemaError, match=r"expected an object with the fields of Desk, got .* @ \$"):
        decode(body, Desk)


def test_class_missing_field_takes_its_default():
    """A field that has a default may be left out."""
    assert decode(b'{"cash":"1"}', Desk) == Desk(Decimal(1))


def test_class_fields_left_out_of_the_repr_stay_out_of_errors():
    """What is kept out of logs is kept out of error messages."""
    with pytest.raises(SchemaError) as written:
        encode(Secret(b"hunter2", {"hunter2": 1.5}), Secret)
    with pytest.raises(SchemaError) as read:
        decode(b'{"key":5551,"keys":{"a":"hunter2"}}', Secret)

    assert "expected str, got bytes @ $.key" in str(written.value)
    assert "expected int, got float @ $.keys[" in str(written.value)
    assert "expected str, got int @ $.key" in str(read.value)
    assert "expected int, got str @ $.keys['a']" in str(read.value)
    assert "hunter2" not in str(read.value) and "5551" not in str(read.value)


def test_union_of_classes_is_tagged_with_schema_names():
    """A tag is the name of the schema, or the class's own, and not where the class is defined."""
    assert encode(Log([Filled(1, Decimal(2)), Rejected("no")]), Log) == (
        b'{"events":[{"$type":"Filled","at":1,"price":"2"},{"$type":"rejected.v1","why":"no"}]}'
    )


def test_union_of_one_class_and_others_has_no_tag():
    """Where JSON alone tells the members apart, nothing is added."""
    assert encode(Rejected("no"), Rejected | int | None) == b'{"why":"no"}'


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"$type":"gone","at":1}', "unknown $type 'gone', expected one of 'Filled', 'rejected.v1' @ $"),
        (b'{"$type":["Filled"]}', "unknown $type ['Filled'], expected one of 'Filled', 'rejected.v1' @ $"),
        (b'{"at":1,"price":"1"}', "expected an object with '$type' (one of 'Filled', 'rejected.v1')"),
        (b'{"$type":"Filled","at":1}', "required field missing @ $.price"),
        (b"null", "expected Filled or Rejected, got null @ $"),
    ],
)
def test_union_of_classes_with_a_wrong_tag_is_refused(body, reason):
    """A class that is gone is named, with those that are there."""
    with pytest.raises(SchemaError) as caught:
        decode(body, Filled | Rejected)

    assert reason in str(caught.value)


def test_union_member_subclass_is_refused_at_write():
    """A subclass of a member is no member."""

    @attrs.define
    class Partial(Filled):
        rest: int = 0

    with pytest.raises(SchemaError, match=r"what Partial adds to it would be cut.* @ \$\.events\[0\]"):
        encode(Log([Partial(1, Decimal(1))]), Log)


def _chain(length: int) -> Node:
    node = Node("end")
    for _ in range(length):
        node = Node("", [node])
    return node


def test_recursive_value_is_exact_up_to_the_limit():
    """A tree of 60 levels, 2 levels of JSON each, is no problem."""
    assert _round_trip(_chain(60)) == _chain(60)


@pytest.mark.parametrize("length", [65, 120, 200, 5000])
def test_recursive_value_too_deep_is_refused_with_a_reason(length):
    """Depth ends in a clear error and not in the stack, neither here nor at the restore."""
    with pytest.raises(
        SchemaError, match=r"nested deeper than 128 levels.*keep the nodes in a dict.* @ \$\.below\[0\]\.below"
    ):
        encode(_chain(length), Node)


def test_recursive_value_in_itself_is_refused():
    """A value that contains itself has no end."""
    node = Node("a")
    node.below = [node, node]
    node.peer = node

    with pytest.raises(SchemaError, match=r"nested deeper than 128 levels, or in itself"):
        encode(node, Node)


def test_recursive_form_too_deep_is_refused_when_read():
    """Bytes that nobody wrote so are refused before they fill the stack."""
    body = b'{"name":"","below":[' * 200 + b"]}" * 200

    with pytest.raises(SchemaError, match="the saved form of Node is nested deeper than 128 levels"):
        decode(body, Node)


def test_encode_value_changed_meanwhile_is_a_schema_error():
    """A value that changes between two looks is refused, whatever the second look shows."""
    looks = 0

    class Moody:
        @property
        def __class__(self):  # what the writer looks at
            nonlocal looks
            looks += 1
            raise RuntimeError("moody")

    with pytest.raises(SchemaError):
        encode(Moody(), int)
    assert looks


def test_encode_wide_ints_anywhere_are_exact():
    """Ints of any size are exact, also in lists, tuples and as keys, beside everything else."""

    @attrs.define
    class Wei:
        balances: dict[str, int]
        pair: tuple[int, float]
        recent: collections.deque[int]
        by_id: dict[int, int]

    wei = Wei({"a": 10**30, "b": 1}, (-(2**80), 0.5), collections.deque([2**64], 3), {2**90: 2**63})

    assert _round_trip(wei) == wei


def test_class_fields_of_any_name_are_saved():
    """No name of a field collides with what writes and reads it."""
    names = [
        "attrs",
        "cl",
        "cls",
        "converter",
        "typevar_map",
        "instance",
        "res",
        "errors",
        "o",
        "e",
        "value",
        "kwargs",
        "items",
    ]
    state_class = attrs.make_class("State", {name: attrs.field(type=int) for name in names})
    state = state_class(*range(len(names)))

    assert _round_trip(state) == state
    with pytest.raises(SchemaError, match=r"required field missing @ \$\.errors"):
        decode(b"{}", state_class)


def test_union_with_containers_is_told_apart_by_class():
    """A dict, a deque and a tuple beside other kinds need no tag."""
    for as_type, value in [
        (dict[str, int] | list[int], {"a": 1}),
        (collections.deque[int] | str, collections.deque([1])),
        (tuple[int, str] | None, (1, "a")),
    ]:
        assert _round_trip(value, as_type) == value
