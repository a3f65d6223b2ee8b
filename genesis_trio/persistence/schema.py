"""Names and versions of what is saved: `schema` for classes, `migrates` for the way from one version to the next.

Nothing here encodes anything, and nothing heavy is imported: these two decorators stand in
modules that are imported at every start.
"""

import inspect
import weakref
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import attrs

from genesis_trio.errors import SchemaError

__all__ = ["Migration", "find_migration", "migrates", "name_and_version", "registered_class", "schema"]

T = TypeVar("T")
Step = Callable[[dict[str, Any]], dict[str, Any]]

_MARK = "__genesis_schema__"

# Weak, so that a class defined in a function goes when nothing else holds it.  In the order of definition.
_classes: dict[str, list[weakref.ref[type]]] = {}
_migrations: dict[tuple[str, int], list["Migration"]] = {}


@attrs.frozen
class Migration:
    """One step of a path from an older saved form to a newer one."""

    step: Step
    name: str
    version: int
    to_name: str
    to_version: int

    @property
    def home(self) -> tuple[str, str]:
        return _home(self.step)

    def __str__(self) -> str:
        return f"{self.name} {self.version} -> {self.to_name} {self.to_version}"


def schema(name: str, *, version: int = 1) -> Callable[[type[T]], type[T]]:
    """Give an attrs class the name and version under which it is saved.

    The name stays when the class is renamed or moved.  Raise *version* whenever a field is
    added, removed or changes its type, and write a `migrates` function for the version before.
    Without this decorator a class is saved under its qualified name (without the module),
    as version 1.

    Several classes may carry one name, as `migrates` needs when the old class is kept beside the new one;
    where a class has to be found by its name alone, the highest version is taken.

    Args:
        name: Not empty, without white space.
        version: A whole number from 1.

    Raises:
        TypeError: the class is not an attrs class (the decorator belongs above ``@attrs.define``).
        ValueError: an unusable name or version, or a class that already has a name.

    Trio checkpoint: never.
    """
    _check_name("schema", name)
    _check_version("version", version)

    def mark(cls: type[T]) -> type[T]:
        if not isinstance(cls, type):
            raise TypeError(f"@schema({name!r}) goes on a class, not on {cls!r}")
        # Looked up in the class itself: a subclass inherits the attribute without being an attrs class.
        if "__attrs_attrs__" not in cls.__dict__:
            raise TypeError(
                f"@schema({name!r}) needs an attrs class, and {cls.__qualname__} is none (yet); "
                f"write it above @attrs.define, so that it is applied last"
            )
        if _MARK in cls.__dict__:
            raise ValueError(
                f"{cls.__qualname__} already has the schema name {cls.__dict__[_MARK][0]!r}; it can have one"
            )
        setattr(cls, _MARK, (name, version))
        others = [ref for ref in _classes.get(name, ()) if (other := ref()) is not None and _home(other) != _home(cls)]
        _classes[name] = [*others, weakref.ref(cls)]
        return cls

    return mark


def migrates(schema: str, from_version: int, *, to: tuple[str, int] | None = None) -> Callable[[Step], Step]:
    """Teach the framework to bring the saved form of *schema* from one version to the next.

    The function takes the fields as JSON shows them (a Decimal is a string, an attrs class a
    dict; whole numbers are ints of any size) and returns the fields of the next version in the
    same shape.  It may change and return its argument.  Steps are run one after the other, so
    only the step from the version before has to be written.  Fields with a default may be left out.

    Args:
        schema: The name given to ``@schema``, or the qualified name of a class that had none.
        from_version: The version that the function takes.
        to: Name and version of what it returns, when the name changed;
            None means the same name and ``from_version + 1``.

    Raises:
        TypeError: not a plain function, or wrong types.
        ValueError: an unusable name or version, or a step that leads nowhere new.

    Trio checkpoint: never.
    """
    _check_name("schema", schema)
    _check_version("from_version", from_version)
    if to is None:
        to = (schema, from_version + 1)
    if not (isinstance(to, tuple) and len(to) == 2):
        raise TypeError(f"to must be a pair of name and version, got {to!r}")
    _check_name("to", to[0])
    _check_version("to", to[1])
    if to[0] == schema and to[1] <= from_version:
        raise ValueError(f"a migration leads to a newer version, not from {from_version} to {to[1]} of {schema!r}")

    def register(step: Step) -> Step:
        if not callable(step) or inspect.iscoroutinefunction(step):
            raise TypeError(
                f"@migrates({schema!r}, {from_version}) goes on a plain function of a dict, not on {step!r}"
            )
        new = Migration(step, schema, from_version, *to)
        others = [one for one in _migrations.get((schema, from_version), ()) if one.home != new.home]
        _migrations[schema, from_version] = [*others, new]
        return step

    return register


def name_and_version(cls: type) -> tuple[str, int]:
    """What ``@schema`` gave to this very class (not to a base of it), or its qualified name and 1.

    Of a class that is defined in a function, the name is what stands after the function's.
    """
    mark: tuple[str, int] | None = cls.__dict__.get(_MARK)
    return mark if mark is not None else (cls.__qualname__.rpartition("<locals>.")[2], 1)


def registered_class(name: str) -> type | None:
    """The class with the ``@schema`` *name*, in its highest version; None when there is none.

    Raises:
        SchemaError: two classes of importable modules have the same name and version.
    """
    alive = [cls for ref in _classes.get(name, ()) if (cls := ref()) is not None]
    if not alive:
        return None
    newest = max(name_and_version(cls)[1] for cls in alive)
    same = [cls for cls in alive if name_and_version(cls)[1] == newest]
    chosen: type = _choose(f"classes have @schema({name!r}, version={newest})", same)
    return chosen


def find_migration(name: str, version: int, *, near: str) -> Migration | None:
    """The step that takes *version* of the schema *name*, or None.

    Args:
        near: The module of the class that is wanted; when several steps are registered, its own go first.

    Raises:
        SchemaError: two modules have a step for it, and neither is *near*.
    """
    found = _migrations.get((name, version), [])
    found = [one for one in found if one.home[0] == near] or found
    if not found:
        return None
    step = _choose(f"functions have @migrates({name!r}, {version})", [one.step for one in found])
    return next(one for one in found if one.step is step)


def _choose(what: str, found: Sequence[Any]) -> Any:
    # What is defined in a function is made anew each time it runs: the newest replaces those before.
    # Two that can both be imported are somebody's mistake, and guessing would restore the wrong state.
    if len(found) > 1 and "<locals>" not in found[-1].__qualname__:
        names = ", ".join(f"{each.__module__}.{each.__qualname__}" for each in found)
        raise SchemaError(f"{len(found)} {what}: {names}; give one of them another name or version")
    return found[-1]


def _home(thing: Any) -> tuple[str, str]:
    return getattr(thing, "__module__", ""), getattr(thing, "__qualname__", repr(thing))


def _check_name(argument: str, name: object) -> None:
    if not isinstance(name, str):
        hint = "; write `@schema('…')`" if isinstance(name, type) else ""
        raise TypeError(f"{argument} must be a str, got {name!r}{hint}")
    if not name or any(letter.isspace() for letter in name):
        raise ValueError(f"{argument} must be a name without white space, got {name!r}")


def _check_version(argument: str, version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool):
        raise TypeError(f"{argument} must be an int, got {version!r}")
    if version < 1:
        raise ValueError(f"{argument} must be at least 1, got {version!r}")
