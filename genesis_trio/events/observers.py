"""Who sees the events of a tree, and how they are shown."""

import contextlib
import inspect
import logging
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import trio

from genesis_trio._runtime import Tree, current_tree
from genesis_trio.events._event import Event, Severity, describe_error
from genesis_trio.events._vocabulary import load_records

logger = logging.getLogger("genesis_trio")


@attrs.frozen(kw_only=True)
class HookFailed(Event):
    """An observer raised; it was removed."""

    name = "hook_failed"
    severity = Severity.ERROR
    hook: str
    error: str


def emit(tree: Tree, event_type: type[Event], **fields: Any) -> None:
    """Build an event of *event_type* and show it to the hooks of *tree*.

    Errors in *fields* are turned into text.  Callers test ``tree.hooks`` first, so that
    nothing is built when nobody looks.
    """
    for key, value in fields.items():
        if isinstance(value, BaseException):
            fields[key] = describe_error(value)
    event = event_type(time=trio.current_time(), tree=tree.name, **fields)
    for hook in tree.hooks:
        try:
            hook(event)
        except Exception as error:
            _remove_failed_hook(tree, hook, error)


def _remove_failed_hook(tree: Tree, hook: Callable[[Event], None], error: Exception) -> None:
    holder: Tree | None = tree
    while holder is not None:
        holder.remove_hook(hook)
        holder = holder.parent
    logger.exception("the observer %r failed and was removed", hook)
    if tree.hooks:
        emit(tree, HookFailed, hook=repr(hook), error=error)


@contextlib.contextmanager
def observe(hook: Callable[[Event], None]) -> Iterator[None]:
    """Show every event of the current tree to *hook* while inside the block.

    Outside of a supervisor that is every event of the run.  The hook must not block and
    cannot await; it sees frozen records.

    Trio checkpoint: never.
    """
    if not callable(hook) or inspect.iscoroutinefunction(hook):
        raise TypeError(f"observe() wants a plain function of one event, got {hook!r}")
    load_records()  # now, and not in the middle of the first incident
    tree = current_tree()
    tree.add_hook(hook)
    try:
        yield
    finally:
        tree.remove_hook(hook)
