"""A component's options: from a plain mapping, as a configuration file has it, to its ``options_type``."""

from collections.abc import Mapping
from typing import Any

from genesis_trio.errors import ConfigError, SchemaError

__all__ = ["structure_options"]


def structure_options(options: Mapping[str, Any], options_type: Any, *, where: str) -> Any:
    """*options* as an *options_type*, strictly: no value is turned into another type, no key is ignored.

    Raises:
        ConfigError: with the path of each wrong key, its value, and what is allowed.
    """
    import json

    from genesis_trio.persistence import codec

    try:
        body = json.dumps(dict(options)).encode()
    except TypeError as error:
        raise ConfigError(f"{where}: {error}; options are plain values, lists and tables") from error
    try:
        return codec.decode(body, options_type)
    except SchemaError as error:
        raise ConfigError(f"{where}: {error}") from error
