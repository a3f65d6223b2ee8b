"""One guarded call on the general path: every policy, in its order, as ordinary code."""

import inspect
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio import events
from genesis_trio._runtime import current_tree
from genesis_trio.errors import AttemptTimeoutError, BulkheadFullError, RateLimitedError, TotalTimeoutError
from genesis_trio.events import emit
from genesis_trio.policies._course import Course
from genesis_trio.policies._given_up import MARKS
from genesis_trio.policies._lane import Permit
from genesis_trio.policies._outcome import REFUSALS, Outcome, leaves
from genesis_trio.policies._wrapping import explain_misuse, name_of

if TYPE_CHECKING:
    from genesis_trio.policies.guard import Guard


class _NotDone:
    """The type of `NOT_DONE`."""

    def __repr__(self) -> str:
        return "NOT_DONE"

    def __reduce__(self) -> str:
        return "NOT_DONE"


#: What ``reconcile`` returns to say that the call has not been carried out, so that another attempt may be made.
NOT_DONE: Any = _NotDone()


class Call:
    """One call of *fn* under the policies of *guard*.

    The methods stand in the order of the policies, from the outside in.

    Attributes:
        course: The retries' decisions; made at the first attempt that does not succeed.
        has_started: An attempt has started.
        has_waited: Something else than the first attempt took of the total timeout.
        has_won: A copy of a hedged attempt has succeeded.
        is_misused: What was given cannot be called and awaited.
        total: The scope of the total timeout.
    """

    __slots__ = (
        "_args",
        "_began",
        "_cut",
        "_fn",
        "_guard",
        "_has_place",
        "_kwargs",
        "_since",
        "course",
        "has_started",
        "has_waited",
        "has_won",
        "is_misused",
        "total",
    )

    def __init__(self, guard: "Guard", fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._guard = guard
        self._fn = fn
        self._args = args
        self._kwargs = kwargs
        self._began = 0.0  # only kept for max_elapsed
        self._since = MARKS.made
        self._has_place = False  # in the bulkhead
        self._cut: list[Permit] = []  # of attempts that the total timeout may have cut
        self.course: Course | None = None
        self.has_started = False
        self.has_waited = False
        self.has_won = False
        self.is_misused = False
        self.total: trio.CancelScope | None = None

    def begin(self) -> None:
        """Count it, and pay for it."""
        guard = self._guard
        guard._lane.counts.calls += 1
        retry, hedge = guard._retry, guard._rare.hedge
        budget = None if retry is None else retry.budget
        if budget is not None:
            budget._deposit()
        if hedge is not None and hedge.budget is not None and hedge.budget is not budget:
            hedge.budget._deposit()
        if retry is not None and retry.max_elapsed is not None:
            self._began = trio.current_time()

    async def finish(self) -> Any:
        """Bring it to its end, and count that."""
        guard = self._guard
        try:
            result = await (self._retrying() if guard._total_timeout is None else self._limited())
        except Exception as error:
            if not self.has_started:
                guard._tell_refused(error)
            if guard._rare.fallback is not None:
                return await self.fall_back(error)  # noqa: ASYNC120 - the error stands in the course, which raises it
            guard._count_end(error, has_started=self.has_started)
            raise
        except BaseException as error:
            guard._count_end(error, has_started=self.has_started)
            raise
        finally:
            self.forget()
        guard._lane.counts.successes += 1
        return result

    def forget(self) -> None:
        """Let go of the errors; see `Course.forget`."""
        if self.course is not None:
            self.course.forget()

    # ------------------------------------------------------------ fallback

    async def fall_back(self, error: Exception) -> Any:
        """The fallback's answer to *error*.  The call is counted as what it was without, unless it is cancelled now."""
        guard = self._guard
        assert guard._rare.fallback is not None
        tree = current_tree()
        if tree.hooks:
            emit(tree, events.FallbackUsed, policy=guard.name, error=error)
        end: BaseException = error
        try:
            value = guard._rare.fallback(error, *self._args, **self._kwargs)
            return await value if inspect.isawaitable(value) else value
        except Exception:
            raise
        except BaseException as cancellation:
            end = cancellation
            raise
        finally:
            guard._count_end(end, has_started=self.has_started)
            del end

    # ------------------------------------------------------------ total timeout

    async def _limited(self) -> Any:
        assert self._guard._total_timeout is not None
        try:
            with trio.CancelScope(relative_deadline=self._guard._total_timeout) as self.total:
                return await self._retrying()
            return self.total_timeout_is_over()
        finally:
            self.settle_cut(Outcome.CANCELLED)  # if it is still there, it was not we who cut it

    def total_timeout_is_over(self) -> Any:
        """The last result if there is one, else raise the real last error, else a `TotalTimeoutError`."""
        guard = self._guard
        too_long = f"{guard.name!r} took longer than total_timeout={guard._total_timeout:g} s"
        if guard._rare.repeatable is False and self.has_started:
            too_long += "; what became of the attempt that was cut off is not known"
        error: Exception = TotalTimeoutError(too_long)
        # An attempt that had only the rest of the time says nothing about the dependency.
        self.settle_cut(Outcome.CANCELLED if self.has_waited else Outcome.FAILURE, error)
        if self.course is not None:
            self.course.end(too_long)
            if self.course.last_result:
                return self.course.last_result[0]
            if self.course.last_error is not None:  # not its truth: an error may be a container, and empty
                error = self.course.last_error
        try:
            raise error
        finally:
            del error

    def settle_cut(self, outcome: Outcome, error: BaseException | None = None) -> None:
        while self._cut:
            self._guard._lane.settle(self._cut.pop(), outcome, error)

    # ------------------------------------------------------------ retry

    async def _retrying(self) -> Any:
        while True:
            course = self.course
            if course is not None:
                self.has_waited = True
                if not await course.proceed():
                    return course.last_result[0]
                if self._must_reconcile(course):
                    value = await self._reconcile()
                    if value is not NOT_DONE:
                        course.succeeded()
                        return value
            try:
                result = await self._attempt()
            except Exception as error:
                if self.is_misused:
                    raise
                course = self.make_course()
                is_end = course.failed(error)
                if (is_end or course.is_out_of_budget) and self._must_reconcile(course):
                    value = await self._reconcile()  # noqa: ASYNC120 - the error stands in the course, which raises it
                    if value is not NOT_DONE:
                        return value
                if is_end:
                    raise
            else:
                if self._is_good(result):
                    if course is not None:
                        course.succeeded()
                    return result
                course = self.make_course()
                if not course.unsatisfied(result):
                    return result

    def make_course(self) -> Course:
        """The call's course; a new one at its first trouble."""
        if self.course is None:
            self.course = self._guard._make_course(self._since, self._began)
        return self.course

    def _is_good(self, result: object) -> bool:
        retry = self._guard._retry
        dissatisfaction = None if retry is None else retry._dissatisfaction
        return dissatisfaction is None or not dissatisfaction.says_yes(result, self._guard.name)

    def _must_reconcile(self, course: Course) -> bool:
        """True if it is not known what became of the last attempt, and somebody can tell."""
        guard = self._guard
        if guard._reconcile is None or trio.current_effective_deadline() == -math.inf:
            return False
        if course.last_error is None:
            return True  # no result that is good enough is no proof that nothing happened
        errors = list(leaves(course.last_error))
        if all(isinstance(error, REFUSALS) for error in errors):
            return False  # nothing was sent
        return (
            guard._retry is None
            or course.is_retryable
            or any(isinstance(error, AttemptTimeoutError) for error in errors)
        )

    async def _reconcile(self) -> Any:
        guard = self._guard
        assert guard._reconcile is not None
        try:
            answer = guard._reconcile(*self._args, **self._kwargs)
            if not inspect.isawaitable(answer):
                raise TypeError(
                    f"Guard(reconcile=…) of {guard.name!r} wants an async function, but {name_of(guard._reconcile)}() "
                    f"gave {answer!r}, which cannot be awaited: write `async def`"
                )
            return await answer
        except Exception as failure:
            # Whoever reads of it wants to know of the attempt's own error, too, which nobody is handling by now.
            if failure.__context__ is None and self.course is not None and self.course.last_error is not failure:
                failure.__context__ = self.course.last_error
            raise

    # ------------------------------------------------------------ bulkhead, rate limit, hedge

    async def _attempt(self) -> Any:
        """One attempt: look, wait for its turn, then start it, or the race of its copies."""
        hedge = self._guard._rare.hedge
        try:
            await self.wait_for_turn()
            self.has_won = False  # the attempt before may have, with a result that was not good enough
            if hedge is None:
                return await self._start(0)
            return await hedge._call(self._copy)
        finally:
            self.leave()

    async def wait_for_turn(self) -> None:
        """A place in the bulkhead, then a token of the rate limit.

        The token last: it counts calls that begin, so it has to be taken in the step in which this one does.
        """
        rare = self._guard._rare
        bulkhead, rate_limit, is_urgent = rare.bulkhead, rare.rate_limit, rare.is_urgent
        if bulkhead is None and rate_limit is None:
            return
        self._guard._look()
        if bulkhead is not None:
            if not bulkhead._try_enter():
                self.has_waited = True
                await bulkhead._enter(is_urgent)
            self._has_place = True
        if rate_limit is not None and not rate_limit._try_take(is_urgent):
            self.has_waited = True
            await rate_limit._take(is_urgent)

    def leave(self) -> None:
        """Give the place in the bulkhead back, if there is one."""
        bulkhead = self._guard._rare.bulkhead
        if self._has_place and bulkhead is not None:
            self._has_place = False
            bulkhead._leave()

    async def _copy(self, copy: int, delay: float) -> Any:
        """One copy of a hedged attempt.  The first one has had its turn; the others get one at once, or are not made.

        *delay* is that of the race, in seconds.
        """
        if copy == 0:
            return await self._start(0)
        guard = self._guard
        bulkhead, rate_limit, is_urgent = guard._rare.bulkhead, guard._rare.rate_limit, guard._rare.is_urgent
        guard._look()
        if bulkhead is not None and not bulkhead._try_enter():
            raise BulkheadFullError(f"no place for a hedge of {guard.name!r}; hedges do not wait for one")
        try:
            if rate_limit is not None and not rate_limit._try_take(is_urgent):
                raise RateLimitedError(
                    f"no token for a hedge of {guard.name!r}; hedges do not wait for one", retry_after=0.0
                )
            return await self._start(copy, delay)
        finally:
            if bulkhead is not None:
                bulkhead._leave()

    # ------------------------------------------------------------ decision, attempt timeout, the call itself

    def admit(self) -> Permit:
        """Decide; the token that was taken in this step goes back if the answer is no."""
        permit = self._guard._decide()
        if isinstance(permit, Permit):
            self.has_started = True
            return permit
        if self._guard._rare.rate_limit is not None:
            self._guard._rare.rate_limit._give_back()
        try:
            raise permit
        finally:
            del permit

    async def _start(self, copy: int, delay: float = 0.0) -> Any:
        """Decide, and call the function in the same step."""
        guard = self._guard
        permit = self.admit()
        if copy:
            guard._count_hedge(copy, delay)
        try:
            if guard._attempt_timeout is None:
                result = await self._fn(*self._args, **self._kwargs)
            else:
                result = None
                with trio.CancelScope(relative_deadline=guard._attempt_timeout) as scope:
                    result = await self._fn(*self._args, **self._kwargs)
                if scope.cancelled_caught:
                    raise guard._attempt_timeout_error()
        except BaseException as error:
            self.settle_error(permit, error, copy)
            raise
        outcome = Outcome.NONE if self.has_won else guard._outcome_of_result(result)
        self.has_won = True
        guard._lane.settle(permit, outcome)
        return result

    def _explain_misuse(self, error: BaseException) -> bool:
        return explain_misuse(self._fn, error)

    def settle_error(self, permit: Permit, error: BaseException, copy: int = 0) -> None:
        """Tell the breaker how the attempt of *permit* failed; one that lost a race counts nowhere."""
        if error.__class__ is TypeError and self._explain_misuse(error):
            self.is_misused = True
            outcome = Outcome.NONE
        else:
            outcome = Outcome.NONE if self.has_won else self._guard._outcome(error)
        if outcome is Outcome.CANCELLED and copy == 0 and self.total is not None and self.total.cancel_called:
            # Whether it was our own total timeout is known when its scope is left, later in this very step.  Another
            # copy started later and had only the rest of the time.
            self._cut.append(permit)
        else:
            self._guard._lane.settle(permit, outcome, error)
