"""Components and instruments by name: ``module:attribute``, or an entry point of their group.

A plugin is loaded only when it is named, so a broken one never stops the others.
"""

import difflib
import importlib
import importlib.metadata
import inspect
from collections.abc import Callable
from typing import Any

from genesis_trio.errors import PluginError
from genesis_trio.events import Event, describe_error

__all__ = ["GROUP", "INSTRUMENTS", "load_component", "load_exception", "load_instrument"]

GROUP = "genesis_trio.components"
INSTRUMENTS = "genesis_trio.instruments"


def load_component(name: str) -> Any:
    """The component that *name* stands for.

    Raises:
        PluginError: there is none, or it cannot be imported; with its distribution and the reason.
    """
    return _load("component", GROUP, name)


def load_instrument(name: str) -> Callable[[Event], None]:
    """The instrument that *name* stands for: a function of one event, as `observe` takes it.

    Raises:
        PluginError: there is none, it cannot be imported, or it is no such function; with its distribution and the reason.
    """
    found = _load("instrument", INSTRUMENTS, name)
    if not callable(found) or isinstance(found, type) or inspect.iscoroutinefunction(found) or not _takes_one(found):
        raise PluginError(
            f"instrument {name!r} is {found!r}, but must be a function of one event that does not await, as `observe` takes it"
        )
    return found  # type: ignore[no-any-return]


def _takes_one(hook: Callable[..., Any]) -> bool:
    """Whether ``hook(event)`` is a call that it takes; also if nobody can say, as of a function written in C."""
    try:
        inspect.signature(hook).bind(None)
    except TypeError:
        return False
    except ValueError:
        pass
    return True


def _load(what: str, group: str, name: str) -> Any:
    if ":" in name:
        return _load_attribute(what, name)
    found = list(importlib.metadata.entry_points(group=group, name=name))
    if not found:
        known = sorted({point.name for point in importlib.metadata.entry_points(group=group)})
        raise PluginError(
            f"there is no {what} {name!r}: write module:attribute, or install a package that has an entry point of "
            f"that name in the group {group!r}; installed are: {', '.join(known) or 'none'}"
        )
    if len({point.value for point in found}) > 1:
        raise PluginError(
            f"there are several {what}s {name!r}: {', '.join(f'{point.value} of {_source(point)}' for point in found)}; "
            f"write the module:attribute of the one that is meant"
        )
    point = found[0]
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # a module that ends the process when it is imported is broken as well
        raise PluginError(
            f"plugin {name!r} ({point.value}, of {_source(point)}) cannot be loaded: {describe_error(error)}"
        ) from error


def load_exception(name: str) -> type[BaseException]:
    """The exception that *name* stands for: ``OSError``, or ``module:Name``.

    Raises:
        PluginError: there is none.
    """
    found = _load_attribute("exception", name if ":" in name else f"builtins:{name}")
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise PluginError(f"{name!r} is no exception, but {found!r}; name a built-in one or module:Name")
    return found


def _source(point: importlib.metadata.EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"


def _load_attribute(what: str, name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.partition(".")[0]:
            hint = "; install the package that has it, or name its directory in PYTHONPATH"
        raise PluginError(f"{what} {name!r} cannot be loaded: {describe_error(error)}{hint}") from error
    for part in attribute.split("."):
        if not hasattr(found, part):
            near = difflib.get_close_matches(part, dir(found), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise PluginError(f"{what} {name!r} cannot be loaded: {module_name!r} has no {attribute!r}{hint}")
        found = getattr(found, part)
    return found
