"""CircuitBreaker against a plain model, in virtual time, by a machine that does whatever it likes."""

import math
from collections import deque

import attrs
import pytest
import trio
import trio.testing
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from genesis_trio.errors import BreakerOpenError, BulkheadFullError
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker, Window
from policies.venue import Middle


@attrs.define
class Model:
    """What the design says of a breaker, as simply as it can be written: every time in it is a multiple of 1/4."""

    failure_threshold: int
    recovery_timeout: float
    success_threshold: int
    half_open_max_calls: int
    probe_lease: float
    window: deque[bool] | None  # True: a failure; its maxlen is the window
    minimum_calls: int

    now: float = 0.0
    state: str = "closed"
    generation: int = 0
    consecutive: int = 0
    reopenings: int = 0
    break_ends: float = 0.0
    probe_successes: int = 0
    opened: int = 0
    probes: dict[int, float] = attrs.field(factory=dict)  # call -> end of its lease

    def enter(self, state: str) -> None:
        self.state = state
        self.generation += 1
        self.probes.clear()
        self.probe_successes = 0
        if state in ("closed", "disabled"):
            self.consecutive = 0
            self.reopenings = 0
            if self.window is not None:
                self.window.clear()

    def open(self, at: float) -> None:
        self.enter("open")
        self.opened += 1
        self.break_ends = at + self.recovery_timeout * min(10, 2**self.reopenings)
        self.reopenings += 1

    def pass_time(self) -> None:
        while True:
            if self.state == "open" and self.break_ends <= self.now:
                self.enter("half_open")
            elif self.state == "half_open" and min(self.probes.values(), default=math.inf) <= self.now:
                self.open(min(self.probes.values()))
            else:
                return

    def retry_after(self) -> float:
        if self.state == "isolated":
            return math.inf
        return self.break_ends - self.now if self.state == "open" else 0.0

    def admit(self, call: int) -> int | None:
        """The generation that the call is stamped with, or None: rejected."""
        if self.state in ("open", "isolated"):
            return None
        if self.state == "half_open":
            if len(self.probes) >= self.half_open_max_calls:
                return None
            self.probes[call] = self.now + self.probe_lease
        return self.generation

    def settle(self, call: int, stamp: int, outcome: str) -> None:
        if stamp != self.generation:
            return
        self.probes.pop(call, None)
        if outcome == "none":
            return
        failed = outcome == "failure"
        if self.state == "half_open":
            self.settle_probe(failed)
        elif self.state == "closed":
            self.consecutive = self.consecutive + 1 if failed else 0
            if self.is_too_bad(failed):
                self.open(self.now)

    def settle_probe(self, failed: bool) -> None:
        if failed:
            self.open(self.now)
            return
        self.probe_successes += 1
        if self.probe_successes >= self.success_threshold:
            self.enter("closed")

    def is_too_bad(self, failed: bool) -> bool:
        if self.window is None:
            return self.consecutive >= self.failure_threshold
        self.window.append(failed)
        return len(self.window) >= self.minimum_calls and 2 * sum(self.window) >= len(self.window)


class Call:
    """One call through the breaker, which stays in flight until the machine says how it ends."""

    def __init__(self, number: int, breaker: CircuitBreaker) -> None:
        self.number, self.breaker = number, breaker
        self.stamp: int | None = None
        self.scope = trio.CancelScope()
        self.go, self.ended = trio.Event(), trio.Event()
        self.outcome: Exception | None = None
        self.result: object = None
        self.began = False

    async def _fn(self) -> str:
        self.began = True
        await self.go.wait()
        if self.outcome is not None:
            raise self.outcome
        return "ack"

    async def run(self) -> None:
        with self.scope:
            try:
                self.result = await self.breaker.execute(self._fn)
            except Exception as error:
                self.result = error
        self.ended.set()


OUTCOMES = {
    "success": (None, "success"),
    "failure": (OSError("down"), "failure"),
    "answer": (KeyError("unknown symbol"), "success"),  # outside of failure_on: the dependency answered
    "refusal": (BulkheadFullError("full"), "none"),
    "mixed group": (ExceptionGroup("n", [KeyError("a"), OSError("b")]), "failure"),
}


class BreakerMachine(RuleBasedStateMachine):
    """Lives in a worker thread; what it does, it does in the trio.run that waits for it."""

    nursery: trio.Nursery  # given by the test

    calls = Bundle("calls")

    def __init__(self) -> None:
        super().__init__()
        self.in_flight: dict[int, Call] = {}
        self.number = 0

    @initialize(
        failure_threshold=st.integers(1, 4),
        recovery=st.integers(1, 20),
        success_threshold=st.integers(1, 3),
        half_open_max_calls=st.integers(1, 3),
        lease=st.one_of(st.none(), st.integers(1, 30)),
        window=st.one_of(st.none(), st.tuples(st.integers(1, 4), st.integers(0, 3))),
    )
    def make(self, failure_threshold, recovery, success_threshold, half_open_max_calls, lease, window):
        async def make():
            self.model = Model(
                failure_threshold=failure_threshold,
                recovery_timeout=recovery / 4,
                success_threshold=success_threshold,
                half_open_max_calls=half_open_max_calls,
                probe_lease=(recovery if lease is None else lease) / 4,
                window=None if window is None else deque(maxlen=sum(window)),
                minimum_calls=0 if window is None else window[0],
                now=trio.current_time(),
            )
            self.breaker = CircuitBreaker(
                "venue",
                failure_threshold=failure_threshold,
                recovery_timeout=recovery / 4,
                success_threshold=success_threshold,
                half_open_max_calls=half_open_max_calls,
                probe_lease=None if lease is None else lease / 4,
                window=None if window is None else Window(minimum_calls=window[0], calls=sum(window)),
                failure_on=OSError,
                rng=Middle(),
            )

        trio.from_thread.run(make)

    @rule(target=calls)
    def start(self):
        self.number += 1

        async def start():
            call = Call(self.number, self.breaker)
            self.nursery.start_soon(call.run)
            await trio.testing.wait_all_tasks_blocked()
            return call

        expected_wait = self.model.retry_after()
        call = trio.from_thread.run(start)
        call.stamp = self.model.admit(call.number)
        assert call.began == (call.stamp is not None)
        if call.began:
            self.in_flight[call.number] = call
        else:
            assert isinstance(call.result, BreakerOpenError)
            if self.model.state != "half_open":
                assert call.result.retry_after == expected_wait
        return call

    @rule(call=consumes(calls), how=st.sampled_from([*OUTCOMES, "cancel"]))
    def finish(self, call, how):
        if self.in_flight.pop(call.number, None) is None:
            return

        async def finish():
            if how == "cancel":
                call.scope.cancel()
            else:
                call.outcome = OUTCOMES[how][0]
                call.go.set()
            await call.ended.wait()

        trio.from_thread.run(finish)
        self.model.settle(call.number, call.stamp, "none" if how == "cancel" else OUTCOMES[how][1])

    @rule(quarters=st.integers(1, 40))
    def wait(self, quarters):
        async def wait():
            trio.lowlevel.current_clock().jump(quarters / 4)
            await trio.testing.wait_all_tasks_blocked()
            return trio.current_time()

        self.model.now = trio.from_thread.run(wait)
        self.model.pass_time()

    @rule(how=st.sampled_from(["isolate", "disable", "reset"]))
    def by_hand(self, how):
        trio.from_thread.run_sync(getattr(self.breaker, how))
        self.model.enter({"isolate": "isolated", "disable": "disabled", "reset": "closed"}[how])

    @rule()
    def trip(self):
        if self.model.state != "closed":
            return
        trio.from_thread.run_sync(self.breaker.trip)
        self.model.open(self.model.now)

    @invariant()
    def agrees(self):
        if not hasattr(self, "model"):
            return
        state, statistics = trio.from_thread.run_sync(lambda: (self.breaker.state, self.breaker.statistics()))
        model = self.model
        assert state is statistics.state is BreakerState(model.state)
        assert statistics.retry_after == model.retry_after()
        assert statistics.probes_in_flight == len(model.probes)
        assert statistics.in_flight == len(self.in_flight)
        assert statistics.opened == model.opened
        if model.state == "closed":
            assert statistics.consecutive_failures == model.consecutive

    def teardown(self):
        async def end():
            for call in self.in_flight.values():
                call.scope.cancel()
            await trio.testing.wait_all_tasks_blocked()

        trio.from_thread.run(end)


@pytest.mark.untraced
def test_breaker_agrees_with_the_model_whatever_is_done_to_it():
    """Any order of calls, ends, cancellations, waits and hands on the switch: state, times and numbers are the model's."""

    async def main():
        async with trio.open_nursery() as nursery:
            machine = type("Machine", (BreakerMachine,), {"nursery": nursery})
            await trio.to_thread.run_sync(
                lambda: run_state_machine_as_test(
                    machine, settings=settings(max_examples=150, stateful_step_count=40, deadline=None)
                )
            )

    trio.run(main, clock=trio.testing.MockClock())
