"""Ctrl-C at any moment: where it may strike, and where it has to wait.

Trio raises KeyboardInterrupt in whatever frame of the main thread runs, unless that frame is protected; then it comes
at the next Trio checkpoint of the main task.  What a component does by itself may be cut anywhere: its run is
over, and what it had in hand comes again.  Our own frames may not, because a mailbox or a supervisor that was
cut in the middle of a line neither stops in order nor saves what is whole.  So:

- our own tasks, and the methods that users call, carry ``trio.lowlevel.enable_ki_protection`` (a mark
  on the code object, which costs nothing when it is called);
- a component is called through `run_interruptibly`, which lifts the protection again;
- our blocks are entered and left under `uninterrupted`;
- what must be done to the end, whoever waits for it, is done by `undisturbed`.
"""

import functools
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, ParamSpec, TypeVar

import trio

__all__ = ["run_interruptibly", "undisturbed", "uninterrupted"]

P = ParamSpec("P")
T = TypeVar("T")


@trio.lowlevel.disable_ki_protection
async def run_interruptibly(fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Await ``fn(*args)``, a user's function, from a protected frame: there Ctrl-C may strike at once.

    Trio checkpoint: those of *fn*.
    """
    return await fn(*args)


@trio.lowlevel.enable_ki_protection
async def undisturbed(
    fn: Callable[[], Awaitable[object]], interrupted: Callable[[KeyboardInterrupt], None] | None = None
) -> KeyboardInterrupt | None:
    """Await ``fn()`` to its end, shielded, and return the Ctrl-C that came meanwhile.

    A task of its own does it: Ctrl-C is delivered to the main task in every wait, shielded or not.

    Args:
        fn: What has to be done; it keeps limits of its own.
        interrupted: Told of each Ctrl-C when it comes.

    Raises:
        Exception: what *fn* raised, bare.

    Trio checkpoint: always.
    Cancellation: not seen here.
    """
    ended = trio.Event()
    failure: BaseException | None = None
    interrupt: KeyboardInterrupt | None = None

    @trio.lowlevel.enable_ki_protection
    async def work() -> None:
        nonlocal failure
        try:
            await fn()
        except BaseException as error:  # noqa: ASYNC103 - raised below, bare
            failure = error
        finally:
            ended.set()

    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            while not ended.is_set():
                try:
                    await ended.wait()
                except KeyboardInterrupt as error:
                    interrupt = interrupt or error
                    if interrupted is not None:
                        interrupted(error)
    if failure is not None:
        raise failure
    return interrupt


class _Uninterrupted(AbstractAsyncContextManager[T]):
    def __init__(self, manager: AbstractAsyncContextManager[T], name: str) -> None:
        self._manager = manager
        self._name = name

    def __enter__(self) -> NoReturn:
        raise TypeError(f"{self._name}() gives an async context manager: write `async with`, not `with`")

    def __exit__(self, *_: object) -> None:
        raise AssertionError("never called, but without it `with` does not ask for __enter__")  # pragma: no cover

    if not TYPE_CHECKING:  # which know that there is neither

        def __getattr__(self, name: str) -> NoReturn:
            if name.startswith("_"):
                raise AttributeError(name)  # asked for by copy, inspect and the like
            raise AttributeError(
                f"{self._name}() gives an async context manager, which has no {name!r}: write "
                f"`async with {self._name}(...) as it:`, and it.{name} inside of the block",
                name=name,
                obj=self,
            )

        def __await__(self) -> NoReturn:
            raise TypeError(f"{self._name}() gives an async context manager: write `async with`, not `await`")

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> T:
        return await self._manager.__aenter__()

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        # The manager's own shields and limits hold.
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102


def uninterrupted(make: Callable[P, AbstractAsyncContextManager[T]]) -> Callable[P, AbstractAsyncContextManager[T]]:
    """Decorate a ``contextlib.asynccontextmanager``: Ctrl-C finds no way between its entering, its block and its leaving.

    Without it, one that strikes inside of `contextlib` itself would leave the generator where it is, with its
    nursery open.
    """

    @functools.wraps(make)
    def open_uninterrupted(*args: P.args, **kwargs: P.kwargs) -> AbstractAsyncContextManager[T]:
        return _Uninterrupted(make(*args, **kwargs), make.__name__)

    return open_uninterrupted
