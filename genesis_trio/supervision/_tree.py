"""What one tree of supervisors shares: its bus, its store, its children by path."""

import random
from typing import TYPE_CHECKING

from genesis_trio._runtime import Tree, current_run
from genesis_trio.messaging.bus import Bus

if TYPE_CHECKING:
    from genesis_trio.modes import ModeScope
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._breaker_watch import BreakerWatch
    from genesis_trio.supervision._control import Control
    from genesis_trio.supervision._latches import Latches
    from genesis_trio.supervision._recorded import Recorded
    from genesis_trio.supervision._saving import Saver
    from genesis_trio.supervision.child import Child

__all__ = ["ServiceTree"]


class ServiceTree(Tree):
    """A tree with supervisors in it; the topmost one makes it, the nested ones join it."""

    __slots__ = ("_breaker_watch", "bus", "children", "control", "latches", "recorded", "saver", "scope", "store")

    def __init__(self, name: str, *, parent: Tree, rng: random.Random | None, store: "Store | None") -> None:
        super().__init__(name, parent=parent, rng=rng)
        self.bus = Bus()
        self.store = store
        #: Every child of every supervisor by path, in the order of first start: the order of a cut.
        self.children: dict[str, Child] = {}
        self.scope: ModeScope
        self.saver: Saver | None = None
        self.latches: Latches | None = None
        self.control: Control | None = None
        #: By the path of a component, what it recorded: one that takes the name of another has its state, and its newest messages.
        self.recorded: dict[str, Recorded] = {}
        self._breaker_watch: BreakerWatch | None = None

    def recorded_by(self, path: str) -> "Recorded":
        """What the component at *path* has recorded by default keys; for trees with a store."""
        from genesis_trio.supervision._recorded import Recorded

        return self.recorded.setdefault(path, Recorded())

    def watch_breakers(self) -> None:
        """Learn which breakers the children depend on, until `close`; asked for where that has a consequence."""
        if self._breaker_watch is None:
            from genesis_trio.supervision._breaker_watch import BreakerWatch

            self._breaker_watch = BreakerWatch(self)
            current_run().breaker_watchers += (self._breaker_watch,)

    def close(self) -> None:
        """The topmost supervisor has ended."""
        run = current_run()
        run.breaker_watchers = tuple(each for each in run.breaker_watchers if each is not self._breaker_watch)

    def child_is_none_any_more(self) -> None:
        """Whoever takes its name is another one, and counts generations from 1 as it did."""
        if self.store is not None:
            self.store.former_children += 1

    @property
    def sender_prefix(self) -> str:
        """What a child that is made now puts before its generation.

        It tells its messages from those of all that had its path before it: in other processes, since the token grows each
        time a store is opened, and in this one.
        """
        if self.store is None:
            return "0"
        former = self.store.former_children
        return f"{self.store.token}.{former}" if former else f"{self.store.token}"
