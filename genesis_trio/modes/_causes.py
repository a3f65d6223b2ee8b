"""Causes: the record of one, what can be one, and where latched ones are written."""

import inspect
import math
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import attrs

from genesis_trio._members import check_member
from genesis_trio.modes._values import Capability, Mode, number, text

__all__ = ["LatchLog", "Latching", "ModeCause", "check_cause", "check_operator"]


@attrs.frozen(kw_only=True)
class ModeCause:
    """One cause as it stood when it was read.

    Attributes:
        scope: Path of the scope it is held on.
        owner: Who holds it: a component's path, or an operator's name.
        reason: Why, in words.  Scope, owner and reason together identify a cause.
        mode: What it demands.
        since: When it was first held; taking it over or changing its level keeps this.
        latched: It survives the process and the normal end of its owner.
        expires: When it ends by itself, or None.
        capabilities: What it leaves; None is what the mode leaves.
    """

    scope: str
    owner: str
    reason: str
    mode: Mode
    since: datetime
    latched: bool = False
    expires: datetime | None = None
    capabilities: Capability | None = None


def check_cause(
    mode: object,
    owner: object,
    reason: object,
    capabilities: object,
    *,
    latched: object,
    expires: object,
    clears_when: object,
) -> None:
    """Refuse what cannot be held, with the value and what is allowed."""
    check_member("mode", mode, Mode)
    if not text("reason", reason):
        raise ValueError(f"reason says in words why the mode is held, got {reason!r}")
    if owner is not None and not text("owner", owner):
        raise ValueError(f"owner is a component's path or an operator's name, or None for who calls, got {owner!r}")
    if capabilities is not None and not isinstance(capabilities, Capability):
        raise TypeError(f"capabilities is a Capability, or None for what the mode leaves, got {capabilities!r}")
    if not isinstance(latched, bool):
        raise TypeError(f"latched is True or False, got {latched!r}")
    if expires is not None and not 0.0 < number("expires", expires) < math.inf:
        raise ValueError(f"expires is in seconds, positive and finite, or None, got {expires!r}")
    if clears_when is not None and (not callable(clears_when) or inspect.iscoroutinefunction(clears_when)):
        raise TypeError(f"clears_when is an ordinary function without arguments, got {clears_when!r}")


def check_operator(by: object) -> None:
    """Refuse to clear a cause for nobody: the event that says so would name none."""
    if not text("by", by):
        raise ValueError(f"by is the name of the operator who clears it, got {by!r}")


class Latching(Protocol):
    """A scope, as far as what writes its latched causes knows it."""

    @property
    def path(self) -> str: ...

    def restore(self, cause: ModeCause) -> None:
        """Put a latched cause into effect that comes back from disk."""


class LatchLog(Protocol):
    """Where latched causes are written: the supervisor's, over its store."""

    def restore(self, scope: Latching) -> None:
        """Hold on the new *scope* what is latched on its path."""

    def held(self, cause: ModeCause, then: Callable[[bool], None] | None = None) -> None:
        """Write at once, and call *then* with whether it is durable."""

    def released(self, cause: ModeCause, then: Callable[[bool], None]) -> None:
        """The same for a cause that goes."""

    async def settled(self) -> None:
        """Return when everything written so far is durable; raise StoreError if something could not be written."""

    def read_note(self, key: tuple[str, str, str, str]) -> str | None:
        """What an earlier process noted about an entry action."""

    def write_note(self, key: tuple[str, str, str, str], state: str | None) -> None:
        """Note it at once; None: nothing is to be known any more."""
