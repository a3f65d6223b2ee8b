"""What all decorators of this room ask of the function they are put on."""

import contextlib
import functools
import inspect
from collections.abc import Callable
from typing import Any


def name_of(fn: object) -> str:
    """A short name of a callable for messages and events; never its address, which differs from run to run."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return str(getattr(fn, "__qualname__", None) or type(fn).__qualname__)


def is_async_function(fn: object) -> bool:
    """True if calling *fn* gives a coroutine: an ``async def``, an object whose ``__call__`` is one, a partial of either."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        inspect.getattr_static(type(fn), "__call__", None)
    )


def require_async_function(fn: Callable[..., Any], decorator: str) -> None:
    """Refuse what cannot be awaited, at decoration, instead of at the first call.

    Raises:
        TypeError: *fn* is not an async function; the message says what to do.
    """
    if is_async_function(fn):
        return
    if not callable(fn):
        raise TypeError(f"{decorator} is a decorator for an async function, got {fn!r}")
    name = name_of(fn)
    if isinstance(fn, classmethod | staticmethod):
        raise TypeError(f"put {decorator} below @{type(fn).__name__}, next to the function")
    if inspect.isasyncgenfunction(inspect.unwrap(fn)):
        raise TypeError(
            f"{name}() is an async generator or makes a context manager; {decorator} wants an async function: "
            f"await a function that opens the stream, or use guard.connect() for an async context manager"
        )
    if isinstance(fn, type):
        raise TypeError(f"{decorator} wants an async function, got the class {name}")
    raise TypeError(
        f"{decorator} wants an async function, but {name}() is a sync one: write `async def`, "
        f"or, if it blocks, await it in a thread with `trio.to_thread.run_sync({name}, ...)` inside an async function"
    )


def explain_misuse(fn: object, error: BaseException) -> bool:
    """True if *error* says that *fn* cannot be called and awaited; its message then says what to pass instead.

    That is the caller's mistake: it says nothing about the dependency, and to try again is of no use.  It is
    asked only when a TypeError was raised, so that a call that is all right pays nothing for it.
    """
    traceback = error.__traceback__
    if traceback is None or traceback.tb_next is not None or is_async_function(fn):
        return False  # raised inside of the function, or by its arguments
    if inspect.isawaitable(fn):
        if inspect.iscoroutine(fn):
            fn.close()  # else Python warns that it was never awaited, which is no news
        name = getattr(fn, "__qualname__", type(fn).__qualname__)
        words = f"execute() was given what {name}() returned; pass the function itself: execute({name}, *args), without calling it"
    elif not callable(fn):
        words = f"execute() wants an async function and its arguments, got {fn!r}"
    elif "await" in str(error):
        name = name_of(fn)
        words = (
            f"execute() wants an async function, but {name}() gave nothing that can be awaited ({error}): write "
            f"`async def`, or, if it blocks, pass `trio.to_thread.run_sync` with {name} as its first argument"
        )
    else:
        return False
    error.args = (words,)
    return True


def require_factory(factory: object) -> None:
    """Refuse what `Guard.connect` cannot call, before anything is waited for.

    Raises:
        TypeError: *factory* is no function that gives an async context manager; the message says what to pass instead.
    """
    # One that can be called decorates a function with itself, instead of making another one.
    is_factory = callable(factory) and not isinstance(factory, contextlib.AsyncContextDecorator)
    if hasattr(type(factory), "__aenter__") and not is_factory:
        raise TypeError(
            f"connect() was given an async context manager, {factory!r}; each attempt makes a new one, so pass the "
            f"function that makes it: connect(fn, *args), without calling it"
        )
    if not callable(factory):
        raise TypeError(
            f"connect() wants a function that gives an async context manager, and its arguments, got {factory!r}"
        )
    if is_async_function(factory):
        name = name_of(factory)
        raise TypeError(
            f"connect() wants a function that gives an async context manager, but {name}() is an async function: await it "
            f"in one that is decorated with `contextlib.asynccontextmanager`, and yield what it gives"
        )


def explain_misuse_of_factory(factory: object, error: BaseException) -> bool:
    """As `explain_misuse`, where what *factory* gave was to be entered."""
    traceback = error.__traceback__
    if traceback is None or traceback.tb_next is not None or "asynchronous context manager" not in str(error):
        return False
    error.args = (
        f"connect() wants a function that gives an async context manager, but {name_of(factory)}() gave something else: {error}",
    )
    return True


def check_name(owner: str, name: str) -> str:
    """*name* as a text that is not empty, or the error that says so."""
    if not isinstance(name, str):
        hint = f"; it has a name of its own: write `@{owner}('…')`" if callable(name) else ""
        raise TypeError(f"{owner}(name=…) wants a text, got {name!r}{hint}")
    if not name:
        raise ValueError(f"{owner}(name=''): a name is what messages and metrics call it, and is not empty")
    return name
