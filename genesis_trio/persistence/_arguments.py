"""The names that callers of a store give."""

__all__ = ["check_label", "check_name"]


def check_name(what: str, name: object) -> str:
    """*name*, which is to be found again by: some text that can be encoded."""
    if not isinstance(name, str):
        raise TypeError(f"a {what} is a string, got {name!r}")
    if not name:
        raise ValueError(f"a {what} cannot be empty")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a {what} must be text that can be encoded, got {name!r}") from None
    return name


def check_label(label: object) -> str | None:
    """The same of a label, which may be None."""
    return None if label is None else check_name("label", label)
