"""Changes of the mode on their way to whoever watches it."""

from collections import deque
from typing import Any, Protocol

from genesis_trio.modes._owned import Owned
from genesis_trio.modes._values import Mode

__all__ = ["News", "Resident"]


class Resident(Protocol):
    """Whom a scope belongs to, told of each change before those who watch the mode."""

    def mode_changed(self, mode: Mode) -> None:
        """The mode is *mode* now, or something else is allowed in it."""


class News:
    """Changes that are in effect and not yet told: a watcher may change modes itself, and all see all, in order."""

    __slots__ = ("_is_telling", "owned", "untold")

    def __init__(self) -> None:
        #: Each change as three items in a row, the scope, its mode before and its mode now: ten thousand tuples that wait together
        #: would bring on the garbage collector in the middle of the step.
        self.untold: deque[Any] = deque()
        self._is_telling = False
        #: Whose the causes are that are held; here since each scope has this object of its tree, and there may be thousands.
        self.owned = Owned()

    def tell(self) -> None:
        """Tell everything, unless that is being done further up."""
        if self._is_telling:
            return
        self._is_telling = True
        try:
            while self.untold:
                take = self.untold.popleft
                take()._tell(take(), take())
        finally:
            self._is_telling = False
