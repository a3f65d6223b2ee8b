"""Who gets what is sent: one bus for a tree."""

from typing import Any, TypeVar

import trio

from genesis_trio.errors import ConfigError, MailboxFullError
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.messaging.requests import RequestQueue
from genesis_trio.messaging.topic import Overflow, Sender, Topic

__all__ = ["Bus"]

T = TypeVar("T")


class Bus:
    """The topics of one tree, their mailboxes and the newest messages of those that keep them."""

    def __init__(self) -> None:
        self._topics: dict[str, Topic[Any]] = {}
        self._routes: dict[Topic[Any], list[Mailbox]] = {}
        self._latest: dict[Topic[Any], dict[Any, tuple[Any, Sender, int]]] = {}
        self._requests: dict[Topic[Any], RequestQueue] = {}

    def _route(self, topic: Topic[Any]) -> list[Mailbox]:
        route = self._routes.get(topic)
        if route is None:
            if not isinstance(topic, Topic):
                raise TypeError(f"a message is sent to a Topic, got {topic!r}")
            known = self._topics.setdefault(topic.name, topic)
            if known is not topic:
                raise ConfigError(
                    f"two topics of this tree have the name {topic.name!r} ({known!r} and {topic!r}); "
                    f"define a topic once, at module level, and import it"
                )
            route = self._routes[topic] = []
            if topic.latest:
                self._latest[topic] = {}
        return route

    # ------------------------------------------------------------ mailboxes

    def open(self, mailbox: Mailbox, *, restored: bool) -> None:
        """Let *mailbox* receive from now on; a new one first gets the newest messages of its topics."""
        for topic in mailbox.topics:
            if mailbox.overflow is Overflow.CONFLATE and topic.key is None:
                raise ConfigError(
                    f"CONFLATE keeps the newest message of each key, but topic {topic.name!r} has no key="
                )
        for topic in mailbox.topics:
            self._route(topic).append(mailbox)
            if topic.latest and not restored:
                for message, sender, count in self._latest[topic].values():
                    mailbox.put(topic, message, sender, count)

    def refresh(self, mailbox: Mailbox) -> None:
        """A new reader came to *mailbox*: what its predecessor knew of the newest messages went with it.

        Not where handled messages are kept: there the reader's state came back together with its position.
        """
        if mailbox.keeps_handled:
            return
        for topic in mailbox.topics:
            if topic.latest:
                for message, sender, count in self._latest[topic].values():
                    if not mailbox.is_waiting(sender, count):
                        mailbox.put(topic, message, sender, count)

    def close(self, mailbox: Mailbox) -> None:
        """Stop to deliver to *mailbox*, and let those go on that wait for its room."""
        for topic in mailbox.topics:
            self._routes[topic].remove(mailbox)
        mailbox.set_holds_back(False)

    def topic(self, name: str) -> Topic[Any] | None:
        """The topic of that name, if somebody has used it."""
        return self._topics.get(name)

    # ------------------------------------------------------------ sending

    def publish(self, topic: Topic[T], message: T, sender: Sender) -> None:
        """Put *message* into every mailbox of *topic*, in one step.

        Raises:
            MailboxFullError: some mailboxes refused it; all the others have it.
        """
        route = self._routes.get(topic)
        if route is None:
            route = self._route(topic)
        if not isinstance(message, topic.message_type):
            raise TypeError(f"topic {topic.name!r} carries {topic.message_type.__name__}, got {message!r}")
        sender.count = count = sender.count + 1
        if topic.latest:
            newest = self._latest[topic]
            key = topic.key(message) if topic.key is not None else None
            newest.pop(key, None)
            newest[key] = (message, sender, count)
        refused: list[Mailbox] | None = None
        for mailbox in route:
            if not mailbox.put(topic, message, sender, count):
                refused = [*(refused or ()), mailbox]
        if refused:
            names = ", ".join(f"{mailbox.owner!r} ({len(mailbox)} of {mailbox.capacity})" for mailbox in refused)
            raise MailboxFullError(
                f"a message to topic {topic.name!r} was refused by the full mailbox of {names}; the other mailboxes "
                f"have it. Use `await ctx.send(...)` to wait for a BLOCK mailbox, or another overflow"
            )

    async def send(self, topic: Topic[T], message: T, sender: Sender) -> None:
        """Wait until every BLOCK mailbox of *topic* has room, then `publish`."""
        await trio.lowlevel.checkpoint()
        route = self._route(topic)
        # Who comes later stands behind those who wait already, or they might wait for ever.
        full = next((box for box in route if _makes_wait(box) and (box.refuses() or box.has_waiting_senders())), None)
        while full is not None:
            try:
                await full.wait_room()
            except trio.Cancelled:
                full.offer_room()  # the room that woke this sender belongs to the next one
                raise
            woken_for, full = full, next((box for box in route if _makes_wait(box) and box.refuses()), None)
            if full is not None and full is not woken_for:
                woken_for.offer_room()
        self.publish(topic, message, sender)

    # ------------------------------------------------------------ requests

    def requests(self, topic: Topic[Any]) -> RequestQueue:
        """The queue of requests on *topic*; asked for before anybody answers, they wait."""
        self._route(topic)
        queue = self._requests.get(topic)
        if queue is None:
            queue = self._requests[topic] = RequestQueue(topic)
        return queue


def _makes_wait(mailbox: Mailbox) -> bool:
    return mailbox.overflow is Overflow.BLOCK
