"""What of a circuit breaker survives its process, as plain values that any format can hold.

Times are saved as what was left of them, in seconds: Trio's clock starts anew with each process.  Probes and other
calls that were running are not saved, they ended with their process; a breaker that was HALF_OPEN is so again, with
the successes that its probes have had and all places for new ones.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from genesis_trio.policies._breaker_records import BreakerState
from genesis_trio.policies._ramp import NO_RAMP, Ramp

if TYPE_CHECKING:
    from genesis_trio.policies.breaker import CircuitBreaker


def snapshot(breaker: "CircuitBreaker", now: float) -> dict[str, Any]:
    """The state of *breaker*, which stands at *now*."""
    saved: dict[str, Any] = {
        "state": breaker._state.value,
        "consecutive_failures": breaker._failures_in_a_row(),
        "reopenings": breaker._reopenings,
        "remaining": breaker._break_ends - now if breaker._state is BreakerState.OPEN else 0.0,
    }
    if breaker._probe_successes:
        saved["probe_successes"] = breaker._probe_successes
    if breaker._current_ramp is not NO_RAMP:
        saved["ramp"] = breaker._current_ramp.ends - now
    if breaker._outcomes is not None:
        saved["window"] = breaker._outcomes.saved(now)
    return saved


def restore(breaker: "CircuitBreaker", saved: Mapping[str, Any], then: float) -> None:
    """Bring *breaker* into the state that was *saved* at *then*.

    The failure that opened it is not known any more.  Where its settings have changed, the new ones count: no break is longer
    than they allow, and a window of another kind starts empty.
    """
    try:
        state = BreakerState(saved["state"])
        failures = _count(saved, "consecutive_failures")
        reopenings = _count(saved, "reopenings")
        probe_successes = _count(saved, "probe_successes")
        remaining = _seconds(saved, "remaining")
        ramp = _seconds(saved, "ramp")
        outcomes = None if breaker._window is None else breaker._window.make()
        if outcomes is not None and "window" in saved:
            outcomes.take_over(saved["window"], then)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"circuit breaker {breaker.name!r} cannot be restored from {saved!r}; leave it out to start closed"
        ) from error
    breaker._change(state)
    breaker._outcomes = outcomes
    breaker._consecutive_failures = failures
    breaker._answered_before = breaker._answered()
    breaker._reopenings = reopenings
    if state is BreakerState.OPEN:
        remaining = min(remaining, breaker._longest_break())
        breaker._break_ends = then + remaining
        breaker._tell("BreakerOpened", retry_after=remaining, error="restored")
    elif state is BreakerState.ISOLATED:
        breaker._tell("BreakerOpened", retry_after=math.inf, error="restored: isolated by hand")
    elif state is BreakerState.DISABLED:
        breaker._tell("BreakerDisabled")
    elif state is BreakerState.HALF_OPEN:
        breaker._probe_successes = min(probe_successes, breaker._success_threshold - 1)
        breaker._tell("BreakerHalfOpened")
    elif ramp and breaker._ramp is not None:
        left = min(ramp, breaker._ramp)
        breaker._current_ramp = Ramp(breaker._ramp, then + left - breaker._ramp)
    breaker._publish()


def _count(saved: Mapping[str, Any], name: str) -> int:
    value = saved.get(name, 0)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{name} is a whole number, not {value!r}")
    return value


def _seconds(saved: Mapping[str, Any], name: str) -> float:
    value = saved.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is a number of seconds, not {value!r}")
    return float(value)
