"""The way of one call through its retries: the decisions that `Retry` and `Guard` share."""

import math
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any

import attrs
import trio

from genesis_trio import events
from genesis_trio._runtime import Tree
from genesis_trio.errors import RetryBudgetExhaustedError
from genesis_trio.events import emit
from genesis_trio.policies._given_up import MARKS, given_up_by, mark
from genesis_trio.policies._outcome import BETWEEN_ATTEMPTS, LOOKED_INTO, add_note
from genesis_trio.policies._tokens import MOMENT

if TYPE_CHECKING:
    from genesis_trio.policies.retry import Retry


@attrs.define(eq=False)
class RetryCounts:
    """What a guard counts about the retries of its calls."""

    retries: int = 0
    retry_successes: int = 0
    exhausted: int = 0


class Course:
    """What one call knows from its first failure on.

    Whoever makes the attempts reports each one that did not succeed with `failed` or `unsatisfied`, and
    before the next one awaits `proceed`.  At the end, however the call ends, it calls `forget`: an
    error holds its traceback, that the frame, and the frame this, which would be a cycle.

    Attributes:
        attempts: How many have been made.
        since: How many give-ups there were when the running attempt began; see `_given_up`.
        is_over: No further attempt is made: the call ends with ``last_error``, or else with ``last_result``.
        retries: How many retries were scheduled since the start, or since the call was last `healthy`.
        delay: Seconds before the next attempt.
        is_retryable: The rule matches the last attempt's error, whether or not it is tried again.
        last_error: The error of the last attempt that was made; refusals of ours are none, unless the rule
            names them.
        last_result: The last attempt's result, alone, if that was unsatisfying; else empty.
    """

    __slots__ = (
        "_began",
        "_counts",
        "_is_unpaid",
        "_policy",
        "_previous",
        "_retry",
        "_tree",
        "attempts",
        "delay",
        "is_over",
        "is_retryable",
        "last_error",
        "last_result",
        "retries",
        "since",
    )

    def __init__(
        self,
        retry: "Retry | None",
        policy: str,
        tree: Tree,
        since: float,
        counts: RetryCounts | None = None,
        began: float = 0.0,
    ) -> None:
        """*since* is the number of give-ups when the attempt began, *began* the time when the call did (see `_given_up`, ``max_elapsed``).

        Infinity for *since*: no give-up of others counts.
        """
        self._retry = retry
        self._policy = policy
        self._tree = tree
        self.since = since
        self._counts = counts
        self._began = began
        self._previous: float | None = None
        self._is_unpaid = False  # the budget had nothing left, and the rule says to ask again
        self.attempts = 0
        self.retries = 0
        self.delay = 0.0
        self.is_over = False
        self.is_retryable = False
        self.last_error: Exception | None = None
        self.last_result: Sequence[Any] = ()

    # ------------------------------------------------------------ reports

    def failed(self, error: BaseException) -> bool:
        """An attempt raised *error*.  True: the call ends with it, re-raise it.  False: `proceed`."""
        if not isinstance(error, Exception):
            return True  # cancelled, or Ctrl-C: no outcome, and nothing is tried again
        retry = self._retry
        is_plain = not isinstance(error, LOOKED_INTO)
        answer: bool | float = False
        if retry is not None:
            rule = retry._rule
            answer = rule.about_plain(error, self._policy) if is_plain else rule.retry_after(error, self._policy)
        if not is_plain and isinstance(error, BETWEEN_ATTEMPTS):
            if answer is False and self.attempts:
                self.end(f"the next attempt was refused ({type(error).__name__}: {error})")
                return False
        else:
            self.attempts += 1
            if self._tree.hooks:
                emit(self._tree, events.AttemptFailed, policy=self._policy, attempt=self.attempts, error=error)
        self.last_error = error
        self.last_result = ()
        self.is_retryable = answer is not False
        if answer is False:
            return True
        assert retry is not None
        if MARKS.made > self.since and not retry.retry_exhausted:
            by = given_up_by(error, self.since)
            if by is not None:
                add_note(error, f"{self._policy!r} did not retry this: {by!r} had already given up on it")
                return True
        return not self._schedule(retry, answer)

    def unsatisfied(self, result: object) -> bool:
        """An attempt returned what ``retry_result`` does not accept.  True: `proceed`.  False: return it all the same."""
        self.attempts += 1
        self.last_error = None
        self.last_result = (result,)
        assert self._retry is not None
        return self._schedule(self._retry, True)

    def succeeded(self) -> None:
        """The call succeeds now, after it had failed before."""
        self.last_error = None
        if self.retries:
            if self._counts is not None:
                self._counts.retry_successes += 1
            if self._tree.hooks:
                emit(self._tree, events.RetrySucceeded, policy=self._policy, attempt=self.attempts + 1)

    def healthy(self) -> None:
        """Count and delay start anew."""
        self.retries = self.attempts = 0
        self._previous = None
        self._began = trio.current_time()

    @property
    def is_out_of_budget(self) -> bool:
        """The call ends because the budget had nothing left; `proceed` raises that."""
        return self.is_over and self._is_unpaid

    def forget(self) -> None:
        """Let go of the errors; the call is over."""
        self.last_error = None

    # ------------------------------------------------------------ the next attempt

    async def proceed(self) -> bool:
        """Wait until the next attempt is due.

        False: there is none, return ``last_result``.

        Raises:
            Exception: there is none, and this is the real last error.

        Trio checkpoint: always before another attempt, even when there is no delay.
        """
        if self.is_over and self.last_error is None:
            return False
        await self.pause()
        if self._is_unpaid:
            await self._wait_for_budget()
        self.since = max(self.since, MARKS.made)
        return True

    def pause(self) -> Awaitable[None]:
        """What to await before the next attempt.  (Not a coroutine of its own: each frame around a wait costs something.)

        Raises:
            Exception: there is no other attempt; the real last error.
        """
        if self.is_over:
            assert self.last_error is not None
            raise self.last_error
        if self.delay > 0.0:
            return trio.sleep(self.delay)  # noqa: ASYNC105 - the caller awaits it
        # Also without a delay: a function that fails without ever suspending would otherwise starve the loop.
        return trio.lowlevel.checkpoint()  # noqa: ASYNC105 - the caller awaits it

    async def _wait_for_budget(self) -> None:
        """The rule names `RetryBudgetExhaustedError`: ask again after each delay, until the retries are spent."""
        while True:
            assert self._retry is not None
            assert self._retry.budget is not None
            if self._retry.budget._take():
                return
            refusal = self._budget_error(self.last_error)
            if self.failed(refusal):
                raise refusal
            await trio.sleep(self.delay)

    def _schedule(self, retry: "Retry", answer: bool | float) -> bool:
        """Schedule another attempt if nothing speaks against it; *answer* may be a delay that somebody named.

        True: `proceed`.  False: the call ends with what it has.
        """
        if retry.max_retries is not None and self.retries >= retry.max_retries:
            if retry.max_retries:
                self.end("all retries are spent")
            return False
        if answer is not True:
            delay = answer
        elif retry._is_immediate:
            delay = 0.0
        else:
            delay = self._previous = retry._delay(self.retries + 1, self._previous, self._tree)
        deadline = trio.current_effective_deadline()
        if deadline != math.inf or answer is not True or retry.max_elapsed is not None:
            objection = self._objection(retry, delay, deadline, is_named=answer is not True)
            if objection is not None:
                self.end(objection)
                return False
        if retry.budget is not None:
            self._is_unpaid = not retry.budget._take()
            if self._is_unpaid and not retry._rule.names(RetryBudgetExhaustedError):
                self.end("the retry budget has nothing left")
                if self.last_error is None:
                    return False
                self.last_error = self._budget_error(self.last_error)
                return True
        self.retries += 1
        self.delay = delay
        if self._counts is not None:
            self._counts.retries += 1
        if self._tree.hooks:
            emit(
                self._tree,
                events.RetryScheduled,
                policy=self._policy,
                attempt=self.attempts + 1,
                delay=delay,
                error=self._trouble(),
            )
        return True

    def _budget_error(self, cause: Exception | None) -> RetryBudgetExhaustedError:
        error = RetryBudgetExhaustedError(
            f"a retry of {self._policy!r} was due and the retry budget has nothing left: too many calls fail at once; "
            f"the cause is the last real error"
        )
        error.__cause__ = cause.__cause__ if isinstance(cause, RetryBudgetExhaustedError) else cause
        return error

    def _objection(self, retry: "Retry", delay: float, deadline: float, *, is_named: bool) -> str | None:
        """Why a wait of *delay* seconds is not begun, or None."""
        if deadline == math.inf:
            if is_named and delay > retry.max_delay and retry.max_elapsed is None:
                return (
                    f"the next attempt may only be made in {delay:g} s, which is more than max_delay={retry.max_delay:g}, "
                    f"and no deadline says that there is as much time"
                )
        elif deadline == -math.inf:
            return "the call is being cancelled"
        else:
            left = deadline - trio.current_time()
            if delay >= left:
                return f"the next attempt would be made in {delay:g} s, but the deadline is in {max(left, 0.0):g} s"
        if retry.max_elapsed is not None:
            elapsed = trio.current_time() - self._began
            if elapsed + delay - retry.max_elapsed > MOMENT:
                return (
                    f"the next attempt would be made {elapsed + delay:g} s after the first, "
                    f"later than max_elapsed={retry.max_elapsed:g}"
                )
        return None

    def end(self, reason: str) -> None:
        """No further attempt is made, for *reason*; the first one counts."""
        if self.is_over:
            return
        self.is_over = True
        if self._counts is not None:
            self._counts.exhausted += 1
        if self.last_error is not None:
            plural = "s" if self.attempts != 1 else ""
            add_note(self.last_error, f"{self._policy!r} gave up after {self.attempts} attempt{plural}: {reason}")
            mark(self.last_error, self._policy)
        if self._tree.hooks:
            emit(
                self._tree,
                events.RetriesExhausted,
                policy=self._policy,
                attempts=self.attempts,
                reason=reason,
                error=self._trouble(),
            )

    def _trouble(self) -> Exception | str:
        if self.last_error is not None:
            return self.last_error
        return f"unsatisfying result of type {type(self.last_result[0]).__qualname__}" if self.last_result else ""
