"""Guards: all policies of one kind of call to the outside, composed in a fixed order."""

import inspect
import weakref
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from threading import get_ident
from types import FunctionType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import trio

from genesis_trio import events
from genesis_trio._runtime import _RUN, _TREE, Run, RunBound, Tree, current_run
from genesis_trio.errors import AttemptTimeoutError, GenesisError
from genesis_trio.events import Registry, emit
from genesis_trio.modes import Capability, current_scope, root_scope
from genesis_trio.policies import _check
from genesis_trio.policies._call import NOT_DONE, Call
from genesis_trio.policies._course import Course
from genesis_trio.policies._explain import explain
from genesis_trio.policies._generate import EXECUTE, Features, compile_wrapper, decorated, shape_of, write
from genesis_trio.policies._guard_records import GuardLane, GuardStatistics
from genesis_trio.policies._guard_settings import features_of, function, instance, rare_settings, refuse_contradictions
from genesis_trio.policies._lane import NOWHERE, Permit, open_without_breaker
from genesis_trio.policies._outcome import FAILURE, NONE, REFUSALS, Outcome
from genesis_trio.policies._stream import open_stream
from genesis_trio.policies._wrapping import check_name, explain_misuse, require_async_function, require_factory
from genesis_trio.policies.breaker import CircuitBreaker
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.hedge import Hedge
from genesis_trio.policies.rate_limit import RateLimit
from genesis_trio.policies.retry import Retry

__all__ = ["GUARDS", "NOT_DONE", "Guard", "GuardStatistics"]

P = ParamSpec("P")
T = TypeVar("T")


class _Written:
    """A method that each guard writes for itself when it is first asked for: one that calls on would cost a frame more."""

    def __init__(self, method: Callable[..., Any]) -> None:
        self._method = method

    def __get__(self, guard: "Guard | None", owner: type) -> Callable[..., Any]:
        if guard is None:
            return self._method
        wrapper = guard._write_execute()
        if inspect.getattr_static(owner, self._method.__name__) is self:
            guard.__dict__[self._method.__name__] = wrapper
        # Else a subclass has one of its own, which asked for this one with `super()` and must be found the next time, too.
        return wrapper


# What a guard has before its first use; nobody writes to it.
_UNUSED_LANE = GuardLane(None)

#: Every guard there is.
GUARDS: "Registry[Guard]" = Registry()


class Guard(RunBound):
    """Put all policies of a call to the outside around it, in this order, from the outside in:

    1. *fallback* answers when everything below has failed or was refused;
    2. *total_timeout* limits everything below, waits included;
    3. *retry* makes another attempt;
    4. mode (*needs*) and *breaker* are looked at, so that a call that cannot be made waits for nothing;
    5. *bulkhead* and *rate_limit* make it wait for its turn;
    6. mode and breaker decide, in the same synchronous step in which the call starts;
    7. *hedge* starts copies of a slow call, each of which is decided like an attempt;
    8. *attempt_timeout* limits the call itself.

    Nest guards for another order.  What the called function awaits before its own write is its own: call
    `require` there.

    Use it as ``await guard.execute(fn, *args)``, as a decorator, or with `connect` for streams.

    Args:
        name: For messages, events and metrics.
        retry: When and how often to try again.
        breaker: May be shared with other guards of the same dependency.
        attempt_timeout: Seconds for each attempt, without the waits for bulkhead and rate limit; None is no limit.
            An attempt that takes longer is an `AttemptTimeoutError`, which is retried if *retry* matches it (it is
            an `OSError`) and a failure for the breaker.
        total_timeout: Seconds for the whole call; None is no limit.  If no attempt has failed before, a call that takes
            longer is a `TotalTimeoutError`, else that attempt's error.
        bulkhead: Limits calls at once.
        rate_limit: Limits calls in time.
        hedge: Makes copies of slow calls.
        fallback: ``fallback(error, *args, **kwargs)``, sync or async; its value is the call's.
        needs: What the operating mode has to allow.
        repeatable: May the call be carried out twice?  Has to be said where *needs* has OPEN and something repeats it.
            False with a retry needs *reconcile*.
        reconcile: ``await reconcile(*args, **kwargs)`` finds out what became of an attempt whose outcome is not known:
            it returns the value that finishes the call, or `NOT_DONE`.  It is asked before another attempt,
            and before an attempt's error goes to the caller; it runs under the total timeout only.

    Raises:
        ValueError: a value out of range, or settings that contradict each other.
        TypeError: a value of the wrong type.

    State: belongs to the ``trio.run`` that uses it; safe to share between tasks.
    """

    __slots__ = (
        "__dict__",  # holds nothing but a written `execute`
        "_attempt_timeout",
        "_lane",
        "_needs",
        "_rare",
        "_reconcile",
        "_retry",
        "_total_timeout",
        "breaker",
        "name",
    )

    def __init__(
        self,
        name: str,
        *,
        retry: Retry | None = None,
        breaker: CircuitBreaker | None = None,
        attempt_timeout: float | None = None,
        total_timeout: float | None = None,
        bulkhead: Bulkhead | None = None,
        rate_limit: RateLimit | None = None,
        hedge: Hedge | None = None,
        fallback: Callable[..., Any] | None = None,
        needs: Capability | None = None,
        repeatable: bool | None = None,
        reconcile: Callable[..., Awaitable[Any]] | None = None,
    ) -> None:
        super().__init__()
        self.name = check_name("Guard", name)
        self._retry = instance("retry", retry, Retry)
        self.breaker = instance("breaker", breaker, CircuitBreaker)
        self._attempt_timeout = (
            None if attempt_timeout is None else _check.number("Guard", "attempt_timeout", attempt_timeout, above=0)
        )
        self._total_timeout = (
            None if total_timeout is None else _check.number("Guard", "total_timeout", total_timeout, above=0)
        )
        self._needs = instance("needs", needs, Capability)
        self._rare = rare_settings(
            repeatable=repeatable,
            bulkhead=bulkhead,
            rate_limit=rate_limit,
            hedge=hedge,
            fallback=fallback,
            needs=needs,
        )
        self._reconcile = function("reconcile", reconcile)
        refuse_contradictions(self)
        self._lane = _UNUSED_LANE
        GUARDS.add(self)

    def __repr__(self) -> str:
        return f"<Guard {self.name!r}>"

    # ------------------------------------------------------------ calling

    async def execute(self, fn: Callable[..., Awaitable[T]], /, *args: Any, **kwargs: Any) -> T:
        """Run ``fn(*args, **kwargs)`` under all policies.

        Raises:
            Exception: the last attempt's own error, with a note of what was tried, or a refusal of ours if no attempt was
                made: `ModeRefusedError`, `BreakerOpenError`, `BulkheadFullError`, `RateLimitedError`.
            TotalTimeoutError: it took too long, and no attempt had failed.
            RetryBudgetExhaustedError: a retry was due and the budget had none; the cause is the real error.

        Trio checkpoint: those of *fn*; one before each retry; where it waits for bulkhead or rate limit.
        Cancellation: passes through at once and is no outcome; no attempt follows it, and no fallback.
        """
        return await self._call(fn, args, kwargs)  # type: ignore[no-any-return]

    if not TYPE_CHECKING:
        execute = _Written(execute)

    def __call__(self, fn: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        """Decorate an async function; see `execute`.  The wrapper has the function's own signature.

        Raises:
            TypeError: *fn* is not an async function.
        """
        require_async_function(fn, "@guard")
        return decorated(fn, self._features, self, self._own_lane(), self._attempt_timeout)

    def connect(
        self, factory: Callable[..., AbstractAsyncContextManager[T]], /, *args: Any
    ) -> AbstractAsyncContextManager[T]:
        """Enter the async context manager ``factory(*args)`` under all policies::

            async with feed_guard.connect(open_websocket, url) as ws:
                ...

        The policies apply to entering: each attempt makes a new context manager, and timeouts, the place in a
        bulkhead and the lease of a probe end when it is entered.  The end of the block is the one outcome: an error is a
        failure, a cancellation none, anything else a success.  Nothing in the block is tried again.  A *fallback*
        gives the value of a block that could not be entered.

        Raises:
            ValueError: the guard has a hedge, or reconcile: of two streams one would be thrown away.
            TypeError: *factory* cannot be what it has to be, such as an async function or a context manager.

        Trio checkpoint: those of entering and leaving; see `execute`.
        Cancellation: passes through at once and is no outcome.
        """
        for name, policy in (("hedge", self._rare.hedge), ("reconcile", self._reconcile)):
            if policy is not None:
                raise ValueError(
                    f"guard {self.name!r} has {name}=, which has no meaning for a stream; make one without"
                )
        require_factory(factory)
        return open_stream(self, factory, args)

    def source(self, fn: Callable[..., Any] | None = None) -> str:
        """The text of the wrapper that decorating *fn* makes, or of `execute` if there is none."""
        return write(EXECUTE if fn is None else shape_of(inspect.signature(fn)), self._features)

    @property
    def _features(self) -> Features:
        return features_of(self)

    @property
    def _retries_refusals(self) -> bool:
        return self._retry is not None and self._retry._retries_refusals

    def _own_lane(self) -> GuardLane:
        """The guard's lane, made at the first use: most guards of a large table stay unused."""
        if self._lane is _UNUSED_LANE:
            refuses_directly = self._needs is None and not self._retries_refusals
            self._lane = GuardLane(self.breaker, self.name, refuses_directly=refuses_directly)
            if self.breaker is not None:
                # The breaker keeps the counts of guards that are gone.
                weakref.finalize(self, self.breaker._retire, self._lane).atexit = False
        return self._lane

    def _write_execute(self) -> FunctionType:
        names = {"fn": None, "guard": self, "lane": self._own_lane(), "limit": self._attempt_timeout}
        wrapper = compile_wrapper(EXECUTE, self._features, names)
        method = type(self).execute
        wrapper.__name__, wrapper.__qualname__ = method.__name__, method.__qualname__
        wrapper.__doc__, wrapper.__module__ = method.__doc__, method.__module__
        wrapper.__signature__ = _EXECUTE_SIGNATURE  # type: ignore[attr-defined]
        return wrapper

    # ------------------------------------------------------------ what is known

    def explain(self) -> str:
        """Worst-case latency and amplification in words, and the policies in their order."""
        return explain(self)

    def statistics(self) -> GuardStatistics:
        """The numbers of the current ``trio.run``, as a frozen record.

        Trio checkpoint: never.
        """
        if trio.lowlevel.in_trio_run():
            self._enter_run()
        return self._lane.statistics()

    # ------------------------------------------------------------ the run

    def _enter_run(self) -> Run:
        run = current_run()
        if self._run is not run:
            # The breaker first: where it is in use by another run, this guard does not enter either.
            if self.breaker is not None:
                self.breaker._enter_run()
            super()._enter_run()
        return run

    def _fresh(self) -> None:
        lane = self._own_lane()
        lane.reset()
        lane.root = root_scope()
        if self.breaker is not None:
            self.breaker._join(lane)
        else:
            open_without_breaker(lane)

    def _run_ended(self) -> None:
        self._lane.close()
        self._lane.root = NOWHERE

    # ------------------------------------------------------------ rules that the fast and the general path share

    def _look(self) -> None:
        """Refuse at once what would be refused anyway, before anything is waited for."""
        if self._needs is not None:
            current_scope().require(self._needs)
        if self.breaker is not None and not self._lane.is_open:
            rejection = self.breaker._would_reject()
            if rejection is not None:
                try:
                    raise rejection
                finally:
                    del rejection

    def _decide(self) -> Permit | GenesisError:
        """Mode and breaker, in the same synchronous step in which the call starts: a permit, or the refusal."""
        if self._needs is not None:
            scope = current_scope()
            if not scope.allows(self._needs):
                return scope._refusal(self._needs)
        return self._lane.take()

    def _attempt_timeout_error(self) -> AttemptTimeoutError:
        self._lane.counts.timeouts += 1
        return AttemptTimeoutError(
            f"an attempt of {self.name!r} took longer than attempt_timeout={self._attempt_timeout:g} s"
        )

    def _outcome(self, error: BaseException) -> Outcome:
        if self.breaker is None:
            return NONE  # nobody asks
        return self.breaker._rule.outcome(error, self.breaker.name)

    def _outcome_of_result(self, result: object) -> Outcome:
        return Outcome.NONE if self.breaker is None else self.breaker._outcome_of_result(result)

    def _make_course(self, since: int, began: float = 0.0) -> Course:
        return Course(self._retry, self.name, self._tree(), since, self._lane.counts, began)

    def _tree(self) -> Tree:
        """As `current_tree`, for a guard that is in its run."""
        tree = _TREE.get(None)
        if tree is None:
            assert self._run is not None
            tree = self._run.tree
        return tree

    def _count_end(self, error: BaseException, *, has_started: bool) -> None:
        """Count a call that ended with *error*."""
        if not isinstance(error, Exception):
            self._lane.counts.cancelled += 1
        elif isinstance(error, REFUSALS) and not has_started:
            self._lane.counts.rejected += 1
        else:
            self._lane.counts.failures += 1

    def _tell_refused(self, error: BaseException) -> None:
        """Tell of a call that ended with *error* before any attempt started, if that was a refusal."""
        if not isinstance(error, REFUSALS):
            return
        if self.breaker is not None:
            self.breaker._tell_refused(self.name, error)
        elif (tree := self._tree()).hooks:
            emit(tree, events.CallRejected, policy=self.name, error=error)

    def _count_hedge(self, copy: int, delay: float) -> None:
        """Copy number *copy* has been let through and starts now, *delay* seconds after the one before."""
        self._lane.counts.hedges += 1
        tree = self._tree()
        if tree.hooks:
            emit(tree, events.HedgeStarted, policy=self.name, copy=copy, delay=delay)

    # ------------------------------------------------------------ what the fast path tells

    def _admit_first(self) -> Permit | list[GenesisError] | None:
        """The lane is closed, or the mode does not allow the call, or both were not known yet in this run.

        A refusal comes in a list; see `BreakerMachine._refuse`.  None: the retry waits for refusals, which is for the
        general path to do.
        """
        run = self._run
        if run is None or run.ended or run.thread != get_ident():
            self._enter_run()
        if self._retries_refusals:
            # Whoever decides must go on with it: deciding twice would count a refusal twice.
            return None
        permit = self._decide()
        self._lane.counts.calls += 1
        if isinstance(permit, Permit):
            return permit
        self._lane.counts.rejected += 1
        self._tell_refused(permit)
        return [permit]

    def _failed(
        self, course: Course | None, permit: Permit | None, error: BaseException, since: int, fn: Callable[..., Any]
    ) -> Course | None:
        """An attempt raised, or the wait for the next one did.  None: so does the call.  A course: it makes another attempt."""
        if permit is not None:
            lane, breaker = self._lane, self.breaker
            lane._settled += 1
            if error.__class__ is TypeError and explain_misuse(fn, error):
                if breaker is not None:
                    breaker._settle(permit, NONE, error)
            else:
                outcome = NONE
                if breaker is not None:
                    outcome = breaker._rule.outcome(error, breaker.name)
                    breaker._settle(permit, outcome, error)
                # A breaker that is told a failure sees for itself that this is its run.  A cancellation goes on, come what may.
                if outcome is not FAILURE and _RUN.get(None) is not self._run and isinstance(error, Exception):  # type: ignore[arg-type]
                    self._enter_run()
                if course is None:
                    tree = _TREE.get(None) or self._run.tree  # type: ignore[union-attr]
                    course = Course(self._retry, self.name, tree, since, lane.counts)
                if not course.failed(error):
                    return course
        if course is not None:
            course.forget()
        self._count_end(error, has_started=True)
        return None

    def _admit_again(self, course: Course) -> Permit | None:
        """Decide the next attempt; it starts in the same step.  None: it was refused, and `Course.pause` knows what follows.

        Raises:
            GenesisError: it was refused, and that is the end.
        """
        decision = self._decide()
        if isinstance(decision, Permit):
            return decision
        if course.failed(decision):
            try:
                raise decision
            finally:
                del decision
        return None

    def _succeeded(self, permit: Permit, result: object) -> None:
        """An attempt succeeded, and `Lane.successes` gave another permit than its own, or none."""
        self._lane.not_this_one()
        self._lane.settle(permit, self._outcome_of_result(result))
        self._lane.counts.successes += 1

    # ------------------------------------------------------------ the general path

    async def _call(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call on the general path from its beginning."""
        self._enter_run()
        call = Call(self, fn, args, kwargs)
        call.begin()
        return await call.finish()


_EXECUTE_SIGNATURE = inspect.signature(Guard.execute)
_EXECUTE_SIGNATURE = _EXECUTE_SIGNATURE.replace(parameters=list(_EXECUTE_SIGNATURE.parameters.values())[1:])
