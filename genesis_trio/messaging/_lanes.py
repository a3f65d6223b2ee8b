"""Where messages wait: one lane for the ordinary messages of a mailbox, and one for the urgent ones.

A message that waits is a plain tuple, or one of a `Batch`, and has no position yet; it gets one when it is handed out.  So an urgent
message overtakes, positions still grow in the order in which messages are handled, and putting one in costs little.
"""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio.messaging.topic import Intake, Overflow, Sender, Topic

if TYPE_CHECKING:
    from genesis_trio.messaging.mailbox import Mailbox

__all__ = ["Batch", "Lane", "Message", "NewestLane"]

#: Topic, message, sender, and the sender's count.  A sender known only by name (restored from disk) is a plain string.
Message = tuple[Topic[Any], Any, Sender | str, int]


class Batch:
    """Messages that follow each other, of one topic and one sender: one object, however many they are.

    Tuples of their own would cost more to make, and to be looked at by the garbage collector, than all the rest of a
    message's way (benchmarks/bench_messaging.py).
    """

    __slots__ = ("first", "messages", "next", "sender", "topic")

    def __init__(self, topic: Topic[Any], messages: list[Any], sender: Sender | str, first: int) -> None:
        self.topic = topic
        self.messages = messages
        self.sender = sender
        self.first = first
        self.next = first + len(messages)

    def __len__(self) -> int:
        return len(self.messages)

    def __iter__(self) -> Iterator[Message]:
        topic, sender = self.topic, self.sender
        return ((topic, message, sender, number) for number, message in enumerate(self.messages, self.first))


class Lane:
    """Messages in the order of their arrival: BLOCK, REJECT and DROP_OLDEST."""

    __slots__ = ("_full_at", "_growing", "_senders", "_size", "_waiting", "mailbox", "makes_wait")

    def __init__(self, mailbox: "Mailbox") -> None:
        self.mailbox = mailbox
        #: A sender waits for room.
        self.makes_wait = mailbox.overflow is Overflow.BLOCK
        self._waiting: deque[Message | Batch] = deque()
        self._growing: Batch | None = None  # the last thing that waits, where the next message may belong to it
        self._size = 0
        self._full_at = 0
        self._senders = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[Message]:
        for item in self._waiting:
            if type(item) is tuple:
                yield item
            else:
                assert isinstance(item, Batch)
                yield from item

    # ------------------------------------------------------------ room

    @property
    def room(self) -> int:
        """How many more messages are taken before one is refused, or another one dropped."""
        return self._full_at - self._size

    def refuses(self, sender: Sender | str) -> bool:
        """True if the next `put` of *sender* is refused; it may wait for that to end."""
        mailbox = self.mailbox
        return self._size >= self._full_at and mailbox.overflow.keeps_all and mailbox.holds_back(sender)

    def fit(self, full_at: int) -> None:
        """So many may wait from now on."""
        self._full_at = full_at
        self.offer_room()

    async def wait_room(self) -> None:
        """Wait, in the order of arrival, until a message could be put in; may return a little too early."""
        await self._senders.park()

    def makes_queue(self, sender: Sender) -> bool:
        """True if *sender* has to stand behind others that wait."""
        return bool(self._senders) and self.mailbox.holds_back(sender)

    def offer_room(self) -> None:
        """Wake as many senders as there is room for."""
        if self._senders and self.room > 0:
            self._senders.unpark(count=self.room)

    def ask_senders(self) -> None:
        """Let those that wait look again: the mailbox may hold others back than before."""
        self._senders.unpark_all()

    # ------------------------------------------------------------ in and out

    def put(self, topic: Topic[Any], message: Any, sender: Sender | str, number: int) -> bool:
        """Add a message; False if it was refused."""
        if self._size >= self._full_at and not self._make_room(sender):
            return False
        self._size += 1
        growing = self._growing
        if growing is not None and growing.next == number and growing.sender is sender and growing.topic is topic:
            growing.messages.append(message)
            growing.next = number + 1
        else:
            self._append(topic, message, sender, number)
        if self.mailbox.listens:
            self.mailbox.arrived()
        return True

    def put_anyway(self, topic: Topic[Any], message: Any, sender: Sender, number: int) -> None:
        """Add a message, beyond the capacity if need be: nobody could send it again."""
        full_at = self._full_at
        if self.mailbox.overflow.keeps_all:
            self._full_at = max(full_at, self._size + 1)
        self.put(topic, message, sender, number)
        self._full_at = full_at

    def _append(self, topic: Topic[Any], message: Any, sender: Sender | str, number: int) -> None:
        """A message that belongs to no batch, unless it follows the one before it: with that it begins one."""
        waiting = self._waiting
        last = waiting[-1] if waiting else None
        if isinstance(last, tuple) and last[3] == number - 1 and last[2] is sender and last[0] is topic:
            waiting[-1] = self._growing = Batch(topic, [last[1], message], sender, number - 1)
        else:
            waiting.append((topic, message, sender, number))
            self._growing = None

    def put_batch(self, batch: Batch) -> None:
        """Add messages for which there is room, or which may push others out."""
        if len(batch) <= self.room:
            self._size += len(batch)
            self._waiting.append(batch)
            self._growing = None  # other lanes have it, too
            if self.mailbox.listens:
                self.mailbox.arrived()
        else:
            self._put_singly(batch)

    def _put_singly(self, batch: Batch) -> None:
        topic, sender = batch.topic, batch.sender
        for number, message in enumerate(batch.messages, batch.first):
            self.put(topic, message, sender, number)

    def _make_room(self, sender: Sender | str) -> bool:
        mailbox = self.mailbox
        if mailbox.intake is Intake.KEEP_NEWEST:
            # More than one, where a crash brought back what was in hand, or the first start took in more than there is room for.
            while self._size >= self._full_at:
                mailbox.missed += 1
                self._drop_oldest()
        elif mailbox.overflow is Overflow.DROP_OLDEST:
            mailbox.dropped += 1
            self._drop_oldest()
        elif mailbox.holds_back(sender):
            mailbox.refused += 1
            return False
        return True

    def _drop_oldest(self) -> None:
        if not self.mailbox.drop_first(self):
            self.take(1)

    def take(self, at_most: int | None) -> list[list[Message] | Batch]:
        """Hand out up to *at_most* messages (None: all), in runs."""
        waiting = self._waiting
        self._growing = None  # it may be handed out here
        left = self._size if at_most is None else min(at_most, self._size)
        self._size -= left
        runs: list[list[Message] | Batch] = []
        while left:
            item = waiting.popleft()
            if type(item) is tuple:
                run = [item]
                while len(run) < left and waiting and type(waiting[0]) is tuple:
                    run.append(waiting.popleft())  # type: ignore[arg-type]
                runs.append(run)
                left -= len(run)
            else:
                assert isinstance(item, Batch)
                if len(item) > left:
                    waiting.extendleft(reversed(list(item)))  # once, and not a copy of the rest for each one taken
                    continue
                runs.append(item)
                left -= len(item)
        return runs

    def take_one(self) -> Message:
        """Hand out the first message; there is one."""
        item = self._waiting.popleft()
        if not isinstance(item, tuple):
            if item is self._growing:
                self._growing = None
            self._waiting.extendleft(reversed(list(item)))
            return self.take_one()
        self._size -= 1
        return item


class NewestLane(Lane):
    """The newest message of each key, in the order of the last updates: CONFLATE."""

    __slots__ = ("_by_key",)

    def __init__(self, mailbox: "Mailbox") -> None:
        super().__init__(mailbox)
        self._by_key: dict[Any, Message] = {}

    def __len__(self) -> int:
        return len(self._by_key)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._by_key.values())

    def put(self, topic: Topic[Any], message: Any, sender: Sender | str, number: int) -> bool:
        assert topic.key is not None  # looked at when the mailbox was opened
        mailbox, by_key = self.mailbox, self._by_key
        key = (topic.name, topic.key(message))
        if by_key.pop(key, None) is not None:
            mailbox.dropped += 1
        elif len(by_key) >= mailbox.capacity:
            del by_key[next(iter(by_key))]
            if mailbox.intake is Intake.KEEP_NEWEST:
                mailbox.missed += 1
            else:
                mailbox.dropped += 1
        by_key[key] = (topic, message, sender, number)
        if mailbox.listens:
            mailbox.arrived()
        return True

    def put_batch(self, batch: Batch) -> None:
        self._put_singly(batch)

    def take(self, at_most: int | None) -> list[list[Message] | Batch]:
        by_key = self._by_key
        if at_most is None or at_most >= len(by_key):
            taken = list(by_key.values())
            by_key.clear()
        else:
            taken = [by_key.pop(next(iter(by_key))) for _ in range(at_most)]
        return [taken] if taken else []

    def take_one(self) -> Message:
        return self._by_key.pop(next(iter(self._by_key)))
