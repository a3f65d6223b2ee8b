"""The weak registry of what has statistics."""

import weakref
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """The things of one kind that have statistics, held weakly, found in the order of their names."""

    def __init__(self) -> None:
        self._members: weakref.WeakSet[T] = weakref.WeakSet()

    def add(self, member: T) -> None:
        self._members.add(member)

    def by_name(self) -> dict[str, list[T]]:
        """Name to members; guards of equal names are several members, whose numbers are summed by the reader."""
        found: dict[str, list[T]] = {}
        for member in self._members:
            found.setdefault(member.name, []).append(member)  # type: ignore[attr-defined]
        return dict(sorted(found.items()))
