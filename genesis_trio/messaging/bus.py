"""Who gets what is sent: one bus for a tree."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from threading import get_ident
from typing import Any, TypeVar
from weakref import WeakSet

import trio

from genesis_trio.errors import ConfigError, MailboxFullError
from genesis_trio.messaging._lanes import Batch, Lane
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.messaging.requests import RequestQueue
from genesis_trio.messaging.topic import Intake, Overflow, Sender, Topic, check_topic

__all__ = ["Bus"]

T = TypeVar("T")


class Bus:
    """The topics of one tree, their mailboxes and the newest messages of those that keep them.

    Attributes:
        thread: The one that runs its ``trio.run``.
    """

    def __init__(self) -> None:
        self.thread = get_ident()
        self._topics: dict[str, Topic[Any]] = {}
        self._routes: dict[Topic[Any], list[Lane]] = {}
        # The newest of each key, in the order of the last updates, and by the number of those updates.
        self._latest: dict[Topic[Any], dict[Any, tuple[Any, Sender, int, int]]] = {}
        self._updates = 0
        #: For a mailbox that was closed, and may come back as it was saved, by owner and key: the updates until then.
        self._seen: dict[tuple[str, str], int] = {}
        self._requests: dict[Topic[Any], RequestQueue] = {}
        self._cut_off: dict[str, AbstractSet[str]] = {}
        self._refusals = WeakSet[MailboxFullError]()  # whoever holds one may send its message again

    def _route(self, topic: Topic[Any]) -> list[Lane]:
        route = self._routes.get(check_topic(topic))
        if route is None:
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

    def check_name(self, topic: Topic[Any]) -> None:
        """Refuse a topic whose name another one of this tree has."""
        self._route(topic)

    # ------------------------------------------------------------ mailboxes

    def open(self, mailbox: Mailbox, *, restored: bool) -> None:
        """Let *mailbox* receive from now on; first it gets the newest messages of its topics.

        One that was *restored* gets those that it has not seen: what it has, its reader's state may hold already.
        """
        for topic in mailbox.topics:
            if mailbox.overflow is Overflow.CONFLATE and topic.key is None:
                raise ConfigError(
                    f"CONFLATE keeps the newest message of each key, but topic {topic.name!r} has no key="
                )
        seen = self._seen.pop((mailbox.owner, mailbox.key), 0)
        for topic in mailbox.topics:
            self._route(topic).append(mailbox.lane(topic))
            if topic.latest:
                for message, sender, count, update in self._latest[topic].values():
                    if not restored or update > seen:
                        mailbox.lane(topic).put_anyway(topic, message, sender, count)

    def refresh(self, mailbox: Mailbox) -> None:
        """A new reader came to *mailbox*: what its predecessor knew of the newest messages went with it.

        Not where handled messages are kept: there the reader's state came back together with its position.
        """
        if mailbox.keeps_handled:
            return
        for topic in mailbox.topics:
            if topic.latest:
                for message, sender, count, _ in self._latest[topic].values():
                    if not mailbox.is_waiting(sender, count):
                        mailbox.lane(topic).put_anyway(topic, message, sender, count)

    def close(self, mailbox: Mailbox) -> None:
        """Stop to deliver to *mailbox*, and let those go on that wait for its room."""
        for topic in mailbox.topics:
            self._routes[topic].remove(mailbox.lane(topic))
        if mailbox.keeps_handled and any(topic.latest for topic in mailbox.topics):
            self._seen[mailbox.owner, mailbox.key] = self._updates
        mailbox.set_intake(Intake.KEEP_NEWEST)

    def origins(self) -> Iterator[str]:
        """Where the messages came from that a mailbox may get yet: the newest, and those that a sender may give it again."""
        for newest in self._latest.values():
            for _, sender, count, _ in newest.values():
                yield sender.origin(count)
        yield from (error.origin for error in self._refusals if error.origin is not None)

    def topic(self, name: str) -> Topic[Any] | None:
        """The topic of that name, if somebody has used it."""
        return self._topics.get(name)

    # ------------------------------------------------------------ sending

    def publish(self, topic: Topic[T], message: T, sender: Sender) -> None:
        """Put *message* into every mailbox of *topic*, in one step.

        Raises:
            MailboxFullError: some mailboxes refused it; all the others have it.
        """
        try:
            route = self._routes.get(topic)
        except TypeError:  # it has no hash, so it is no topic
            route = None
        if route is None:
            route = self._route(topic)
        if not isinstance(message, topic.message_type):
            _check_message(topic, message)
        sender.count = count = sender.count + 1
        if topic.latest:
            newest = self._latest[topic]
            key = topic.key(message) if topic.key is not None else None
            newest.pop(key, None)
            self._updates = update = self._updates + 1
            newest[key] = (message, sender, count, update)
        refused: list[Lane] | None = None
        for lane in route:
            if not lane.put(topic, message, sender, count):
                refused = [*(refused or ()), lane]
        if refused:
            raise self._refusal(topic, refused, sender.origin(count))

    def publish_again(self, topic: Topic[T], message: T, sender: Sender, error: MailboxFullError) -> None:
        """Put *message* into the mailboxes that *error* names, as the message that it was.

        Raises:
            MailboxFullError: some of them refused it again.
        """
        route = self._refusing(topic, error)
        _check_message(topic, message)
        assert error.origin is not None
        number = int(error.origin.rpartition("#")[2])
        # An earlier incarnation of the sender is known by its name.
        who, count = (sender, number) if sender.origin(number) == error.origin else (error.origin, 0)
        refused = [lane for lane in route if not lane.put(topic, message, who, count)]
        if refused:
            raise self._refusal(topic, refused, error.origin)

    def _refusing(self, topic: Topic[Any], error: MailboxFullError) -> list[Lane]:
        """The mailboxes that *error* names, as far as there still are any."""
        route = self._route(topic)
        if not isinstance(error, MailboxFullError):
            raise TypeError(f"retry_of is the MailboxFullError that the message was refused with, got {error!r}")
        if error.topic != topic.name or error.origin is None:
            raise ValueError(f"retry_of is about no message to topic {topic.name!r}: {error!r}")
        return [lane for lane in route if lane.mailbox.owner in error.mailboxes]

    def _refusal(self, topic: Topic[Any], refused: list[Lane], origin: str) -> MailboxFullError:
        error = _refusal(topic, refused, origin)
        self._refusals.add(error)
        return error

    async def send(self, topic: Topic[T], message: T, sender: Sender, retry_of: MailboxFullError | None = None) -> None:
        """Wait until every BLOCK mailbox of *topic* has room, or of those that *retry_of* names; then publish."""
        if retry_of is None:
            await _wait_room(self._route(topic), sender)
            self.publish(topic, message, sender)
        else:
            await _wait_room(self._refusing(topic, retry_of), sender)
            self.publish_again(topic, message, sender, retry_of)

    async def send_all(self, topic: Topic[T], messages: Sequence[T], sender: Sender) -> None:
        """`send` each of *messages*, as many in one step as every mailbox has room for."""
        route = self._route(topic)
        expected = topic.message_type
        if list(map(type, messages)).count(expected) < len(messages):  # the cheapest way to look at each of thousands
            for message in messages:
                _check_message(topic, message)
        if not messages:
            await trio.lowlevel.checkpoint()
        at = 0
        while at < len(messages):
            await _wait_room(route, sender)
            rooms = [lane.room for lane in route if lane.mailbox.overflow.keeps_all and lane.mailbox.holds_back(sender)]
            cut = messages[at : at + max(1, min(rooms, default=len(messages)))]
            chunk = cut if isinstance(cut, list) else list(cut)
            if len(chunk) == 1 or topic.latest:
                for message in chunk:
                    self.publish(topic, message, sender)
            else:
                batch = Batch(topic, chunk, sender, sender.count + 1)
                sender.count += len(batch)
                for lane in route:
                    lane.put_batch(batch)
            at += len(chunk)

    # ------------------------------------------------------------ requests

    def requests(self, topic: Topic[Any]) -> RequestQueue:
        """The queue of requests on *topic*; asked for before anybody answers, they wait."""
        self._route(topic)
        queue = self._requests.get(topic)
        if queue is None:
            queue = self._requests[topic] = RequestQueue(topic, self._cut_off)
        return queue

    def cut_off(self, asker: str, away: AbstractSet[str]) -> None:
        """The child at *asker* is to end before those at *away* begin again: what it asks of them alone fails."""
        self._cut_off[asker] = away
        for queue in self._requests.values():
            queue.fail_cut_off(asker)

    def reconnect(self, asker: str) -> None:
        """The child at *asker* has ended: its next incarnation may ask whom it likes."""
        self._cut_off.pop(asker, None)

    def stop_answering(self, path: str, *, for_good: bool) -> None:
        """The child at *path* has ended; see `RequestQueue.stop_answering`."""
        for queue in self._requests.values():
            queue.stop_answering(path, for_good=for_good)


async def _wait_room(route: list[Lane], sender: Sender) -> None:
    """Wait until every BLOCK lane of *route* has room for *sender*; a Trio checkpoint in any case."""
    full = _first_full(route, sender)
    if full is None:
        await trio.lowlevel.checkpoint()
        full = _first_full(route, sender)
    while full is not None:
        await full.wait_room()  # cancelled only while it waits: who was woken for room uses it, or hands it on below
        woken_for, full = full, next((lane for lane in route if lane.makes_wait and lane.refuses(sender)), None)
        if full is not None and full is not woken_for:
            woken_for.offer_room()


def _first_full(route: list[Lane], sender: Sender) -> Lane | None:
    """Who comes later stands behind those who wait already, or they might wait for ever."""
    for lane in route:
        if lane.makes_wait and (lane.refuses(sender) or lane.makes_queue(sender)):
            return lane
    return None


def _check_message(topic: Topic[Any], message: object) -> None:
    if not isinstance(message, topic.message_type):
        raise TypeError(f"topic {topic.name!r} carries {topic.message_type.__name__}, got {message!r}")


def _refusal(topic: Topic[Any], refused: list[Lane], origin: str) -> MailboxFullError:
    full = [lane.mailbox for lane in refused]
    names = ", ".join(f"{box.owner!r} ({len(box)} of {box.capacity})" for box in full)
    return MailboxFullError(
        f"a message to topic {topic.name!r} was refused by the full mailbox of {names}; the other mailboxes "
        f"have it. `await ctx.send(topic, message, retry_of=error)` gives it to these alone, and waits for room where they "
        f"BLOCK; sent anew it is a new message for all of them",
        topic=topic.name,
        mailboxes=tuple(box.owner for box in full),
        origin=origin,
    )
