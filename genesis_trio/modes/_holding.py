"""Holding a cause: the handle on it, how it takes effect, and how it goes."""

import math
import shlex
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from types import TracebackType
from typing import Protocol

import attrs
import trio

from genesis_trio import events
from genesis_trio._runtime import Run, Tree
from genesis_trio.events import emit
from genesis_trio.modes._causes import LatchLog, ModeCause
from genesis_trio.modes._clearing import clearing_clock
from genesis_trio.modes._values import Capability, Mode, mask_of

__all__ = ["Hold", "Holding", "in_words", "loosen_latched", "take"]


class Holding(Protocol):
    """A scope, as far as what is held on it knows it."""

    @property
    def path(self) -> str: ...

    @property
    def tree(self) -> Tree: ...

    @property
    def latch_log(self) -> LatchLog | None: ...

    def own_run(self) -> Run:
        """The ``trio.run`` that the scope belongs to; RuntimeError outside of it."""
        ...

    def _is_within(self, scope: object) -> bool:
        """True if *scope* is this one, or above it."""
        ...

    def _hold_of(self, owner: str, reason: str) -> "Hold | None":
        """What *owner* holds here for *reason*."""
        ...

    def _add(self, hold: "Hold") -> None:
        """*hold* is held here from now on; `_cascade` puts that into effect."""

    def _remove(self, hold: "Hold") -> None:
        """*hold* is held here no more; `_cascade` puts that into effect."""

    def _cascade(self) -> None:
        """Let what is held now be the effective mode here and below, in this step."""


class Hold(AbstractContextManager["Hold"]):
    """A held cause: the handle that `ModeScope.hold` returns.

    As a context manager it is released at the end of the block, whatever ends it.
    """

    def __init__(self, scope: Holding, cause: ModeCause, mask: int) -> None:
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
            _let_go(self, by)

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()

    def __repr__(self) -> str:
        cause = self._cause
        state = "held" if self._held else "released"
        return f"<Hold {cause.mode.name} on {cause.scope!r} by {cause.owner!r}: {cause.reason} ({state})>"


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


@trio.lowlevel.enable_ki_protection  # one step, also for Ctrl-C
def take(scope: Holding, cause: ModeCause, due: float, clears_when: Callable[[], bool] | None) -> Hold:
    """Put *cause* into effect."""
    mask = mask_of(cause.mode, cause.capabilities)
    hold = scope._hold_of(cause.owner, cause.reason)
    changed = hold is None or hold.mode != cause.mode
    if hold is None:
        hold = Hold(scope, cause, mask)
        scope._add(hold)
    else:
        hold._cause = cause
        hold._mask = mask
        hold._held = True
        hold._turn += 1
    hold.due, hold.clears_when = due, clears_when
    if due < math.inf or clears_when is not None:
        clearing_clock().watch(hold)
    else:
        clearing_clock().forget(hold)
    if changed and scope.tree.hooks:
        emit(
            scope.tree,
            events.CauseHeld,
            scope=scope.path,
            owner=cause.owner,
            reason=cause.reason,
            mode=cause.mode.name,
            latched=cause.latched,
        )
    scope._cascade()
    return hold


def loosen_latched(
    scope: Holding, held: Hold, cause: ModeCause, due: float, clears_when: Callable[[], bool] | None
) -> Hold:
    """What *cause* tightens takes effect now; what it loosens, once that is on disk."""
    assert scope.latch_log is not None
    tight = attrs.evolve(
        cause,
        mode=max(held.mode, cause.mode),
        capabilities=Capability(held._mask & mask_of(cause.mode, cause.capabilities)),
        latched=True,
    )
    turn = held._turn + 1  # that of the next line but two

    def loosen(is_written: bool) -> None:
        if is_written and held._turn == turn:
            take(scope, cause, held.due, held.clears_when)

    (scope.latch_log.held if cause.latched else scope.latch_log.released)(cause, loosen)
    return take(scope, tight, due, clears_when)


def _let_go(hold: Hold, by: str) -> None:
    scope = hold._scope
    clearing_clock().forget(hold)
    turn = hold._turn

    def loosen(is_written: bool) -> None:
        if hold._turn != turn:
            return  # held anew while the release was on its way to the disk: the newer hold stands
        if not is_written:
            hold._held = True  # it is held still, and can be released again once the disk works
            return
        if scope._hold_of(hold.owner, hold.reason) is hold:
            scope._remove(hold)
            if scope.tree.hooks:
                emit(scope.tree, events.CauseCleared, scope=scope.path, owner=hold.owner, reason=hold.reason, by=by)
            scope._cascade()

    if hold.latched and scope.latch_log is not None:
        scope.latch_log.released(hold.cause, loosen)
    else:
        loosen(True)
