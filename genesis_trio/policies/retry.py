"""Retries with backoff, jitter, deadlines and a budget."""

import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import attrs
import trio

from genesis_trio._runtime import Tree, current_tree
from genesis_trio.policies import _backoff, _check
from genesis_trio.policies._backoff import JITTER_KINDS, JitterKind
from genesis_trio.policies._course import Course
from genesis_trio.policies._generate import decorated, features
from genesis_trio.policies._given_up import MARKS
from genesis_trio.policies._lane import FREE, Lane, Permit, open_without_breaker
from genesis_trio.policies._outcome import REFUSALS, Predicate, RetryRule, Rule
from genesis_trio.policies._wrapping import explain_misuse, name_of, require_async_function
from genesis_trio.policies.budget import RetryBudget

P = ParamSpec("P")
T = TypeVar("T")

# Of calls without a guard: nothing is refused, and nobody reads what it counts.
_ALWAYS_OPEN = open_without_breaker(Lane(None))


@attrs.frozen(eq=False)
class Retry:
    """Try a call again when it fails, after a delay that grows and is jittered.

    Before retry n it waits ``base_delay * multiplier**(n-1)`` seconds, at most *max_delay*, and then
    jittered: with the defaults at most 0.1, 0.2 and 0.4 seconds, each anywhere between 0 and that.
    When all is spent, the last attempt's own error is raised, with a note of what was tried.

    It never tries again after a cancellation.  It does not begin a wait that cannot end before
    ``trio.current_effective_deadline()``; the real last error comes at once instead.  Errors of ours
    that say "not now" (an open breaker, a full bulkhead, a mode) are tried again only if *on* names that
    very class; when one comes between two attempts otherwise, the caller gets the real last error.  An error that
    a retry further inside has given up on is not tried again.

    Args:
        on: What to retry, without a default because only the caller knows: an exception type, a tuple of
            them, or a function of the exception that gives True, False, or the seconds to wait.
        max_retries: Attempts after the first one; 0 is none, None is no limit.
        base_delay: Seconds before the first retry, before jitter.
        multiplier: Growth from one retry to the next, at least 1.
        max_delay: Seconds that no delay of our own exceeds.  A delay that the server names (the rule's number, or a
            ``retry_after`` attribute of the error: seconds, a timedelta, an aware datetime, or the text of HTTP's
            ``Retry-After``) is waited for in full; if it is longer than this, only under a deadline that leaves the time for it:
            one of Trio's scopes, a guard's ``total_timeout``, or *max_elapsed*.
        jitter: ``full`` (0 to the delay), ``equal`` (the upper half), ``decorrelated`` (*base_delay* to three times
            the one before), ``additive`` (0 to 0.1 s more) or ``none``.
        max_elapsed: Seconds after the first attempt began beyond which none is begun; None is no limit.
        retry_result: A function of the result; a true answer means to try again.  If it never accepts one, the last
            result is returned.
        budget: Shared by many; pays for every retry when it is scheduled.
        retry_exhausted: Try again also what a retry further inside has given up on.
        rng: Source of the jitter; None is the tree's.

    State: none of its own.  One object may serve many calls at once, in several threads.
    """

    on: RetryRule = attrs.field()
    max_retries: int | None = attrs.field(default=3, kw_only=True)
    base_delay: float = attrs.field(default=0.1, kw_only=True)
    multiplier: float = attrs.field(default=2.0, kw_only=True)
    max_delay: float = attrs.field(default=30.0, kw_only=True)
    jitter: JitterKind = attrs.field(default="full", kw_only=True)
    max_elapsed: float | None = attrs.field(default=None, kw_only=True)
    retry_result: Callable[[Any], bool] | None = attrs.field(default=None, kw_only=True)
    budget: RetryBudget | None = attrs.field(default=None, kw_only=True)
    retry_exhausted: bool = attrs.field(default=False, kw_only=True)
    rng: random.Random | None = attrs.field(default=None, kw_only=True, repr=False)
    _rule: Rule = attrs.field(init=False, repr=False)
    _retries_refusals: bool = attrs.field(init=False, repr=False)
    _is_immediate: bool = attrs.field(init=False, repr=False)  # no delay of its own is ever more than 0
    _dissatisfaction: Predicate | None = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        rule = Rule(self.on, "Retry", "on")
        object.__setattr__(self, "_rule", rule)
        object.__setattr__(self, "_retries_refusals", any(rule.names(cls) for cls in REFUSALS))
        if self.max_retries is not None:
            _check.whole("Retry", "max_retries", self.max_retries, least=0)
        _check.number("Retry", "base_delay", self.base_delay, least=0)
        _check.number("Retry", "multiplier", self.multiplier, least=1)
        _check.number("Retry", "max_delay", self.max_delay, least=0)
        check_jitter("Retry", self.jitter)
        object.__setattr__(self, "_is_immediate", self.base_delay == 0.0 and self.jitter != "additive")
        if self.max_elapsed is not None:
            _check.number("Retry", "max_elapsed", self.max_elapsed, least=0)
        predicate = None if self.retry_result is None else Predicate(self.retry_result, "Retry", "retry_result")
        object.__setattr__(self, "_dissatisfaction", predicate)
        if self.budget is not None and not isinstance(self.budget, RetryBudget):
            raise TypeError(f"Retry(budget=…) wants a RetryBudget or None, got {self.budget!r}")
        if not isinstance(self.retry_exhausted, bool):
            raise TypeError(f"Retry(retry_exhausted=…) wants True or False, got {self.retry_exhausted!r}")
        if self.rng is not None and not isinstance(self.rng, random.Random):
            raise TypeError(f"Retry(rng=…) wants a random.Random or None, got {self.rng!r}")

    async def execute(self, fn: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run ``fn(*args, **kwargs)``, again after each failure that *on* matches, until it succeeds.

        Raises:
            Exception: the last attempt's own error, with a note of what was tried.

        Trio checkpoint: those of *fn*, and always one before each retry.
        Cancellation: passes through at once; no attempt follows it.
        State: safe to call from many tasks; each call has its own count.
        """
        since = MARKS.made
        began = trio.current_time() if self.max_elapsed is not None else 0.0
        if self.budget is not None:
            self.budget._deposit()
        course: Course | None = None
        try:
            while True:
                try:
                    result = await fn(*args, **kwargs)
                except BaseException as error:  # noqa: ASYNC103 - a cancellation is raised by the course
                    if error.__class__ is TypeError and explain_misuse(fn, error):
                        raise
                    course = course or Course(self, name_of(fn), current_tree(), since, began=began)
                    if course.failed(error):
                        raise
                else:
                    if self._dissatisfaction is None or not self._dissatisfaction.says_yes(result, name_of(fn)):
                        if course is not None:
                            course.succeeded()
                        return result
                    course = course or Course(self, name_of(fn), current_tree(), since, began=began)
                    if not course.unsatisfied(result):
                        return result
                if not await course.proceed():
                    return course.last_result[0]  # type: ignore[no-any-return]
        finally:
            if course is not None:
                course.forget()

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Decorate an async function; see `execute`.

        Raises:
            TypeError: *fn* is not an async function.
        """
        require_async_function(fn, "@retry")
        return decorated(fn, features(is_fast=not self._looks_at_each_call), self, _ALWAYS_OPEN)

    @property
    def _looks_at_each_call(self) -> bool:
        """It needs to know the time, the result or what each call pays, of those that succeed at once, too."""
        return self.max_elapsed is not None or self.retry_result is not None or self.budget is not None

    # ------------------------------------------------------------ what the written wrapper asks; see `_generate`

    def _failed(
        self, course: Course | None, permit: Permit | None, error: BaseException, since: int, fn: Callable[..., Any]
    ) -> Course | None:
        if permit is not None and not (error.__class__ is TypeError and explain_misuse(fn, error)):
            course = course or Course(self, name_of(fn), current_tree(), since)
            if not course.failed(error):
                return course
        if course is not None:
            course.forget()
        return None

    def _admit_again(self, course: Course) -> Permit:
        return FREE

    async def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return await self.execute(fn, *args, **kwargs)

    def attempts(self) -> AsyncIterator["Attempt"]:
        """Iterate over attempts, for a block of code instead of a function::

            async for attempt in retry.attempts():
                with attempt:
                    stream = await connect()
                    attempt.healthy()
                    await read(stream)

        An error inside of the ``with`` that *on* matches is swallowed and another attempt follows; any other
        one, and the last one, comes out of it.  The loop ends with the first block that succeeds.  It tries again
        also what a retry further inside has given up on: a loop around everything is there for that.

        Trio checkpoint: always before each attempt but the first.
        Cancellation: passes through at once; no attempt follows it.
        """
        return _Attempts(self)

    def delays(self, rng: random.Random | None = None) -> Iterator[float]:
        """The delays of one call that fails all the time, in seconds: *max_retries* of them, or without end.

        *rng* is where the jitter comes from; None is this retry's own, or the current tree's, or, outside of a run, any.
        """
        # Outside of a run there is no tree, and nothing that has to be the same again.
        rng = rng or self.rng or (None if trio.lowlevel.in_trio_run() else random.Random())
        previous: float | None = None
        n = 0
        while self.max_retries is None or n < self.max_retries:
            n += 1
            previous = self._delay(n, previous, None, rng)
            yield previous

    def _delay(self, n: int, previous: float | None, tree: Tree | None, rng: random.Random | None = None) -> float:
        if self._is_immediate:
            return 0.0
        if self.jitter == "none":
            return _backoff.clamped(n, base_delay=self.base_delay, multiplier=self.multiplier, max_delay=self.max_delay)
        return _backoff.delay(
            n,
            base_delay=self.base_delay,
            multiplier=self.multiplier,
            max_delay=self.max_delay,
            jitter=self.jitter,
            previous=previous,
            rng=rng or self.rng or (tree or current_tree()).rng,
        )


def check_jitter(owner: str, jitter: object) -> None:
    """Refuse what is not one of the kinds of jitter."""
    if not isinstance(jitter, str):
        raise TypeError(f"{owner}(jitter=…) wants one of {', '.join(JITTER_KINDS)}, got {jitter!r}")
    if jitter not in JITTER_KINDS:
        raise ValueError(f"{owner}(jitter={jitter!r}): jitter is one of {', '.join(JITTER_KINDS)}")


class Attempt(AbstractContextManager["Attempt"]):
    """One attempt of `Retry.attempts`, entered with ``with``.

    Attributes:
        number: 1 for the first one, and again for one that is `healthy`.
        last_error: What the attempt before raised, or None.
    """

    def __init__(self, attempts: "_Attempts", number: int, last_error: Exception | None) -> None:
        self.number: int = number
        self.last_error = last_error
        self._attempts = attempts
        self._state = "new"

    def healthy(self) -> None:
        """Say that this attempt works: when it fails later, count and delay start anew.

        Trio checkpoint: never.
        """
        self.number = 1
        self._attempts._course.healthy()

    def __enter__(self) -> Self:
        if self._state != "new":
            raise RuntimeError("an attempt is entered once: `async for attempt in retry.attempts(): with attempt: ...`")
        self._state = "entered"
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if exc is None:
            self._state = "succeeded"
            self._attempts._course.succeeded()
        elif self._attempts._course.failed(exc):
            self._state = "over"
        else:
            self._state = "failed"
            return True
        self._attempts._course.forget()
        return False


class _Attempts(AsyncIterator[Attempt]):
    """The iterator of `Retry.attempts`; a class, because an abandoned async generator has to be closed by somebody."""

    def __init__(self, retry: Retry) -> None:
        self._retry = retry
        self._attempt: Attempt | None = None
        self._course: Course

    def __aiter__(self) -> "_Attempts":
        return self

    async def __anext__(self) -> Attempt:
        if self._attempt is None:
            if self._retry.budget is not None:
                self._retry.budget._deposit()
            self._course = Course(self._retry, "attempts", current_tree(), since=math.inf, began=trio.current_time())
        elif self._attempt._state in ("succeeded", "over"):
            raise StopAsyncIteration
        elif self._attempt._state == "failed":
            try:
                await self._course.proceed()
            except BaseException:
                self._attempt._state = "over"
                self._course.forget()
                raise
        else:
            raise RuntimeError("the attempt was not used: put the work into `with attempt:` inside of the loop")
        self._attempt = Attempt(self, self._course.retries + 1, self._course.last_error)
        return self._attempt


async def with_retry(
    fn: Callable[..., Awaitable[T]],
    *args: Any,
    max_retries: int = 3,
    base_delay: float = 0.1,
    on: RetryRule = Exception,
    jitter: JitterKind = "additive",
    max_delay: float = 30.0,
) -> T:
    """Run ``fn(*args)``, with at most *max_retries* retries, until it succeeds.

    The one-liner of the original Genesis document: before retry n it waits
    ``base_delay * 2**(n-1) + uniform(0, 0.1)`` seconds, that is 0.1 to 0.2, 0.2 to 0.3 and 0.4 to 0.5 with the defaults.

    Args:
        max_retries: Attempts after the first one.
        base_delay: Seconds before the first retry.
        on: What to retry; by default every `Exception` but refusals of ours.  See `Retry`, which also explains the others.

    Raises:
        Exception: the last attempt's own error, with a note of what was tried.

    Trio checkpoint: those of *fn*, and always one before each retry.
    Cancellation: passes through at once; no attempt follows it.
    """
    retry = Retry(on, max_retries=max_retries, base_delay=base_delay, jitter=jitter, max_delay=max_delay)
    return await retry.execute(fn, *args)
