"""The weak registry of what has statistics."""

import threading
import weakref
from typing import Generic, TypeVar

T = TypeVar("T")

# Members that are gone are swept out once there are more of them than live ones, and at least so many.
_LEAST_SWEPT = 64


class Registry(Generic[T]):
    """The things of one kind that have statistics, held weakly, found in the order of their names.

    A `weakref.WeakSet` would take 30 to 130 bytes more for each, and a table of thousands of guards is made of little else.
    """

    def __init__(self) -> None:
        self._members: list[weakref.ref[T]] = []
        self._many = _LEAST_SWEPT  # with so many it is time to sweep
        self._lock = threading.Lock()  # each thread may have a run of its own

    def add(self, member: T) -> None:
        with self._lock:
            self._members.append(weakref.ref(member))
            if len(self._members) > self._many:
                self._members = [ref for ref in self._members if ref() is not None]
                self._many = 2 * len(self._members) + _LEAST_SWEPT

    def by_name(self) -> dict[str, list[T]]:
        """Name to members in the order in which they were made; the numbers of equal names are summed by the reader."""
        found: dict[str, list[T]] = {}
        for ref in self._members:
            member = ref()
            if member is not None:
                found.setdefault(member.name, []).append(member)  # type: ignore[attr-defined]
        return dict(sorted(found.items()))
