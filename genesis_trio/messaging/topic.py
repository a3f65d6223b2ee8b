"""What is sent and how it is kept: topics, overflow, timers, origins."""

import enum
from collections.abc import Callable
from datetime import datetime
from typing import Any, Generic, TypeVar

import attrs

__all__ = ["Intake", "MailboxStatistics", "Overflow", "Sender", "Timer", "Topic", "check_topic"]

T = TypeVar("T")


class Overflow(enum.Enum):
    """What a full mailbox does with one more message.

    - ``BLOCK``: ``send`` waits for room, ``publish`` raises MailboxFullError.
    - ``REJECT``: both raise; the other mailboxes of the topic are served first.
    - ``DROP_OLDEST``: the oldest message that waits goes, and is counted.
    - ``CONFLATE``: only the newest message of each key waits; what it replaces is counted.
    """

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"
    CONFLATE = "conflate"
    REJECT = "reject"

    @property
    def keeps_all(self) -> bool:
        """True where no message may be dropped, so that it is part of what is saved."""
        return self is Overflow.BLOCK or self is Overflow.REJECT


class Intake(enum.Enum):
    """What a full BLOCK or REJECT mailbox does with one more message, which depends on what its child does.

    - ``HOLD_BACK``: what its overflow says.  The child is ready, or between restarts.
    - ``TAKE_ALL``: it takes it, beyond its capacity.  The child is in its first start or is stopping, both of which have
      a time limit; until then nobody waits for it, and nothing is lost.
    - ``KEEP_NEWEST``: the oldest goes, and is counted as missed.  The child is parked or suspended, or has ended.
    """

    HOLD_BACK = "hold back"
    TAKE_ALL = "take all"
    KEEP_NEWEST = "keep newest"


class Topic(Generic[T]):
    """A name for a stream of messages of one type; define it once, at module level.

    Args:
        name: Unique in a tree; saved messages are found again by it.
        message_type: What `publish` accepts.
        key: What a message is about (an instrument, an order id), for CONFLATE and *latest*.
        latest: Hand a new mailbox the newest message of each key (without *key*: the newest).  A new reader of an
            old one gets them again as well, unless its state is saved with its position: one that comes back from a saved
            checkpoint gets those that it has not seen.
        urgent: Messages that reduce risk, such as cancels: in every inbox they stand before ordinary ones, and have
            a *capacity* of their own, so that neither a queue nor a full mailbox delays them.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: *name* is empty.
    """

    __slots__ = ("key", "latest", "message_type", "name", "urgent")

    def __init__(
        self,
        name: str,
        message_type: type[T],
        *,
        key: Callable[[T], Any] | None = None,
        latest: bool = False,
        urgent: bool = False,
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a topic is a string, got {name!r}")
        if not name:
            raise ValueError(f"a topic has a name that is not empty, got {name!r}")
        if not isinstance(message_type, type):
            raise TypeError(f"message_type of topic {name!r} is a class, got {message_type!r}")
        if key is not None and not callable(key):
            raise TypeError(f"key of topic {name!r} is a function of the message, got {key!r}")
        for what, flag in (("latest", latest), ("urgent", urgent)):
            if not isinstance(flag, bool):
                raise TypeError(f"{what} of topic {name!r} is True or False, got {flag!r}")
        self.name = name
        self.message_type = message_type
        self.key = key
        self.latest = latest
        self.urgent = urgent

    def __repr__(self) -> str:
        return f"Topic({self.name!r}, {self.message_type.__name__})"


def check_topic(topic: object) -> Topic[Any]:
    """*topic*, if it is one; its name alone is none.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(topic, Topic):
        return topic
    name = topic if isinstance(topic, str) and topic else "ticks"
    raise TypeError(
        f"messages go by a Topic, got {topic!r}; define one at module level, as in TICKS = Topic({name!r}, Tick), and give that"
    )


@attrs.frozen
class Timer:
    """An item of a subscription with ``every=``: the time has come.

    Attributes:
        at: The wall time at which it was due.  When the reader is late, the newest stands for those it missed.
    """

    at: datetime


@attrs.frozen
class MailboxStatistics:
    """What one mailbox has seen in this run.

    Attributes:
        waiting: Messages that wait now.
        delivered: Messages handed to the reader, repeats included.
        dropped: Messages dropped or replaced by its overflow rule.
        missed: Messages dropped because the reader was parked or suspended.
        redelivered: Messages handed out again after a crash or a restart.
        dead: Messages put aside after three crashes.
        refused: Messages that found it full, and were told so to their sender.
    """

    waiting: int
    delivered: int
    dropped: int
    missed: int
    redelivered: int
    dead: int
    refused: int = attrs.field(default=0, kw_only=True, eq=False)  # came later; equality is that of the others


class Sender:
    """Who sends: one incarnation of one component, counting its messages.

    ``origin(count)`` never repeats, also across processes, because *incarnation* contains the
    store's fencing token.
    """

    __slots__ = ("count", "incarnation", "path")

    def __init__(self, path: str, incarnation: str) -> None:
        self.path = path
        self.incarnation = incarnation
        self.count = 0

    def origin(self, count: int) -> str:
        """The name of its message number *count*."""
        return f"{self.path}@{self.incarnation}#{count}"
