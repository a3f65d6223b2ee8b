"""A member of an enum as an argument: configuration files have names, Python has members."""

import enum

__all__ = ["check_member", "no_member"]


def check_member(what: str, value: object, kind: type[enum.Enum]) -> None:
    """Refuse a *value* that is no member of *kind*.

    Raises:
        TypeError: see `no_member`.
    """
    if not isinstance(value, kind):
        raise no_member(what, value, kind)


def no_member(what: str, value: object, kind: type[enum.Enum]) -> TypeError:
    """The error that names the member which the text *value* stands for, or else all of them."""
    name = kind.__name__
    article = "an" if name[0] in "AEIOU" else "a"
    named = [member.name for member in kind if isinstance(value, str) and member.name == value.upper()]
    hint = f"write {name}.{named[0]}" if named else f"there are {', '.join(f'{name}.{member.name}' for member in kind)}"
    return TypeError(f"{what} is {article} {name}, got {value!r}; {hint}")
