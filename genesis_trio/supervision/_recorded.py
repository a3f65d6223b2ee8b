"""What components have recorded for their messages by default keys, for as long as a message can come again.

The key of such a record is its message and its number among the records for it.  Whoever gets the message again, in whichever
of its mailboxes, finds here what was recorded.  A later process finds it beside the message, in the saved checkpoint that the
message comes from; and what was recorded since then in the journal behind it.  So a store needs no row for such a key, and keeps
no record for its sake.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

import trio

__all__ = ["Recorded"]

_FEW = 64


class Recorded:
    """What one component has recorded.

    By the origin of a message: the sequences of the records for it in the order of the calls; 0 for one that was not written.
    """

    __slots__ = ("_by_origin", "_limit", "_under_way")

    def __init__(self) -> None:
        self._by_origin: dict[str, list[int]] = {}
        self._limit = _FEW
        self._under_way: dict[tuple[str, int], trio.Event | None] = {}  # an event where somebody waits

    def __len__(self) -> int:
        return len(self._by_origin)

    async def begin(self, origin: str, number: int) -> int:
        """The sequence of record *number* for the message; 0 if it is for the caller to write, and then to `end`.

        While somebody else writes it, who was given the message before, this waits for the outcome.

        Trio checkpoint: unless it is for the caller.
        Cancellation: passes through; nothing was changed.
        """
        message = origin, number
        while message in self._under_way:
            over = self._under_way[message] = self._under_way[message] or trio.Event()
            await over.wait()
        known = self.find(origin, number)
        if known:
            await trio.lowlevel.checkpoint()
        else:
            self._under_way[message] = None
        return known

    def end(self, origin: str, number: int) -> None:
        """Whoever called `begin` has written it, or has failed."""
        over = self._under_way.pop((origin, number))
        if over is not None:
            over.set()

    def find(self, origin: str, number: int) -> int:
        """The sequence of record *number* for the message; 0 if there is none."""
        sequences = self._by_origin.get(origin)
        return sequences[number - 1] if sequences is not None and number <= len(sequences) else 0

    def of(self, origin: str) -> Sequence[int]:
        """All that was recorded for the message."""
        return self._by_origin.get(origin, ())

    def note(self, origin: str, number: int, sequence: int) -> None:
        """Record *number* for the message was written."""
        sequences = self._by_origin.get(origin)
        if sequences is None:
            sequences = self._by_origin[origin] = []
        sequences.extend([0] * (number - len(sequences)))
        sequences[number - 1] = sequence

    def learn(
        self,
        saved: Iterable[Mapping[str, Sequence[int]]],
        keys: Mapping[str, int],
        counts: Callable[[int], bool],
    ) -> None:
        """A state was restored: take what was *saved* with its messages, and the *keys* of the records behind it.

        What does not count any more, for this state or an earlier one, is forgotten: it is to be recorded again.
        """
        for origin, sequences in chain.from_iterable(found.items() for found in saved):
            for number, sequence in enumerate(sequences, 1):
                if sequence:
                    self.note(origin, number, sequence)
        for key, sequence in keys.items():
            origin, _, text = key.rpartition("/")
            self.note(origin, int(text), sequence)
        for sequences in self._by_origin.values():
            sequences[:] = [sequence if counts(sequence) else 0 for sequence in sequences]

    def tidy(self, live: Callable[[], Iterable[str]]) -> None:
        """Forget what is of none of the *live* messages, once it may be half of all; they are looked through no more often."""
        if len(self._by_origin) < self._limit:
            return
        origins = set(live())
        self._by_origin = {origin: found for origin, found in self._by_origin.items() if origin in origins}
        self._limit = _FEW + 2 * len(origins)
