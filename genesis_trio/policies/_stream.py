"""`Guard.connect`: enter an async context manager under all policies."""

import contextlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio.policies._call import Call
from genesis_trio.policies._lane import Permit
from genesis_trio.policies._outcome import Outcome
from genesis_trio.policies._wrapping import explain_misuse_of_factory

if TYPE_CHECKING:
    from genesis_trio.policies.guard import Guard


class Stream(Call):
    """A call whose function is a factory of context managers; its result is the block.

    The scopes of the timeouts stay open around the block, with their deadlines lifted.  They could not be
    left when it is entered: a context manager that opens a nursery (most streams do) would then close
    its scope outside of ours.

    Attributes:
        has_entered: The block has begun.
        block_error: What ended the block, also where the context manager suppressed it.
    """

    __slots__ = ("_factory", "_manager_args", "block_error", "has_entered")

    def __init__(self, guard: "Guard", factory: Callable[..., Any], args: tuple[Any, ...]) -> None:
        super().__init__(guard, factory, args, {})
        self._factory = factory
        self._manager_args = args
        self.has_entered = False
        self.block_error: BaseException | None = None

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        """Total timeout, retry, and what an attempt has around it; then the block."""
        guard = self._guard
        try:
            with _limit(guard._total_timeout) as self.total:
                while True:
                    if self.course is not None:
                        self.has_waited = True
                        await self.course.proceed()
                    permit: Permit | None = None
                    try:
                        await self.wait_for_turn()
                        with _limit(guard._attempt_timeout) as attempt:
                            permit = self.admit()
                            async with self._factory(*self._manager_args) as value:
                                await self._enter(permit, attempt)
                                try:
                                    yield value
                                except BaseException as error:
                                    self.block_error = error
                                    raise
                        if attempt.cancelled_caught:
                            raise guard._attempt_timeout_error()
                    except BaseException as error:  # noqa: ASYNC103 - the classifier decides, and the real error is raised
                        if permit is not None:
                            self.settle_error(permit, error)
                        if self.has_entered or self.is_misused or not isinstance(error, Exception):
                            raise
                        if self.make_course().failed(error):
                            raise
                    else:
                        assert permit is not None
                        if self.course is not None:
                            self.course.succeeded()
                        if self.block_error is not None:
                            self.settle_error(permit, self.block_error)
                        else:
                            guard._lane.settle(permit, Outcome.SUCCESS)
                        return
                    finally:
                        self.leave()
            self.total_timeout_is_over()
        finally:
            self.settle_cut(Outcome.CANCELLED)

    def _explain_misuse(self, error: BaseException) -> bool:
        return explain_misuse_of_factory(self._factory, error)

    async def _enter(self, permit: Permit, attempt: trio.CancelScope) -> None:
        """The stream is open: what limited that ends here."""
        assert self.total is not None
        attempt.deadline = self.total.deadline = math.inf
        if attempt.cancel_called or self.total.cancel_called:
            # One of them had fired already, and nothing has noticed yet.
            await trio.lowlevel.checkpoint()
        self.leave()
        if self._guard.breaker is not None:
            self._guard.breaker._entered(permit)
        self.has_entered = True


def _limit(seconds: float | None) -> trio.CancelScope:
    return trio.CancelScope(relative_deadline=math.inf if seconds is None else seconds)


@contextlib.asynccontextmanager
async def open_stream(
    guard: "Guard", factory: Callable[..., AbstractAsyncContextManager[Any]], args: tuple[Any, ...]
) -> AsyncIterator[Any]:
    """The block of ``guard.connect(factory, *args)``, counted, with the fallback's answer where it does not open."""
    guard._enter_run()
    stream = Stream(guard, factory, args)
    stream.begin()
    failure: Exception | None = None
    try:
        async with stream.opened() as value:
            yield value
    except BaseException as error:  # noqa: ASYNC103 - raised once its outcome is told
        if not stream.has_started:
            guard._tell_refused(error)
        if guard._rare.fallback is None or stream.has_entered or not isinstance(error, Exception):
            guard._count_end(error, has_started=stream.has_started)
            raise
        failure = error
    else:
        if stream.block_error is not None:
            guard._count_end(stream.block_error, has_started=True)
        else:
            guard._lane.counts.successes += 1
    finally:
        stream.block_error = None
        stream.forget()
    # Not in the handler: the block's own errors have nothing to do with this one.
    if failure is not None:
        try:
            value = await stream.fall_back(failure)
        finally:
            del failure
        yield value
