"""Mailboxes that a child has, and its present run has not opened: a restarted component may subscribe to other topics.

Nobody reads them, so they would hold back their senders for ever.  But a component may open its subscriptions after ``ready()``, and
is then to find everything: they are closed when it has been READY for its ``start_timeout`` without them.
"""

from typing import TYPE_CHECKING

import trio

from genesis_trio import events
from genesis_trio.events import emit
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.supervision._inbox import ProvedMessages, decode_inbox, encode_inbox

if TYPE_CHECKING:
    from genesis_trio.errors import SchemaError
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["await_readers", "runs_on", "tell_closed"]


async def runs_on(child: "ChildState", incarnation: "Incarnation") -> bool:
    """Wait for the ``start_timeout`` of *child*, or until *incarnation* has ended; True if it has not."""
    with trio.move_on_after(child.spec.start_timeout) as patience:
        await child.wait_until(lambda: child.incarnation is not incarnation)
    return patience.cancelled_caught


async def await_readers(child: "ChildState", incarnation: "Incarnation") -> None:
    """*incarnation* of *child* is READY: what it does not open in its ``start_timeout`` is closed."""
    if await runs_on(child, incarnation) and not incarnation.stopping:
        for mailbox in [each for each in child.mailboxes.values() if each.awaits_reader]:
            _close(child, incarnation, mailbox)


def _close(child: "ChildState", incarnation: "Incarnation", mailbox: Mailbox) -> None:
    del child.mailboxes[mailbox.key]
    kept = 0
    if mailbox.keeps_handled:
        incarnation.forget_mailbox(mailbox)
        kept = _set_aside(child, mailbox)
    child.tree.bus.close(mailbox)
    tell_closed(child, mailbox, kept=kept)


def _set_aside(child: "ChildState", mailbox: Mailbox) -> int:
    """Keep what waits in *mailbox* as a later process would find it; returns how many messages that are."""

    def left_out(error: "SchemaError", _: bool) -> None:
        if child.tree.hooks:
            emit(child.tree, events.CheckpointFailed, reason="unread", error=error)

    recorded = child.tree.recorded.get(child.path)
    positions = {mailbox.key: mailbox.settled}
    saved = decode_inbox(encode_inbox([mailbox], positions, {}, recorded, ProvedMessages(), left_out))
    child.unopened = {**child.unopened, **saved}
    return len(saved[mailbox.key].entries)


def tell_closed(child: "ChildState", mailbox: Mailbox, *, kept: int) -> None:
    """*mailbox* of *child* has no reader any more, and *kept* of its messages are in what is saved."""
    if child.tree.hooks:
        lost = len(mailbox) - kept
        emit(child.tree, events.MailboxClosed, child=child.path, mailbox=mailbox.key, lost=lost, kept=kept)
