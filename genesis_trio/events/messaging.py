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
