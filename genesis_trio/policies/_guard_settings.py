"""The settings of a guard: what each may be, what contradicts what, and which healthy path they leave."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from genesis_trio.modes import Capability
from genesis_trio.policies._explain import attempts_of, count
from genesis_trio.policies._generate import Features, features
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit

if TYPE_CHECKING:
    from genesis_trio.policies.guard import Guard

T = TypeVar("T")

# Three attempts of 0.1 s fit into 0.3 s, though 3 * 0.1 is a little more.
_ROUNDING = 1e-9

_URGENT = Capability.CANCEL | Capability.REDUCE


@attrs.frozen(eq=False)
class RareSettings:
    """The settings that few guards have or that are seldom read.

    Guards without any of the four policies share such a record, which keeps a guard within 256 bytes.

    Attributes:
        is_urgent: Calls go before others that wait for bulkhead or rate limit.
    """

    repeatable: bool | None = None
    bulkhead: Bulkhead | None = None
    rate_limit: RateLimit | None = None
    hedge: Hedge | None = None
    fallback: Callable[..., Any] | None = None
    is_urgent: bool = False

    @property
    def has_policies(self) -> bool:
        """A policy is there that needs the general path."""
        return self not in _WITHOUT_POLICIES.values()


_WITHOUT_POLICIES = {repeatable: RareSettings(repeatable) for repeatable in (None, False, True)}


def rare_settings(
    *,
    repeatable: bool | None,
    bulkhead: Bulkhead | None,
    rate_limit: RateLimit | None,
    hedge: Hedge | None,
    fallback: Callable[..., Any] | None,
    needs: Capability | None,
) -> RareSettings:
    """The record of these settings, each checked for its type; *needs* says whether the calls are urgent."""
    instance("repeatable", repeatable, bool)
    if all(policy is None for policy in (bulkhead, rate_limit, hedge, fallback)):
        return _WITHOUT_POLICIES[repeatable]
    return RareSettings(
        repeatable,
        instance("bulkhead", bulkhead, Bulkhead),
        instance("rate_limit", rate_limit, RateLimit),
        instance("hedge", hedge, Hedge),
        function("fallback", fallback),
        is_urgent=needs is not None and bool(needs) and needs in _URGENT,
    )


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
    hedge = guard._rare.hedge
    if hedge is not None and hedge._delay is not None:
        for name, limit in (("attempt_timeout", guard._attempt_timeout), ("total_timeout", guard._total_timeout)):
            if limit is not None and hedge._delay > limit:
                raise ValueError(
                    f"Guard({name}={limit:g}, hedge={hedge!r}): the call is over before its first hedge starts; "
                    f"make the delay of the hedge at most {limit:g} s"
                )
    if hedge is not None and guard._rare.repeatable is False:
        raise ValueError("Guard(hedge=…, repeatable=False): a hedge makes the call twice; leave it out")
    repeats = [name for name, policy in (("retry", guard._retry), ("hedge", hedge)) if policy is not None]
    if repeats and guard._rare.repeatable is None and guard._needs is not None and Capability.OPEN in guard._needs:
        raise ValueError(
            f"Guard(needs={guard._needs!s}, {repeats[0]}=…): may this call be carried out twice? Say so with "
            f"repeatable=True, or repeatable=False together with reconcile="
        )
    if guard._retry is not None and guard._rare.repeatable is False and guard._reconcile is None:
        raise ValueError(
            "Guard(retry=…, repeatable=False): before another attempt somebody has to find out what became of the "
            "last one; give reconcile="
        )


def features_of(guard: "Guard") -> Features:
    """Which healthy path there is for the policies that are set."""
    retry = guard._retry
    return features(
        is_fast=not guard._rare.has_policies
        and guard._total_timeout is None
        and guard._reconcile is None
        and (retry is None or not retry._looks_at_each_call),
        needs=0 if guard._needs is None else guard._needs.value,
        has_timeout=guard._attempt_timeout is not None,
    )
