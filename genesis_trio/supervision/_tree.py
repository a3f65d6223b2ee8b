"""What one tree of supervisors shares: its bus, its store, its children by path."""

import random
from typing import TYPE_CHECKING

from genesis_trio._runtime import Tree
from genesis_trio.messaging.bus import Bus

if TYPE_CHECKING:
    from genesis_trio.modes import ModeScope
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._control import Control
    from genesis_trio.supervision._latches import Latches
    from genesis_trio.supervision._saving import Saver
    from genesis_trio.supervision.child import Child

__all__ = ["ServiceTree"]


class ServiceTree(Tree):
    """A tree with supervisors in it; the topmost one makes it, the nested ones join it."""

    __slots__ = ("bus", "children", "control", "forgotten", "latches", "saver", "scope", "store", "watches_breakers")

    def __init__(self, name: str, *, parent: Tree, rng: random.Random | None, store: "Store | None") -> None:
        super().__init__(name, parent=parent, rng=rng)
        self.bus = Bus()
        self.store = store
        #: Every child of every supervisor by path, in the order of first start: the order of a cut.
        self.children: dict[str, Child] = {}
        #: How many children are none any more: a name that is taken again is another one's.
        self.forgotten = 0
        self.scope: ModeScope
        self.saver: Saver | None = None
        self.latches: Latches | None = None
        self.control: Control | None = None
        self.watches_breakers = False

    def watch_breakers(self) -> None:
        """Learn which breakers the children depend on; asked for where that has a consequence, since it makes every event be built."""
        if not self.watches_breakers:
            from genesis_trio.supervision._breaker_watch import BreakerWatch

            self.watches_breakers = True
            self.add_hook(BreakerWatch(self))

    @property
    def incarnation_prefix(self) -> str:
        """What makes the name of an incarnation unique across processes: it grows each time a store is opened."""
        return str(self.store.token) if self.store is not None else "0"
