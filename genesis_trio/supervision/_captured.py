"""The state of one run: whether it is whole, and what of it is saved.

It is captured only where it is whole: the reader waits for its next message, or says so, or has returned.
"""

from typing import TYPE_CHECKING, Any

import attrs
import trio

from genesis_trio.supervision._reading import Reading

if TYPE_CHECKING:
    from genesis_trio.supervision.child import Child
    from genesis_trio.supervision.component import Component

__all__ = ["CapturedPart", "Capturing"]


@attrs.frozen
class CapturedPart:
    """A component's state at a moment when it was whole.

    Attributes:
        body: The encoded state.
        journal: The last journal sequence that it includes.
        positions: For each mailbox, the position up to which its messages are in it.
    """

    body: bytes
    journal: int
    positions: dict[str, int]


class Capturing(Reading):
    """A run whose state can be captured."""

    __slots__ = (
        "_changed",
        "_untouched",
        "apply_error",
        "component",
        "journal",
        "returned",
        "task",
        "trial_part",
    )

    def __init__(self, child: "Child") -> None:
        super().__init__(child)
        self.component: Component[Any] | None = None
        self.task: trio.lowlevel.Task | None = None
        self.returned = False
        self.journal = 0
        self.apply_error: BaseException | None = None  # since then its state is half changed, and is not captured
        #: Its state, while it has an older one on trial: what is saved is still the newer one.
        self.trial_part: CapturedPart | None = None
        self._untouched = False  # since the last capture its task did nothing but wait
        self._changed = True

    def is_whole(self) -> bool:
        """True where its state may be captured: it returned, or everything in it waits for a message."""
        return self.returned or (bool(self._resting) and not self._busy)

    def touch(self) -> None:
        """Its state changed."""
        self._untouched = False
        self._changed = True

    def _is_clean(self) -> bool:
        """True only if the state provably is what was captured last."""
        component = self.component
        if component is not None and component.tracks_changes:
            return not self._changed
        return self._untouched and self.task is not None and not self.task.child_nurseries

    def capture(self) -> None:
        """Encode the state as it is now.

        Raises:
            SchemaError: it holds something that could not be read back, and where; the part captured before stays.
        """
        if self.apply_error is not None:
            return  # so does it here
        from genesis_trio.persistence import codec
        from genesis_trio.persistence._cut import naming

        component, child = self.component, self.child
        assert component is not None
        assert child.spec.state_type is not None
        part = child.part if self.trial_part is None else self.trial_part
        if part is None or not self._is_clean():
            with naming(child.path):
                body = codec.encode(component.state, child.spec.state_type)
        else:
            body = part.body
        part = CapturedPart(body, self.journal, child.positions())
        if self.trial_part is None:
            child.part = part
        else:
            self.trial_part = part
        child.capture_wanted = False
        self._changed = False
        self._untouched = bool(self._resting) and not self._busy
