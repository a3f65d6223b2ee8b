"""Messages that crashed their reader, by origin: what a mailbox counts by position does not outlive the process."""

from collections.abc import Iterable, Mapping

from genesis_trio.messaging.mailbox import Mailbox

__all__ = ["Poison"]


class Poison:
    """How often messages crashed one child, until a save covers them.

    Attributes:
        counts: By mailbox and origin: the message's position, and its crashes.
    """

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, tuple[int, int]]] = {}

    def crashed(self, mailboxes: Iterable[Mailbox]) -> None:
        """The reader crashed: blame a message that was alone in its hand."""
        for mailbox in mailboxes:
            if mailbox.keeps_handled and len(mailbox.in_hand) == 1:
                entry = mailbox.in_hand[0]
                counts = self.counts.setdefault(mailbox.key, {})
                _, crashes = counts.get(entry.origin, (0, 0))
                counts[entry.origin] = entry.position, crashes + mailbox.crashes_of(entry)

    def mark(self, mailbox: Mailbox) -> None:
        """*mailbox* was restored from disk: count on from there; what had its last chance is dead at once."""
        counts = self.counts.get(mailbox.key)
        if counts:
            mailbox.blame({origin: crashes for origin, (_, crashes) in counts.items()})

    def covered(self, positions: Mapping[str, int]) -> bool:
        """A save holds the state at *positions*; True if that made something superfluous."""
        changed = False
        for key, settled in positions.items():
            counts = self.counts.get(key, {})
            for origin in [origin for origin, (position, _) in counts.items() if position <= settled]:
                del counts[origin]
                changed = True
            if key in self.counts and not counts:
                del self.counts[key]
        return changed
