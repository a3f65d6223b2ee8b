"""The scope of the current task, and the short ways to it."""

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import trio

from genesis_trio._runtime import current_run, current_tree
from genesis_trio.modes._scope import _SCOPE, ModeScope
from genesis_trio.modes._values import Capability, Mode

__all__ = ["allows", "cancel_when", "current_mode", "current_scope", "mode_scope", "require", "root_scope"]

_ROOT: trio.lowlevel.RunVar[ModeScope] = trio.lowlevel.RunVar("genesis_trio.root_scope")


def root_scope() -> ModeScope:
    """The scope above all others of this run; NORMAL unless somebody holds a cause on it."""
    try:
        return _ROOT.get()
    except LookupError:
        scope = ModeScope("root", None, current_run().tree)
        _ROOT.set(scope)
        return scope


def current_scope() -> ModeScope:
    """The scope of the current task: its component's, its supervisor's, or the root scope where there is neither.

    Trio checkpoint: never.
    """
    scope = _SCOPE.get(None)
    return scope if scope is not None else root_scope()


def current_mode() -> Mode:
    """The effective mode of the current task's scope.

    Trio checkpoint: never.
    """
    return current_scope()._mode


def allows(needs: Capability) -> bool:
    """True if the current task may do everything in *needs* now.

    Trio checkpoint: never.
    """
    return not needs.value & ~current_scope().mask


def require(needs: Capability) -> None:
    """Return if the current task may do everything in *needs* now; see `ModeScope.require`.

    Raises:
        ModeRefusedError: it may not.

    Trio checkpoint: never.
    """
    current_scope().require(needs)


def cancel_when(mode: Mode) -> AbstractContextManager[trio.CancelScope]:
    """Cancel the block as soon as the current task's mode is *mode* or worse; see `ModeScope.cancel_when`."""
    return current_scope().cancel_when(mode)


@contextlib.contextmanager
def mode_scope(name: str) -> Iterator[ModeScope]:
    """A scope without a supervisor, below the current one: for the block, and for what the block starts.

    Trio checkpoint: never.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"the name of a scope is not empty and has no '/', got {name!r}")
    scope = ModeScope(name, current_scope(), current_tree())
    token = _SCOPE.set(scope)
    try:
        yield scope
    finally:
        _SCOPE.reset(token)
        scope.detach()
