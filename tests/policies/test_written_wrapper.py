"""The written wrapper of a guarded function is the general path, only faster.

Each program is run twice, once through the wrapper that `Guard` writes and once through the general path
that its text falls back to, and everything that can be seen from outside has to be the same.
"""

import contextlib
import functools
import inspect
import itertools
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from genesis_trio.errors import BreakerOpenError, BulkheadFullError, ModeRefusedError, RetryBudgetExhaustedError
from genesis_trio.events import observe
from genesis_trio.modes import Capability, Mode, current_scope
from genesis_trio.policies._generate import compile_wrapper, shape_of
from genesis_trio.policies._given_up import mark
from genesis_trio.policies.breaker import CircuitBreaker, Window
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.retry import Retry
from genesis_trio.testing import simulate
from policies.venue import Middle, ServerBusy


def busy_or_down(error: Exception) -> bool | float:
    """A rule that is a function."""
    return 0.25 if isinstance(error, ServerBusy) else isinstance(error, OSError)


def retry(on: Any = (OSError, ServerBusy), **changes: Any) -> Retry:
    return Retry(on, **{"max_retries": 2, "base_delay": 0.5, "rng": Middle(), **changes})


def breaker(**changes: Any) -> CircuitBreaker:
    settings = {"failure_threshold": 2, "recovery_timeout": 2.0, "success_threshold": 1, "failure_on": (OSError,)}
    return CircuitBreaker("venue", rng=Middle(), **(settings | changes))


RETRIES: dict[str, Callable[[], Retry | None]] = {
    "no retry": lambda: None,
    "retry": retry,
    "retry at once": lambda: retry(base_delay=0.0),
    "no retries": lambda: retry(max_retries=0),
    "retry by a function": lambda: retry(busy_or_down),
    "retry what others gave up on": lambda: retry(retry_exhausted=True),
    "retry refusals": lambda: retry((OSError, BreakerOpenError, ModeRefusedError), max_retries=1),
}
BREAKERS: dict[str, Callable[[], CircuitBreaker | None]] = {
    "no breaker": lambda: None,
    "breaker": breaker,
    "window": lambda: breaker(window=Window(minimum_calls=2, calls=4)),
    "slow": lambda: breaker(slow_call=0.5, window=Window(minimum_calls=2, seconds=5.0, slow_ratio=0.5)),
    "bad results": lambda: breaker(failure_result=lambda result: result == "bad"),
    "ramp": lambda: breaker(ramp=2.0),
}
TIMEOUTS = {"no timeout": None, "timeout": 0.75}
NEEDS = {"no mode": None, "one capability": Capability.OPEN, "two": Capability.OPEN | Capability.READ}

# All times of the caller and of the mode lie between these steps: what happens at one moment has no order.
# What the called function does: how long it takes, and what it ends with.
DOWN, BUSY = (0.125, OSError("down")), (0.0, ServerBusy(1.0))
ACK, BAD, SLOW, HANGS = (0.0, "ack"), (0.25, "bad"), (0.625, "late"), (100.0, "never")
STEPS: dict[str, tuple[float, Any]] = {
    "answers": ACK,
    "answers badly": BAD,
    "is slow": SLOW,
    "hangs": HANGS,
    "is down": DOWN,
    "is busy": BUSY,
    "answers with an error": (0.0, KeyError("symbol")),
    "is down in a group": (0.0, ExceptionGroup("both", [OSError("a"), OSError("b")])),
    "is down and answers": (0.0, ExceptionGroup("both", [OSError("a"), KeyError("b")])),
    "refuses": (0.0, BulkheadFullError("inner")),
    "has no budget": (0.0, RetryBudgetExhaustedError("inner")),
    "was given up": (0.0, "given up"),
    "is interrupted": (0.0, KeyboardInterrupt()),
}
SCRIPTS = {
    **{f"{name}, answers": [step, ACK] for name, step in STEPS.items()},
    "is down for long": [DOWN],
    "hangs for ever": [HANGS],
    "is down, then busy": [DOWN, BUSY, ACK],
    "is down, then answers with an error": [DOWN, STEPS["answers with an error"]],
    "is down, then interrupted": [DOWN, STEPS["is interrupted"]],
    "is busy, then answers badly": [BUSY, BAD],
}
# What has happened to the breaker before the call.
BEFORE = ["nothing", "a failure", "open", "half open", "isolated", "disabled", "just closed"]


@attrs.frozen
class Program:
    """One guard, what was before, and what happens to its calls."""

    retry: str = "retry"
    breaker: str = "breaker"
    timeout: str = "no timeout"
    needs: str = "no mode"
    before: str = "nothing"
    script: tuple[tuple[float, Any], ...] = (ACK,)
    calls: int = 2
    deadline: float = 50.0  # seconds of each call, by the caller
    safe: tuple[float, float] | None = None  # seconds from and to which the mode is SAFE
    is_watched: bool = True


class Stage:
    """Runs a program and writes down what can be seen of it."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps = iter(())
        self.seen: list[Any] = []

    def note(self, *what: Any) -> None:
        self.seen.append((trio.current_time() - self.began, *what))

    async def venue(self, order: str, *, side: str = "buy") -> Any:
        seconds, end = next(self.steps)
        self.note("called", order, side)
        await trio.sleep(seconds)
        if end == "given up":
            error = OSError("given up")
            mark(error, "inner")
            raise error
        if isinstance(end, BaseException):
            raise again(end)
        return end

    async def run(self, is_general: bool) -> list[Any]:
        program = self.program
        self.began = trio.current_time()
        place, breaker, tell = self.make(is_general)
        await self.prepare(breaker)
        self.steps = iter([*program.script, *itertools.repeat(program.script[-1], 1000)])
        with contextlib.ExitStack() as stack:
            stack.enter_context(
                observe(lambda event: self.note(event)) if program.is_watched else contextlib.nullcontext()
            )
            async with trio.open_nursery() as nursery:
                if program.safe is not None:
                    nursery.start_soon(self.be_safe, *program.safe)
                    await trio.testing.wait_all_tasks_blocked()
                for number in range(program.calls):
                    await self.call(place, f"order {number}")
                    self.note(*(policy.statistics() for policy in tell))
                nursery.cancel_scope.cancel()
        return self.seen

    def make(self, is_general: bool) -> tuple[Any, CircuitBreaker | None, list[Any]]:
        """The function to call, the breaker in it, and what has statistics."""
        program = self.program
        guard = Guard(
            "orders",
            retry=RETRIES[program.retry](),
            breaker=BREAKERS[program.breaker](),
            attempt_timeout=TIMEOUTS[program.timeout],
            needs=NEEDS[program.needs],
            repeatable=True,
        )
        assert guard._features.is_fast
        place = general_path(guard, self.venue) if is_general else guard(self.venue)
        return place, guard.breaker, [guard] if guard.breaker is None else [guard, guard.breaker]

    async def prepare(self, breaker: CircuitBreaker | None) -> None:
        if breaker is None:
            return
        match self.program.before:
            case "a failure":
                self.steps = iter([(0.0, OSError("before"))])
                with contextlib.suppress(OSError):
                    await breaker.execute(self.venue, "before")
            case "open":
                breaker.trip()
            case "half open":
                breaker.trip()
                await trio.sleep(2.5)
            case "isolated":
                breaker.isolate()
            case "disabled":
                breaker.disable()
            case "just closed":
                breaker.trip()
                await trio.sleep(2.5)
                self.steps = iter([ACK])
                await breaker.execute(self.venue, "before")

    async def be_safe(self, since: float, until: float) -> None:
        await trio.sleep(since)
        with current_scope().hold(Mode.SAFE, owner="operator", reason="drill"):
            await trio.sleep(until - since)

    async def call(self, place: Any, order: str) -> None:
        with trio.move_on_after(self.program.deadline) as scope:
            try:
                self.note("returned", await place(order, side="sell"))
            except BaseException as error:
                self.note("raised", *description(error))
                if isinstance(error, trio.Cancelled):
                    raise
        self.note(scope.cancelled_caught)


class Alone(Stage):
    """The same with the program's breaker or retry without a guard: as a decorator, and by ``execute``."""

    def make(self, is_general: bool) -> tuple[Any, CircuitBreaker | None, list[Any]]:
        breaker = BREAKERS[self.program.breaker]()
        policy: Any = breaker or RETRIES[self.program.retry]()
        place = functools.partial(policy.execute, self.venue) if is_general else policy(self.venue)
        return place, breaker, [] if breaker is None else [breaker]


def again(error: BaseException) -> BaseException:
    """A new error like *error*, because notes and marks stay on one that was raised."""
    if isinstance(error, BaseExceptionGroup):
        return error.derive([again(member) for member in error.exceptions])
    return ServerBusy(error.retry_after) if isinstance(error, ServerBusy) else type(error)(*error.args)


def description(error: BaseException | None) -> tuple[Any, ...]:
    """All that a caller can know of an error."""
    if error is None:
        return ()
    return (
        type(error),
        str(error),
        getattr(error, "__notes__", []),
        getattr(error, "retry_after", None),
        description(error.__cause__),
        error.__dict__.get("_genesis_given_up", (0, None))[1],
    )


def general_path(guard: Guard, fn: Any) -> Any:
    """The wrapper of a guard whose policies do not allow the fast one."""
    names = {"fn": fn, "guard": guard, "lane": guard._lane, "limit": guard._attempt_timeout}
    return compile_wrapper(shape_of(inspect.signature(fn)), attrs.evolve(guard._features, is_fast=False), names)


def seen(program: Program, *, is_general: bool, stage: type[Stage] = Stage) -> list[Any]:
    return simulate(stage(program).run, is_general, seed=1)  # the wall clock stands in some messages


def compare(program: Program, stage: type[Stage] = Stage) -> list[Any]:
    fast, general = seen(program, is_general=False, stage=stage), seen(program, is_general=True, stage=stage)
    assert fast == general
    return fast


# ---------------------------------------------------------------- the tests


@pytest.mark.parametrize("timeout", TIMEOUTS)
@pytest.mark.parametrize("breaker", BREAKERS)
@pytest.mark.parametrize("retry", RETRIES)
def test_guard_written_wrapper_equals_the_general_path_for_each_outcome(retry, breaker, timeout):
    """Results, errors with notes and causes, calls with their times, events and statistics are the same for each script."""
    for script in SCRIPTS.values():
        compare(Program(retry=retry, breaker=breaker, timeout=timeout, script=tuple(script)))


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("breaker", [name for name in BREAKERS if name != "no breaker"])
def test_breaker_written_wrapper_equals_execute(breaker, before):
    """A decorated function does what ``breaker.execute`` does, for each script and from each state."""
    for script in SCRIPTS.values():
        compare(Program(breaker=breaker, before=before, script=tuple(script)), Alone)


@pytest.mark.parametrize("deadline", [50.0, 0.55])
@pytest.mark.parametrize("retry", [name for name in RETRIES if name != "no retry"])
def test_retry_written_wrapper_equals_execute(retry, deadline):
    """A decorated function does what ``retry.execute`` does, for each script, with time enough and without."""
    for script in SCRIPTS.values():
        compare(Program(retry=retry, breaker="no breaker", script=tuple(script), deadline=deadline), Alone)


@pytest.mark.untraced
@pytest.mark.parametrize("needs", NEEDS)
@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("retry", ["no retry", "retry", "retry refusals"])
def test_guard_written_wrapper_equals_the_general_path_in_each_state(retry, before, needs):
    """The same from each state of the breaker, in a mode that stands, comes, or goes."""
    for breaker, safe, script in itertools.product(
        ("breaker", "slow", "ramp"),
        (None, (0.0, 100.0), (0.0, 1.05), (0.3, 1.05)),
        ("answers, answers", "is down, answers", "is down for long", "answers with an error, answers"),
    ):
        if needs != "no mode" or safe is None:
            compare(Program(retry, breaker, "no timeout", needs, before, tuple(SCRIPTS[script]), safe=safe))


@pytest.mark.untraced
@given(
    st.builds(
        Program,
        retry=st.sampled_from(list(RETRIES)),
        breaker=st.sampled_from(list(BREAKERS)),
        timeout=st.sampled_from(list(TIMEOUTS)),
        needs=st.sampled_from(list(NEEDS)),
        before=st.sampled_from(BEFORE),
        script=st.lists(st.sampled_from(list(STEPS.values())), min_size=1, max_size=8).map(tuple),
        calls=st.integers(1, 6),
        deadline=st.sampled_from([0.0, 0.13, 0.55, 0.7, 1.1, 2.2, 50.0]),
        safe=st.none() | st.sampled_from([(0.0, 1.05), (0.13, 0.55), (0.55, 4.3)]),
        is_watched=st.booleans(),
    )
)
@settings(max_examples=150)
def test_guard_written_wrapper_equals_the_general_path_whatever_happens(program):
    """The same for any guard, any series of outcomes, any deadline of the caller and any change of mode."""
    compare(program)


def test_guard_written_wrapper_comparison_sees_what_it_compares():
    """A program that fails, retries, opens its breaker and is refused is written down with all of that."""
    found = compare(Program(script=(DOWN,), calls=2))

    kinds = [type(what).__name__ if not isinstance(what, str) else what for _, what, *_ in found]
    assert kinds.count("called") == 2
    assert {"AttemptFailed", "RetryScheduled", "BreakerOpened", "RetriesExhausted", "CallRejected"} <= set(kinds)
    assert [what[1] for _, *what in found if what[0] == "raised"] == [OSError, BreakerOpenError]
