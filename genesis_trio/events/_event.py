"""What every event has: a time, a tree, a name, a severity."""

import enum
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs


class Severity(enum.IntEnum):
    """How much attention an event deserves; the values are those of `logging`."""

    INFO = 20
    WARNING = 30
    ERROR = 40


@attrs.frozen(kw_only=True)
class Event:
    """Base of all events.

    Attributes:
        time: Seconds on Trio's clock when it happened.
        tree: Name of the tree it happened in; empty outside of a supervisor.
    """

    name: ClassVar[str] = "event"
    severity: ClassVar[Severity] = Severity.INFO

    time: float = attrs.field()
    tree: str = attrs.field()

    def as_dict(self) -> Mapping[str, Any]:
        """The event as a flat mapping of plain values: its name, its severity and its fields."""
        fields = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {"event": self.name, "severity": self.severity.name.lower(), **fields}


def describe_error(error: BaseException) -> str:
    """Type and text of *error* in one line: what events and messages carry instead of the live object.

    It never raises: an error that cannot tell its text is still the one that its caller waits for.
    """
    try:
        text = str(error)
    except Exception as failure:
        text = f"its text cannot be made ({type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
