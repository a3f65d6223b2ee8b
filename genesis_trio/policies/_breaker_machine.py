"""The state machine of a circuit breaker: its states and what leads from one to the next, permits and results.

Admission and result are one synchronous step each: nothing is awaited between a decision and its record.
"""

import math
import random
from operator import length_hint
from threading import get_ident
from typing import Any, Literal

import trio

from genesis_trio import events
from genesis_trio._runtime import _TREE, Run, RunBound, current_tree
from genesis_trio.errors import BreakerOpenError, GenesisError
from genesis_trio.events import describe_error, emit
from genesis_trio.modes import ModeScope, current_scope
from genesis_trio.policies import _backoff, _counted
from genesis_trio.policies._breaker_records import BreakerState
from genesis_trio.policies._lane import Lane, Permit
from genesis_trio.policies._outcome import CANCELLED, FAILURE, NONE, Outcome, Predicate, Rule
from genesis_trio.policies._ramp import NO_RAMP, Ramp
from genesis_trio.policies._tokens import MOMENT
from genesis_trio.policies._window import Totals, Window

# On Python 3.11 a member of an enum costs as much as a call when it is looked up there.
CLOSED, OPEN, HALF_OPEN, ISOLATED, DISABLED = BreakerState

#: By name, because looking at one record builds the classes of all: tens of milliseconds, in a failure that nobody observes.
Move = Literal["BreakerOpened", "BreakerHalfOpened", "BreakerClosed", "BreakerDisabled"]

_rejection = BreakerOpenError._rejection
_bare = BreakerOpenError.__new__

# The words of each rejection.
_IS_OPEN = (
    "circuit breaker {name!r} is open for another {retry_after:.6g} s; wait, "
    "or call reset() once the service is known to be healthy"
)
_IS_ISOLATED = "circuit breaker {name!r} was isolated by hand; call reset() to let calls through again"
_IS_PROBED = (
    "circuit breaker {name!r} is half open and its probes are running: at most {retry_after:.6g} s until the next one"
)
_IS_RAMPING = (
    "circuit breaker {name!r} was closed a moment ago and lets a part of the calls through; "
    "all of them in {retry_after:.6g} s"
)

# Of the break, so that instances that opened together do not come back together.
_BREAK_JITTER = 0.1


class BreakerMachine(RunBound):
    """What `CircuitBreaker` is inside; that class sets the settings, and then calls `_start`.

    Attributes:
        name: For messages, events and metrics.
    """

    __slots__ = (  # in a dict, more than 30 attributes are found slowly
        "_answered_before",
        "_break_ends",
        "_cancellations",
        "_cause",
        "_consecutive_failures",
        "_current_ramp",
        "_failure_result",
        "_failure_threshold",
        "_failures",
        "_generation",
        "_half_open_max_calls",
        "_is_easy",
        "_is_over_children",
        "_is_plain",
        "_lane",
        "_lanes",
        "_lanes_listed",
        "_max_recovery_timeout",
        "_old",
        "_opened",
        "_outcomes",
        "_permit",
        "_probe_lease",
        "_probe_successes",
        "_probes",
        "_ramp",
        "_recovery_timeout",
        "_rejections",
        "_reopenings",
        "_rng",
        "_rule",
        "_slow",
        "_slow_after",
        "_slow_call",
        "_state",
        "_success_threshold",
        "_successes",
        "_window",
        "_young",
        "name",
    )

    name: str
    _failure_threshold: int
    _recovery_timeout: float
    _success_threshold: int
    _half_open_max_calls: int
    _window: Window | None
    _slow_call: float | None
    _rule: Rule
    _failure_result: Predicate | None
    _probe_lease: float
    _max_recovery_timeout: float
    _ramp: float | None
    _rng: random.Random | None
    _lane: Lane  # of calls without a guard

    def _start(self) -> None:
        self._slow_after = math.inf if self._slow_call is None else self._slow_call
        # Whether a success while CLOSED can go untold.
        self._is_plain = self._window is None and self._slow_call is None and self._failure_result is None
        self._is_over_children = False  # some depend on it: an error that it has counted is then marked as such
        self._generation = 0
        self._lanes: dict[Lane, None] = {}
        self._lanes_listed: list[Lane] | None = None
        self._fresh()

    # ------------------------------------------------------------ the run

    def _fresh(self) -> None:
        self._lanes.clear()
        self._lanes_listed = None
        self._lane.reset()
        self._state = CLOSED
        self._generation += 1  # what is left of an earlier run is late
        self._consecutive_failures = 0  # see _failures_in_a_row
        self._answered_before = 0  # how many successes there were at the last of them
        self._reopenings = 0  # breaks since it was closed; the next one is 2 ** reopenings as long as the first
        self._break_ends = -math.inf
        self._cause: BaseException | None = None
        self._probe_successes = 0
        self._current_ramp = NO_RAMP
        self._outcomes = self._window.make() if self._window is not None else None
        self._probes: dict[Permit, None] = {}  # oldest first
        self._young: dict[Permit, None] = {}  # running, not yet slow; oldest first
        self._old = 0  # running and slow already
        self._successes = self._failures = self._rejections = self._cancellations = self._slow = self._opened = 0
        self._permit = Permit(self._generation, is_shared=True)  # of all ordinary calls
        self._publish()

    def _run_ended(self) -> None:
        for lane in self._every_lane():
            lane.close()

    def _join(self, lane: Lane) -> None:
        """Let *lane* take part from now on: it is opened and closed with the breaker, and its counts are the breaker's."""
        self._lanes[lane] = None
        self._lanes_listed = None
        self._publish(lane)

    def _retire(self, lane: Lane) -> None:
        """The guard of *lane* is gone: keep its counts, not the lane."""
        if self._lanes.pop(lane, self) is None:
            self._lanes_listed = None
            self._successes += lane.succeeded
            self._rejections += lane.refused

    def _every_lane(self) -> list[Lane]:
        # A copy: the garbage collector may retire a lane at any moment, also in the middle of a loop over them.
        lanes = self._lanes_listed
        if lanes is None:
            lanes = self._lanes_listed = list(self._lanes)
        return lanes

    def _publish(self, *lanes: Lane) -> None:
        """Open or close the lanes according to the state; all of them if none is given."""
        self._is_easy = self._is_plain and self._state in (CLOSED, DISABLED) and self._current_ramp is NO_RAMP
        for lane in lanes or self._every_lane():
            if self._is_easy:
                lane.open(self._permit)
            else:
                lane.close()
                lane.is_refused = self._state is OPEN and lane.refuses_directly

    def _enter(self) -> None:
        """Be in the run, and at its present time.

        Raises:
            RuntimeError: there is no ``trio.run``, or another one uses this breaker.
        """
        self._enter_run()
        self._advance(trio.current_time())

    def _look(self) -> None:
        """The same, where looking at what an ended run has left behind is all right as well."""
        if trio.lowlevel.in_trio_run():
            self._enter()

    def _advance(self, now: float) -> None:
        """Work out what time has brought about, in the order in which it happened."""
        if self._state is OPEN and self._break_ends - now > MOMENT:
            return
        while True:
            if self._state is OPEN and self._break_ends - now <= MOMENT:
                self._change(HALF_OPEN)
                self._tell("BreakerHalfOpened")
            elif self._probes and (lease_ends := next(iter(self._probes)).lease_ends) <= now:
                self._open(lease_ends, None, f"a probe took longer than its lease of {self._probe_lease:g} s")
            elif self._young and (slow_at := next(iter(self._young)).began + self._slow_after) <= now:
                permit = next(iter(self._young))
                del self._young[permit]
                permit.is_old = True
                self._old += 1
                self._judge_window(slow_at, None)
            else:
                break
        if self._current_ramp is not NO_RAMP and self._current_ramp.ends <= now:
            self._current_ramp = NO_RAMP
            self._publish()

    def _retry_after(self, now: float) -> float:
        if self._state is ISOLATED:
            return math.inf
        return max(0.0, self._break_ends - now) if self._state is OPEN else 0.0

    # ------------------------------------------------------------ permits

    def _would_reject(self) -> BreakerOpenError | None:
        """The error that a caller would get now, counted as if it had; no permit is taken."""
        return self._rejection(trio.current_time())

    def _admit(self) -> Permit:
        """Take a permit, in the step in which the call starts.

        Raises:
            BreakerOpenError: there is none; a new one each time.
        """
        self._enter_run()
        permit = self._take()
        if isinstance(permit, BreakerOpenError):
            try:
                raise permit
            finally:
                del permit
        return permit

    def _take(self) -> Permit | BreakerOpenError:
        """A permit or the rejection, for a caller who is known to be in the breaker's run."""
        if self._is_easy:
            return self._permit
        now = trio.current_time()
        rejection = self._rejection(now) or self._ramp_rejection(now)
        if rejection is not None:
            return rejection
        if self._state is HALF_OPEN:
            permit = Permit(self._generation, began=now, lease_ends=now + self._probe_lease)
            self._probes[permit] = None
            return permit
        if self._slow_call is None:
            return self._permit
        permit = Permit(self._generation, began=now)
        if self._state is CLOSED:
            self._young[permit] = None
        return permit

    def _rejection(self, now: float) -> BreakerOpenError | None:
        """Why the state that it is in at *now* lets nothing through."""
        if self._state is not OPEN or self._break_ends - now <= MOMENT:
            self._advance(now)
        if self._state is OPEN:
            return self._reject(_IS_OPEN, self._break_ends - now)
        if self._state is ISOLATED:
            return self._reject(_IS_ISOLATED, math.inf)
        if (
            self._state is HALF_OPEN
            and len(self._probes) >= self._half_open_max_calls
            and not self._is_elected(current_scope())
        ):
            return self._reject(_IS_PROBED, next(iter(self._probes)).lease_ends - now)
        return None

    def _is_elected(self, scope: ModeScope | None) -> bool:
        """True for a call of the child that is the probe, or of one below it: its start may need the venue."""
        elected = [permit.elected for permit in self._probes if permit.elected is not None]
        while elected and scope is not None:
            if scope in elected:
                return True
            scope = scope.parent
        return False

    def _refuse(self, lane: Lane) -> list[BreakerOpenError] | None:
        """The rejection of a call on a lane that `is_refused`, counted and told; None if it takes more to decide.

        There is nothing to ask but the time, and whether this is the run that opened the breaker: the end of a break says
        nothing on the clock of another one.  It comes in a list, so that who raises it takes it out and keeps nothing: the
        frame that holds an error which holds the frame would be a cycle, and to delete it on the way costs as much as
        making it.
        """
        run: Run = self._run  # type: ignore[assignment]  # it was opened in one
        left = self._break_ends - run.now()
        if left <= MOMENT or get_ident() != run.thread:
            return None
        lane.refused += 1
        # As `_rejection` does, whose frame would be a tenth of what a rejection costs.
        refusal = _bare(BreakerOpenError)
        refusal._pattern = _IS_OPEN
        refusal.name = self.name
        refusal.retry_after = left
        if self._cause is not None:
            refusal.__cause__ = self._cause
        if run.breaker_watchers or (_TREE.get(None) or run.tree).hooks:
            self._tell_refused(lane.policy, refusal)
        return [refusal]

    def _tell_refused(self, policy: str, refusal: GenesisError) -> None:
        for watcher in self._run.breaker_watchers:  # type: ignore[union-attr]
            watcher.refused(self)
        tree = current_tree()
        if tree.hooks:
            emit(tree, events.CallRejected, policy=policy, error=refusal)

    def _reject(self, words: str, retry_after: float) -> BreakerOpenError:
        self._rejections += 1
        return _rejection(words, self.name, retry_after, self._cause)

    def _ramp_rejection(self, now: float) -> BreakerOpenError | None:
        ramp = self._current_ramp
        if ramp is NO_RAMP or ramp.lets_through(now):
            return None
        return self._reject(_IS_RAMPING, ramp.ends - now)

    # ------------------------------------------------------------ results

    def _entered(self, permit: Permit) -> None:
        """The call of *permit* has opened a stream: its duration and its lease end here, its result comes later."""
        if not permit.is_shared:
            permit.ended = self._let_go(permit)

    def _let_go(self, permit: Permit) -> float:
        """Stop watching the age of *permit*; the slot of a probe is free again.  The time at which that is."""
        now = trio.current_time()
        if permit.lease_ends - now >= -MOMENT:
            self._probes.pop(permit, None)  # first: one that ends with its lease has not overrun it
        self._advance(now)
        if permit.generation == self._generation:
            self._probes.pop(permit, None)
            self._young.pop(permit, None)
            if permit.is_old:
                permit.is_old = False
                self._old -= 1
        return now

    def _outcome_of_result(self, result: object) -> Outcome:
        if self._failure_result is not None and self._failure_result.says_yes(result, self.name):
            return Outcome.FAILURE
        return Outcome.SUCCESS

    def _settle(self, permit: Permit, outcome: Outcome, error: BaseException | None) -> None:
        """Learn how the call of *permit* ended; its `Lane` tells it once.

        Raises:
            RuntimeError: the call failed in another ``trio.run`` than the one that uses this breaker.
        """
        is_slow = not permit.is_shared and self._end_of_one(permit)
        failed = outcome is FAILURE
        if failed:
            if self._run is None or get_ident() != self._run.thread:
                # A lane admits without asking whose run it is.  Opened by the clock of another run, a break would end
                # hours away for this one.
                self._enter_run()
        elif outcome is CANCELLED:
            self._cancellations += 1
            return
        elif outcome is NONE:
            return
        if is_slow:
            self._slow += 1  # also that of a late one: its own slowness may have opened the breaker
        if permit.generation != self._generation:
            return
        if failed:
            self._failures += 1
            if self._is_over_children and error is not None:
                _counted.mark(error, self.name)
            answered = self._answered()
            if answered != self._answered_before:
                self._answered_before = answered
                self._consecutive_failures = 0
            self._consecutive_failures += 1
        else:
            self._successes += 1
        if self._state is CLOSED:
            if self._outcomes is not None:
                now = trio.current_time()
                self._outcomes.add(now, failed=failed, slow=is_slow)
                self._judge_window(now, error)
            elif failed and self._consecutive_failures >= self._failure_threshold:
                self._open(trio.current_time(), error, f"{self._consecutive_failures} failures in a row")
        elif self._state is HALF_OPEN:
            self._judge_probe(failed, error)

    def _end_of_one(self, permit: Permit) -> bool:
        """The call of a permit of its own is over; whether it was slow."""
        now = self._let_go(permit)
        ended = now if permit.ended is None else permit.ended
        return permit.began + self._slow_after <= ended  # as in `_advance`: a difference would be rounded otherwise

    def _answered(self) -> int:
        """How many calls were answered in this run, whether told or counted by a lane."""
        lanes = self._lanes_listed or self._every_lane()  # first: a lane that is retired in between would be missed
        answered = self._successes
        for lane in lanes:
            answered += lane._succeeded - length_hint(lane.successes)  # `Lane.succeeded`, at each failure
        return answered

    def _failures_in_a_row(self) -> int:
        # Lanes count their successes and tell none, so nobody sets this back to 0: a success since the last failure
        # shows in the number of successes.
        return self._consecutive_failures if self._answered() == self._answered_before else 0

    def _judge_probe(self, failed: bool, error: BaseException | None) -> None:
        if failed:
            self._open(trio.current_time(), error, "a probe failed")
            return
        self._probe_successes += 1
        if self._probe_successes >= self._success_threshold:
            self._close(ramp=self._ramp)

    def _judge_window(self, now: float, error: BaseException | None) -> None:
        """Open it if the numbers of the window say so."""
        if self._outcomes is None or self._window is None:
            return
        calls, failures, slow = self._outcomes.totals(now)
        reason = self._window.is_too_bad(Totals(calls + self._old, failures, slow + self._old))
        if reason:
            self._open(now, error, reason)

    # ------------------------------------------------------------ transitions

    def _open(self, at: float, error: BaseException | None, reason: str) -> None:
        """Open it for a break that began at *at*."""
        if self._state is OPEN:
            self._reopenings -= 1  # tripped once more by hand: no probe has failed, the break is as long as before
        length = _backoff.clamped(
            self._reopenings + 1,
            base_delay=self._recovery_timeout,
            multiplier=2.0,
            max_delay=self._max_recovery_timeout,
        )
        length *= 1.0 + (self._rng or current_tree().rng).uniform(-_BREAK_JITTER, _BREAK_JITTER)
        self._break_ends = at + length  # first: the lanes are told of it by the change
        self._change(OPEN)
        self._reopenings += 1
        self._opened += 1
        self._cause = error
        self._tell(
            "BreakerOpened",
            retry_after=length,
            error=reason if error is None else f"{reason}: {describe_error(error)}",
        )

    def _longest_break(self) -> float:
        return self._max_recovery_timeout * (1.0 + _BREAK_JITTER)

    def _close(self, *, ramp: float | None) -> None:
        was_closed = self._state is CLOSED
        self._change(CLOSED)
        if ramp is not None:
            self._current_ramp = Ramp(ramp, trio.current_time())
            self._publish()
        if not was_closed:
            self._tell("BreakerClosed")

    def _change(self, state: BreakerState) -> None:
        """Enter *state*: a new generation, in which what began before does not count."""
        self._state = state
        self._generation += 1
        self._permit = Permit(self._generation, is_shared=True)  # of all ordinary calls
        self._probe_successes = 0
        self._probes.clear()
        self._young.clear()
        self._old = 0
        self._current_ramp = NO_RAMP
        if state in (CLOSED, DISABLED):
            self._consecutive_failures = 0
            self._reopenings = 0
            self._outcomes = self._window.make() if self._window is not None else None
        if state is not HALF_OPEN:
            self._cause = None
        self._publish()

    def _tell(self, event: Move, **fields: Any) -> None:
        assert self._run is not None  # it moves in one
        for watcher in self._run.breaker_watchers:
            watcher.moved(self)
        tree = current_tree()
        if tree.hooks:
            emit(tree, getattr(events, event), breaker=self.name, **fields)
