"""From an older saved form to the class of today, or a refusal that says what to do."""

from collections.abc import Callable
from typing import Any, Protocol

from genesis_trio.errors import SchemaError
from genesis_trio.persistence._encoding import describe, parsed, structured
from genesis_trio.persistence._fingerprint import SchemaInfo, changes
from genesis_trio.persistence._scalars import narrowed
from genesis_trio.persistence.schema import Migration, find_migration

__all__ = ["StoredSchema", "migrating_reader", "migration_path", "upgrade", "upgrading_reader"]


class StoredSchema(Protocol):
    """What was saved beside the bytes: a `SchemaInfo`, or anything with its attributes."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def text(self) -> str: ...


def upgrade(body: bytes, stored: StoredSchema, as_type: Any) -> Any:
    """The value in *body*, which was saved as *stored*, as a value of *as_type*.

    The same version and fingerprint is decoded.  An older version goes through the `migrates`
    functions, one after the other, and is decoded then.

    Raises:
        SchemaError: the fields changed and the version did not (they are named); the saved form
            is newer than the code; a migration is missing, or failed (its error is the
            ``__cause__``); or what it returned does not fit *as_type*.

    Trio checkpoint: never.
    """
    return upgrading_reader(stored, as_type)(body)


def upgrading_reader(stored: StoredSchema, as_type: Any) -> Callable[[bytes], Any]:
    """`upgrade` for all that was saved as *stored*: what is the same for all of it is found out once."""
    current = describe(as_type)
    is_version = (stored.name, stored.version) == (current.name, current.version)
    if is_version and stored.fingerprint != current.fingerprint:
        raise SchemaError(_changed(stored, current))
    return migrating_reader(stored.name, stored.version, as_type)


def migrating_reader(name: str, version: int, as_type: Any) -> Callable[[bytes], Any]:
    """The same for bytes whose fingerprint was not kept.

    Raises:
        SchemaError: as `migration_path`.
    """
    current = describe(as_type)
    path = migration_path(name, version, current, near=getattr(as_type, "__module__", ""))
    what = f"the saved form of {name} {version}"
    if path:
        return lambda body: _through(path, narrowed(parsed(body, name)), as_type)
    return lambda body: structured(parsed(body, name), as_type, what)


def _through(path: list[Migration], tree: Any, as_type: Any) -> Any:
    what = ""
    for migration in path:
        try:
            tree = migration.step(tree)
        except Exception as exc:
            raise SchemaError(f"the migration {migration} failed: {type(exc).__name__}: {exc}") from exc
        if type(tree) is not dict:
            raise SchemaError(
                f"the migration {migration} returned {type(tree).__name__}; it must return the dict of fields"
            )
        what = f"what the migration {migration} returned"
    return structured(tree, as_type, what)


def migration_path(name: str, version: int, current: SchemaInfo, *, near: str = "") -> list[Migration]:
    """The steps from *version* of *name* to *current*; none of them has run.

    Raises:
        SchemaError: the saved form is newer than *current*, or a step is missing.
    """
    path: list[Migration] = []
    been = set()
    while (name, version) != (current.name, current.version):
        if name == current.name and version > current.version:
            raise SchemaError(
                f"the saved form is {name} {version}, newer than the code, which has {name} {current.version}; "
                f"run the code that wrote it, or restore a checkpoint from before"
            )
        step = None if (name, version) in been else find_migration(name, version, near=near)
        if step is None:
            raise SchemaError(_missing(name, version, current, path))
        been.add((name, version))
        path.append(step)
        name, version = step.to_name, step.to_version
    return path


def _missing(name: str, version: int, current: SchemaInfo, path: list[Migration]) -> str:
    if name == current.name:
        text = f"no migration from {name} {version} to {current.version}; write @migrates({name!r}, {version})"
    else:
        text = (
            f"the saved form is {name} {version}, the code has {current.name} {current.version}; restore it as the class that "
            f"wrote it, or, if only the name changed, give the class @schema({name!r}, ...) "
            f"or write @migrates({name!r}, {version}, to=({current.name!r}, {current.version}))"
        )
    return f"{text} (after {', '.join(map(str, path))})" if path else text


def _changed(stored: StoredSchema, current: SchemaInfo) -> str:
    told = changes(stored.text, current.text) or ["its description was not kept"]
    return (
        f"the fields of {current.name} changed and its version did not, it is still {current.version}: {'; '.join(told)}; "
        f"raise it with @schema({current.name!r}, version={current.version + 1}) and write "
        f"@migrates({current.name!r}, {current.version}), or undo the change"
    )
