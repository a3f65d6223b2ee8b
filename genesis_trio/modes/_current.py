"""The scope of the current task, and the short ways to it."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import trio

from genesis_trio._members import no_member
from genesis_trio._runtime import current_run, current_tree
from genesis_trio.modes._scope import _SCOPE, ModeScope
from genesis_trio.modes._values import Capability, Mode, text

__all__ = ["allows", "cancel_when", "current_mode", "current_scope", "mode_scope", "require", "root_scope"]

# What follows is asked before every order, so each is one frame: no call of another, the look-up bound once, and
# `_bits`, because `Enum.value` is a Python property.  Half to a third of what it was (benchmarks/bench_modes.py).
_scope = _SCOPE.get
_ROOT: trio.lowlevel.RunVar[ModeScope] = trio.lowlevel.RunVar("genesis_trio.root_scope")


def root_scope() -> ModeScope:
    """The scope above all others of this run; NORMAL unless somebody holds a cause on it."""
    try:
        return _ROOT.get()
    except (LookupError, RuntimeError):  # the latter outside of a run, which current_run says in words of ours
        scope = ModeScope("root", None, current_run().tree)
        _ROOT.set(scope)
        return scope


def current_scope() -> ModeScope:
    """The scope of the current task: its component's, its supervisor's, or the root scope where there is neither.

    Trio checkpoint: never.
    """
    scope = _scope(None)
    return scope if scope is not None else root_scope()


def current_mode() -> Mode:
    """The effective mode of the current task's scope.

    Trio checkpoint: never.
    """
    scope = _scope(None)
    return scope._mode if scope is not None else root_scope()._mode


def allows(needs: Capability) -> bool:
    """True if the current task may do everything in *needs* now.

    Trio checkpoint: never.
    """
    scope = _scope(None)
    try:
        wanted = needs._bits
    except AttributeError:
        raise no_member("needs", needs, Capability) from None
    return not wanted & ~(scope.mask if scope is not None else root_scope().mask)


def require(needs: Capability) -> None:
    """Return if the current task may do everything in *needs* now; see `ModeScope.require`.

    Raises:
        ModeRefusedError: it may not.

    Trio checkpoint: never.
    """
    scope = _scope(None)
    if scope is None:
        scope = root_scope()
    try:
        wanted = needs._bits
    except AttributeError:
        raise no_member("needs", needs, Capability) from None
    if wanted & ~scope.mask:
        raise scope._refusal(needs)


def cancel_when(mode: Mode) -> AbstractContextManager[trio.CancelScope]:
    """Cancel the block as soon as the current task's mode is *mode* or worse; see `ModeScope.cancel_when`."""
    return current_scope().cancel_when(mode)


@contextlib.contextmanager
def mode_scope(name: str) -> Iterator[ModeScope]:
    """A scope without a supervisor, below the current one: for the block, and for what the block starts.

    Trio checkpoint: never.
    """
    if not text("name", name) or "/" in name:
        raise ValueError(f"the name of a scope is not empty and has no '/', got {name!r}")
    scope = ModeScope(name, current_scope(), current_tree())
    token = _SCOPE.set(scope)
    try:
        yield scope
    finally:
        _SCOPE.reset(token)
        scope.detach()
