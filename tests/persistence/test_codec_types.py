"""Types are judged before there are values: each refusal names class and field, and what to use instead."""

import abc
import collections
import dataclasses
import enum
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Generic, Literal, NamedTuple, NewType, TypedDict, TypeVar
from uuid import UUID

import attrs
import pytest

from genesis_trio import schema
from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import check_type, decode, describe, encode

T = TypeVar("T")
UserId = NewType("UserId", int)
OrderId = NewType("OrderId", int)


class Side(enum.Enum):
    BUY = "buy"


class Word(enum.StrEnum):
    A = "a"


class Empty(enum.Enum):
    pass


class Plain:
    pass


@dataclasses.dataclass
class Data:
    x: int


class Pair(NamedTuple):
    x: int


class Typed(TypedDict):
    x: int


@attrs.define
class Order:
    price: Decimal


@attrs.frozen
class Fill:
    price: Decimal


@attrs.define
class Parent:
    a: int


@attrs.define
class Child(Parent):
    b: int


class Undecorated(Order):
    rest: int = 0


@attrs.define
class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self) -> float: ...


@attrs.define
class Box(Generic[T]):
    item: T


@schema("same")
@attrs.define
class One:
    a: int


@schema("same", version=2)
@attrs.define
class Two:
    a: int


def _class_of(annotation: Any) -> type:
    return attrs.make_class("State", {"field": attrs.field(type=annotation)})


REFUSED = [
    (Any, "Any does not say what to restore; name the type, or a union of attrs classes"),
    (object, "object does not say what to restore"),
    (list, "list does not say what is in it; use list[T]"),
    (dict, "dict does not say what is in it; use dict[K, V]"),
    (tuple, "tuple does not say what is in it; use tuple[T, ...]"),
    (typing.Tuple, "tuple does not say what is in it"),  # noqa: UP006
    (typing.List, "list does not say what is in it; use list[T]"),  # noqa: UP006
    (set, "set does not say what is in it"),
    (collections.deque, "deque does not say what is in it; use deque[T]"),
    (list[Any], "Any does not say what to restore"),
    (dict[str, object], "object does not say what to restore"),
    (Callable[[int], str], "would not come back as it was; use the data that the function works on; code is not state"),
    (Sequence[int], "Sequence[int] would not come back as it was; use list[T] or tuple[T, ...]"),
    (Iterable[int], "use list[T] or tuple[T, ...]"),
    (Mapping[str, int], "Mapping[str, int] would not come back as it was; use dict[K, V]"),
    (collections.defaultdict[str, int], "use dict[K, V] (the factory of a defaultdict would be lost)"),
    (collections.Counter, "use dict[K, int]"),
    (bytearray, "bytearray would not come back as it was; use bytes"),
    (complex, "use two floats"),
    (
        Plain,
        "Plain is not an attrs class and no known value; decorate it with @attrs.define, or keep it out of the state",
    ),
    (Data, "Data is not an attrs class"),
    (Pair, "Pair is not an attrs class"),
    (Typed, "Typed is not an attrs class"),
    (type[Order], "type[Order] is not an attrs class"),
    (Undecorated, "Undecorated inherits from an attrs class and is none itself; add @attrs.define"),
    (Shape, "Shape is abstract; use the union of the classes that stand for it"),
    (Box, "type variable T is not bound; write the class with its argument, as Box[int]"),
    (Box[Any], "Any does not say what to restore"),
    (Empty, "Empty has no members"),
    (dict[tuple[int, str], int], "tuple[int, str] cannot be the key of a JSON object; use str, int, an enum, UUID"),
    (dict[float, int], "float cannot be the key of a JSON object"),
    (dict[bool, int], "bool cannot be the key of a JSON object"),
    (dict[Order, int], "Order cannot be the key of a JSON object"),
    (dict[str | int, int], "str | int cannot be the key of a JSON object"),
    (dict[Literal[1, 2], int], "Literal[1, 2] cannot be the key of a JSON object"),
    (dict[None, int], "None cannot be the key of a JSON object"),
    (set[Order], "Order is not hashable, so no set holds it; use @attrs.frozen or a list"),
    (frozenset[list[int]], "list is not hashable, so no frozenset holds it"),
    (set[tuple[int, set[int]]], "set is not hashable"),
    (set[dict[str, int] | None], "dict is not hashable"),
    (str | Decimal, "str and Decimal cannot be told apart once they are JSON; use attrs classes"),
    (datetime | date, "datetime and date cannot be told apart"),
    (UUID | bytes | None, "UUID and bytes cannot be told apart"),
    (str | Side, "str and Side cannot be told apart"),
    (Side | Word, "Side and Word cannot be told apart"),
    (str | Literal["a"], "str and Literal['a'] cannot be told apart"),
    (list[int] | list[str], "list and list cannot be told apart"),
    (list[int] | tuple[str, int], "list and tuple cannot be told apart"),
    (Order | dict[str, int], "Order and dict cannot be told apart"),
    (int | dict[str, int], "int and dict cannot be told apart"),
    (float | dict[str, int], "float and dict cannot be told apart"),
    (collections.deque[int] | Order, "deque and Order cannot be told apart"),
    (One | Two, "One and Two cannot be told apart"),
    (Literal[b"a"], "Literal[b'a'] cannot be saved; use str, int, bool, None or enum members"),
    (Literal["buy", Side.BUY], "Literal[<Side.BUY: 'buy'>] and another value would both be saved as 'buy'"),
    (Literal[2**70], "cannot be saved; use str, int"),
    (
        "Nowhere",
        "its annotations cannot be resolved (name 'Nowhere' is not defined); define what they name at module level",
    ),
]


@pytest.mark.parametrize(("annotation", "reason"), REFUSED, ids=[str(n) for n in range(len(REFUSED))])
def test_check_type_field_that_cannot_survive_is_refused(annotation, reason):
    """A field whose values could not come back is refused before there are any."""
    with pytest.raises(SchemaError) as caught:
        check_type(_class_of(annotation))

    assert str(caught.value).startswith("State cannot be saved: ")
    assert reason in str(caught.value)


def test_check_type_names_class_and_field_of_every_problem():
    """All problems are told at once, each with the class that has the field."""

    @attrs.define
    class Inner:
        tags: list
        any: Any

    @attrs.define
    class Outer:
        inner: dict[str, Inner]
        again: Inner
        hook: Callable[[], None]
        bare: Any = attrs.field()

    with pytest.raises(SchemaError) as caught:
        check_type(Outer)

    assert str(caught.value) == (
        "Outer cannot be saved: Inner.tags: list does not say what is in it; use list[T]; "
        "Inner.any: Any does not say what to restore; name the type, or a union of attrs classes; "
        "Outer.hook: Callable[[], None] would not come back as it was; use the data that the function works on; "
        "code is not state; Outer.bare: Any does not say what to restore; name the type, or a union of attrs classes"
    )


def test_check_type_field_without_annotation_is_refused():
    """A field must say what it holds."""
    with pytest.raises(SchemaError, match=r"State\.field: has no type; annotate it"):
        check_type(attrs.make_class("State", ["field"]))


@pytest.mark.parametrize("as_type", [Any, object, list, Plain, Box, [int], 5, "Order"])
def test_check_type_root_that_cannot_survive_is_refused(as_type):
    """The same holds for the type itself, whatever it is."""
    with pytest.raises(SchemaError, match="cannot be saved"):
        check_type(as_type)


@pytest.mark.parametrize(
    "annotation",
    [
        UserId | OrderId,  # both ints: a NewType has no class of its own at run time
        Annotated[int, "cents"],
        Annotated[list[int], ["no hash"]],
        typing.Optional[int],  # noqa: UP045
        typing.Dict[str, typing.List[int]],  # noqa: UP006
        int | float | bool | str | None | list[int] | Order | Fill,
        Literal["a", 1, True] | None,
        Box[Box[int]],
        set[Fill | int],
        dict[UserId, int],
        dict[Literal["a"], int],
    ],
)
def test_check_type_that_survives_passes(annotation):
    """What can be saved is not refused."""
    check_type(_class_of(annotation))
    check_type(annotation)


def test_check_type_field_of_a_class_with_subclasses_is_refused_on_demand():
    """The subclass that would be cut can be named before there is a value of it."""

    @attrs.define
    class State:
        all: list[Parent]
        either: Parent | Child
        child: Child

    check_type(State)
    with pytest.raises(SchemaError) as caught:
        check_type(State, subclasses=True)

    assert str(caught.value) == (
        "State cannot be saved: State.all: Parent has subclasses, whose fields would be cut; use the union Parent | Child"
    )


def test_check_type_root_with_subclasses_passes():
    """A state's own class may be derived from: which class it is, is known."""
    check_type(Parent, subclasses=True)


def test_check_type_local_class_may_name_itself():
    """A class that is defined in a function can contain itself."""

    @attrs.define
    class Tree:
        below: list["Tree"]

    assert decode(encode(Tree([Tree([])]), Tree), Tree) == Tree([Tree([])])


def test_check_type_ignores_class_variables():
    """Only fields are state."""

    @attrs.define
    class State:
        shared: ClassVar[Any] = object()
        a: int = 0

    check_type(State)
    assert describe(State).text == "a: int = default"


def test_encode_type_that_cannot_survive_is_refused_with_the_same_words():
    """Without a check at the start the first write says the same."""
    with pytest.raises(
        SchemaError, match=r"list\[object\] cannot be saved: list\[object\]: object does not say what to restore"
    ):
        encode([], list[object])


def test_check_type_alias_statement_is_looked_through():
    """``type X = …`` of Python 3.12 is as good as what it stands for."""
    alias = getattr(typing, "TypeAliasType", None)
    if alias is None:
        check_type(int)  # Python 3.11 has no such statement
        return

    check_type(_class_of(alias("Prices", list[Decimal])))
    with pytest.raises(SchemaError, match="object does not say"):
        check_type(_class_of(alias("Things", list[object])))
