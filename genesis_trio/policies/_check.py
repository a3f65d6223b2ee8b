"""Arguments are checked where they are given, with the value and what would be allowed in the message."""

import math


def number(
    owner: str,
    name: str,
    value: float,
    *,
    least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """*value* as a finite float, or the error that says what ``owner(name=…)`` allows.

    Raises:
        TypeError: not a number; a bool is none.
        ValueError: NaN, infinite, or outside of *least* (inclusive), *above* and *below* (exclusive).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{owner}({name}=…) wants a number, got {value!r}")
    bounds = [
        text
        for text, bound in ((f"at least {least}", least), (f"more than {above}", above), (f"less than {below}", below))
        if bound is not None
    ]
    if (
        not math.isfinite(value)
        or (least is not None and value < least)
        or (above is not None and value <= above)
        or (below is not None and value >= below)
    ):
        allowed = " and ".join(["finite", *bounds])
        raise ValueError(f"{owner}({name}={value!r}): {name} must be {allowed}")
    return float(value)


def whole(owner: str, name: str, value: int, *, least: int) -> int:
    """*value* as a whole number of at least *least*, or the error that says so.

    Raises:
        TypeError: not an int; a bool is none.
        ValueError: less than *least*.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}({name}=…) wants a whole number, got {value!r}")
    if value < least:
        raise ValueError(f"{owner}({name}={value!r}): {name} must be at least {least}")
    return value
