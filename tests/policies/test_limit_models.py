"""Bulkhead, rate limit and budget against plain models, in virtual time, by machines that do whatever they like.

All times are multiples of a quarter of a second, so that the models need no tolerance.
"""

from collections import deque
from fractions import Fraction

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

from genesis_trio.errors import BulkheadFullError, RateLimitedError
from genesis_trio.policies.budget import RetryBudget
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.rate_limit import RateLimit


class Caller:
    """A task that asks for something, and holds it until the machine lets it go."""

    def __init__(self, number: int, urgent: bool) -> None:
        self.number, self.urgent = number, urgent
        self.scope = trio.CancelScope()
        self.go = trio.Event()
        self.has_it = False
        self.refusal: Exception | None = None

    async def run(self, take, leave, got: list[int]) -> None:
        with self.scope:
            try:
                await take(self.urgent)
            except (BulkheadFullError, RateLimitedError) as error:
                self.refusal = error
                return
            self.has_it = True
            got.append(self.number)
            try:
                await self.go.wait()
            finally:
                leave()


class Machine(RuleBasedStateMachine):
    """Lives in a worker thread; what it does, it does in the trio.run that waits for it."""

    nursery: trio.Nursery  # given by the test

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.got: list[int] = []  # who got it, in order
        self.callers: dict[int, Caller] = {}

    def do(self, fn=lambda: None):
        """Do *fn* in the run, and let every task go as far as it gets."""

        async def act():
            result = fn()
            await trio.testing.wait_all_tasks_blocked()
            return result

        return trio.from_thread.run(act)

    def begin(self, urgent, take, leave):
        self.number += 1
        caller = self.callers[self.number] = Caller(self.number, urgent)
        self.do(lambda: self.nursery.start_soon(caller.run, take, leave, self.got))
        return caller

    def pass_quarter(self):
        def jump():
            trio.lowlevel.current_clock().jump(0.25)

        self.do(jump)

    def teardown(self):
        def end():
            for caller in self.callers.values():
                caller.scope.cancel()

        self.do(end)


class Queue:
    """Who waits: the urgent ones in front."""

    def __init__(self) -> None:
        self.urgent: deque[int] = deque()
        self.others: deque[int] = deque()

    def __len__(self) -> int:
        return len(self.urgent) + len(self.others)

    def first(self) -> int | None:
        return self.urgent[0] if self.urgent else self.others[0] if self.others else None

    def join(self, caller: Caller) -> None:
        (self.urgent if caller.urgent else self.others).append(caller.number)

    def leave(self, number: int) -> None:
        for line in (self.urgent, self.others):
            if number in line:
                line.remove(number)


class BulkheadMachine(Machine):
    """Places, a queue, and who is next."""

    calls = Bundle("calls")

    @initialize(max_concurrent=st.integers(1, 3), max_waiting=st.integers(0, 4))
    def make(self, max_concurrent, max_waiting):
        self.max_concurrent, self.max_waiting = max_concurrent, max_waiting
        self.bulkhead = Bulkhead(max_concurrent, max_waiting=max_waiting)
        self.running: set[int] = set()
        self.queue = Queue()
        self.refused = 0
        self.expected: list[int] = []

    def grant(self) -> None:
        while len(self.running) < self.max_concurrent and (number := self.queue.first()) is not None:
            self.queue.leave(number)
            self.running.add(number)
            self.expected.append(number)

    @rule(target=calls, urgent=st.booleans())
    def call(self, urgent):
        caller = self.begin(urgent, self.bulkhead._enter, self.bulkhead._leave)
        before = len(self.queue.urgent) if urgent else len(self.queue)
        is_refused = len(self.running) >= self.max_concurrent and before >= self.max_waiting
        assert (caller.refusal is not None) == is_refused
        if is_refused:
            self.refused += 1
        else:
            self.queue.join(caller)
            self.grant()
        return caller

    @rule(caller=consumes(calls), how=st.sampled_from(["end", "cancel"]))
    def end(self, caller, how):
        if caller.number not in self.running and how == "end":
            how = "cancel"
        self.do(caller.go.set if how == "end" else caller.scope.cancel)
        self.queue.leave(caller.number)
        self.running.discard(caller.number)
        self.grant()

    @rule(first=consumes(calls), second=consumes(calls))
    def end_and_cancel_in_one_step(self, first, second):
        """One gives its place back and another is cancelled, in either order, before anybody runs."""

        def both():
            first.go.set()
            second.scope.cancel()

        if first.number in self.running and second.number not in self.running:
            self.do(both)
            self.queue.leave(second.number)
            self.running.discard(first.number)
        else:
            self.do(lambda: [each.scope.cancel() for each in (first, second)])
            for each in (first, second):
                self.queue.leave(each.number)
                self.running.discard(each.number)
        self.grant()

    @invariant()
    def agrees(self):
        if not hasattr(self, "queue"):
            return
        statistics = trio.from_thread.run_sync(self.bulkhead.statistics)
        assert statistics.running == len(self.running)
        assert statistics.waiting == len(self.queue)
        assert statistics.refused == self.refused
        assert sorted(self.got) == sorted(self.expected)


class RateLimitMachine(Machine):
    """Tokens that come back with time, a reserve, and a queue."""

    calls = Bundle("calls")

    @initialize(
        quarters=st.integers(1, 8),
        calls=st.integers(1, 4),
        burst=st.integers(1, 4),
        reserve=st.integers(0, 3),
        wait=st.booleans(),
    )
    def make(self, quarters, calls, burst, reserve, wait):
        self.interval = Fraction(quarters, 4)  # between two tokens
        self.burst, self.reserve, self.wait_for_it = burst, min(reserve, burst - 1), wait
        self.limit = RateLimit(calls, per=float(calls * self.interval), burst=burst, reserve=self.reserve, wait=wait)
        self.level = Fraction(burst)
        self.queue = Queue()
        self.refused = 0
        self.expected: list[int] = []

    def has_token(self, urgent: bool) -> bool:
        return self.level >= 1 + (0 if urgent else self.reserve)

    def grant(self) -> None:
        while (number := self.queue.first()) is not None and self.has_token(self.callers[number].urgent):
            self.queue.leave(number)
            self.level -= 1
            self.expected.append(number)

    @rule(target=calls, urgent=st.booleans())
    def call(self, urgent):
        caller = self.begin(urgent, self.limit._take, lambda: None)
        before = len(self.queue.urgent) if urgent else len(self.queue)
        is_refused = not self.wait_for_it and (before > 0 or not self.has_token(urgent))
        assert (caller.refusal is not None) == is_refused
        if is_refused:
            self.refused += 1
            missing = 1 + (0 if urgent else self.reserve) - self.level
            assert abs(caller.refusal.retry_after - missing * self.interval) < 1e-9
        else:
            self.queue.join(caller)
            self.grant()
        return caller

    @rule(caller=consumes(calls))
    def cancel(self, caller):
        self.do(caller.scope.cancel)
        self.queue.leave(caller.number)
        self.grant()

    @rule(quarters=st.integers(1, 12))
    def wait(self, quarters):
        for _ in range(quarters):
            self.pass_quarter()
            self.level = min(Fraction(self.burst), self.level + Fraction(1, 4) / self.interval)
            self.grant()

    @invariant()
    def agrees(self):
        if not hasattr(self, "queue"):
            return
        statistics = trio.from_thread.run_sync(self.limit.statistics)
        assert statistics.available == int(self.level)
        assert statistics.waiting == len(self.queue)
        assert statistics.refused == self.refused
        assert self.got == self.expected


class BudgetMachine(Machine):
    """Deposits that expire, and a reserve that comes back."""

    @initialize(ratio=st.integers(0, 8), floor=st.integers(0, 8), window=st.integers(1, 20))
    def make(self, ratio, floor, window):
        self.ratio, self.floor, self.window = Fraction(ratio, 8), Fraction(floor, 4), Fraction(window, 4)
        self.budget = RetryBudget(
            ratio=float(self.ratio), floor_per_second=float(self.floor), window=float(self.window)
        )
        self.now = Fraction(0)
        self.deposits: deque[list[Fraction]] = deque()  # [time, left]
        self.reserve = self.floor * self.window
        self.scheduled = self.refused = 0

    def expire(self) -> None:
        while self.deposits and self.now - self.deposits[0][0] >= self.window:
            self.deposits.popleft()

    def available(self) -> Fraction:
        return sum((left for _, left in self.deposits), Fraction(0)) + self.reserve

    @rule(calls=st.integers(1, 5))
    def call(self, calls):
        for _ in range(calls):
            trio.from_thread.run_sync(self.budget._deposit)
            self.deposits.append([self.now, self.ratio])

    @rule()
    def retry(self):
        is_paid = self.available() >= 1
        assert trio.from_thread.run_sync(self.budget._take) is is_paid
        self.scheduled += is_paid
        self.refused += not is_paid
        owed = Fraction(1 if is_paid else 0)
        for deposit in self.deposits:
            part = min(deposit[1], owed)
            deposit[1] -= part
            owed -= part
        self.reserve -= owed

    @rule(quarters=st.integers(1, 12))
    def wait(self, quarters):
        for _ in range(quarters):
            self.pass_quarter()
            self.now += Fraction(1, 4)
            self.reserve = min(self.floor * self.window, self.reserve + self.floor / 4)
        self.expire()

    @invariant()
    def agrees(self):
        if not hasattr(self, "reserve"):
            return
        statistics = trio.from_thread.run_sync(self.budget.statistics)
        assert abs(statistics.available - self.available()) < 1e-6
        assert (statistics.scheduled, statistics.refused) == (self.scheduled, self.refused)


def run_machine(machine: type[Machine], *, examples: int, steps: int) -> None:
    async def main():
        async with trio.open_nursery() as nursery:
            bound = type("Bound", (machine,), {"nursery": nursery})
            await trio.to_thread.run_sync(
                lambda: run_state_machine_as_test(
                    bound, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
                )
            )

    trio.run(main, clock=trio.testing.MockClock())


@pytest.mark.untraced
def test_bulkhead_agrees_with_the_model_whatever_is_done_to_it():
    """Any order of calls, ends and cancellations: who runs, who waits and who is refused is the model's."""
    run_machine(BulkheadMachine, examples=60, steps=30)


@pytest.mark.untraced
def test_rate_limit_agrees_with_the_model_whatever_is_done_to_it():
    """Any order of calls, cancellations and waits: who begins when, and who is refused for how long, is the model's."""
    run_machine(RateLimitMachine, examples=60, steps=25)


@pytest.mark.untraced
def test_budget_agrees_with_the_model_whatever_is_done_to_it():
    """Any order of calls, retries and waits: what is there and what is refused is the model's."""
    run_machine(BudgetMachine, examples=60, steps=25)
