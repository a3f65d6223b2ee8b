"""A mailbox: what waits for a reader, what it has in hand, and what it may need again.

It belongs to the supervisor, so it survives the reader.  A message gets its position when it is handed out; the
reader's progress is the position up to which it has handled messages::

      handled, kept until a save covers them │ in hand │ comes again │ urgent, then ordinary: without position
    ─────────────────────────────────────────┼─────────┼─────────────┼──────────────────────────►
                                         settled

After a crash the reader's state is that of some saved position, so everything after that position comes again: in the
old order, and before anything new, also before what is urgent.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any, NamedTuple

import trio

from genesis_trio.messaging._crashes import Crashes
from genesis_trio.messaging._lanes import Batch, Lane, Message, NewestLane
from genesis_trio.messaging.topic import Intake, MailboxStatistics, Overflow, Sender, Topic

__all__ = ["Entry", "Mailbox", "mailbox_key"]

# Messages of consecutive positions, from the first one's on.
_Run = tuple[int, list[Message] | Batch]


class Entry(NamedTuple):
    """One message with its position.  A sender known only by name (restored from disk) is a plain string."""

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
        capacity: How many messages may wait; as many urgent ones beside them.
        overflow: What happens to one more.
        keeps_handled: Keep handled messages until `covered`: the child's state is saved, and may come back older.
        on_dead: Called with an entry that was put aside.
        intake: What it does when it is full.
        peers: The path at and below which nobody is held back: they stop and start with its child, and could wait for ever.

    Attributes:
        listens: A `put` has to call `arrived`.
        next_position: The position of the next new message.
        settled: Everything up to this position is handled.
        awaits_reader: The run of its child that opened it has ended, and the next one has not opened it.
        left_by_error: Its reader left what is in hand by an error of its own, and not by a cancellation.
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
        intake: Intake = Intake.HOLD_BACK,
        peers: str = "",
    ) -> None:
        self.owner = owner
        self.topics = topics
        self.overflow = overflow
        self.keeps_handled = keeps_handled and overflow.keeps_all
        self.on_dead = on_dead
        self.intake = intake
        self.peers = peers
        self.listens = False
        self.next_position = 1
        self.settled = 0
        self.awaits_reader = False
        self.left_by_error = False
        self.dead_letters: list[Any] = []
        self.dropped = self.missed = self.refused = 0
        self._on_arrival: Callable[[], None] | None = None
        self._on_depth: Callable[[int], None] | None = None
        self._again: deque[Entry] = deque()
        make_lane = NewestLane if overflow is Overflow.CONFLATE else Lane
        self._ordinary = make_lane(self)
        self._urgent = make_lane(self) if any(topic.urgent for topic in topics) else None
        self._lanes = (self._ordinary,) if self._urgent is None else (self._urgent, self._ordinary)
        self._in_hand: list[_Run] = []
        self._handled: deque[_Run] = deque()
        self._kept = 0
        self._crashes: Crashes | None = None  # made at the first one
        self._seen_to = 0  # the highest position that was ever delivered
        self._readers = trio.lowlevel.ParkingLot()
        self._delivered = self._redelivered = 0
        self.capacity = capacity

    def __repr__(self) -> str:
        return f"<Mailbox of {self.owner!r} for {', '.join(topic.name for topic in self.topics)}>"

    def __len__(self) -> int:
        waiting = len(self._again) + len(self._ordinary)
        return waiting if self._urgent is None else waiting + len(self._urgent)

    @property
    def key(self) -> str:
        """What it is found by in a saved checkpoint."""
        return mailbox_key(self.topics)

    # ------------------------------------------------------------ putting in

    def lane(self, topic: Topic[Any]) -> Lane:
        """Where messages of *topic* wait."""
        return self._urgent if self._urgent is not None and topic.urgent else self._ordinary

    @property
    def capacity(self) -> int:
        """How many messages may wait."""
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._capacity = capacity
        self._fit()
        if self._urgent is not None:
            self._urgent.fit(capacity)

    def _fit(self) -> None:
        """What comes again takes the room of ordinary messages."""
        self._ordinary.fit(self._capacity - len(self._again))

    def drop_first(self, lane: Lane) -> bool:
        """Drop the oldest of what comes again, to make room in *lane*; False if there is none."""
        if lane is not self._ordinary or not self._again:
            return False
        self._again.popleft()
        self._fit()
        return True

    def holds_back(self, sender: Sender | str) -> bool:
        """True if *sender* may have to wait for it."""
        if self.intake is not Intake.HOLD_BACK:
            return False
        if not self.peers:
            return True
        path = sender.partition("@")[0] if isinstance(sender, str) else sender.path
        return not f"{path}/".startswith(f"{self.peers}/")

    def set_intake(self, intake: Intake, peers: str = "") -> None:
        """From now on do *intake* when it is full, and hold nobody back at and below *peers*; those that wait look again."""
        if intake is self.intake and peers == self.peers:
            return
        self.intake, self.peers = intake, peers
        for lane in self._lanes:
            lane.ask_senders()

    # ------------------------------------------------------------ who waits for it, and who looks on

    def arrived(self) -> None:
        """Something was put in, and somebody wants to know."""
        if self._readers:
            self._readers.unpark_all()
        if self._on_arrival is not None:
            self._on_arrival()
        if self._on_depth is not None:
            self._on_depth(len(self))
        self.listens = self._on_arrival is not None or self._on_depth is not None

    @property
    def on_arrival(self) -> Callable[[], None] | None:
        """Called at each message that is put in."""
        return self._on_arrival

    @on_arrival.setter
    def on_arrival(self, hook: Callable[[], None] | None) -> None:
        self._on_arrival = hook
        self.listens = True

    @property
    def on_depth(self) -> Callable[[int], None] | None:
        """Called with the number of messages that wait, when it has changed."""
        return self._on_depth

    @on_depth.setter
    def on_depth(self, hook: Callable[[int], None] | None) -> None:
        self._on_depth = hook
        self.listens = True

    async def wait(self) -> None:
        """Wait until something arrives, or somebody calls `wake`."""
        self.listens = True
        await self._readers.park()

    def wake(self) -> None:
        """Make the reader look again: it is to stop."""
        self._readers.unpark_all()

    # ------------------------------------------------------------ taking out

    def is_waiting(self, sender: Sender, number: int) -> bool:
        """True if that message of *sender* is still to be handed out."""
        return any(entry.number == number and entry.sender is sender for entry in self._not_handed_out())

    def _not_handed_out(self) -> Iterator[Entry]:
        """What waits, in the order in which it would be handed out now, and with the positions that it would get."""
        yield from self._again
        for position, message in enumerate(chain(*self._lanes), self.next_position):
            yield Entry(position, *message)

    def settle(self) -> None:
        """What was in hand is handled: the reader asks for more."""
        in_hand = self._in_hand
        if in_hand:
            first, messages = in_hand[-1]
            self.settled = first + len(messages) - 1
            if self._crashes is not None and self._crashes.counts:
                self._crashes.handled(self.settled)
            if self.keeps_handled:
                self._handled.extend(in_hand)
                self._kept += sum(len(messages) for _, messages in in_hand)
            self._in_hand = []

    def take(self, at_most: int | None) -> list[Any]:
        """Hand out up to *at_most* messages (None: all); they are in hand until `settle`."""
        taken: list[Any] = []
        if self._again:
            if self._crashes is not None and self._again[0].position <= self._crashes.one_by_one_to:
                at_most = 1
            taken = self._take_again(at_most)
        for lane in self._lanes:
            if at_most is not None and len(taken) >= at_most:
                break
            for run in lane.take(None if at_most is None else at_most - len(taken)):
                self._in_hand.append((self.next_position, run))
                self.next_position += len(run)
                taken += run.messages if type(run) is Batch else [message[1] for message in run]
            self._seen_to = max(self._seen_to, self.next_position - 1)
            lane.offer_room()
        self._delivered += len(taken)
        if self._on_depth is not None:
            self._on_depth(len(self))
        return taken

    def take_one(self) -> Any:
        """`take` of a single message; there is one."""
        if self._again:
            return self.take(1)[0]
        lane = self._ordinary if self._urgent is None or not self._urgent else self._urgent
        message = lane.take_one()
        position = self.next_position
        self._in_hand.append((position, [message]))
        self._seen_to = position
        self.next_position = position + 1
        self._delivered += 1
        lane.offer_room()
        if self._on_depth is not None:
            self._on_depth(len(self))
        return message[1]

    def _take_again(self, at_most: int | None) -> list[Any]:
        taken = []
        for _ in range(len(self._again) if at_most is None else min(at_most, len(self._again))):
            position, topic, message, sender, number = self._again.popleft()
            self._in_hand.append((position, [(topic, message, sender, number)]))
            if position <= self._seen_to:
                self._redelivered += 1
            else:
                self._seen_to = position
            taken.append(message)
        self._fit()
        return taken

    @property
    def in_hand(self) -> list[Entry]:
        """What the reader works on."""
        return [entry for run in self._in_hand for entry in _entries(run)]

    # ------------------------------------------------------------ coming back

    def give_back(self, *, crashed: bool, to: int | None = None) -> None:
        """The reader is gone; put what it had in hand back to the front.

        Args:
            crashed: It ended by an error of its own, which counts against what it had in hand, see `Crashes`.
            to: The position of the state that the next reader gets; everything after it comes again.
                None: its state was not saved, so only what was in hand comes again.
        """
        again = self.in_hand
        self._in_hand = []
        if crashed and again and self._counted().count(again[0].position, again[-1].position):
            self._put_aside(again.pop())
        if to is not None:
            again = [*(entry for run in self._handled for entry in _entries(run) if entry.position > to), *again]
            self._forget_handled_after(to)
            self.settled = to
        again += self._again
        if to is not None:
            # The state may be newer than what waits: a save was under way when an earlier reader came back older.
            again = [entry for entry in again if entry.position > to]
        self._again = deque(again)
        self._fit()

    def come_again(self, entries: Iterable[Entry]) -> None:
        """After `give_back` to the position of an older state: *entries* that were saved with it, as far as they are not here."""
        first = next((entry.position for entry in self._not_handed_out()), self.next_position)
        dead = self._counted().dead
        missing = [entry for entry in entries if self.settled < entry.position < first and entry.position not in dead]
        self._again.extendleft(reversed(missing))
        self._fit()

    def crashes_of(self, entry: Entry) -> int:
        """How many crashes one with *entry* alone in hand stands for."""
        return 1 if self._crashes is None else self._crashes.weight(entry.position)

    def _counted(self) -> Crashes:
        if self._crashes is None:
            self._crashes = Crashes()
        return self._crashes

    def _put_aside(self, entry: Entry) -> None:
        self.dead_letters.append(entry.message)
        self.on_dead(entry)

    def blame(self, crashes: Mapping[str, int]) -> None:
        """What an earlier process counted, by origin, against messages that were restored; the third crash was the last."""
        again = deque[Entry]()
        for entry in self._again:
            count = crashes.get(entry.origin, 0)
            if count and self._counted().note(entry.position, count):
                self._put_aside(entry)
            else:
                again.append(entry)
        self._again = again
        self._fit()

    def suspect(self, first: int, last: int, origin: str) -> bool:
        """An earlier process crashed with what is from *first* to *last* in hand; False if that is not here: *origin* was last."""
        found = any(entry.position == last and entry.origin == origin for entry in self._again)
        if found:
            self._counted().suspect(first, last)
        return found

    def _forget_handled_after(self, position: int) -> None:
        runs = [
            (first, list(messages)[: position + 1 - first]) for first, messages in self._handled if first <= position
        ]
        self._handled = deque(runs)
        self._kept = sum(len(messages) for _, messages in runs)

    def covered(self, position: int) -> None:
        """A save holds the state at *position*: what was handled up to there is never needed again."""
        handled = self._handled
        while handled:
            first, messages = handled[0]
            if first > position:
                return
            if first + len(messages) - 1 > position:
                handled[0] = (position + 1, list(messages)[position + 1 - first :])
                self._kept -= position + 1 - first
                return
            handled.popleft()
            self._kept -= len(messages)

    @property
    def delivered(self) -> int:
        """How many messages were handed out, redelivered ones included."""
        return self._delivered

    @property
    def kept(self) -> int:
        """How many handled messages wait for a save to cover them."""
        return self._kept

    def entries_after(self, position: int) -> Iterable[Entry]:
        """Everything after *position*, handled or not, in order: what a saved checkpoint holds."""
        for runs in (self._handled, self._in_hand):
            yield from (entry for run in runs for entry in _entries(run) if entry.position > position)
        yield from self._not_handed_out()

    def restore(self, entries: Iterable[Entry], *, settled: int, next_position: int) -> None:
        """Begin with what a saved checkpoint holds."""
        self._again.extend(entries)
        self.settled = settled
        # Messages after the save took higher positions; they may be stored elsewhere under these.
        self.next_position = max(next_position, settled + 1, *(entry.position + 1 for entry in self._again))
        self._seen_to = settled
        self._fit()

    def statistics(self) -> MailboxStatistics:
        """What it has seen in this run of the process."""
        return MailboxStatistics(
            waiting=len(self),
            delivered=self._delivered,
            dropped=self.dropped,
            missed=self.missed,
            redelivered=self._redelivered,
            dead=len(self.dead_letters),
            refused=self.refused,
        )


def _entries(run: _Run) -> Iterator[Entry]:
    first, messages = run
    return (Entry(position, *message) for position, message in enumerate(messages, first))


def mailbox_key(topics: tuple[Topic[Any], ...]) -> str:
    """The name of a subscription in its child: its topics, in any order."""
    return ",".join(sorted(topic.name for topic in topics))
