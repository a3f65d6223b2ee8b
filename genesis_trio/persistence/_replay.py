"""Reading a journal from the outside: an iterator that belongs to a block, and to nobody after it."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any

import trio

from genesis_trio.errors import CorruptError, GenesisError
from genesis_trio.persistence._envelope import Entry
from genesis_trio.persistence._writer import Writer
from genesis_trio.persistence.recovery import Tail

__all__ = ["Replay", "decode_page"]

# Seconds without a Trio checkpoint: one at each record would take as long as reading it, and delay nobody less than this.
STRETCH = 0.001


class Replay:
    """The block of `Store.replay`, and the iterator inside of it."""

    def __init__(self, writer: Writer, component: str, candidates: tuple[type, ...], after: int) -> None:
        self._writer = writer
        self._component = component
        self._candidates = candidates
        self._after = after
        self._tail: Tail | None = None
        self._ready: list[tuple[int, Any]] = []
        self._error: Exception | None = None
        self._next_checkpoint = 0.0

    async def __aenter__(self) -> AsyncIterator[tuple[int, Any]]:
        make = partial(Tail.after, self._writer.ledger, self._component, self._after)
        self._tail = await self._writer.read(make)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tail = None
        self._ready.clear()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> AsyncIterator[tuple[int, Any]]:
        return self

    async def __anext__(self) -> tuple[int, Any]:
        if self._ready:
            if trio.current_time() >= self._next_checkpoint:
                await trio.lowlevel.checkpoint()
                self._next_checkpoint = trio.current_time() + STRETCH
            return self._ready.pop()
        if self._tail is None:
            raise RuntimeError("the records of replay() can be read inside of its block only")
        if self._error is None:
            page = await self._writer.read(self._tail.next_page)
            events, self._error = await self._writer.read(decode_page, page, self._candidates)
            self._ready = events[::-1]
            self._next_checkpoint = trio.current_time() + STRETCH
            if self._ready:
                return self._ready.pop()
        if self._error is not None:
            raise self._error
        if self._tail.damage is not None:
            raise CorruptError(f"{self._tail.damage}; the records up to {self._tail.reached} are good")
        raise StopAsyncIteration


def decode_page(page: Sequence[Entry], candidates: tuple[type, ...]) -> tuple[list[tuple[int, Any]], Exception | None]:
    """Events up to the first that cannot be decoded, and why not."""
    from genesis_trio.persistence._coding import decode_entries

    events: list[tuple[int, Any]] = []
    try:
        events.extend(decode_entries(page, candidates))
    except GenesisError as error:
        return events, error
    return events, None
