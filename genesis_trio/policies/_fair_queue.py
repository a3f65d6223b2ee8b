"""A fair queue of waiting tasks, the urgent ones in front of the others."""

from collections import OrderedDict

import attrs
import trio


@attrs.define(eq=False)
class Waiter:
    """One task in a `FairQueue`.

    Attributes:
        urgent: It stands in front of all that are not.
        granted: What it waits for was given to it while it slept.
        wake: Set when there is something to look at; a waiter that goes on waiting takes a new one.
    """

    urgent: bool
    granted: bool = False
    wake: trio.Event = attrs.field(factory=trio.Event)


class FairQueue:
    """First come, first served, in two classes; leaving from the middle costs no more than from the front."""

    __slots__ = ("_others", "_urgent")

    def __init__(self) -> None:
        # OrderedDict, not dict: taking the first again and again from a dict walks over the holes of all before.
        self._urgent: OrderedDict[Waiter, None] = OrderedDict()
        self._others: OrderedDict[Waiter, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._urgent) + len(self._others)

    def before(self, urgent: bool) -> int:
        """How many would stand before one who joins now."""
        return len(self._urgent) if urgent else len(self)

    def join(self, waiter: Waiter) -> None:
        (self._urgent if waiter.urgent else self._others)[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Take *waiter* out; nothing happens when it is out already."""
        (self._urgent if waiter.urgent else self._others).pop(waiter, None)

    def first(self) -> Waiter | None:
        """Who is next."""
        return next(iter(self._urgent or self._others), None)
