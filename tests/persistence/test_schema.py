"""`schema` and `migrates`: what they accept, where classes and steps are found."""

import subprocess
import sys

import attrs
import pytest

from genesis_trio import migrates, schema
from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import describe
from genesis_trio.persistence.schema import find_migration, name_and_version, registered_class


@schema("schema-test.twin")
@attrs.define
class Twin:
    a: int


@schema("schema-test.twin")
@attrs.define
class OtherTwin:
    a: int


@schema("schema-test.versions")
@attrs.define
class First:
    a: int


@schema("schema-test.versions", version=3)
@attrs.define
class Third:
    a: int


@schema("schema-test.versions", version=2)
@attrs.define
class Second:
    a: int


def _module_function(name, module):
    def step(fields):
        return {**fields, "by": module}

    step.__qualname__, step.__module__ = name, module
    return step


@pytest.mark.parametrize("decorate", [attrs.define, attrs.frozen, attrs.define(slots=False)])
def test_schema_marks_every_kind_of_attrs_class(decorate):
    """Slots, no slots, frozen: name and version are those of the class."""

    @schema("schema-test.kind", version=4)
    @decorate
    class State:
        a: int

    assert name_and_version(State) == ("schema-test.kind", 4)
    assert (describe(State).name, describe(State).version) == ("schema-test.kind", 4)
    assert State(1) == State(1)


def test_schema_below_the_attrs_decorator_is_a_type_error():
    """The other order would mark a class that attrs throws away; the error says how to write it."""
    with pytest.raises(
        TypeError, match=r"needs an attrs class, and .*State is none \(yet\); write it above @attrs\.define"
    ):

        @attrs.define
        @schema("schema-test.order")
        class State:
            a: int


def test_schema_on_an_undecorated_subclass_is_a_type_error():
    """A subclass that attrs has not seen has the fields of its base only."""
    with pytest.raises(TypeError, match="needs an attrs class"):

        @schema("schema-test.sub")
        class Sub(Twin):
            b: int = 0


def test_schema_on_something_else_is_a_type_error():
    """Only classes have a schema."""
    with pytest.raises(TypeError, match="goes on a class, not on 5"):
        schema("schema-test.five")(5)  # type: ignore[type-var]


def test_schema_twice_on_one_class_is_a_value_error():
    """A class has one name."""
    with pytest.raises(ValueError, match=r"Twin already has the schema name 'schema-test\.twin'; it can have one"):
        schema("schema-test.more")(Twin)


@pytest.mark.parametrize(
    ("name", "version", "error", "message"),
    [
        ("", 1, ValueError, "schema must be a name without white space, got ''"),
        ("a b", 1, ValueError, "got 'a b'"),
        (5, 1, TypeError, "schema must be a str, got 5"),
        ("a", 0, ValueError, "version must be at least 1, got 0"),
        ("a", True, TypeError, "version must be an int, got True"),
        ("a", "1", TypeError, "version must be an int, got '1'"),
    ],
)
def test_schema_unusable_arguments_are_refused_at_once(name, version, error, message):
    """Wrong values are errors where they are written."""
    with pytest.raises(error, match=message):
        schema(name, version=version)


def test_schema_is_not_inherited():
    """A subclass is saved under its own name, or it would be restored as its base."""

    @attrs.define
    class Sub(Twin):
        b: int

    assert name_and_version(Sub) == ("Sub", 1)
    assert describe(Sub).name == "Sub"


def test_schema_default_name_is_the_qualified_name_without_module_and_function():
    """Moving a class to another module keeps its name."""

    class Outer:
        @attrs.define
        class Inner:
            a: int

    assert name_and_version(Outer.Inner) == ("Outer.Inner", 1)


def test_schema_highest_version_is_the_one_that_is_found():
    """An old class kept beside the new one does not hide it, whatever their order."""
    assert registered_class("schema-test.versions") is Third
    assert registered_class("schema-test.nobody") is None


def test_schema_two_importable_classes_with_one_name_are_refused_where_one_is_wanted():
    """Guessing between them would restore the wrong one; both are named."""
    with pytest.raises(
        SchemaError, match=r"2 classes have @schema\('schema-test.twin', version=1\): .*Twin, .*OtherTwin; give one"
    ):
        registered_class("schema-test.twin")


def test_schema_class_made_anew_replaces_the_one_before():
    """A class that a function defines at each call, or a module at each reload, is the newest of them."""

    def make():
        @schema("schema-test.anew")
        @attrs.define
        class Local:
            a: int

        return Local

    first, second = make(), make()

    assert first is not second
    assert registered_class("schema-test.anew") is second


def test_schema_class_of_a_reloaded_module_replaces_the_one_before():
    """The same module and name twice is one class, made again."""
    first, second = (schema("schema-test.reloaded")(attrs.make_class("Reloaded", ["a"])) for _ in range(2))

    assert first is not second
    assert registered_class("schema-test.reloaded") is second


def test_schema_local_classes_of_one_name_the_last_is_found():
    """Of classes that only functions can reach, the newest counts."""

    @schema("schema-test.local")
    @attrs.define
    class One:
        a: int

    @schema("schema-test.local")
    @attrs.define
    class Two:
        a: int

    assert registered_class("schema-test.local") is Two
    del One


def test_migrates_returns_the_function_and_is_found():
    """The function stays an ordinary one."""

    @migrates("schema-test.step", 1)
    def step(fields):
        return fields

    found = find_migration("schema-test.step", 1, near=__name__)

    assert step({"a": 1}) == {"a": 1}
    assert found is not None and found.step is step
    assert str(found) == "schema-test.step 1 -> schema-test.step 2"
    assert find_migration("schema-test.step", 2, near=__name__) is None


def test_migrates_of_two_modules_takes_the_nearest():
    """The step beside the class goes before that of a stranger; between strangers nobody guesses."""
    migrates("schema-test.near", 1)(here := _module_function("up", __name__))
    migrates("schema-test.near", 1)(_module_function("up", "plugin_a"))
    migrates("schema-test.near", 1)(_module_function("up", "plugin_b"))

    assert find_migration("schema-test.near", 1, near=__name__).step is here
    with pytest.raises(
        SchemaError, match=r"3 functions have @migrates\('schema-test.near', 1\): .*plugin_a\.up, plugin_b\.up"
    ):
        find_migration("schema-test.near", 1, near="elsewhere")


def test_migrates_registered_again_replaces_the_one_before():
    """A module that is imported again brings the same steps."""
    migrates("schema-test.again", 1)(_module_function("up", "plugin"))
    migrates("schema-test.again", 1)(new := _module_function("up", "plugin"))

    assert find_migration("schema-test.again", 1, near="").step is new


async def _awaits(fields):
    return fields


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: migrates("", 1), ValueError, "schema must be a name"),
        (lambda: migrates("a", 0), ValueError, "from_version must be at least 1"),
        (lambda: migrates("a", 1.0), TypeError, "from_version must be an int"),
        (lambda: migrates("a", 1, to="b"), TypeError, "to must be a pair of name and version, got 'b'"),
        (lambda: migrates("a", 1, to=("b", 0)), ValueError, "to must be at least 1"),
        (lambda: migrates("a", 1, to=("b c", 1)), ValueError, "to must be a name"),
        (lambda: migrates("a", 2, to=("a", 2)), ValueError, "leads to a newer version, not from 2 to 2 of 'a'"),
        (lambda: migrates("a", 1)(5), TypeError, r"goes on a plain function of a dict, not on 5"),
        (lambda: migrates("a", 1)(_awaits), TypeError, r"goes on a plain function of a dict, not on <function _awaits"),
    ],
)
def test_migrates_unusable_arguments_are_refused_at_once(make, error, message):
    """Wrong values are errors where they are written."""
    with pytest.raises(error, match=message):
        make()


def test_schema_import_does_not_import_the_codec():
    """The decorators stand in modules that every start imports; the codec is for those that save."""
    code = "import genesis_trio, sys; genesis_trio.schema; sys.exit(bool({'cattrs', 'orjson'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
