"""Causes: what is held, the handle on it, and where latched ones are written."""

import inspect
import math
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import attrs
import trio

from genesis_trio._members import check_member
from genesis_trio.modes._values import Capability, Mode, mask_of, number, text

if TYPE_CHECKING:
    from genesis_trio.modes._scope import ModeScope

__all__ = ["Hold", "LatchLog", "ModeCause", "check_cause", "check_operator", "in_words"]


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


def in_words(hold: "Hold") -> str:
    """What is held, whose it is, and everything that clears it."""
    cause = hold.cause
    ends = []
    if cause.expires is not None:
        ends.append(f"it expires at {cause.expires:%Y-%m-%d %H:%M:%S} UTC")
    if hold.clears_when is not None:
        ends.append("it clears by itself when its condition is true")
    if cause.latched:
        command = shlex.join(["genesis", "clear", cause.scope, cause.owner, cause.reason])
        ends.append(f"it is latched: an operator clears it with `{command}`, or with clear(owner, reason, by=...)")
    if not ends:
        ends.append(hold.ends() if hold.ends is not None else "it clears when its owner releases it")
    return (
        f"{cause.mode.name} held on {cause.scope!r} by {cause.owner!r} since {cause.since:%Y-%m-%d %H:%M:%S} UTC: "
        f"{cause.reason}; {', or '.join(ends)}"
    )


class LatchLog(Protocol):
    """Where latched causes are written: the supervisor's, over its store."""

    def restore(self, scope: "ModeScope") -> None:
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


class Hold(AbstractContextManager["Hold"]):
    """A held cause: the handle that `ModeScope.hold` returns.

    As a context manager it is released at the end of the block, whatever ends it.
    """

    def __init__(self, scope: "ModeScope", cause: ModeCause, mask: int) -> None:
        self._scope = scope
        self._cause = cause
        self._mask = mask
        self._held = True
        self._turn = 0  # grows with each hold and release, so that a write that comes back knows whether it is the last
        self.due = math.inf
        self.clears_when: Callable[[], bool] | None = None
        self.ends: Callable[[], str] | None = None  # in words, how its owner comes to release it

    @property
    def cause(self) -> ModeCause:
        """The cause as a frozen record."""
        return self._cause

    @property
    def owner(self) -> str:
        return self._cause.owner

    @property
    def reason(self) -> str:
        return self._cause.reason

    @property
    def mode(self) -> Mode:
        return self._cause.mode

    @property
    def since(self) -> datetime:
        return self._cause.since

    @property
    def latched(self) -> bool:
        return self._cause.latched

    @property
    def is_held(self) -> bool:
        """False once it was released, expired or cleared."""
        return self._held

    def is_loosened_by(self, cause: ModeCause) -> bool:
        """True if *cause* in its place would allow more, or survive less."""
        mask = mask_of(cause.mode, cause.capabilities)
        return cause.mode < self.mode or bool(mask & ~self._mask) or not cause.latched

    def release(self) -> None:
        """Give the cause back; again has no effect, and no other cause is ever touched.

        Raises:
            RuntimeError: it is called from outside of the scope's ``trio.run``, as from a thread; it is held still.

        Trio checkpoint: never.
        """
        self.cleared("released")

    @trio.lowlevel.enable_ki_protection  # one step, also for Ctrl-C
    def cleared(self, by: str) -> None:
        if self._held:
            self._scope.own_run()  # before anything changes: a refused release can be made again
            self._held = False
            self._turn += 1
            self._scope._let_go(self, by)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        cause = self._cause
        state = "held" if self._held else "released"
        return f"<Hold {cause.mode.name} on {cause.scope!r} by {cause.owner!r}: {cause.reason} ({state})>"
