"""A circuit breaker over children that depend on the same venue.

While it is OPEN no child starts, and a crash costs no budget: the venue's outage is not the child's fault.  Half
open it elects one child as its probe, so that the others do not come back as a herd.  Children mostly call through the
same breaker: calls of the elected one belong to the probe, and what a call has told is not told again by the crash.
"""

import math

import trio

from genesis_trio.errors import BreakerOpenError
from genesis_trio.modes import ModeScope
from genesis_trio.policies._counted import is_counted
from genesis_trio.policies._lane import Permit
from genesis_trio.policies._outcome import Outcome, leaves
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker

__all__ = ["StartGate"]

# A breaker tells when it moves, but not when the call that was its probe is cancelled and its place free again; and one
# that was isolated names no end.  So it is asked again, in seconds.
PERIOD = 1.0


class StartGate:
    """What one child asks of the breaker over it, and tells it."""

    def __init__(self, breaker: CircuitBreaker, scope: ModeScope) -> None:
        breaker._is_over_children = True
        self._breaker = breaker
        self._scope = scope
        self._permit: Permit | None = None

    def opens_at(self) -> float:
        """-inf if the child may start now, with a permit taken; otherwise when to ask again."""
        try:
            self._permit = self._breaker._admit()
        except BreakerOpenError as error:
            is_timed = self._breaker.state is BreakerState.OPEN and error.retry_after > 0.0
            return trio.current_time() + (error.retry_after if is_timed else PERIOD)
        if not self._permit.is_shared:
            self._permit.elected = self._scope
        return -math.inf

    def explains(self, error: BaseException) -> bool:
        """True if the child crashed with *error* because of the venue: it costs no budget."""
        if self._breaker.state in (BreakerState.OPEN, BreakerState.ISOLATED):
            return True
        return all(isinstance(leaf, BreakerOpenError) and leaf.name == self._breaker.name for leaf in leaves(error))

    def ready(self) -> None:
        """The child is ready: the venue answers, and whoever waits for this probe may go on."""
        self._settle(Outcome.SUCCESS, None)

    def crashed(self, error: BaseException) -> None:
        """The child crashed, before it was ready or after."""
        outcome = self._breaker._rule.outcome(error, self._breaker.name)
        if outcome is not Outcome.FAILURE or is_counted(error, self._breaker.name):
            self._settle(Outcome.NONE, None)  # no news of the venue; the place of a probe is free again
            return
        if self._permit is None:
            try:
                self._permit = self._breaker._admit()
            except BreakerOpenError:
                return  # another child has told it already
        self._settle(Outcome.FAILURE, error)

    def ended(self) -> None:
        """The child ended for reasons of its own, which say nothing about the venue."""
        self._settle(Outcome.CANCELLED, None)

    def _settle(self, outcome: Outcome, error: BaseException | None) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            self._breaker._settle(permit, outcome, error)
