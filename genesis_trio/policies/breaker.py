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

import math
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ParamSpec, TypeVar

import trio

from genesis_trio.errors import BreakerOpenError
from genesis_trio.events import Registry
from genesis_trio.policies import _breaker_saved, _check
from genesis_trio.policies._breaker_machine import BreakerMachine
from genesis_trio.policies._breaker_records import BreakerState, BreakerStatistics
from genesis_trio.policies._course import Course
from genesis_trio.policies._generate import decorated, features
from genesis_trio.policies._lane import Lane, Permit
from genesis_trio.policies._outcome import Outcome, Predicate, RetryRule, Rule
from genesis_trio.policies._window import Window
from genesis_trio.policies._wrapping import check_name, explain_misuse, require_async_function

__all__ = ["BREAKERS", "BreakerState", "BreakerStatistics", "CircuitBreaker", "Window"]

P = ParamSpec("P")
T = TypeVar("T")

# The longest break in breaks, where max_recovery_timeout is not given.
_LONGEST_BREAK = 10.0


#: Every circuit breaker there is.
BREAKERS: "Registry[CircuitBreaker]" = Registry()


class CircuitBreaker(BreakerMachine):
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
        probe_lease: Seconds that a probe may take; one that is still running then has failed.  None is *recovery_timeout*.
        max_recovery_timeout: The longest break in seconds, before its jitter; None is ten times *recovery_timeout*.
        ramp: Seconds after closing in which a growing share of the calls passes, from a tenth to all of them;
            the others are rejected.  None lets all pass at once.
        rng: Source of the jitter; None is the tree's.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks and between guards.
    """

    __slots__ = ()

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
        self._lane = Lane(self, self.name)
        self._start()
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
        permit = next(lane.admissions, None) or (lane.is_refused and self._refuse(lane)) or self._admit_first()
        if isinstance(permit, list):
            raise permit.pop()
        try:
            result = await fn(*args, **kwargs)
        except BaseException as error:
            self._failed(None, permit, error, 0, fn)
            raise
        if next(lane.successes, None) is not permit:
            self._succeeded(permit, result)
        return result

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Decorate an async function; see `execute`.

        Raises:
            TypeError: *fn* is not an async function.
        """
        require_async_function(fn, "@breaker")
        return decorated(fn, features(is_fast=True), self, self._lane)

    # ------------------------------------------------------------ what the written wrapper asks; see `_generate`

    def _admit_first(self) -> Permit | list[BreakerOpenError]:
        lane = self._lane
        self._enter_run()
        if lane not in self._lanes:
            self._join(lane)
        decision = lane.take()
        if isinstance(decision, Permit):
            return decision
        self._tell_refused(self.name, decision)
        return [decision]

    def _failed(
        self, course: Course | None, permit: Permit | None, error: BaseException, since: int, fn: Callable[..., Any]
    ) -> None:
        assert permit is not None  # nothing is waited for: there is no other attempt
        if error.__class__ is TypeError and explain_misuse(fn, error):
            self._lane.settle(permit, Outcome.NONE)
        else:
            self._lane.settle(permit, self._rule.outcome(error, self.name), error)

    def _succeeded(self, permit: Permit, result: object) -> None:
        self._lane.not_this_one()
        self._lane.settle(permit, self._outcome_of_result(result))

    # ------------------------------------------------------------ by hand

    def isolate(self) -> None:
        """Hold it open until `reset`, `disable` or `trip`, or the end of the run.

        Trio checkpoint: never.
        """
        self._enter()
        self._change(BreakerState.ISOLATED)
        self._tell("BreakerOpened", retry_after=math.inf, error="isolated by hand")

    def disable(self) -> None:
        """Let everything through and only count, until `reset`, `isolate` or `trip`, or the end of the run.

        Trio checkpoint: never.
        """
        self._enter()
        self._change(BreakerState.DISABLED)
        self._tell("BreakerDisabled")

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
            consecutive_failures=self._failures_in_a_row(),
            successes=self._answered(),
            failures=self._failures,
            rejections=self._rejections + sum(lane.refused for lane in self._every_lane()),
            cancellations=self._cancellations,
            slow=self._slow,
            opened=self._opened,
            in_flight=sum(lane.in_flight for lane in self._every_lane()),
            probes_in_flight=len(self._probes),
            retry_after=self._retry_after(trio.current_time()) if trio.lowlevel.in_trio_run() else 0.0,
        )

    # ------------------------------------------------------------ saved state

    def _snapshot(self) -> dict[str, Any]:
        """What survives the process, as plain values; see `_breaker_saved`."""
        self._enter()
        return _breaker_saved.snapshot(self, trio.current_time())

    def _restore(self, snapshot: Mapping[str, Any], *, away: float = 0.0) -> None:
        """Take over what `_snapshot` gave, *away* seconds ago.

        Raises:
            ValueError: it is not what a `_snapshot` gives.
        """
        self._enter()
        _breaker_saved.restore(self, snapshot, trio.current_time() - away)
        self._advance(trio.current_time())
