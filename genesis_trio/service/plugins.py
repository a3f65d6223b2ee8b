"""Components by name: ``module:attribute``, or an entry point of the group ``genesis_trio.components``.

A plugin is loaded only when it is named, so a broken one never stops the others.
"""

import importlib
import importlib.metadata
from typing import Any

from genesis_trio.errors import PluginError

__all__ = ["GROUP", "load_component"]

GROUP = "genesis_trio.components"


def load_component(name: str) -> Any:
    """The component that *name* stands for.

    Raises:
        PluginError: there is none, or it cannot be imported; with its distribution and the reason.
    """
    if ":" in name:
        return _load_attribute(name)
    found = importlib.metadata.entry_points(group=GROUP, name=name)
    if not found:
        known = sorted(point.name for point in importlib.metadata.entry_points(group=GROUP))
        raise PluginError(
            f"there is no component {name!r}: write module:attribute, or install a package that has an entry point of "
            f"that name in the group {GROUP!r}; installed are: {', '.join(known) or 'none'}"
        )
    point = next(iter(found))
    source = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"
    try:
        return point.load()
    except Exception as error:
        raise PluginError(
            f"plugin {name!r} ({point.value}, of {source}) cannot be loaded: {type(error).__name__}: {error}"
        ) from error


def _load_attribute(name: str) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:
        raise PluginError(f"component {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    return found
