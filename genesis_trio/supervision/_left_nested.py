"""What was nested in the children of the process before: their hosts have not made it yet, so only the store knows of it.

A host that is not ready may still make it, and also one that has been READY for less than its ``start_timeout``, as with
the mailboxes that wait for such a child.
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision._tree import ServiceTree

__all__ = ["LeftNested"]


class LeftNested:
    """The nested components of the last saved checkpoint before this process, until they are there or nobody makes them."""

    __slots__ = ("_paths", "_tree")

    def __init__(self, tree: "ServiceTree", saved: Iterable[str]) -> None:
        self._tree = tree
        own = tree.scope.path.count("/") + 1  # of the children of the root, which are in the tree before they start
        self._paths = [path for path in sorted(saved) if path.count("/") > own]

    def still_to_come(self) -> Iterator[str]:
        """Who may come yet; whoever has come, or does not, is forgotten."""
        self._paths, paths = [], self._paths
        for path in paths:
            child = self._tree.children.get(path)
            if child is not None and child.part is not None:
                continue
            host = self._host_of(path)
            if host is not None and not _may_make_more(host):
                continue
            self._paths.append(path)
            if host is not None:
                yield path

    def _host_of(self, path: str) -> "ChildState | None":
        """The innermost child around *path*; None if that is not made yet."""
        while path := path.rpartition("/")[0]:
            if (host := self._tree.children.get(path)) is not None:
                return host
        return None


def _may_make_more(host: "ChildState") -> bool:
    if host.has_ended:
        return False
    run = host.incarnation
    return run is None or trio.current_time() < run.ready_at + host.spec.start_timeout
