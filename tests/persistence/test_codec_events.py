"""Journal events: their tags, and how replay finds the class again."""

import enum
import functools
import typing
from decimal import Decimal
from typing import Annotated, Any, Generic, NewType, TypeVar

import attrs
import pytest

from genesis_trio import migrates, schema
from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import apply_candidates, decode_event, encode, event_class, event_tag

T = TypeVar("T")


@schema("events-test.fill", version=2)
@attrs.frozen
class Fill:
    price: Decimal


@schema("events-test.fill")
@attrs.frozen
class FillV1:
    px: Decimal


@migrates("events-test.fill", 1)
def rename_px(fields):
    return {"price": fields["px"]}


@attrs.frozen
class Cancel:
    order: str


@attrs.frozen
class Moved:
    pass


@attrs.frozen
class MovedFar(Moved):
    by: int = 0


class Side(enum.Enum):
    BUY = "buy"


Cancelled = NewType("Cancelled", Cancel)
AnyMove = TypeVar("AnyMove", bound=Moved)


@pytest.mark.parametrize(
    ("event", "tag"),
    [
        (Fill(Decimal(1)), "events-test.fill@2"),
        (FillV1(Decimal(1)), "events-test.fill@1"),
        (Cancel("a"), "Cancel@1"),
        (5, "int@1"),
        ("text", "str@1"),
        (Decimal(1), "Decimal@1"),
        (Side.BUY, "Side@1"),
    ],
)
def test_event_tag_is_schema_name_and_version(event, tag):
    """The tag outlives the module in which the class stands."""
    assert event_tag(event) == tag
    assert event_tag(event) == tag


@pytest.mark.parametrize("event", [{"a": 1}, [1], None, object(), Fill])
def test_event_tag_of_what_is_no_event_is_refused(event):
    """What carries no type of its own could not be found again."""
    with pytest.raises(SchemaError, match="a journal event must be an attrs object, got"):
        event_tag(event)


def test_event_class_is_found_by_its_schema_name():
    """The registry of @schema classes needs no annotation."""
    assert event_class("events-test.fill@2") is Fill
    assert event_class("events-test.fill@1") is Fill


def test_event_class_of_the_candidates_goes_first():
    """A class without @schema is found where apply is annotated with it."""

    @schema("events-test.cancel")
    @attrs.frozen
    class Yours:
        price: str

    @schema("events-test.cancel")
    @attrs.frozen
    class Mine:
        price: Decimal

    assert event_class("Cancel@1", [Cancel, Fill]) is Cancel
    assert event_class("Cancel@1", Cancel | Fill) is Cancel
    assert event_class("events-test.fill@1", (FillV1, Fill)) is Fill
    assert event_class("events-test.cancel@1", Yours) is Yours
    assert event_class("events-test.cancel@1") is Mine
    assert event_class("int@1") is int
    assert event_class("Side@1", Side) is Side


def test_event_class_unknown_says_how_to_make_it_known():
    """The error names the tag and both ways to a class."""
    with pytest.raises(SchemaError) as caught:
        event_class("gone@1", [Cancel])

    assert str(caught.value) == (
        "no class is known for journal events tagged 'gone@1'; import the module that has its @schema('gone') class, "
        "or annotate apply(self, event: ...) with it"
    )


def test_event_class_older_than_the_event_is_refused():
    """Old code does not read the events of new code."""
    with pytest.raises(
        SchemaError, match=r"tagged 'events-test.fill@3', newer than the code, which has events-test.fill 2 \(Fill\)"
    ):
        event_class("events-test.fill@3")


@pytest.mark.parametrize("tag", ["", "fill", "@1", "fill@", "fill@x"])
def test_event_class_of_no_tag_is_refused(tag):
    """A tag is a name and a version."""
    with pytest.raises(SchemaError, match="is no tag of a journal event; one looks like 'fill@1'"):
        event_class(tag)


def test_decode_event_of_an_older_version_is_migrated():
    """A journal lives longer than the code that wrote it."""
    old, new = FillV1(Decimal("1.50")), Fill(Decimal("1.50"))

    assert decode_event(encode(old, FillV1), event_tag(old)) == new
    assert decode_event(encode(new, Fill), event_tag(new)) == new
    assert decode_event(encode(7, int), event_tag(7)) == 7


def test_decode_event_that_does_not_fit_is_refused():
    """Bytes are read as strictly as those of a state."""
    with pytest.raises(SchemaError, match=r"required field missing @ \$\.order; unknown field 'x' @ \$"):
        decode_event(b'{"x":1}', "Cancel@1", Cancel)


def _state(annotation: Any, *, kind: Any = None) -> type:
    def apply(self, event):
        pass

    apply.__annotations__["event"] = annotation
    return type("State", (), {"apply": kind(apply) if kind else apply})


@pytest.mark.parametrize(
    ("annotation", "candidates"),
    [
        (Fill, (Fill,)),
        (Fill | Cancel | None, (Fill, Cancel)),
        ("Fill | Cancel", (Fill, Cancel)),
        (Moved, (Moved, MovedFar)),
        (Annotated[Fill | Cancel, "journal"], (Fill, Cancel)),
        (Cancelled, (Cancel,)),
        (AnyMove, (Moved, MovedFar)),
        (int | Side, (int, Side)),
        (Any, ()),
        (object, ()),
        ("Nowhere", ()),
        (None, ()),
    ],
)
def test_apply_candidates_come_from_the_annotation(annotation, candidates):
    """A union counts as its members, a base class as itself and what is derived from it."""
    assert apply_candidates(_state(annotation)) == candidates


def test_apply_candidates_look_through_the_alias_statement():
    """``type X = …`` of Python 3.12 counts as what it stands for."""
    alias = getattr(typing, "TypeAliasType", None)

    annotation = alias("Events", Fill | Cancel) if alias is not None else Fill | Cancel

    assert apply_candidates(_state(annotation)) == (Fill, Cancel)


def test_apply_candidates_look_at_the_first_argument_only():
    """Other annotations may exist for the type checker alone."""

    class State(Generic[T]):
        def apply(self, event: "Fill", *, strict: "Nowhere" = False) -> "Elsewhere":  # noqa: F821
            pass

    class Static:
        @staticmethod
        def apply(event: Cancel):
            pass

    class Made:
        @classmethod
        def apply(cls, event: Cancel):
            pass

    assert apply_candidates(State) == (Fill,)
    assert apply_candidates(State[int]) == (Fill,)
    assert apply_candidates(Static) == (Cancel,)
    assert apply_candidates(Made) == (Cancel,)


def test_apply_candidates_of_a_dispatching_method_are_what_it_dispatches_on():
    """functools.singledispatchmethod says by itself what it takes."""

    class State:
        @functools.singledispatchmethod
        def apply(self, event):
            raise TypeError(event)

        @apply.register
        def _(self, event: Fill):
            pass

        @apply.register
        def _(self, event: Cancel):
            pass

    assert apply_candidates(State) == (Fill, Cancel)


def test_apply_candidates_without_a_usable_apply_are_none():
    """A state without apply, or one that is no function, has no candidates."""

    class Bare:
        def apply(self):
            pass

    assert apply_candidates(int) == ()
    assert apply_candidates(Bare) == ()
    assert apply_candidates(type("State", (), {"apply": 5})) == ()
    assert apply_candidates(type("State", (), {"apply": lambda self, event: None})) == ()
