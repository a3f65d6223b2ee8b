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


GROUP_WORDS = 3


def describe_error(error: BaseException) -> str:
    """Type and text of *error* in one line: what events and messages carry instead of the live object.

    A group says what is in it, up to `GROUP_WORDS` errors: "Exceptions from Trio nursery" alone would tell nobody
    what went wrong.  It never raises: an error that cannot tell its text is still the one that its caller waits for.
    """
    if isinstance(error, BaseExceptionGroup):
        inside = _errors_in(error)
        told = "; ".join(describe_error(leaf) for leaf in inside[:GROUP_WORDS])
        more = f"; and {len(inside) - GROUP_WORDS} more" if len(inside) > GROUP_WORDS else ""
        return f"{type(error).__name__}: {error.message} [{told}{more}]"
    try:
        text = str(error)
    except Exception as failure:
        text = f"its text cannot be made ({type(failure).__name__})"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _errors_in(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors in *group* in their order, however deep they are; a loop, because the groups may be deeper than the stack."""
    found: list[BaseException] = []
    waiting: list[BaseException] = [group]
    while waiting:
        error = waiting.pop()
        if isinstance(error, BaseExceptionGroup):
            waiting.extend(reversed(error.exceptions))
        else:
            found.append(error)
    return found
