"""`encode` and `decode`, and the plan that is made once for each type."""

import collections
import sys
from itertools import islice
from typing import Any

import attrs
import orjson
from cattrs import transform_error
from cattrs.errors import ForbiddenExtraKeysError

from genesis_trio.errors import SchemaError
from genesis_trio.persistence._explain import MAX_DEPTH, problems_in
from genesis_trio.persistence._fingerprint import SchemaInfo, info_of
from genesis_trio.persistence._hooks import Hooks
from genesis_trio.persistence._scalars import Reader, RefusedError, Writer, widened
from genesis_trio.persistence._shape_of import shape_of
from genesis_trio.persistence._shapes import Shape, cut_by_subclasses, records_in, type_text

__all__ = ["check_state_type", "check_type", "decode", "describe", "encode", "fitted", "parsed", "structured"]

_MANY = 20  # so many problems are told in one message


@attrs.frozen(eq=False)
class _Plan:
    name: str
    shape: Shape
    info: SchemaInfo
    write: Writer
    read: Reader
    recursive: bool


# Never emptied: a program has as many types as its source names.
_plans: dict[Any, _Plan] = {}
_good_states: set[type] = set()


def encode(value: object, as_type: Any) -> bytes:
    """The bytes of *value*, whose type is exactly *as_type*.

    Raises:
        SchemaError: with the JSON path of every value that would not come back as it is: NaN and
            infinities, naive datetimes, instances of subclasses, a bool as an int, lone
            surrogates, every other value of a wrong type, and what is nested too deep.
            Or *as_type* itself cannot be saved.

    Trio checkpoint: never.
    """
    plan = _plan(as_type)
    error: Exception | None = None
    try:
        tree = plan.write(value)
        if not (plan.recursive and _is_too_deep(tree)):
            return _dumped(tree)
    except Exception as exc:
        error = exc
    raise _error(f"{plan.name} cannot be saved", _problems(plan, value, error)) from error


def _dumped(tree: Any) -> bytes:
    try:
        return orjson.dumps(tree)
    except orjson.JSONEncodeError:
        # An int that it has no room for; looked for only now, because most states have none.  Or a lone surrogate.
        return orjson.dumps(widened(tree))


def _problems(plan: _Plan, value: object, error: Exception | None) -> list[str]:
    try:
        problems = list(islice(problems_in(plan.shape, value), _MANY + 1))
    except Exception as exc:
        error = exc
        problems = []
    # None, when a value changed between two looks, or looking at it fails.
    return problems or [f"{error!r}; does a thread change the value meanwhile? @ $"]


def decode(body: bytes, as_type: Any) -> Any:
    """The value of type *as_type* whose bytes are *body*.

    Nothing is converted that was not written so: "12" is not 12, 1.9 is not 1.  Nothing is
    ignored: an unknown field is an error.  A missing one takes its default, if there is one.

    Raises:
        SchemaError: with every problem and its JSON path.

    Trio checkpoint: never.
    """
    plan = _plan(as_type)
    return _read(plan, parsed(body, plan.name), f"the saved form of {plan.name}")


def parsed(body: bytes, name: str) -> Any:
    """The JSON value in *body*; SchemaError when it is cut, or no JSON at all."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise SchemaError(f"the saved form of {name} ({len(body)} bytes) is not whole JSON: {exc}") from exc


def structured(tree: Any, as_type: Any, what: str) -> Any:
    """As `decode`, from parsed JSON; *what* it is stands in the message."""
    return _read(_plan(as_type), tree, what)


def fitted(tree: Any, as_type: Any, what: str) -> Any:
    """As `decode`, from plain values that somebody wrote, and that were never saved."""
    return _read(_plan(as_type), tree, what, "must fit")


def _read(plan: _Plan, tree: Any, what: str, how: str = "cannot be restored as") -> Any:
    if plan.recursive and _is_too_deep(tree):
        raise SchemaError(f"{what} is nested deeper than {MAX_DEPTH} levels, which is more than is ever written")
    try:
        return plan.read(tree, None)
    except Exception as exc:
        raise _error(f"{what} {how} {plan.name}", transform_error(exc, format_exception=_reason)) from exc


def check_state_type(state_type: type) -> None:
    """Refuse a class of states that is no attrs class, and one whose fields could not survive.

    Raises:
        SchemaError: with what to write instead.

    Trio checkpoint: never.
    """
    if state_type in _good_states:
        return
    if not attrs.has(state_type):
        # A class of somebody else's cannot be decorated.
        foreign = state_type.__module__.partition(".")[0] in sys.stdlib_module_names
        name = type_text(state_type)
        target = "a class that has it as a field" if foreign else f"class {name}"
        raise SchemaError(
            f"{name} cannot be saved as a state, as it is no attrs class; write @attrs.define above {target}"
        )
    for field in attrs.fields(state_type):
        if isinstance(field.default, list | dict | set | bytearray | collections.deque):
            kind = type(field.default).__name__
            raise SchemaError(
                f"the default of {type_text(state_type)}.{field.name} is one object, so that all states share one {kind}; write "
                f"attrs.field(factory={kind})"
            )
    check_type(state_type)
    _good_states.add(state_type)


def check_type(as_type: Any, *, subclasses: bool = False) -> None:
    """Make sure that values of *as_type* survive, before there are any.

    Args:
        subclasses: Refuse a field of a class that has subclasses, too.  An instance of a subclass
            is always refused when it is written; this tells it beforehand, but also where only
            the base is ever stored, and it depends on which modules are imported.

    Raises:
        SchemaError: with every field that would not survive, the reason, and what to use instead.

    Trio checkpoint: never.
    """
    plan = _plan(as_type)
    problems = cut_by_subclasses(plan.shape) if subclasses else []
    if problems:
        raise SchemaError(f"{plan.name} cannot be saved: {'; '.join(problems)}")


def describe(as_type: Any) -> SchemaInfo:
    """Name, version, fingerprint and description of the saved form of *as_type*.

    Raises:
        SchemaError: *as_type* cannot be saved.

    Trio checkpoint: never.
    """
    return _plan(as_type).info


def _plan(as_type: Any) -> _Plan:
    try:
        return _plans[as_type]
    except KeyError:
        plan = _plans[as_type] = _make_plan(as_type)
        return plan
    except TypeError:  # an Annotated with a list in it, say, has no hash
        return _make_plan(as_type)


def _make_plan(as_type: Any) -> _Plan:
    shape = shape_of(as_type)
    hooks = Hooks()
    return _Plan(
        type_text(as_type),
        shape,
        info_of(as_type, shape),
        hooks.writer(shape),
        hooks.reader(shape),
        any(record.recursive for record in records_in(shape)),
    )


def _is_too_deep(tree: Any) -> bool:
    # Level by level and not by recursion, which is what it protects from.
    level = [tree]
    for _ in range(MAX_DEPTH + 1):
        level = [
            each
            for node in level
            for each in (node.values() if node.__class__ is dict else node if node.__class__ is list else ())
        ]
        if not level:
            return False
    return True


def _reason(exc: BaseException, tp: Any) -> str:
    """The words for one problem; cattrs's own would turn each into "invalid value"."""
    if isinstance(exc, RefusedError):
        return str(exc)
    if isinstance(exc, ForbiddenExtraKeysError):
        return f"unknown field {', '.join(map(repr, sorted(exc.extra_fields)))}"
    if isinstance(exc, KeyError) and tp is not None:
        return "required field missing"
    # attrs validators put the attribute, the validator and the value behind their message.
    return f"{type(exc).__name__}: {exc.args[0] if exc.args else ''}"


def _error(what: str, problems: list[str]) -> SchemaError:
    more = f"; and {len(problems) - _MANY} more" if len(problems) > _MANY else ""
    return SchemaError(f"{what}: {'; '.join(problems[:_MANY])}{more}")
