"""Circuit breakers: stop calling what fails, and find out carefully when it works again.

::

                 failures in a row, or a ratio in a window; trip()
        ┌──────────────────────────────────────────────────┐
        │                                                  ▼
    CLOSED ◄── successes in a row ── HALF_OPEN ◄── time ── OPEN
                                         │                 ▲
                                         └─ a failed probe ┘

    by hand, from every state:  isolate() ─► ISOLATED   disable() ─► DISABLED   reset() ─► CLOSED

Nothing here runs by itself: what time has brought about (a break that is over, a probe's lease that
ran out) is worked out, and dated, when somebody calls or looks.
"""

import enum
import functools
import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import attrs
import trio

from genesis_trio._runtime import RunBound, current_tree
from genesis_trio.errors import BreakerOpenError
from genesis_trio.events import (
    BreakerClosed,
    BreakerDisabled,
    BreakerHalfOpened,
    BreakerOpened,
    CallRejected,
    Event,
    Registry,
    describe_error,
    emit,
)
from genesis_trio.policies import _backoff, _check
from genesis_trio.policies._lane import Lane, Permit
from genesis_trio.policies._outcome import Outcome, Predicate, RetryRule, Rule
from genesis_trio.policies._window import Totals, Window
from genesis_trio.policies._wrapping import check_name, require_async_function

P = ParamSpec("P")
T = TypeVar("T")

# After closing, the ramp begins with this share of the calls.
_RAMP_FROM = 0.1
# Of the break, so that instances that opened together do not come back together.
_BREAK_JITTER = 0.1
# The longest break in breaks, where max_recovery_timeout is not given.
_LONGEST_BREAK = 10.0


class BreakerState(enum.Enum):
    """What a caller meets."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    ISOLATED = "isolated"
    DISABLED = "disabled"


@attrs.frozen(kw_only=True)
class BreakerStatistics:
    """What a `CircuitBreaker` does now, and has done in this run.

    Attributes:
        state: What a caller would meet now.
        consecutive_failures: Failures since the last success.
        successes: Calls that were answered, also with an error outside of ``failure_on``.
        failures: Calls that failed.
        rejections: Calls that were not let through.
        cancellations: Calls that were cancelled; they say nothing about the dependency.
        slow: Calls that ended after ``slow_call`` seconds or more; they are successes or failures as well.
        opened: How often it opened.
        in_flight: Calls that are running.
        probes_in_flight: Probes among them.
        retry_after: Seconds until a probe may run; 0 when calls may pass now, infinity when isolated.
    """

    state: BreakerState
    consecutive_failures: int
    successes: int
    failures: int
    rejections: int
    cancellations: int
    slow: int
    opened: int
    in_flight: int
    probes_in_flight: int
    retry_after: float


#: Every circuit breaker there is.
BREAKERS: "Registry[CircuitBreaker]" = Registry()


class CircuitBreaker(RunBound):
    """Reject calls at once while a dependency fails, and let probes find out when it works again.

    CLOSED: calls pass.  After *failure_threshold* failures in a row, or at the ratio of a *window*, it opens.
    OPEN: calls are rejected with `BreakerOpenError` for the break, *recovery_timeout* seconds +-10 %.
    HALF_OPEN: *half_open_max_calls* probes run at once, other calls are rejected.  *success_threshold*
    successes in a row close it; one failure opens it again, with twice the break.

    A cancelled call is no outcome: nothing is counted but the cancellation, and its place is returned.  Nor is a
    refusal of ours from inside.  An `AttemptTimeoutError` is always a failure.  An exception group is a failure
    if one error in it is.  What began before a transition and ends after it is ignored.

    Args:
        name: For messages, events and metrics.
        failure_threshold: Failures in a row that open it; without meaning where there is a *window*.
        recovery_timeout: Seconds of the first break.
        success_threshold: Successful probes in a row that close it.
        half_open_max_calls: Probes that run at once.
        window: Open it at a ratio instead.
        slow_call: Seconds from which on a call counts as slow.  It opens the breaker with a `Window` that has a
            ``slow_ratio``; calls that are still running count as soon as they are as old.
        failure_on: Which exceptions are failures: a type, several, or a function of the exception.  With any other one the
            dependency has answered, which is a success.
        failure_result: A function of the result; true means that it counts as a failure.  It is returned all the same.
        probe_lease: Seconds that a probe may take; one that takes longer has failed.  None is *recovery_timeout*.
        max_recovery_timeout: The longest break in seconds, before its jitter; None is ten times *recovery_timeout*.
        ramp: Seconds after closing in which a growing share of the calls passes, from a tenth to all of them;
            the others are rejected.  None lets all pass at once.
        rng: Source of the jitter; None is the tree's.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks and between guards.
    """

    def __init__(
        self,
        name: str,
        *,
        failure_threshold: int = 3,
        recovery_timeout: float = 5.0,
        success_threshold: int = 2,
        half_open_max_calls: int = 1,
        window: Window | None = None,
        slow_call: float | None = None,
        failure_on: RetryRule = Exception,
        failure_result: Callable[[Any], bool] | None = None,
        probe_lease: float | None = None,
        max_recovery_timeout: float | None = None,
        ramp: float | None = None,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__()
        owner = "CircuitBreaker"
        self.name = check_name(owner, name)
        self._failure_threshold = _check.whole(owner, "failure_threshold", failure_threshold, least=1)
        self._recovery_timeout = _check.number(owner, "recovery_timeout", recovery_timeout, above=0)
        self._success_threshold = _check.whole(owner, "success_threshold", success_threshold, least=1)
        self._half_open_max_calls = _check.whole(owner, "half_open_max_calls", half_open_max_calls, least=1)
        if window is not None and not isinstance(window, Window):
            raise TypeError(f"CircuitBreaker(window=…) wants a Window or None, got {window!r}")
        self._window = window
        self._slow_call = None if slow_call is None else _check.number(owner, "slow_call", slow_call, above=0)
        if window is not None and window.slow_ratio is not None and slow_call is None:
            raise ValueError(
                f"CircuitBreaker(window={window!r}): a slow_ratio needs slow_call=, the seconds from which on a call is slow"
            )
        self._slow_after = math.inf if self._slow_call is None else self._slow_call
        self._rule = Rule(failure_on, owner, "failure_on")
        self._failure_result = None if failure_result is None else Predicate(failure_result, owner, "failure_result")
        self._probe_lease = (
            self._recovery_timeout if probe_lease is None else _check.number(owner, "probe_lease", probe_lease, above=0)
        )
        self._max_recovery_timeout = (
            _LONGEST_BREAK * self._recovery_timeout
            if max_recovery_timeout is None
            else _check.number(owner, "max_recovery_timeout", max_recovery_timeout, least=self._recovery_timeout)
        )
        self._ramp = None if ramp is None else _check.number(owner, "ramp", ramp, above=0)
        if rng is not None and not isinstance(rng, random.Random):
            raise TypeError(f"CircuitBreaker(rng=…) wants a random.Random or None, got {rng!r}")
        self._rng = rng
        # Whether a success while CLOSED can go untold.
        self._is_plain = window is None and slow_call is None and failure_result is None
        self._generation = 0
        self._lane = Lane(self)  # of calls without a guard
        self._lanes: dict[Lane, None] = {}
        self._fresh()
        BREAKERS.add(self)

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self._state.value}>"

    # ------------------------------------------------------------ calling

    async def execute(self, fn: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run ``fn(*args, **kwargs)``, if the breaker lets it through, and learn from how it ends.

        Raises:
            BreakerOpenError: it was not let through, and *fn* not called.
            Exception: what *fn* raises.

        Trio checkpoint: those of *fn*; none when it is rejected.
        Cancellation: passes through at once, and says nothing about the dependency.
        """
        lane = self._lane
        permit = next(lane.admissions, None) or self._take_by_hand()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            lane.settle(permit, self._rule.outcome(error, self.name), error)
            raise
        if next(lane.successes, None) is not permit:
            lane.not_this_one()
            lane.settle(permit, self._outcome_of_result(result))
        return result

    def _take_by_hand(self) -> Permit:
        """Take a permit for a call without a guard.

        Raises:
            BreakerOpenError: there is none.
        """
        self._enter_run()
        permit = self._lane.take()
        if isinstance(permit, BreakerOpenError):
            tree = current_tree()
            if tree.hooks:
                emit(tree, CallRejected, policy=self.name, error=permit)
            try:
                raise permit
            finally:
                del permit
        return permit

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Decorate an async function; see `execute`.

        Raises:
            TypeError: *fn* is not an async function.
        """
        require_async_function(fn, "@breaker")

        @functools.wraps(fn)
        async def protected(*args: P.args, **kwargs: P.kwargs) -> T:
            return await self.execute(fn, *args, **kwargs)

        return protected

    # ------------------------------------------------------------ by hand

    def isolate(self) -> None:
        """Hold it open until `reset`, `disable` or `trip`, or the end of the run.

        Trio checkpoint: never.
        """
        self._enter()
        self._change(BreakerState.ISOLATED)
        self._tell(BreakerOpened, retry_after=math.inf, error="isolated by hand")

    def disable(self) -> None:
        """Let everything through and only count, until `reset`, `isolate` or `trip`, or the end of the run.

        Trio checkpoint: never.
        """
        self._enter()
        self._change(BreakerState.DISABLED)
        self._tell(BreakerDisabled)

    def trip(self) -> None:
        """Open it as a failure would; where it is open already, the break begins anew.

        Trio checkpoint: never.
        """
        self._enter()
        self._open(trio.current_time(), None, "tripped by hand")

    def reset(self) -> None:
        """Close it and count anew, whatever state it is in; there is no ramp.

        Trio checkpoint: never.
        """
        self._enter()
        self._close(ramp=None)

    # ------------------------------------------------------------ what is known

    @property
    def state(self) -> BreakerState:
        """What a caller would meet now.  Outside of a ``trio.run``: what the last one left behind."""
        self._look()
        return self._state

    def statistics(self) -> BreakerStatistics:
        """The numbers of the current ``trio.run``, as a frozen record.

        Trio checkpoint: never.
        """
        self._look()
        return BreakerStatistics(
            state=self._state,
            consecutive_failures=self._consecutive_failures,
            successes=self._successes + sum(lane.succeeded for lane in self._every_lane()),
            failures=self._failures,
            rejections=self._rejections,
            cancellations=self._cancellations,
            slow=self._slow,
            opened=self._opened,
            in_flight=sum(lane.in_flight for lane in self._every_lane()),
            probes_in_flight=len(self._probes),
            retry_after=self._retry_after(trio.current_time()) if trio.lowlevel.in_trio_run() else 0.0,
        )

    def _retry_after(self, now: float) -> float:
        if self._state is BreakerState.ISOLATED:
            return math.inf
        return max(0.0, self._break_ends - now) if self._state is BreakerState.OPEN else 0.0

    # ------------------------------------------------------------ the run

    def _fresh(self) -> None:
        self._lanes.clear()
        self._lane.reset()
        self._state = BreakerState.CLOSED
        self._generation += 1  # what is left of an earlier run is late
        self._consecutive_failures = 0
        self._reopenings = 0  # breaks since it was closed; the next one is 2 ** reopenings as long as the first
        self._break_ends = -math.inf
        self._cause: BaseException | None = None
        self._probe_successes = 0
        self._ramp_began = -math.inf
        self._ramp_ends = -math.inf
        self._ramp_credit = 1.0
        self._outcomes = self._window.make() if self._window is not None else None
        self._probes: dict[Permit, None] = {}  # oldest first
        self._young: dict[Permit, None] = {}  # running, not yet slow; oldest first
        self._old = 0  # running and slow already
        self._successes = self._failures = self._rejections = self._cancellations = self._slow = self._opened = 0
        self._for_all = Permit(self._generation, is_shared=True)  # on the lanes
        self._for_one = Permit(self._generation, is_shared=True)  # where a call asks; has to be settled
        self._publish()
        if self._run is not None:
            self._join(self._lane)

    def _run_ended(self) -> None:
        for lane in self._every_lane():
            lane.close()

    def _join(self, lane: Lane) -> None:
        """Let *lane* take part from now on: it is opened and closed with the breaker, and its counts are the breaker's."""
        self._lanes[lane] = None
        self._publish(lane)

    def _retire(self, lane: Lane) -> None:
        """The guard of *lane* is gone: keep its counts, not the lane."""
        if self._lanes.pop(lane, self) is None:
            self._successes += lane.succeeded

    def _every_lane(self) -> list[Lane]:
        # A copy: the garbage collector may retire a lane at any moment, also in the middle of a loop over them.
        return list(self._lanes)

    def _publish(self, *lanes: Lane) -> None:
        """Open or close the lanes according to the state; all of them if none is given."""
        self._is_easy = (
            self._is_plain
            and self._state in (BreakerState.CLOSED, BreakerState.DISABLED)
            and self._ramp_ends == -math.inf
        )
        for lane in lanes or self._every_lane():
            if self._is_easy:
                lane.open(self._for_all)
                if self._consecutive_failures:
                    lane.listen()
            else:
                lane.close()

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
        if self._state is BreakerState.OPEN and now < self._break_ends:
            return
        while True:
            if self._state is BreakerState.OPEN and self._break_ends <= now:
                self._change(BreakerState.HALF_OPEN)
                self._tell(BreakerHalfOpened)
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
        if self._ramp_ends <= now and self._ramp_ends != -math.inf:
            self._ramp_ends = -math.inf
            self._publish()

    # ------------------------------------------------------------ permits

    def _would_reject(self) -> BreakerOpenError | None:
        """The error that a caller would get now, counted as if it had; no permit is taken."""
        now = trio.current_time()
        self._advance(now)
        return self._rejection(now)

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
            return self._for_one
        now = trio.current_time()
        self._advance(now)
        rejection = self._rejection(now) or self._ramp_rejection(now)
        if rejection is not None:
            return rejection
        if self._state is BreakerState.HALF_OPEN:
            permit = Permit(self._generation, began=now, lease_ends=now + self._probe_lease)
            self._probes[permit] = None
            return permit
        if self._slow_call is None:
            return self._for_one
        permit = Permit(self._generation, began=now)
        if self._state is BreakerState.CLOSED:
            self._young[permit] = None
        return permit

    def _rejection(self, now: float) -> BreakerOpenError | None:
        """Why the state lets nothing through."""
        if self._state is BreakerState.OPEN:
            left = self._break_ends - now
            return self._reject(
                f"circuit breaker {self.name!r} is open for another {left:.6g} s; wait, "
                f"or call reset() once the service is known to be healthy",
                left,
            )
        if self._state is BreakerState.ISOLATED:
            return self._reject(
                f"circuit breaker {self.name!r} was isolated by hand; call reset() to let calls through again", math.inf
            )
        if self._state is BreakerState.HALF_OPEN and len(self._probes) >= self._half_open_max_calls:
            left = next(iter(self._probes)).lease_ends - now
            return self._reject(
                f"circuit breaker {self.name!r} is half open and its probes are running: "
                f"at most {left:.6g} s until the next one",
                left,
            )
        return None

    def _reject(self, message: str, retry_after: float) -> BreakerOpenError:
        self._rejections += 1
        error = BreakerOpenError(message, name=self.name, retry_after=retry_after)
        error.__cause__ = self._cause
        return error

    def _ramp_rejection(self, now: float) -> BreakerOpenError | None:
        # The share is spread evenly, without chance: each caller brings it as credit, and a whole one is a call.
        if self._ramp_ends == -math.inf or self._ramp is None:
            return None
        self._ramp_credit += _RAMP_FROM + (1.0 - _RAMP_FROM) * (now - self._ramp_began) / self._ramp
        if self._ramp_credit >= 1.0:
            self._ramp_credit -= 1.0
            return None
        left = self._ramp_ends - now
        return self._reject(
            f"circuit breaker {self.name!r} was closed a moment ago and lets a part of the calls through; "
            f"all of them in {left:.6g} s",
            left,
        )

    # ------------------------------------------------------------ results

    def _entered(self, permit: Permit) -> None:
        """The call of *permit* has opened a stream: its duration and its lease end here, its result comes later."""
        if not permit.is_shared:
            permit.ended = trio.current_time()
            self._advance(permit.ended)
            self._let_go(permit)

    def _let_go(self, permit: Permit) -> None:
        """Stop watching the age of *permit*; the slot of a probe is free again."""
        if permit.generation != self._generation:
            return
        self._probes.pop(permit, None)
        self._young.pop(permit, None)
        if permit.is_old:
            permit.is_old = False
            self._old -= 1

    def _outcome_of_result(self, result: object) -> Outcome:
        if self._failure_result is not None and self._failure_result.says_yes(result, self.name):
            return Outcome.FAILURE
        return Outcome.SUCCESS

    def _settle(self, permit: Permit, outcome: Outcome, error: BaseException | None) -> None:
        """Learn how the call of *permit* ended; its `Lane` tells it once."""
        is_slow = False
        if not permit.is_shared:
            now = trio.current_time()
            self._advance(now)
            self._let_go(permit)
            took = (now if permit.ended is None else permit.ended) - permit.began
            is_slow = self._slow_call is not None and took >= self._slow_call
        if outcome is Outcome.CANCELLED:
            self._cancellations += 1
        if outcome in (Outcome.CANCELLED, Outcome.NONE):
            return
        self._slow += is_slow  # also that of a late one: its own slowness may have opened the breaker
        if permit.generation != self._generation:
            return
        failed = outcome is Outcome.FAILURE
        if failed:
            self._failures += 1
            self._consecutive_failures += 1
            if self._is_easy:
                for lane in self._every_lane():
                    lane.listen()
        else:
            self._successes += 1
            if self._consecutive_failures:
                self._consecutive_failures = 0
                if self._is_easy:
                    for lane in self._every_lane():
                        lane.open(self._for_all)
        if self._state is BreakerState.HALF_OPEN:
            self._judge_probe(failed, error)
        elif self._state is BreakerState.CLOSED:
            if self._outcomes is not None:
                now = trio.current_time()
                self._outcomes.add(now, failed=failed, slow=is_slow)
                self._judge_window(now, error)
            elif self._consecutive_failures >= self._failure_threshold:
                self._open(trio.current_time(), error, f"{self._consecutive_failures} failures in a row")

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
        if self._state is BreakerState.OPEN:
            self._reopenings -= 1  # tripped once more by hand: no probe has failed, the break is as long as before
        length = _backoff.clamped(
            self._reopenings + 1,
            base_delay=self._recovery_timeout,
            multiplier=2.0,
            max_delay=self._max_recovery_timeout,
        )
        length *= 1.0 + (self._rng or current_tree().rng).uniform(-_BREAK_JITTER, _BREAK_JITTER)
        self._change(BreakerState.OPEN)
        self._reopenings += 1
        self._opened += 1
        self._break_ends = at + length
        self._cause = error
        self._tell(
            BreakerOpened,
            retry_after=length,
            error=reason if error is None else f"{reason}: {describe_error(error)}",
        )

    def _close(self, *, ramp: float | None) -> None:
        was_closed = self._state is BreakerState.CLOSED
        self._change(BreakerState.CLOSED)
        if ramp is not None:
            self._ramp_began = trio.current_time()
            self._ramp_ends = self._ramp_began + ramp
            self._ramp_credit = 1.0
            self._publish()
        if not was_closed:
            self._tell(BreakerClosed)

    def _change(self, state: BreakerState) -> None:
        """Enter *state*: a new generation, in which what began before does not count."""
        self._state = state
        self._generation += 1
        self._for_all = Permit(self._generation, is_shared=True)  # on the lanes
        self._for_one = Permit(self._generation, is_shared=True)  # where a call asks; has to be settled
        self._probe_successes = 0
        self._probes.clear()
        self._young.clear()
        self._old = 0
        self._ramp_ends = -math.inf
        if state in (BreakerState.CLOSED, BreakerState.DISABLED):
            self._consecutive_failures = 0
            self._reopenings = 0
            self._outcomes = self._window.make() if self._window is not None else None
        if state is not BreakerState.HALF_OPEN:
            self._cause = None
        self._publish()

    def _tell(self, event_type: type[Event], **fields: Any) -> None:
        tree = current_tree()
        if tree.hooks:
            emit(tree, event_type, breaker=self.name, **fields)

    # ------------------------------------------------------------ saved state

    def _snapshot(self) -> dict[str, Any]:
        """What survives the process, as plain values: times are what is left of them, in seconds."""
        self._enter()
        now = trio.current_time()
        return {
            "state": self._state.value,
            "consecutive_failures": self._consecutive_failures,
            "reopenings": self._reopenings,
            "remaining": self._break_ends - now if self._state is BreakerState.OPEN else 0.0,
        }

    def _restore(self, snapshot: Mapping[str, Any]) -> None:
        """Take over what `_snapshot` gave; the failure that opened it is not known any more."""
        self._enter()
        state = BreakerState(snapshot["state"])
        self._change(state)
        self._consecutive_failures = int(snapshot["consecutive_failures"])
        self._reopenings = int(snapshot["reopenings"])
        if state is BreakerState.OPEN:
            self._break_ends = trio.current_time() + float(snapshot["remaining"])
            self._tell(BreakerOpened, retry_after=float(snapshot["remaining"]), error="restored")
        self._publish()
