"""Which circuit breakers a child depends on, learned from what they tell, and from the child's specification.

A breaker speaks in the task whose call moved it, so the child around that task depends on it.  While it is open the
child counts as failing, although it is READY: it works, but what it works with does not.
"""

from typing import TYPE_CHECKING

from genesis_trio._runtime import current_run
from genesis_trio.policies.breaker import BREAKERS, BreakerState, CircuitBreaker
from genesis_trio.supervision._incarnation import current_host

if TYPE_CHECKING:
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision._tree import ServiceTree

__all__ = ["BreakerWatch", "breakers_of_this_run", "is_open"]


class BreakerWatch:
    """What a tree is told of the breakers of its run."""

    def __init__(self, tree: "ServiceTree") -> None:
        self._tree = tree

    def moved(self, breaker: CircuitBreaker) -> None:
        """*breaker* has another state, by whomever: all that depend on it may be failing, or well again."""
        self._learn(breaker)
        if self._tree.control is not None:
            self._tree.control.breaker_moved(breaker)
        for child in self._tree.children.values():
            if breaker in child.breakers:
                child.supervisor.health_changed(child)
                child._poke()  # it may be waiting for the one over it

    def refused(self, breaker: CircuitBreaker) -> None:
        """A call through *breaker* was refused."""
        child = self._learn(breaker)
        if child is not None:
            child.supervisor.health_changed(child)

    def _learn(self, breaker: CircuitBreaker) -> "ChildState | None":
        """Let the child that calls depend on *breaker*; the child, if it did not before."""
        host = current_host()
        if host is None or host.child.tree is not self._tree or breaker in host.child.breakers:
            return None
        host.child.breakers += (breaker,)
        return host.child


def is_open(breaker: CircuitBreaker) -> bool:
    """True while it rejects every call."""
    return breaker.state in (BreakerState.OPEN, BreakerState.ISOLATED)


def breakers_of_this_run() -> list[CircuitBreaker]:
    """Those that the current run has used, in the order of their names."""
    run = current_run()
    return [breaker for named in BREAKERS.by_name().values() for breaker in named if breaker._run is run]
