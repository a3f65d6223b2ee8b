"""A child in words, for `why()` and for errors: what it does, who waits for whom, and where."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import trio

from genesis_trio.events import describe_error
from genesis_trio.modes._values import Capability, names
from genesis_trio.supervision._breaker_watch import is_open
from genesis_trio.supervision._waiting import tasks_below, where_it_waits
from genesis_trio.supervision.component import Lifecycle

if TYPE_CHECKING:
    from genesis_trio.supervision.child import Child

__all__ = ["kept_by_required", "kept_from_starting", "not_ready_in_time", "waits_for", "why"]

MOST_TASKS = 8  # of one component; the rest is counted
RUNS = (Lifecycle.STARTING, Lifecycle.READY, Lifecycle.STOPPING)


def waits_for(child: "Child") -> str:
    """Whom *child* requires and how these are, down to where they wait; and who waits for *child*."""
    siblings = child.supervisor.children
    needed = [_state(siblings[name], set()) for name in child.spec.requires if name in siblings]
    words = f"it requires: {', '.join(needed)}" if needed else "it requires no other child"
    waiting = [
        repr(other.name)
        for other in siblings.values()
        if child.name in other.spec.requires and other.generation == other.generation_before
    ]
    return f"{words}; waiting for it: {', '.join(waiting)}" if waiting else words


def not_ready_in_time(child: "Child", cut_at: str, late: float) -> str:
    """Why *child* had a StartTimeoutError: where it was *cut_at*, or that it shielded itself and was ready too *late*, in seconds."""
    if late < math.inf:
        what = f"it called ctx.ready() {late:.3g} s later, shielded from its cancellation"
    else:
        where = f"waited in {cut_at}" if cut_at else "shielded itself from its cancellation until it returned"
        what = f"it has not called ctx.ready(), and {where}"
    return f"child {child.path!r} was not ready within start_timeout={child.spec.start_timeout} s: {what}; {waits_for(child)}"


def kept_from_starting(child: "Child") -> str:
    """Why *child*, which waits for the breaker over it, had a StartTimeoutError."""
    breaker = child.spec.breaker
    assert breaker is not None
    return (
        f"child {child.path!r} could not start within start_timeout={child.spec.start_timeout} s: the circuit breaker "
        f"{breaker.name!r} over it is {breaker.state.name}; start it once the breaker is closed, or call reset() on it"
    )


def kept_by_required(child: "Child") -> str:
    """Why *child*, which waits for what it requires, had a StartTimeoutError."""
    return f"child {child.path!r} could not start within start_timeout={child.spec.start_timeout} s: {waits_for(child)}"


def _state(child: "Child", seen: set[str]) -> str:
    words = f"{child.name!r} is {child.status.name}"
    if child.status in (Lifecycle.READY, Lifecycle.STOPPED) or child.name in seen:
        return words
    seen.add(child.name)
    task = child.incarnation.task if child.incarnation is not None else None
    if task is not None:
        words += f" in {where_it_waits(task)}"
    siblings = child.supervisor.children
    needed = [_state(siblings[name], seen) for name in child.spec.requires if name in siblings]
    return f"{words} (which requires: {', '.join(needed)})" if needed else words


def why(child: "Child") -> str:
    """What *child* does, what it waits for, and what last went wrong; several lines."""
    lines = [f"{child.path!r} is {child.status.name} in generation {child.generation}, after {child.restarts} restarts"]
    if child.status is Lifecycle.BACKOFF:
        lines.append(f"  its next start is in {max(0.0, child.due - trio.current_time()):.3g} s")
    if child.status is Lifecycle.PARKED:
        lines.append(f"  {_trial(child, child.due)}")
    if child.status is Lifecycle.SUSPENDED and child.is_refused():
        lines.append(
            f"  it crashed on the refusal of {names(Capability(child.refused))} in mode {child.scope.mode.name}, and starts again once "
            f"that is allowed; to run meanwhile, let it catch ModeRefusedError"
        )
    elif child.status is Lifecycle.SUSPENDED:
        lines.append(f"  it is {child.spec.criticality.name}, and does not run in mode {child.scope.mode.name}")
        if child.failed_when_suspended:
            lines.append(f"  it was failing when it was suspended; {_trial(child, child.trial_at)}")
    if child.status is Lifecycle.STARTING:
        lines.append(f"  it has not called ctx.ready(); {waits_for(child)}")
    if child.status in RUNS and child.incarnation is not None and child.incarnation.task is not None:
        lines += [f"  waits in {where}" for where in _places(child.incarnation.task)]
    lines += [
        f"  the circuit breaker {breaker.name!r} is open for another {breaker.statistics().retry_after:.3g} s"
        for breaker in child.breakers
        if is_open(breaker)
    ]
    if child.recovery is not None and child.recovery.words:
        lines.append(f"  its saved state: {child.recovery.words}")
    lines += [f"  unhealthy: {reason}" for reason in child.complaints.values()]
    if child.last_error is not None:
        lines.append(f"  last error: {describe_error(child.last_error)}")
    lines.append(child.scope.why())
    return "\n".join(lines)


def _trial(child: "Child", at: float) -> str:
    wait, by_hand = at - trio.current_time(), f"`genesis restart {child.path}`"
    if wait == math.inf:
        return f"its next start is by hand only: {by_hand}"
    return f"its next start, a trial, is in {max(0.0, wait):.3g} s, or at once with {by_hand}"


def _places(task: trio.lowlevel.Task) -> Iterator[str]:
    """Where the tasks of one component wait, each place once."""
    places: dict[str, int] = {}
    for each in tasks_below(task):
        place = where_it_waits(each)
        if place:
            places[place] = places.get(place, 0) + 1
    for number, (place, times) in enumerate(places.items()):
        if number == MOST_TASKS:
            yield f"{len(places) - MOST_TASKS} more places"
            return
        yield place if times == 1 else f"{place}, {times} tasks"
