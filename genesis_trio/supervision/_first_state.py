"""The state of a component that has none yet."""

import inspect
from typing import TypeVar

from genesis_trio.errors import SchemaError

__all__ = ["make_first_state"]

T = TypeVar("T")


def make_first_state(state_type: type[T]) -> T:
    """A first state, made by calling its class.

    Raises:
        SchemaError: it has fields without a default, which are named.
        Exception: what the class itself raised.
    """
    try:
        return state_type()
    except TypeError:
        missing = [
            name
            for name, parameter in inspect.signature(state_type).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if not missing:
            raise  # it is the class's own
        raise SchemaError(
            f"no first {state_type.__qualname__} can be made, as {', '.join(missing)} of it has no default; the first state of a "
            f"component is {state_type.__qualname__}(), so give a default to each of its fields"
        ) from None
