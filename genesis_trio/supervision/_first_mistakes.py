"""What a component gives to its context by mistake, in words: apart, because it is looked at once."""

import numbers
from decimal import Decimal

__all__ = ["check_count", "check_gauge", "no_apply"]


def check_count(path: str, name: object, n: object) -> None:
    """Refuse what cannot be counted: it would break everybody's numbers, when they are read."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a counter of {path!r} is a text, got {name!r}")
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"count({name!r}, {n!r}) of {path!r} adds a whole number; for other numbers there is gauge()")
    if n < 0:
        raise ValueError(
            f"count({name!r}, {n!r}) of {path!r}: a counter only grows; for what also falls there is gauge()"
        )


def check_gauge(path: str, name: object, value: object) -> float:
    """*value* as the float of a gauge; money may be decimal."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a gauge of {path!r} is a text, got {name!r}")
    if isinstance(value, bool) or not isinstance(value, numbers.Real | Decimal):
        raise TypeError(f"gauge({name!r}, {value!r}) of {path!r} wants a number")
    return float(value)


def no_apply(component: object) -> str:
    """Why an event of this component cannot be applied, and what to write."""
    if component is None:
        return (
            "it is a function, which has no state; write `class …(Component[State])` with `async def run(self, ctx)`, and "
            "give State a method `apply(self, event)`"
        )
    return "its state has no method `apply(self, event)`"
