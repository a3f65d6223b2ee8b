"""The default key of a record: what is in hand, and the number of the record for it."""

from typing import TYPE_CHECKING

from genesis_trio.messaging.mailbox import Mailbox

if TYPE_CHECKING:
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["RecordKeys"]


class RecordKeys:
    """Counts the records of one incarnation for each message that it has in hand."""

    __slots__ = ("_hand", "_last", "_number", "_of")

    def __init__(self, of: "Incarnation") -> None:
        self._of = of
        self._hand: tuple[Mailbox, int] | None = None  # one delivery of a message
        self._number = 0
        self._last: str | None = None

    def next_key(self) -> tuple[str | None, bool]:
        """The key of the next record, or None without a message in hand, and whether it passes.

        It passes once the message is handled for good.  Of a message that a topic tells again to whoever comes new, and
        whose position is not saved, nobody knows when that is.

        Raises:
            RuntimeError: several messages are in hand.
        """
        found = [(mailbox, entry) for mailbox in self._of.in_hand() for entry in mailbox.in_hand]
        if not found:
            return None, False
        if len(found) > 1:
            raise RuntimeError(
                f"{self._of.child.path!r} has {len(found)} messages in hand, so record() cannot know which one an event "
                f"belongs to; give record(..., key=...)"
            )
        mailbox, entry = found[0]
        hand = mailbox, mailbox.delivered  # not its origin: it may come again to the same reader
        if hand != self._hand:
            self._hand, self._number = hand, 0
        self._number += 1
        self._last = f"{entry.origin}/{self._number}"
        return self._last, mailbox.keeps_handled or not entry.topic.latest

    def take_back(self, key: str | None) -> None:
        """Nothing was recorded with *key*: the next record is to get it, as when its message comes again and all goes well."""
        if key is not None and key == self._last:
            self._number -= 1
            self._last = None
