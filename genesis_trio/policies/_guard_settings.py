"""The settings of a guard: what each may be, what contradicts what, and which healthy path they leave."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from genesis_trio.modes import Capability
from genesis_trio.policies._explain import attempts_of, count
from genesis_trio.policies._generate import Features, features

if TYPE_CHECKING:
    from genesis_trio.policies.guard import Guard

T = TypeVar("T")

# Three attempts of 0.1 s fit into 0.3 s, though 3 * 0.1 is a little more.
_ROUNDING = 1e-9


def instance(name: str, value: Any, cls: type[T]) -> T | None:
    """*value* if it is None or an instance of *cls*, or the TypeError that says so."""
    if value is not None and not isinstance(value, cls):
        raise TypeError(f"Guard({name}=…) wants a {cls.__name__} or None, got {value!r}")
    return value


def function(name: str, value: Any) -> Callable[..., Any] | None:
    """*value* if it is None or can be called, or the TypeError that says so."""
    if value is not None and not callable(value):
        raise TypeError(f"Guard({name}=…) wants a function or None, got {value!r}")
    return value  # type: ignore[no-any-return]


def refuse_contradictions(guard: "Guard") -> None:
    """Settings each of which is right, but that cannot work together.

    Raises:
        ValueError: there are some; the message says which, and what to do.
    """
    attempts = attempts_of(guard)
    if guard._total_timeout is not None and guard._attempt_timeout is not None:
        attempts = attempts if attempts != math.inf else 1
        needed = guard._attempt_timeout * attempts
        if needed > guard._total_timeout * (1 + _ROUNDING):
            raise ValueError(
                f"Guard(attempt_timeout={guard._attempt_timeout:g}, total_timeout={guard._total_timeout:g}): "
                f"{count(attempts, 'attempt')} of {guard._attempt_timeout:g} s take {needed:g} s and do not fit; "
                f"give more time or fewer retries"
            )
    if guard._hedge is not None and guard._hedge._delay is not None:
        for name, limit in (("attempt_timeout", guard._attempt_timeout), ("total_timeout", guard._total_timeout)):
            if limit is not None and guard._hedge._delay > limit:
                raise ValueError(
                    f"Guard({name}={limit:g}, hedge={guard._hedge!r}): the call is over before its first hedge starts; "
                    f"make the delay of the hedge at most {limit:g} s"
                )
    if guard._hedge is not None and guard._repeatable is False:
        raise ValueError("Guard(hedge=…, repeatable=False): a hedge makes the call twice; leave it out")
    repeats = [name for name, policy in (("retry", guard._retry), ("hedge", guard._hedge)) if policy is not None]
    if repeats and guard._repeatable is None and guard._needs is not None and Capability.OPEN in guard._needs:
        raise ValueError(
            f"Guard(needs={guard._needs!s}, {repeats[0]}=…): may this call be carried out twice? Say so with "
            f"repeatable=True, or repeatable=False together with reconcile="
        )
    if guard._retry is not None and guard._repeatable is False and guard._reconcile is None:
        raise ValueError(
            "Guard(retry=…, repeatable=False): before another attempt somebody has to find out what became of the "
            "last one; give reconcile="
        )


def features_of(guard: "Guard") -> Features:
    """Which healthy path there is for the policies that are set."""
    retry = guard._retry
    others = (guard._total_timeout, guard._bulkhead, guard._rate_limit, guard._hedge, guard._fallback, guard._reconcile)
    return features(
        is_fast=all(policy is None for policy in others) and (retry is None or not retry._looks_at_each_call),
        needs=0 if guard._needs is None else guard._needs.value,
        has_timeout=guard._attempt_timeout is not None,
    )
