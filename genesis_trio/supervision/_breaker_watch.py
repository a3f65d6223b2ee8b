"""Which circuit breakers a child depends on, learned from what they tell, and from the child's specification.

A breaker speaks in the task whose call moved it, so the child around that task depends on it.  While it is open the
child counts as failing, although it is READY: it works, but what it works with does not.
"""

from typing import TYPE_CHECKING

from genesis_trio import events
from genesis_trio._runtime import current_run
from genesis_trio.events import Event
from genesis_trio.policies.breaker import BREAKERS, BreakerState, CircuitBreaker
from genesis_trio.policies.guard import GUARDS
from genesis_trio.supervision._incarnation import current_host

if TYPE_CHECKING:
    from genesis_trio.supervision._tree import ServiceTree

__all__ = ["BreakerWatch", "breakers_of_this_run", "is_open"]

MOVES = (events.BreakerOpened, events.BreakerHalfOpened, events.BreakerClosed, events.BreakerDisabled)


class BreakerWatch:
    """An observer of a tree that hears only what breakers say."""

    def __init__(self, tree: "ServiceTree") -> None:
        self._tree = tree

    def __call__(self, event: Event) -> None:
        if isinstance(event, MOVES):
            self._heard(_named(event.breaker))
        elif isinstance(event, events.CallRejected):
            guarded = [guard.breaker for guard in GUARDS.by_name().get(event.policy, ())]
            breakers = [*_named(event.policy), *(breaker for breaker in guarded if breaker is not None)]
            self._heard([breaker for breaker in breakers if is_open(breaker)])

    def _heard(self, breakers: list[CircuitBreaker]) -> None:
        host = current_host()
        if host is not None and host.child.tree is self._tree:
            known = host.child.breakers
            host.child.breakers += tuple(breaker for breaker in dict.fromkeys(breakers) if breaker not in known)
        if self._tree.control is not None:
            self._tree.control.breakers_moved(breakers)
        # Others may depend on the same one.
        concerned = set(breakers)
        for child in self._tree.children.values():
            if not concerned.isdisjoint(child.breakers):
                child.supervisor.health_changed(child)
                child._poke()  # it may be waiting for the one over it


def is_open(breaker: CircuitBreaker) -> bool:
    """True while it rejects every call."""
    return breaker.state in (BreakerState.OPEN, BreakerState.ISOLATED)


def breakers_of_this_run() -> list[CircuitBreaker]:
    """Those that the current run has used, in the order of their names."""
    run = current_run()
    return [breaker for named in BREAKERS.by_name().values() for breaker in named if breaker._run is run]


def _named(name: str) -> list[CircuitBreaker]:
    return [breaker for breaker in breakers_of_this_run() if breaker.name == name]
