"""`Guard.connect`: enter an async context manager under all policies."""

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio.policies._call import Call
from genesis_trio.policies._lane import Permit

if TYPE_CHECKING:
    from genesis_trio.policies.guard import Guard


class Stream(Call):
    """A call whose function is a factory of context managers; its result is the block.

    The scopes of the timeouts stay open around the block, with their deadlines lifted.  They could not be
    left when it is entered: a context manager that opens a nursery (most streams do) would then close
    its scope outside of ours.
    """

    __slots__ = ("_factory", "_manager_args", "has_entered")

    def __init__(self, guard: "Guard", factory: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__(guard, factory, args, {})
        self._factory = factory
        self._manager_args = args
        self.has_entered = False

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        """The total timeout around the retry."""
        total_timeout = self._guard._total_timeout
        try:
            with trio.CancelScope(relative_deadline=math.inf if total_timeout is None else total_timeout) as self.total:
                while True:
                    if self.course is not None:
                        self.has_waited = True
                        await self.course.proceed()
                    try:
                        async with self._attempted() as value:
                            yield value
                        return
                    except Exception as error:
                        if self.has_entered or self.make_course().failed(error):
                            raise
            self.total_timeout_is_over()
        finally:
            self.settle_cut_as_cancelled()

    @contextlib.asynccontextmanager
    async def _attempted(self) -> AsyncIterator[Any]:
        """One attempt, with the place in the bulkhead held until it has entered."""
        await self.wait_for_turn()
        try:
            permit = self.admit()
        except BaseException:
            self._guard._leave()
            raise
        try:
            async with self._entered(permit) as value:
                yield value
        except BaseException as error:
            self.settle_error(permit, error)
            raise
        finally:
            if not self.has_entered:
                self._guard._leave()
