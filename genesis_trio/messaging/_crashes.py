"""Which message is to blame when its reader crashes, and how often it was: the third crash is its last."""

__all__ = ["POISON_LIMIT", "Crashes"]

#: Crashes on one message before it is put aside.
POISON_LIMIT = 3


class Crashes:
    """What the reader of one mailbox crashed on, by position.

    A crash with one message in hand counts against that one.  With several in hand nobody knows which it was: they come back one by
    one, and the first of them that crashes alone did the first crash as well.

    Attributes:
        counts: The crashes of messages that are not handled yet.
        dead: What was put aside.
        one_by_one_to: A batch crashed: up to this position messages come singly.
    """

    __slots__ = ("_suspects", "counts", "dead", "one_by_one_to")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.dead: set[int] = set()
        self.one_by_one_to = 0
        self._suspects = range(0)  # the positions of that batch, until one of it crashes alone, too

    def weight(self, position: int) -> int:
        """How many crashes one with that message alone in hand stands for."""
        return 2 if position in self._suspects else 1

    def count(self, first: int, last: int) -> bool:
        """The reader crashed with what is from *first* to *last* in hand; True if that is one message, and this was its last crash."""
        if first < last:
            self.suspect(first, last)
            return False
        crashes = self.counts.get(first, 0) + self.weight(first)
        if first in self._suspects:
            self._suspects = range(0)
        return self.note(first, crashes)

    def suspect(self, first: int, last: int) -> None:
        """Its reader has crashed with what is from *first* to *last* in hand."""
        self.one_by_one_to = max(self.one_by_one_to, last)
        self._suspects = range(first, last + 1)

    def note(self, position: int, crashes: int) -> bool:
        """Its reader has crashed so often on that message; True if it is dead now."""
        if crashes < POISON_LIMIT:
            self.counts[position] = crashes
            return False
        self.counts.pop(position, None)
        self.dead.add(position)
        return True

    def handled(self, settled: int) -> None:
        """Everything up to *settled* is handled, and to blame for nothing."""
        self.counts = {position: crashes for position, crashes in self.counts.items() if position > settled}
