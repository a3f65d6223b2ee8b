"""`ctx.once` where calls meet, where errors come in groups, and where a limit of ours cuts the effect."""

from decimal import Decimal
from functools import partial

import attrs
import pytest
import trio

from genesis_trio import (
    NOT_DONE,
    BulkheadFullError,
    Component,
    Guard,
    OutcomeUnknownError,
    Retry,
    RetryBudget,
    open_store,
    open_supervisor,
)
from genesis_trio.errors import EffectFailedError, ModeRefusedError
from genesis_trio.modes import Capability, Mode
from messaging.parts import context_of
from supervision.desk import open_desk
from supervision.fills import Book


@attrs.define
class Nothing:
    pass


class Scripted(Component[Nothing]):
    """Runs a function of ctx, and keeps what it returns."""

    def __init__(self, script, outcomes):
        self.script, self.outcomes = script, outcomes

    async def run(self, ctx):
        ctx.ready()
        self.outcomes.append(await self.script(ctx))
        await ctx.wait_stopping()


class Reconciled(Scripted):
    async def reconcile_once(self, key):
        return NOT_DONE


async def outcome_of(script, component=Scripted):
    """What *script* returned inside a component that has a store."""
    outcomes = []
    async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
        await desk.start(component, script, outcomes, name="orders")
        await trio.sleep(100)
        await desk.stop()
    (outcome,) = outcomes
    return outcome


@pytest.mark.parametrize("component", [Scripted, Reconciled])
async def test_once_same_key_in_two_tasks_runs_once(component, autojump_clock):
    """Who wants an effect that is under way waits for its end, and gets the recorded result."""
    calls, results = [], []

    async def send() -> int:
        calls.append(trio.current_time())
        await trio.sleep(1)
        return len(calls)

    async def one(ctx):
        results.append((await ctx.once("order 7", send), trio.current_time()))

    async def script(ctx):
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(one, ctx)

    await outcome_of(script, component)

    assert calls == [0]
    assert results == [(1, 1)] * 3


async def test_once_second_of_two_tasks_is_cancelled_alone(autojump_clock):
    """Giving up the wait for an effect under way leaves the effect alone."""
    calls = []

    async def send() -> str:
        calls.append("sent")
        await trio.sleep(2)
        return "ack"

    async def script(ctx):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.once, "order 7", send)
            await trio.sleep(1)
            with trio.move_on_after(0.5) as scope:
                await ctx.once("order 7", send)
        return scope.cancelled_caught, await ctx.once("order 7", send)

    assert await outcome_of(script) == (True, "ack")
    assert calls == ["sent"]


async def test_once_inside_itself_is_refused(autojump_clock):
    """An effect that waits for itself would wait for ever; it is told so instead."""

    async def script(ctx):
        async def send() -> str:
            with pytest.raises(RuntimeError, match="inside itself"):
                await ctx.once("order 7", send)
            return "ack " + await ctx.once("order 8", inner)

        async def inner() -> str:
            return "of another key"

        return await ctx.once("order 7", send)

    assert await outcome_of(script) == "ack of another key"


async def fail_in_nursery(fn):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fn)


async def test_once_attempt_timeout_in_a_group_is_unknown(autojump_clock):
    """A limit of ours inside a nursery leaves as little known as one outside of it."""
    guard = Guard("venue", attempt_timeout=1.0)

    async def send() -> int:
        await fail_in_nursery(partial(guard.execute, trio.sleep, 10))
        return 1

    async def script(ctx):
        for _ in range(2):
            with pytest.raises(OutcomeUnknownError):
                await ctx.once("order 7", send)
        return trio.current_time()

    assert await outcome_of(script) == 1


async def test_once_timeout_whose_retry_the_budget_refused_is_unknown(autojump_clock):
    """What counts is what the last attempt met, not that no other one was allowed."""
    budget = RetryBudget(ratio=0.0, floor_per_second=0.01, window=1.0)
    retry = Retry(TimeoutError, max_retries=1, base_delay=0.1, budget=budget)
    guard = Guard("venue", attempt_timeout=1.0, retry=retry, repeatable=True)

    async def send() -> int:
        await guard.execute(trio.sleep, 10)
        return 1

    async def script(ctx):
        with pytest.raises(OutcomeUnknownError):
            await ctx.once("order 7", send)
        with pytest.raises(OutcomeUnknownError):
            await ctx.once("order 7", send)

    await outcome_of(script)


async def test_once_group_of_what_was_not_sent_leaves_the_key_free(autojump_clock):
    """Refusals and what `not_sent` names, together in a group: nothing happened outside."""
    errors = [ExceptionGroup("both", [BulkheadFullError("full"), ConnectionRefusedError()])]

    async def send() -> int:
        if errors:
            raise errors.pop()
        return 1

    async def script(ctx):
        with pytest.raises(ExceptionGroup):
            await ctx.once("order 7", send, not_sent=ConnectionRefusedError)
        return await ctx.once("order 7", send)

    assert await outcome_of(script) == 1


async def test_once_group_with_one_real_failure_is_recorded(autojump_clock):
    """One error that may have come after sending is enough."""

    async def send() -> int:
        raise ExceptionGroup("both", [BulkheadFullError("full"), ConnectionResetError()])

    async def script(ctx):
        with pytest.raises(ExceptionGroup):
            await ctx.once("order 7", send)
        with pytest.raises(Exception, match="ExceptionGroup") as caught:
            await ctx.once("order 7", send)
        return type(caught.value).__name__

    assert await outcome_of(script) == "EffectFailedError"


async def test_once_of_an_object_takes_the_type_from_its_call(autojump_clock):
    """An object that is called like a function is annotated at its ``__call__``."""

    class Send:
        async def __call__(self) -> tuple[int, str]:
            return 7, "ack"

    async def script(ctx):
        return [await ctx.once("order 7", Send()) for _ in range(2)]

    assert await outcome_of(script) == [(7, "ack")] * 2


async def test_once_runs_an_effect_once_and_replays_its_outcome(autojump_clock):
    """The result and the failure are told again; refusals of ours leave the key free."""
    calls = []

    async def place(price: Decimal) -> Decimal:
        calls.append(price)
        if price < 0:
            raise ValueError("rejected")
        if price == 0:
            raise ModeRefusedError("no", mode=Mode.SAFE, needs=Capability.OPEN)
        return price

    async with open_store("memory:") as store, open_desk(store) as desk:
        ctx = await context_of(desk, "x")
        assert [await ctx.once("a", place, Decimal(1)) for _ in range(2)] == [Decimal(1)] * 2
        with pytest.raises(ValueError, match="rejected"):
            await ctx.once("b", place, Decimal(-1))
        with pytest.raises(EffectFailedError, match="ValueError: rejected"):
            await ctx.once("b", place, Decimal(-1))
        for _ in range(2):
            with pytest.raises(ModeRefusedError):
                await ctx.once("c", place, Decimal(0))
        assert calls == [Decimal(1), Decimal(-1), Decimal(0), Decimal(0)]

        async def untyped():
            calls.append("untyped")

        with pytest.raises(TypeError, match="result_type"):
            await ctx.once("d", untyped)
        assert "untyped" not in calls


async def test_once_cut_short_is_unknown_and_goes_to_reconcile(autojump_clock):
    """Begun and not confirmed: an error, or the component's own answer."""
    answers = {"known": 7, "not done": NOT_DONE}

    class Executor(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            await ctx.wait_stopping()

        async def reconcile_once(self, key):
            return answers[key]

    async def hang() -> int:
        await trio.sleep_forever()

    async def done() -> int:
        return 1

    async with open_store("memory:") as store, open_desk(store) as desk:
        ctx = (await desk.start(Executor, name="x")).incarnation.context
        plain = await context_of(desk, "y")
        for key in ("known", "not done"):
            with trio.move_on_after(1):
                await ctx.once(key, hang)
        with trio.move_on_after(1):
            await plain.once("z", hang)
        assert await ctx.once("known", done) == 7
        assert await ctx.once("not done", done) == 1
        with pytest.raises(OutcomeUnknownError, match="reconcile_once"):
            await plain.once("z", done)
