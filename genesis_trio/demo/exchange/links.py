"""The connections that there are, for the faults that cut them."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["Links"]


class Links:
    """Every connection stands in `hold`; `drop` ends them all, as a broken network would."""

    def __init__(self) -> None:
        self._scopes: dict[trio.CancelScope, None] = {}
        self._refusing = trio.Event()
        self._accepting = trio.Event()
        self._accepting.set()

    @property
    def is_refusing(self) -> bool:
        return not self._accepting.is_set()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """The body is one connection; it is cancelled when the connection is dropped."""
        with trio.CancelScope() as scope:
            self._scopes[scope] = None
            if self.is_refusing:
                scope.cancel()
            try:
                yield
            finally:
                del self._scopes[scope]

    def drop(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    def refuse(self) -> None:
        """Drop every connection, and let in no other until `accept`."""
        if not self.is_refusing:
            self._accepting = trio.Event()
            self._refusing.set()
        self.drop()

    def accept(self) -> None:
        if self.is_refusing:
            self._refusing = trio.Event()
            self._accepting.set()

    async def wait_refusing(self) -> None:
        await self._refusing.wait()

    async def wait_accepting(self) -> None:
        await self._accepting.wait()
