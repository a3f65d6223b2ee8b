"""An effect on the outside, at most once: intent before, result after."""

import contextlib
import contextvars
import inspect
import typing
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

import trio

from genesis_trio.errors import (
    AttemptTimeoutError,
    EffectFailedError,
    OutcomeUnknownError,
    RetryBudgetExhaustedError,
    TotalTimeoutError,
)
from genesis_trio.policies._outcome import REFUSALS, RetryRule, Rule, leaves

if TYPE_CHECKING:
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["run_once"]

T = TypeVar("T")

#: Limits of ours that cut a call in the middle: whether it happened is not known.
CUT = (AttemptTimeoutError, TotalTimeoutError, trio.TooSlowError, OutcomeUnknownError)

#: The effects, by component and key, that the present task is inside of.
_INSIDE: contextvars.ContextVar[tuple[tuple[str, str], ...]] = contextvars.ContextVar("genesis_trio.once", default=())


def _is_cut(error: BaseException) -> bool:
    """True if *error*, or any error inside of it, is a limit of ours that cut the call in the middle."""
    for leaf in leaves(error):
        if isinstance(leaf, RetryBudgetExhaustedError) and leaf.__cause__ is not None:
            if _is_cut(leaf.__cause__):  # what the attempt before the refused retry had met
                return True
        elif isinstance(leaf, CUT):
            return True
    return False


def _is_unsent(error: BaseException, rule: Rule | None) -> bool:
    """True if everything in *error* means that nothing happened outside."""
    return all(
        isinstance(leaf, REFUSALS) or (rule is not None and rule.retry_after(leaf, "once") is not False)
        for leaf in leaves(error)
    )


@contextlib.asynccontextmanager
async def _alone(under_way: dict[tuple[str, str], trio.Event], path: str, key: str) -> AsyncIterator[None]:
    """Be the only one in the block for *key*: who comes meanwhile waits, and then finds how it ended."""
    effect = (path, key)
    if effect in _INSIDE.get():
        raise RuntimeError(
            f"once({key!r}) of {path!r} was called inside itself, and would wait for itself; give another key"
        )
    while effect in under_way:
        await under_way[effect].wait()
    under_way[effect] = trio.Event()
    token = _INSIDE.set((*_INSIDE.get(), effect))
    try:
        yield
    finally:
        _INSIDE.reset(token)
        under_way.pop(effect).set()


def _result_type(fn: Callable[..., Any], given: Any, key: str) -> Any:
    if given is not None:
        return given
    target = inspect.unwrap(getattr(fn, "func", fn))
    if not inspect.isroutine(target):
        target = type(target).__call__  # an object that is called like a function tells it there
    try:
        hints = typing.get_type_hints(target)
    except (NameError, TypeError):
        hints = {}
    if "return" not in hints:
        name = getattr(target, "__qualname__", repr(target))
        raise TypeError(
            f"once({key!r}, {name}) cannot know what to restore the result as; annotate what {name} returns, or give result_type="
        )
    return hints["return"]


async def run_once(
    store: "Store",
    incarnation: "Incarnation",
    key: str,
    fn: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    *,
    result_type: Any,
    not_sent: RetryRule | None,
) -> T:
    """What `Context.once` promises."""
    from genesis_trio.persistence import codec

    if not isinstance(key, str) or not key:
        raise ValueError(f"once() wants a key that is not empty, got {key!r}")
    as_type = _result_type(fn, result_type, key)
    codec.check_type(as_type)
    rule = Rule(not_sent, "once", "not_sent") if not_sent is not None else None
    path = incarnation.child.path
    async with _alone(store.effects_under_way, path, key):
        return await _run_alone(store, incarnation, key, fn, args, as_type, rule)


async def _run_alone(
    store: "Store",
    incarnation: "Incarnation",
    key: str,
    fn: Callable[..., Awaitable[T]],
    args: tuple[Any, ...],
    as_type: Any,
    rule: Rule | None,
) -> T:
    from genesis_trio.persistence import codec
    from genesis_trio.persistence.effects import EffectStatus
    from genesis_trio.policies.guard import NOT_DONE

    path = incarnation.child.path
    effect = await store.begin_effect(path, key)
    if effect.result is not None:
        return cast("T", codec.decode(effect.result, as_type))
    if effect.failure is not None:
        raise EffectFailedError(f"{key!r} of {path!r} was run and failed with {effect.failure[0]}: {effect.failure[1]}")
    if effect.status is EffectStatus.UNKNOWN:
        reconcile = getattr(incarnation.component, "reconcile_once", None)
        if reconcile is None:
            raise OutcomeUnknownError(
                f"{key!r} of {path!r} was begun and not confirmed, so it may have happened; look it up outside, or give the component "
                f"`async def reconcile_once(self, key)`"
            )
        found = await reconcile(key)
        if found is not NOT_DONE:
            await store.end_effect(path, key, result=codec.encode(found, as_type))
            return cast("T", found)
        await store.forget_effect(path, key)
        await store.begin_effect(path, key)
    try:
        value = await fn(*args)
    except Exception as error:
        if _is_cut(error):
            raise OutcomeUnknownError(
                f"{key!r} of {path!r} was begun and cut short, so it may have happened"
            ) from error
        failed = error
    else:
        await store.end_effect(path, key, result=codec.encode(value, as_type))
        return value
    # Outside of the handler: what is written here must not lose the failure when it is cancelled.
    if _is_unsent(failed, rule):
        await store.forget_effect(path, key)
    else:
        await store.end_effect(path, key, failure=(type(failed).__name__, str(failed)))
    raise failed
