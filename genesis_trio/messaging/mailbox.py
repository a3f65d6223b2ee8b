"""A mailbox: what waits for a reader, what it has in hand, and what it may need again.

It belongs to the supervisor, so it survives the reader.  Every message has a position; the
reader's progress is the position up to which it has handled messages::

      handled, kept until a save covers them │ in hand │ waiting
    ─────────────────────────────────────────┼─────────┼──────────────►  positions
                                         settled

After a crash the reader's state is that of some saved position, so everything after that
position comes again, in the old order.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import trio

from genesis_trio.messaging.topic import MailboxStatistics, Overflow, Sender, Topic

__all__ = ["POISON_LIMIT", "Entry", "Mailbox"]

#: Crashes on one message before it is put aside.
POISON_LIMIT = 3


class Entry(NamedTuple):
    """One message in a mailbox.  A sender known only by name (restored from disk) is a plain string."""

    position: int
    topic: Topic[Any]
    message: Any
    sender: Sender | str
    number: int

    @property
    def origin(self) -> str:
        """Where the message came from: the same at each redelivery."""
        return self.sender if isinstance(self.sender, str) else self.sender.origin(self.number)


class Mailbox:
    """The messages of some topics for one child, in the order of their arrival.

    Args:
        owner: The child's path, for messages to people.
        topics: What it subscribes to.
        capacity: How many messages may wait.
        overflow: What happens to one more.
        keeps_handled: Keep handled messages until `covered`: the child's state is saved, and may come back older.
        on_dead: Called with an entry that was put aside.
    """

    def __init__(
        self,
        owner: str,
        topics: tuple[Topic[Any], ...],
        *,
        capacity: int,
        overflow: Overflow,
        keeps_handled: bool,
        on_dead: Callable[[Entry], None],
    ) -> None:
        self.owner = owner
        self.topics = topics
        self.capacity = capacity
        self.overflow = overflow
        self.keeps_handled = keeps_handled and overflow.keeps_all
        #: False while the child is parked or suspended: then nobody waits for it, and what it misses is counted.
        self.holds_back = True
        #: When set, the time of the newest message is kept for it, in `last_arrival`.
        self.on_arrival: Callable[[], None] | None = None
        self.next_position = 1
        #: Everything up to this position is handled.
        self.settled = 0
        self.dead_letters: list[Any] = []
        self._on_dead = on_dead
        self._waiting: deque[Entry] = deque()
        self._by_key: dict[Any, Entry] = {}  # CONFLATE: what waits, oldest update first
        self._in_hand: list[Entry] = []
        self._handled: deque[Entry] = deque()
        self._crashes: dict[int, int] = {}  # position to crashes
        self._one_by_one_to = 0  # a batch crashed: up to this position messages come singly
        self._seen_to = 0  # the highest position that was ever delivered
        self._readers = trio.lowlevel.ParkingLot()
        self._senders = trio.lowlevel.ParkingLot()
        self._delivered = self._dropped = self._missed = self._redelivered = 0

    def __repr__(self) -> str:
        return f"<Mailbox of {self.owner!r} for {', '.join(topic.name for topic in self.topics)}>"

    @property
    def key(self) -> str:
        """What it is found by in a saved checkpoint."""
        return mailbox_key(self.topics)

    # ------------------------------------------------------------ putting in

    def is_full(self) -> bool:
        """True if one more message would not simply be added."""
        return len(self) >= self.capacity

    def refuses(self) -> bool:
        """True if the next `put` is refused; a sender may wait for that to end."""
        return self.holds_back and self.overflow.keeps_all and len(self._waiting) >= self.capacity

    def put(self, topic: Topic[Any], message: Any, sender: Sender, count: int) -> bool:
        """Add a message; False if it was refused."""
        if self.overflow is Overflow.CONFLATE:
            self._put_newest(topic, message, sender, count)
        else:
            waiting = self._waiting
            if len(waiting) >= self.capacity:
                if not self.holds_back:
                    waiting.popleft()
                    self._missed += 1
                elif self.overflow is Overflow.DROP_OLDEST:
                    waiting.popleft()
                    self._dropped += 1
                else:
                    return False
            position = self.next_position
            self.next_position = position + 1
            waiting.append(Entry(position, topic, message, sender, count))
        if self._readers:
            self._readers.unpark_all()
        if self.on_arrival is not None:
            self.on_arrival()
        return True

    def _put_newest(self, topic: Topic[Any], message: Any, sender: Sender, count: int) -> None:
        assert topic.key is not None  # looked at when the mailbox was opened
        key = (topic.name, topic.key(message))
        by_key = self._by_key
        if by_key.pop(key, None) is not None:
            self._dropped += 1
        elif len(by_key) >= self.capacity:
            del by_key[next(iter(by_key))]
            if self.holds_back:
                self._dropped += 1
            else:
                self._missed += 1
        by_key[key] = Entry(self.next_position, topic, message, sender, count)
        self.next_position += 1

    async def wait_room(self) -> None:
        """Wait, in the order of arrival, until a message could be put in; may return a little too early."""
        await self._senders.park()

    def has_waiting_senders(self) -> bool:
        return bool(self._senders)

    def offer_room(self) -> None:
        """Wake as many senders as there is room for."""
        if self._senders:
            room = len(self._senders) if not self.holds_back else self.capacity - len(self._waiting)
            if room > 0:
                self._senders.unpark(count=room)

    def set_holds_back(self, holds_back: bool) -> None:
        self.holds_back = holds_back
        self.offer_room()

    # ------------------------------------------------------------ taking out

    def __len__(self) -> int:
        return len(self._by_key) if self._by_key else len(self._waiting)

    def is_waiting(self, sender: Sender, number: int) -> bool:
        """True if that message of *sender* is still to be handed out."""
        return any(
            entry.number == number and entry.sender is sender for entry in (*self._waiting, *self._by_key.values())
        )

    async def wait(self) -> None:
        """Wait until something arrives, or somebody calls `wake`."""
        await self._readers.park()

    def wake(self) -> None:
        """Make the reader look again: it is to stop."""
        self._readers.unpark_all()

    def settle(self) -> None:
        """What was in hand is handled: the reader asks for more."""
        in_hand = self._in_hand
        if in_hand:
            self.settled = in_hand[-1].position
            if self._crashes:
                for entry in in_hand:
                    self._crashes.pop(entry.position, None)
            if self.keeps_handled:
                self._handled.extend(in_hand)
            self._in_hand = []

    def take(self, at_most: int | None) -> list[Entry]:
        """Hand out up to *at_most* messages (None: all); they are in hand until `settle`."""
        if self._by_key:
            # A crashed reader's message is older than any update of its key, and comes first.
            waiting = deque(self._waiting)
            waiting.extend(self._by_key.values())
        else:
            waiting = self._waiting
        if self._one_by_one_to and waiting and waiting[0].position <= self._one_by_one_to:
            at_most = 1
        if at_most is None or at_most >= len(waiting):
            taken = list(waiting)
            self._waiting = deque()
            self._by_key = {}
        else:
            taken = [waiting.popleft() for _ in range(at_most)]
            if self._by_key:
                self._waiting = deque()
                self._by_key = {(e.topic.name, e.topic.key(e.message) if e.topic.key else None): e for e in waiting}
        self._in_hand = taken
        self._delivered += len(taken)
        if taken:
            last = taken[-1].position
            if taken[0].position <= self._seen_to:
                self._redelivered += sum(entry.position <= self._seen_to for entry in taken)
            self._seen_to = max(self._seen_to, last)
        if self._senders:
            self.offer_room()
        return taken

    @property
    def in_hand(self) -> list[Entry]:
        """What the reader works on."""
        return self._in_hand

    # ------------------------------------------------------------ coming back

    def give_back(self, *, crashed: bool, to: int | None = None) -> None:
        """The reader is gone; put what it had in hand back to the front.

        Args:
            crashed: It ended by an error of its own: that is counted against a single message in hand, and
                a batch comes back one by one.
            to: The position of the state that the next reader gets; everything after it comes again.
                None: its state was not saved, so only what was in hand comes again.
        """
        again = deque(self._in_hand)
        self._in_hand = []
        if crashed and len(again) == 1:
            again = deque(self._count_crash(again[0]))
        elif crashed and again:
            self._one_by_one_to = max(self._one_by_one_to, again[-1].position)
        if to is not None:
            while self._handled and self._handled[-1].position > to:
                again.appendleft(self._handled.pop())
            self.settled = to
        again.extend(self._waiting)
        if to is not None:
            # The state may be newer than what waits: a save was under way when an earlier reader came back older.
            while again and again[0].position <= to:
                again.popleft()
        self._waiting = again

    def _count_crash(self, entry: Entry) -> list[Entry]:
        crashes = self._crashes.get(entry.position, 0) + 1
        if crashes < POISON_LIMIT:
            self._crashes[entry.position] = crashes
            return [entry]
        self._crashes.pop(entry.position, None)
        self.dead_letters.append(entry.message)
        self._on_dead(entry)
        return []

    def covered(self, position: int) -> None:
        """A save holds the state at *position*: what was handled up to there is never needed again."""
        handled = self._handled
        while handled and handled[0].position <= position:
            handled.popleft()

    @property
    def kept(self) -> int:
        """How many handled messages wait for a save to cover them."""
        return len(self._handled)

    def entries_after(self, position: int) -> Iterable[Entry]:
        """Everything after *position*, handled or not, in order: what a saved checkpoint holds."""
        yield from (entry for entry in self._handled if entry.position > position)
        yield from (entry for entry in self._in_hand if entry.position > position)
        yield from self._waiting

    def restore(self, entries: Iterable[Entry], *, settled: int, next_position: int) -> None:
        """Begin with what a saved checkpoint holds."""
        self._waiting.extend(entries)
        self.settled = settled
        # Messages after the save took higher positions; they may be stored elsewhere under these.
        self.next_position = max(next_position, settled + 1, *(entry.position + 1 for entry in self._waiting))
        self._seen_to = settled

    def statistics(self) -> MailboxStatistics:
        return MailboxStatistics(
            waiting=len(self),
            delivered=self._delivered,
            dropped=self._dropped,
            missed=self._missed,
            redelivered=self._redelivered,
            dead=len(self.dead_letters),
        )


def mailbox_key(topics: tuple[Topic[Any], ...]) -> str:
    """The name of a subscription in its child: its topics, in any order."""
    return ",".join(sorted(topic.name for topic in topics))
