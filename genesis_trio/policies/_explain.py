"""What the policies of a guard amount to at worst, in words."""

import math
from typing import TYPE_CHECKING

from genesis_trio.policies._backoff import longest_delay

if TYPE_CHECKING:
    from genesis_trio.policies.guard import Guard

# Beyond so many retries the waits are not added up one by one; the rest is as long as the longest.
_ADDED_UP = 1000


def explain(guard: "Guard") -> str:
    """One line for each policy, in the order in which they apply, and the worst case first."""
    lines = [
        f"guard {guard.name!r}",
        f"  worst latency: {_latency(guard)}",
        f"  worst amplification: {_amplification(guard)}",
    ]
    lines += [f"  {line}" for line in _policies(guard)]
    return "\n".join(lines)


def attempts_of(guard: "Guard") -> float:
    """Attempts of one call at most; infinity for no limit."""
    if guard._retry is None:
        return 1
    return math.inf if guard._retry.max_retries is None else guard._retry.max_retries + 1


def _longest_wait(guard: "Guard") -> float:
    """Seconds of all waits between attempts at most, in so far as they are our own."""
    retry = guard._retry
    if retry is None:
        return 0.0
    retries = math.inf if retry.max_retries is None else retry.max_retries
    waits = (
        longest_delay(
            n, base_delay=retry.base_delay, multiplier=retry.multiplier, max_delay=retry.max_delay, jitter=retry.jitter
        )
        for n in range(1, int(min(retries, _ADDED_UP)) + 1)
    )
    return sum(waits) + (retries - min(retries, _ADDED_UP)) * (retry.max_delay or 0.0)


def _latest_copy(guard: "Guard") -> float:
    """Seconds after which the last copy of a hedged attempt starts at most: none does once the first has timed out."""
    hedge, limit = guard._rare.hedge, guard._attempt_timeout
    if hedge is None or limit is None:
        return 0.0
    return limit if hedge._delay is None else min(hedge._max_hedges * hedge._delay, limit)


def _latency(guard: "Guard") -> str:
    total = guard._total_timeout
    if guard._attempt_timeout is None:
        if total is not None:
            return f"{total:g} s (total_timeout)"
        return "no limit: neither attempt_timeout nor total_timeout is set, so a call that hangs, hangs for ever"
    attempts, waits = attempts_of(guard), _longest_wait(guard)
    attempt = guard._attempt_timeout + _latest_copy(guard)
    worst = attempts * attempt + waits if attempts != math.inf else math.inf
    words = f"{worst:g} s ({count(attempts, 'attempt')} of {attempt:g} s, waits of up to {waits:g} s in all"
    if attempts > 1 and guard._retry is not None:
        words += f", if no error names a longer one, up to max_delay={guard._retry.max_delay:g} s"
    words += ")"
    if worst == math.inf:
        words = "no limit: the number of retries has none, and total_timeout is not set"
    if total is not None and total < worst:
        words = f"{total:g} s (total_timeout; without it {words})"
    queues = [
        name
        for name, policy in (("bulkhead", guard._rare.bulkhead), ("rate limit", guard._rare.rate_limit))
        if policy is not None
    ]
    if queues and total is None:
        words += f", and the wait for the {' and the '.join(queues)}, which has no limit of its own"
    return words


def _amplification(guard: "Guard") -> str:
    attempts = attempts_of(guard)
    hedge = guard._rare.hedge
    copies = 1 + (hedge._max_hedges if hedge is not None else 0)
    calls = attempts * copies
    if calls == 1:
        return "1 call for each call"
    words = f"{'no limit of' if calls == math.inf else f'{calls:g}'} calls for each call"
    if copies > 1:
        words += f" ({count(attempts, 'attempt')}, each of up to {copies} copies)"
    budget = guard._retry.budget if guard._retry is not None else None
    return words + (f", as far as {budget!r} allows" if budget is not None else "")


def _policies(guard: "Guard") -> list[str]:
    lines = []
    rare = guard._rare
    if rare.fallback is not None:
        lines.append("fallback: answers when everything below has failed or was refused")
    if guard._total_timeout is not None:
        lines.append(f"total timeout: {guard._total_timeout:g} s for everything below")
    if guard._retry is not None:
        lines.append(f"retry: {count(attempts_of(guard), 'attempt')}, {guard._retry.jitter} jitter")
    if guard._reconcile is not None:
        lines.append("reconcile: asked before another attempt, because the call is not repeatable")
    if guard._needs is not None:
        lines.append(f"mode: each attempt needs {guard._needs!s}")
    if guard.breaker is not None:
        lines.append(f"breaker: each attempt asks {guard.breaker.name!r}, and tells it how it ended")
    if rare.bulkhead is not None:
        lines.append(f"bulkhead: each attempt waits for a place in {rare.bulkhead!r}")
    if rare.rate_limit is not None:
        lines.append(f"rate limit: each attempt waits for its turn in {rare.rate_limit!r}")
    if rare.hedge is not None:
        lines.append(f"hedge: {rare.hedge!r}")
    if guard._attempt_timeout is not None:
        lines.append(f"attempt timeout: {guard._attempt_timeout:g} s for each attempt")
    return lines


def count(number: float, noun: str) -> str:
    """The number and the noun, in the plural where it is one."""
    if number == math.inf:
        return f"any number of {noun}s"
    return f"{number:g} {noun}{'s' if number != 1 else ''}"
