"""What mailboxes tell."""

import attrs

from genesis_trio.events._event import Event, Severity


@attrs.frozen(kw_only=True)
class MessageDead(Event):
    """A message crashed its reader three times and was put aside."""

    name = "message_dead"
    severity = Severity.ERROR
    child: str
    topic: str
    position: int


@attrs.frozen(kw_only=True)
class MailboxClosed(Event):
    """A restarted component did not subscribe again, or its host did not start it again: *mailbox*, named by its topics, holds nobody
    back any more.  *lost* messages went with it, and *kept* ones wait in what is saved until it subscribes again.
    """

    name = "mailbox_closed"
    severity = Severity.WARNING
    child: str
    mailbox: str
    lost: int
    kept: int
