"""When state is saved by itself."""

import math
from typing import Any

import attrs

__all__ = ["CheckpointPolicy", "check_at_least_one"]


def check_at_least_one(name: str, value: object) -> int:
    """*value*, if it is an int of at least 1; else TypeError or ValueError that names it."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an int, got {value!r}")
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value!r}")
    return value


def _check_every(policy: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"every must be seconds as a number, or None for no saving by time; got {value!r}")
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(f"every must be positive and finite seconds, or None for no saving by time; got {value!r}")


def _check_count(policy: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if value is not None:
        check_at_least_one(attribute.name, value)


def _check_keep(policy: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    check_at_least_one("keep", value)


def _check_flag(policy: object, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{attribute.name} must be True or False, got {value!r}")


@attrs.frozen(kw_only=True)
class CheckpointPolicy:
    """When a tree saves a checkpoint by itself, and how many are kept.

    Whichever trigger comes first counts, and all start anew with every saved checkpoint.

    Args:
        every: Seconds between two; up to 20 % of jitter keeps many trees apart.  None: not by time.
        messages: Messages that one component has handled since its last part.  None: not by messages.
        bytes: Bytes of journal since the last one, over all components.  None: not by size.
        keep: How many are kept for each component, whatever they were saved for; labelled ones, and the newest that is
            known to be good, stay besides.
        keep_journal: Keep all records, to replay them from the first one.  Otherwise, when saved checkpoints are removed,
            so are the records that each one left includes: see `Store.shorten_journal`, also for their keys.

    Raises:
        ValueError: a number that cannot work.
        TypeError: not a number.
    """

    every: float | None = attrs.field(default=30.0, validator=_check_every)
    messages: int | None = attrs.field(default=1000, validator=_check_count)
    bytes: int | None = attrs.field(default=None, validator=_check_count)
    keep: int = attrs.field(default=10, validator=_check_keep)
    keep_journal: bool = attrs.field(default=False, validator=_check_flag)
