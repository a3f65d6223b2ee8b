"""What one run of a component reads, and which messages it has in hand."""

from typing import TYPE_CHECKING, Any

from genesis_trio._empty import EMPTY
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.messaging.requests import RequestQueue, RequestReader
from genesis_trio.messaging.subscription import Subscription
from genesis_trio.supervision._hand import Hand

if TYPE_CHECKING:
    from genesis_trio.supervision.child import Child

__all__ = ["Reading"]


class Reading:
    """The subscriptions of one run; which of them wait for their next message, and which work on one."""

    __slots__ = ("_busy", "_delivered_before", "_open", "_resting", "_serves", "child")

    #: What its mailboxes had delivered until its state was restored; only with a store.
    _delivered_before: int

    def __init__(self, child: "Child") -> None:
        self.child = child
        self._open: dict[Subscription[Any] | RequestReader[Any], None] = EMPTY
        self._resting: dict[object, None] = EMPTY
        self._busy: dict[object, Hand | None] = EMPTY
        self._serves = False  # it has taken a request

    def open(self, subscription: Subscription[Any] | RequestReader[Any]) -> None:
        if not self._open:
            self._open, self._resting, self._busy = {}, {}, {}
        self._open[subscription] = None

    def close(self, subscription: Subscription[Any] | RequestReader[Any]) -> None:
        if subscription in self._open:
            del self._open[subscription]
            self._busy.pop(subscription, None)
            self._resting.pop(subscription, None)

    def leave(self, reader: RequestReader[Any], error: BaseException) -> None:
        """Its block ended by *error*: what it took stays with it until `finish` knows what that was, or it is opened again."""
        reader.left_by = error
        self._busy.pop(reader, None)
        self._resting.pop(reader, None)

    def check_no_reader_of(self, queue: RequestQueue) -> None:
        """Refuse a second reader of *queue*; one that was left by an error which the component handled gives back what it took."""
        for reader in [each for each in self._open if isinstance(each, RequestReader) and each.queue is queue]:
            if reader.left_by is None:
                raise ValueError(
                    f"{self.child.path!r} is in ctx.requests() of topic {queue.topic.name!r} already; open it once, and hand "
                    f"its requests to several tasks"
                )
            reader.close(reader.left_by if isinstance(reader.left_by, Exception) else None)
            self.close(reader)

    def subscriptions(self) -> list[Subscription[Any]]:
        return [subscription for subscription in self._open if isinstance(subscription, Subscription)]

    def took_request(self) -> None:
        self._serves = True

    @property
    def took_message(self) -> bool:
        """True once it was given a message or a request."""
        return self._serves or self.child.delivered() > self._delivered_before

    def forget_mailbox(self, mailbox: Mailbox) -> None:
        """*mailbox*, which it has not opened, is closed: `took_message` compares what is left."""
        self._delivered_before -= mailbox.delivered

    def in_hand(self) -> list[Mailbox]:
        """The mailboxes of which it works on a message."""
        return [mailbox for mailbox in self.child.mailboxes.values() if mailbox.in_hand]

    def hand_of(self, mailbox: Mailbox) -> Hand | None:
        """Who has the message of *mailbox* in hand; None where nobody knows."""
        return next(
            (hand for each, hand in self._busy.items() if isinstance(each, Subscription) and each._mailbox is mailbox),
            None,
        )
