"""What one run of a component may record, and the default keys: what is in hand, and the number of the record for it."""

from typing import TYPE_CHECKING

from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.supervision._first_mistakes import no_apply
from genesis_trio.supervision._hand import is_ours

if TYPE_CHECKING:
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["Recording"]


class Recording:
    """What is known of the records of one incarnation; made at its first one."""

    __slots__ = ("_classes", "_hand", "_last", "_number", "_of", "_recorded")

    def __init__(self, of: "Incarnation") -> None:
        self._of = of
        self._hand: tuple[Mailbox, int] | None = None  # one delivery of a message
        self._number = 0
        self._last: tuple[str, int] | None = None
        self._recorded = of.child.tree.recorded_by(of.child.path)
        state_type = of.child.spec.state_type
        if state_type is None or not callable(getattr(state_type, "apply", None)):
            raise TypeError(f"{of.child.path!r} cannot record: {no_apply(of.component)}")
        # Whoever records nothing need not load the codec.
        from genesis_trio.persistence.codec import apply_classes

        self._classes = apply_classes(state_type)

    async def record(self, store: "Store", event: object, key: str | None) -> int:
        """What `Context.record` promises."""
        self._check(event)
        incarnation = self._of
        path = incarnation.child.path

        def apply(sequence: int) -> None:
            incarnation.apply(sequence, event)

        message = None if key is not None else self._next()
        if message is None:
            return await store.record(path, event, key=key, apply=apply)
        recorded, origin, number = self._recorded, *message

        def note_and_apply(sequence: int) -> None:
            recorded.note(origin, number, sequence)  # first: it is written, also if it cannot be applied
            apply(sequence)

        try:
            known = await recorded.begin(origin, number)
            if known:
                return known
            try:
                return await store.record(path, event, key=f"{origin}/{number}", key_passes=True, apply=note_and_apply)
            finally:
                recorded.end(origin, number)
                recorded.tidy(incarnation.child.origins)
        except BaseException:
            self._take_back(message)
            raise

    def _check(self, event: object) -> None:
        """Refuse what ``apply`` does not take: once written, it would stand in the way of every restart.

        Raises:
            TypeError: with both classes.
        """
        classes = self._classes
        if classes is None or isinstance(event, classes):
            return
        names = " | ".join(cls.__qualname__ for cls in classes)
        state_type = self._of.child.spec.state_type
        assert state_type is not None
        raise TypeError(
            f"{self._of.child.path!r} cannot record a {type(event).__qualname__}: {state_type.__qualname__}.apply() is annotated with "
            f"{names}, and nothing was written; add {type(event).__qualname__} to the annotation once apply() handles it"
        )

    def _next(self) -> tuple[str, int] | None:
        """The origin of the message in hand, and the number of the next record for it; None without one.

        Raises:
            RuntimeError: several messages are in hand, or another task has the one that is.
        """
        found = [(mailbox, entry) for mailbox in self._of.in_hand() for entry in mailbox.in_hand]
        if not found:
            return None
        if len(found) > 1:
            raise RuntimeError(
                f"{self._of.child.path!r} has {len(found)} messages in hand, so record() cannot know which one an event "
                f"belongs to; give record(..., key=...)"
            )
        mailbox, entry = found[0]
        holder = self._of.hand_of(mailbox)
        if holder is not None and not is_ours(holder):
            raise RuntimeError(
                f"{self._of.child.path!r} called record() without key= in a task that has no message in hand, while another "
                f"one has: its message's own record would be taken for a repeat of this one; give record(..., key=...), or "
                f"record in the task that reads"
            )
        hand = mailbox, mailbox.delivered  # not its origin: it may come again to the same reader
        if hand != self._hand:
            self._hand, self._number = hand, 0
        self._number += 1
        self._last = entry.origin, self._number
        return self._last

    def _take_back(self, message: tuple[str, int]) -> None:
        """Nothing was recorded as this: the next record is to be it, as when its message comes again and all goes well."""
        if message == self._last:
            self._number -= 1
            self._last = None
