"""Messages that crashed their reader, by origin: what a mailbox counts by position does not outlive the process."""

from collections.abc import Iterable, Mapping

from genesis_trio.messaging.mailbox import Mailbox

__all__ = ["Poison"]


class Poison:
    """How often messages crashed one child, until a save covers them.

    Attributes:
        counts: By mailbox and origin: the message's position, and its crashes.
        batches: By mailbox: the last batch that it crashed on, until one of it crashes alone.  Positions of the first and the last,
            and the origin of the last: after a save positions are given again, to other messages.
    """

    __slots__ = ("batches", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, tuple[int, int]]] = {}
        self.batches: dict[str, tuple[int, int, str]] = {}

    def crashed(self, mailboxes: Iterable[Mailbox]) -> None:
        """The reader crashed: blame a message that was alone in its hand, and remember several."""
        for mailbox in mailboxes:
            in_hand = mailbox.in_hand if mailbox.keeps_handled else []
            if len(in_hand) == 1:
                entry = in_hand[0]
                counts = self.counts.setdefault(mailbox.key, {})
                _, crashes = counts.get(entry.origin, (0, 0))
                weight = mailbox.crashes_of(entry)
                counts[entry.origin] = entry.position, crashes + weight
                if weight > 1:
                    self.batches.pop(mailbox.key, None)
            elif in_hand:
                first, last = in_hand[0], in_hand[-1]
                self.batches[mailbox.key] = first.position, last.position, last.origin

    def mark(self, mailbox: Mailbox) -> None:
        """*mailbox* was restored from disk: count on from there; what had its last chance is dead at once."""
        batch = self.batches.get(mailbox.key)
        if batch is not None and not mailbox.suspect(*batch):
            del self.batches[mailbox.key]
        counts = self.counts.get(mailbox.key)
        if counts:
            mailbox.blame({origin: crashes for origin, (_, crashes) in counts.items()})

    def covered(self, positions: Mapping[str, int]) -> bool:
        """A save holds the state at *positions*; True if that made something superfluous."""
        changed = False
        for key, settled in positions.items():
            if key in self.batches and self.batches[key][1] <= settled:
                del self.batches[key]
                changed = True
            counts = self.counts.get(key, {})
            for origin in [origin for origin, (position, _) in counts.items() if position <= settled]:
                del counts[origin]
                changed = True
            if key in self.counts and not counts:
                del self.counts[key]
        return changed
