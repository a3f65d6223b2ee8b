"""What a process must not forget: generations, budgets, parking, breakers, latches and poison come back with the store."""

import attrs
import pytest
import trio

from genesis_trio import Component, Guard, Mode, Topic, observe, open_store, open_supervisor, schema
from genesis_trio.events import BreakerOpened
from genesis_trio.policies.breaker import BreakerState, CircuitBreaker
from genesis_trio.supervision._budget import RestartBudget
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.component import Lifecycle
from supervision.desk import EXACT, Log, killed, open_desk, state_of, until_stopped


@schema("control.tally")
@attrs.define
class Tally:
    handled: list[int] = attrs.Factory(list)


NUMBERS = Topic("control.numbers", int)


def crashing(times):
    """Crashes at once so many times, by the list that it shortens, and is well after that."""

    async def component(ctx):
        ctx.ready()
        if times:
            times.pop()
            raise OSError("boom")
        await ctx.wait_stopping()

    return component


async def test_control_generations_go_on_after_a_restart(url, autojump_clock):
    """The next process counts on; its first incarnation is no restart of its own."""
    seen = []
    for _ in range(2):
        async with open_store(url) as store, open_desk(store, backoff=EXACT) as desk:
            child = await desk.start(crashing([1, 1]), name="x")
            await trio.sleep(5)
            seen.append((child.generation, child.restarts))

    assert seen == [(3, 2), (6, 2)]


async def test_control_generation_is_on_disk_when_it_was_killed(url, autojump_clock):
    """Each start is written, not only an orderly stop."""
    async with open_store(url) as store, open_desk(store, backoff=EXACT) as desk:
        await desk.start(crashing([1]), name="x")
        await trio.sleep(1)
        copy = killed(url)
    async with open_store(copy) as store, open_desk(store) as desk:
        child = await desk.start(crashing([]), name="x")
        assert child.generation == 3


async def test_control_child_that_never_was_leaves_nothing(url, autojump_clock):
    """A start that fails gives the name back as if nothing had been."""

    async def bad(ctx):
        raise OSError("no venue")

    async with open_store(url) as store, open_supervisor("desk", store=store) as desk:
        with pytest.raises(OSError, match="no venue"):
            await desk.start(bad, name="x")
        await desk.stop()
        assert not [name for name in await store.read_control() if name.startswith("child/")]


@pytest.mark.parametrize(("away", "parked"), [(10, True), (200, False)])
async def test_control_budget_counts_the_crashes_of_the_last_process(url, away, parked, autojump_clock):
    """Two crashes before the restart and two after it are four within the time; once that has passed they are two."""
    settings = {"max_restarts": 3, "within": 100.0, "backoff": EXACT}
    for _ in range(2):
        async with open_store(url) as store, open_desk(store, **settings) as desk:
            child = await desk.start(crashing([1, 1]), name="x", unpark_after=None)
            await trio.sleep(5)
            status = child.status
        await trio.sleep(away)

    assert status is (Lifecycle.PARKED if parked else Lifecycle.READY)


async def test_control_restart_delays_go_on(url, autojump_clock):
    """The third crash in a row waits as the third, also in another process."""
    log = Log()
    with observe(log):
        for _ in range(2):
            async with open_store(url) as store, open_desk(store, backoff=EXACT) as desk:
                await desk.start(crashing([1]), name="x")
                await trio.sleep(1)

    assert [event.delay for event in log.named("restart_scheduled")] == [0.1, 0.2]


async def test_control_parked_child_gets_one_trial_and_holds_its_cause(url, autojump_clock):
    """A restart of the process is no way around parking: one trial, with the cause held until it has proved itself."""
    settings = {"max_restarts": 1, "within": 5.0, "backoff": EXACT}
    modes = []
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        await desk.start(crashing([1, 1]), name="x", unpark_after=30)
        await trio.sleep(1)
        assert desk.children["x"].status is Lifecycle.PARKED
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        child = await desk.start(crashing([]), name="x", unpark_after=30)
        modes += [child.status, desk.scope.mode]
        await trio.sleep(4.9)
        modes.append(desk.scope.mode)
        await trio.sleep(0.2)
        modes.append(desk.scope.mode)
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        await desk.start(crashing([]), name="x", unpark_after=30)
        modes.append(desk.scope.mode)  # it had proved itself, and that was written, too

    assert modes == [Lifecycle.READY, Mode.SAFE, Mode.SAFE, Mode.NORMAL, Mode.NORMAL]


async def test_control_parked_child_that_fails_its_trial_is_parked_for_twice_as_long(url, autojump_clock):
    """Its one trial crashes: it has no budget of its own then."""
    log = Log()
    settings = {"max_restarts": 1, "within": 5.0, "backoff": EXACT}
    with observe(log):
        for crashes in ([1, 1], [1]):
            async with open_store(url) as store, open_desk(store, **settings) as desk:
                await desk.start(crashing(crashes), name="x", unpark_after=100)
                await trio.sleep(1)
                assert desk.children["x"].status is Lifecycle.PARKED

    first, second = log.named("child_parked")
    assert 90 <= first.retry_after <= 110
    assert 180 <= second.retry_after <= 220


async def test_control_breaker_of_a_child_stays_open_for_what_is_left(url, autojump_clock):
    """Ten seconds open, four of them away: the child of the next process waits the other six."""
    async with open_store(url) as store, open_supervisor("desk", store=store, backoff=EXACT) as desk:
        breaker = CircuitBreaker("control.venue", failure_threshold=1, recovery_timeout=10.0)
        child = await desk.start(crashing([1]), name="x", breaker=breaker)
        await child.wait(Lifecycle.BACKOFF)
        opened_for = breaker.statistics().retry_after
        await desk.stop()
        stopped_at = trio.current_time()
    await trio.sleep(4)
    async with open_store(url) as store, open_desk(store, backoff=EXACT) as desk:
        breaker = CircuitBreaker("control.venue", failure_threshold=1, recovery_timeout=10.0)
        await desk.start(crashing([]), name="x", breaker=breaker)
        assert trio.current_time() - stopped_at == pytest.approx(opened_for)


async def test_control_breaker_of_a_guard_is_written_when_it_opens(url, autojump_clock):
    """A breaker that a component's calls have opened is open in the process after a kill, with what is left of its break."""

    def guard():
        breaker = CircuitBreaker("control.orders", failure_threshold=1, recovery_timeout=10.0)
        return Guard("control.orders", breaker=breaker)

    async def fail():
        raise OSError("down")

    async def trader(ctx, guard):
        ctx.ready()
        with pytest.raises(OSError, match="down"):
            await guard.execute(fail)
        await ctx.wait_stopping()

    async with open_store(url) as store, open_desk(store) as desk:
        first = guard()
        await desk.start(trader, first, name="trader")
        await trio.sleep(1)
        left = first.breaker.statistics().retry_after
        copy = killed(url)
    log = Log()
    second = guard()
    with observe(log):
        async with open_store(copy) as store, open_desk(store) as desk:
            assert second.breaker.state is BreakerState.OPEN
            assert second.breaker.statistics().retry_after == pytest.approx(left)
            # The one that this run has used already is left alone.
            assert len([event for event in log.events if isinstance(event, BreakerOpened)]) == 1


class Reader(Component[Tally]):
    async def run(self, ctx):
        async with ctx.subscribe(NUMBERS) as numbers:
            ctx.ready()
            async for number in numbers:
                await trio.sleep(1)
                if number == 2:
                    raise OSError("poison")
                self.state.handled.append(number)


@pytest.mark.parametrize(("seconds", "crashes_after"), [(4.5, 1), (10, 0)])
async def test_control_poison_is_counted_across_processes(url, seconds, crashes_after, autojump_clock):
    """A message that crashed its reader twice has one crash left in the next process; one that was put aside stays aside."""
    log = Log()
    settings = {
        "max_restarts": 10,
        "within": 100.0,
        "backoff": Backoff(base_delay=0, jitter="none"),
    }
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(Reader, name="reader")
        for number in (1, 2, 3):
            reader.incarnation.context.publish(NUMBERS, number)
        await desk.create_checkpoint()
        await trio.sleep(seconds)
        copy = killed(url)
    with observe(log):
        async with open_store(copy) as store, open_desk(store, **settings) as desk:
            reader = await desk.start(Reader, name="reader")
            await trio.sleep(10)
            assert state_of(reader).handled == [1, 3]

    assert len(log.named("child_crashed")) == crashes_after
    assert len(log.named("message_dead")) == 1


async def test_control_poison_of_a_nested_child_is_counted_across_its_host_and_processes(url, autojump_clock):
    """Two crashes, each of which ended its host as well: one is left, in the next process too."""
    log = Log()
    settings = {"max_restarts": 10, "within": 100.0, "backoff": Backoff(base_delay=0, jitter="none")}

    async def host(ctx):
        async with open_supervisor("inner", max_restarts=0) as inner:
            await inner.start(Reader, name="reader", escalate=True)
            ctx.ready()

    async with open_store(url) as store, open_desk(store, **settings) as desk:
        await desk.start(host, name="host")
        (await desk.start(until_stopped, name="sender")).incarnation.context.publish(NUMBERS, 2)
        await desk.create_checkpoint()
        await trio.sleep(2.5)
        copy = killed(url)
    with observe(log):
        async with open_store(copy) as store, open_desk(store, **settings) as desk:
            await desk.start(host, name="host")
            await trio.sleep(10)

    assert [event.child for event in log.named("child_crashed")] == ["desk/host/inner/reader", "desk/host"]
    assert len(log.named("message_dead")) == 1


class BatchReader(Component[Tally]):
    poison = frozenset({2})

    async def run(self, ctx):
        async with ctx.subscribe(NUMBERS) as numbers:
            ctx.ready()
            async for batch in numbers.batches():
                await trio.sleep(1)
                if self.poison.intersection(batch):
                    raise OSError("poison")
                self.state.handled += batch


async def test_control_poison_in_a_batch_is_counted_across_processes(url, autojump_clock):
    """The crash of its batch and one of its own: one is left, in the next process too."""
    log = Log()
    settings = {"backoff": Backoff(base_delay=0.01, multiplier=1.0, jitter="none")}
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(BatchReader, name="reader")
        await desk.create_checkpoint()
        for number in (1, 2, 3):
            reader.incarnation.context.publish(NUMBERS, number)
        await desk.create_checkpoint()
        await trio.sleep(3.5)
        assert reader.generation == 3
        copy = killed(url)
    with observe(log):
        async with open_store(copy) as store, open_desk(store, **settings) as desk:
            reader = await desk.start(Reader, name="reader")
            await trio.sleep(10)
            assert state_of(reader).handled == [1, 3]

    assert len(log.named("child_crashed")) == 1
    assert len(log.named("message_dead")) == 1


class TwicePoisoned(BatchReader):
    poison = frozenset({2, 3})


class OncePoisoned(BatchReader):
    """Handles in its second run what it crashed on."""

    async def run(self, ctx):
        self.poison = frozenset({2} if ctx.generation == 1 else ())
        await super().run(ctx)


async def in_a_later_process(copy, settings, component=BatchReader):
    """What a reader of batches handles from *copy* on, and its crashes and dead messages."""
    log = Log()
    with observe(log):
        async with open_store(copy) as store, open_desk(store, **settings) as desk:
            reader = await desk.start(component, name="reader")
            await trio.sleep(20)
            return state_of(reader).handled, len(log.named("child_crashed")), len(log.named("message_dead"))


@pytest.mark.parametrize("seconds", [1.5, 2.5])
async def test_control_batch_that_crashed_is_known_in_a_later_process(url, seconds, autojump_clock):
    """Its messages come one by one there, too, and its crash is counted against the first that crashes alone."""
    settings = {"backoff": Backoff(base_delay=0.01, multiplier=1.0, jitter="none")}
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(BatchReader, name="reader")
        for number in (1, 2, 3):
            reader.incarnation.context.publish(NUMBERS, number)
        await desk.create_checkpoint()
        await trio.sleep(seconds)
        await desk.create_checkpoint()
        assert (reader.generation, state_of(reader).handled) == (2, [1] if seconds > 2 else [])
        copy = killed(url)
        await trio.sleep(10)
        assert state_of(reader).handled == [1, 3]
        await desk.create_checkpoint()
        assert not reader.poison.batches
    assert await in_a_later_process(copy, settings) == ([1, 3], 2, 1)


async def test_control_batch_that_crashed_is_counted_against_one_of_it_in_all_processes(url, autojump_clock):
    """The second one that crashes has the whole of its three, also where the first one died before a kill."""
    settings = {"backoff": Backoff(base_delay=0.01, multiplier=1.0, jitter="none"), "max_restarts": 9}
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(TwicePoisoned, name="reader")
        for number in (1, 2, 3):
            reader.incarnation.context.publish(NUMBERS, number)
        await desk.create_checkpoint()
        await trio.sleep(5.5)
        assert reader.generation == 4  # the batch, and twice the second one
        copy = killed(url)
    assert await in_a_later_process(copy, settings, TwicePoisoned) == ([1], 3, 2)


async def test_control_batch_that_crashed_is_forgotten_once_a_save_covers_it(url, autojump_clock):
    """What is handled in the end is blamed no longer."""
    async with open_store(url) as store, open_desk(store, backoff=EXACT) as desk:
        reader = await desk.start(OncePoisoned, name="reader")
        for number in (1, 2):
            reader.incarnation.context.publish(NUMBERS, number)
        await trio.sleep(1.5)
        assert reader.poison.batches
        await trio.sleep(5)
        assert state_of(reader).handled == [1, 2]
        await desk.create_checkpoint()
        assert not reader.poison.batches


async def test_control_batch_that_crashed_says_nothing_of_other_messages(url, autojump_clock):
    """Those that came after the save are gone with the process, and others get their positions."""
    settings = {"backoff": Backoff(base_delay=0.01, multiplier=1.0, jitter="none")}
    async with open_store(url) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(BatchReader, name="reader")
        await desk.create_checkpoint()
        for number in (1, 2, 3):
            reader.incarnation.context.publish(NUMBERS, number)
        await trio.sleep(1.5)
        copy = killed(url)
    async with open_store(copy) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(BatchReader, name="reader")
        for number in (4, 5, 6):
            reader.incarnation.context.publish(NUMBERS, number)
        await desk.create_checkpoint()
        copy = killed(copy)
    async with open_store(copy) as store, open_desk(store, **settings) as desk:
        reader = await desk.start(BatchReader, name="reader")
        await trio.sleep(1.5)
        assert state_of(reader).handled == [4, 5, 6]  # as one batch


async def test_control_poison_is_forgotten_once_a_save_covers_it(url, autojump_clock):
    """What is handled in the end is blamed no longer."""
    first = [True]

    class Once(Component[Tally]):
        async def run(self, ctx):
            async with ctx.subscribe(NUMBERS) as numbers:
                ctx.ready()
                async for number in numbers:
                    if first:
                        first.clear()
                        raise OSError("once")
                    self.state.handled.append(number)

    async with open_store(url) as store, open_desk(store, backoff=EXACT) as desk:
        child = await desk.start(Once, name="reader")
        child.incarnation.context.publish(NUMBERS, 1)
        await trio.sleep(1)
        assert child.poison.counts
        await desk.create_checkpoint()
        assert not child.poison.counts


async def test_control_entry_that_cannot_be_read_is_told_and_starts_fresh(url, autojump_clock):
    """A broken entry is an event, not the end of the service."""
    log = Log()
    async with open_store(url) as store:
        await store.put_control("child/desk/x", b'{"at": "yesterday"}').wait()
        await store.put_control(
            "breaker/control.broken", b'{"at": "2026-01-01T00:00:00+00:00", "state": "ajar"}'
        ).wait()
    breaker = CircuitBreaker("control.broken")
    with observe(log):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(crashing([]), name="x")
            assert child.generation == 1
            assert breaker.state is BreakerState.CLOSED

    assert [event.entry for event in log.named("control_not_restored")] == ["breaker/control.broken", "child/desk/x"][
        ::-1
    ]


def test_budget_restored_with_a_shorter_window_counts_from_its_own_length():
    """Settings may have changed in between: no crash counts for longer than the new window."""
    import random

    budget = RestartBudget(max_restarts=2, within=5.0, backoff=EXACT, unpark_after=None, rng=random.Random(0))

    budget.restore([90.0, 3.0, 1.0], in_a_row=2, now=100.0, away=1.5)

    assert budget.counted(100.0) == (1.5, 3.5)
    assert not budget.charge(100.0)
    assert budget.charge(101.6)


async def test_latched_cause_survives_the_process_until_somebody_clears_it(url, autojump_clock):
    """A restart is no way around a kill switch."""
    modes = []
    for round_ in range(3):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(until_stopped, name="x")
            modes.append((desk.scope.mode.name, child.scope.mode.name))
            if round_ == 0:
                desk.scope.hold(Mode.SAFE, owner="risk", reason="limit", latched=True)
                child.scope.hold(Mode.SAFE, owner="risk", reason="child", latched=True)
                await desk.scope.settled()
            if round_ == 1:
                desk.scope.clear("risk", "limit", by="operator")
                await desk.scope.settled()
    assert modes == [("NORMAL", "NORMAL"), ("SAFE", "SAFE"), ("NORMAL", "SAFE")]
