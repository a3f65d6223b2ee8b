"""Whose the held causes are: an index, so that the end of one of thousands of children is not looked for in all their scopes."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genesis_trio.modes._holding import Hold

__all__ = ["Owned"]


class Owned:
    """The causes held in one tree of scopes, by the path of their owner and of everything around it."""

    __slots__ = ("_within",)

    def __init__(self) -> None:
        self._within: dict[str, dict[Hold, None]] = {}

    def add(self, hold: "Hold") -> None:
        for path in _from_above(hold.owner):
            self._within.setdefault(path, {})[hold] = None

    def remove(self, hold: "Hold") -> None:
        for path in _from_above(hold.owner):
            held = self._within.get(path, {})
            held.pop(hold, None)
            if not held:
                self._within.pop(path, None)

    def within(self, owner: str) -> list["Hold"]:
        """Those of *owner*, and of what it supervised, oldest first."""
        return list(self._within.get(owner, ()))


def _from_above(owner: str) -> Iterator[str]:
    at = owner.find("/")
    while at >= 0:
        yield owner[:at]
        at = owner.find("/", at + 1)
    yield owner
