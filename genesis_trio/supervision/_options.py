"""A component's options: from a plain mapping, as a configuration file has it, to its ``options_type``."""

from collections.abc import Mapping
from typing import Any

import attrs

from genesis_trio.errors import ConfigError, SchemaError
from genesis_trio.supervision.component import ChildSpec

__all__ = ["options_of", "structure_options"]


def structure_options(options: Mapping[str, Any], options_type: Any, *, where: str) -> Any:
    """*options* as an *options_type*, strictly: no value is turned into another type, no key is ignored.

    Raises:
        ConfigError: with the path of each wrong key, its value, and what is allowed.
    """
    import json

    from genesis_trio.persistence import codec

    try:
        plain = json.loads(json.dumps(dict(options)))
    except TypeError as error:
        raise ConfigError(f"{where}: {error}; options are plain values, lists and tables") from error
    try:
        return codec.fitted(plain, options_type, where)
    except SchemaError as error:
        keys = ", ".join(field.name for field in attrs.fields(options_type)) if attrs.has(options_type) else ""
        hint = f"; the keys of {options_type.__name__} are {keys}" if keys else ""
        raise ConfigError(f"{error}{hint}") from error


def options_of(spec: ChildSpec) -> Any:
    """What stands at ``ctx.options`` of the child that *spec* makes; as they were given where there is no ``options_type``."""
    options_type = getattr(spec.component, "options_type", None)
    if options_type is None:
        return spec.options
    return structure_options(spec.options or {}, options_type, where=f"options of child {spec.name!r}")
