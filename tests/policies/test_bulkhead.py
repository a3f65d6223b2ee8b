"""Bulkhead: a limit on concurrency with a fair queue that loses no place."""

import attrs
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from genesis_trio.errors import BulkheadFullError
from genesis_trio.policies._fair_queue import FairQueue, Waiter
from genesis_trio.policies.bulkhead import Bulkhead, BulkheadStatistics


class Caller:
    """A task that enters a bulkhead, notes it, and leaves when it is told."""

    def __init__(self, bulkhead: Bulkhead, log: list[str], name: str, *, urgent: bool = False) -> None:
        self.bulkhead, self.log, self.name, self.urgent = bulkhead, log, name, urgent
        self.scope = trio.CancelScope()
        self.done = trio.Event()

    async def run(self) -> None:
        with self.scope:
            await self.bulkhead._enter(self.urgent)
            try:
                self.log.append(self.name)
                await self.done.wait()
            finally:
                self.bulkhead._leave()


# ---------------------------------------------------------------- construction


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ({"max_concurrent": 0}, ValueError),
        ({"max_concurrent": -1}, ValueError),
        ({"max_concurrent": 1.5}, TypeError),
        ({"max_concurrent": True}, TypeError),
        ({"max_concurrent": "3"}, TypeError),
        ({"max_concurrent": None}, TypeError),
        ({"max_concurrent": 1, "max_waiting": -1}, ValueError),
        ({"max_concurrent": 1, "max_waiting": 0.5}, TypeError),
        ({"max_concurrent": 1, "max_waiting": None}, TypeError),
    ],
)
def test_bulkhead_wrong_argument_is_refused_with_its_value(args, error):
    """Wrong values are ValueError, wrong types TypeError, at construction, and the message shows them."""
    with pytest.raises(error) as caught:
        Bulkhead(**args)

    name, value = list(args.items())[-1]
    assert name in str(caught.value)
    assert repr(value) in str(caught.value)


def test_bulkhead_repr_shows_the_settings():
    """The repr is what was configured."""
    assert repr(Bulkhead(3, max_waiting=2)) == "Bulkhead(3, max_waiting=2)"


# ---------------------------------------------------------------- the limit


async def test_bulkhead_admits_max_concurrent_and_refuses_the_next():
    """With max_waiting=0, whoever comes beyond max_concurrent is refused at once, with the numbers in the message."""
    bulkhead = Bulkhead(2)

    entered = [bulkhead._try_enter() for _ in range(3)]
    with trio.testing.assert_no_checkpoints(), pytest.raises(BulkheadFullError) as caught:
        await bulkhead._enter(False)

    assert entered == [True, True, False]
    assert "2 of max_concurrent=2 calls are running" in str(caught.value)
    assert "0 of max_waiting=0 are waiting" in str(caught.value)
    assert bulkhead.statistics() == BulkheadStatistics(running=2, waiting=0, refused=1)


async def test_bulkhead_free_place_is_taken_without_a_checkpoint():
    """Who need not wait does not give up the scheduler's turn."""
    bulkhead = Bulkhead(1)

    with trio.testing.assert_no_checkpoints():
        await bulkhead._enter(False)
        bulkhead._leave()

    assert bulkhead.statistics().running == 0


async def test_bulkhead_waiting_entry_is_a_checkpoint(nursery):
    """Who waits gives up the scheduler's turn."""
    bulkhead = Bulkhead(1, max_waiting=1)
    bulkhead._try_enter()

    async def leave_later():
        await trio.testing.wait_all_tasks_blocked()
        bulkhead._leave()

    nursery.start_soon(leave_later)
    with trio.testing.assert_checkpoints():
        await bulkhead._enter(False)

    assert bulkhead.statistics() == BulkheadStatistics(running=1, waiting=0, refused=0)


async def test_bulkhead_full_queue_refuses_the_next(nursery):
    """max_waiting callers wait; the one after is refused."""
    bulkhead, log = Bulkhead(1, max_waiting=2), []
    callers = [Caller(bulkhead, log, name) for name in "abc"]
    for caller in callers:
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(BulkheadFullError, match="2 of max_waiting=2 are waiting"):
        await bulkhead._enter(False)

    assert log == ["a"]
    for caller in callers:
        caller.done.set()


# ---------------------------------------------------------------- the queue


async def test_bulkhead_queue_is_first_come_first_served(nursery):
    """Places go to those who wait in the order in which they came."""
    bulkhead, log = Bulkhead(1, max_waiting=10), []
    callers = [Caller(bulkhead, log, name) for name in "abcdef"]
    for caller in callers:
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()

    for caller in callers:
        caller.done.set()
        await trio.testing.wait_all_tasks_blocked()

    assert log == list("abcdef")
    assert bulkhead.statistics() == BulkheadStatistics(running=0, waiting=0, refused=0)


async def test_bulkhead_freed_place_is_not_stolen_by_a_newcomer(nursery):
    """A place that is given to a waiter is taken from that step on, though the waiter has not run yet."""
    bulkhead, log = Bulkhead(1, max_waiting=10), []
    bulkhead._try_enter()
    waiter = Caller(bulkhead, log, "waiter")
    nursery.start_soon(waiter.run)
    await trio.testing.wait_all_tasks_blocked()

    bulkhead._leave()
    stolen = bulkhead._try_enter()
    await trio.testing.wait_all_tasks_blocked()

    assert not stolen
    assert log == ["waiter"]
    waiter.done.set()


async def test_bulkhead_urgent_caller_stands_in_front_of_others(nursery):
    """Urgent callers are served before all that are not, among themselves in the order in which they came."""
    bulkhead, log = Bulkhead(1, max_waiting=10), []
    callers = [Caller(bulkhead, log, name, urgent=name.isupper()) for name in "abCdE"]
    for caller in callers:
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()

    for caller in callers:
        caller.done.set()
    await trio.testing.wait_all_tasks_blocked()

    assert log == ["a", "C", "E", "b", "d"]


async def test_bulkhead_queue_full_of_others_has_room_for_an_urgent_caller(nursery):
    """Those who are not urgent do not take an urgent caller's place in the queue; its own kind does."""
    bulkhead, log = Bulkhead(1, max_waiting=1), []
    callers = [Caller(bulkhead, log, name, urgent=name.isupper()) for name in "abC"]
    for caller in callers:
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()

    with pytest.raises(BulkheadFullError, match="1 of max_waiting=1 are waiting"):
        await bulkhead._enter(True)

    assert bulkhead.statistics() == BulkheadStatistics(running=1, waiting=2, refused=1)
    for caller in callers:
        caller.done.set()


# ---------------------------------------------------------------- cancellation


async def test_bulkhead_cancelled_waiter_frees_its_place_in_the_queue(nursery):
    """A cancelled waiter is skipped, and another may wait in its stead."""
    bulkhead, log = Bulkhead(1, max_waiting=2), []
    callers = [Caller(bulkhead, log, name) for name in "abcd"]
    for caller in callers[:3]:
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()

    callers[1].scope.cancel()
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(callers[3].run)
    await trio.testing.wait_all_tasks_blocked()
    for caller in callers:
        caller.done.set()
    await trio.testing.wait_all_tasks_blocked()

    assert log == ["a", "c", "d"]
    assert bulkhead.statistics() == BulkheadStatistics(running=0, waiting=0, refused=0)


async def test_bulkhead_place_given_right_after_the_cancel_goes_to_the_next(nursery):
    """A waiter that is cancelled, and given a place before it could see that, hands the place on."""
    bulkhead, log = Bulkhead(1, max_waiting=2), []
    bulkhead._try_enter()
    callers = [Caller(bulkhead, log, name) for name in "ab"]
    for caller in callers:
        nursery.start_soon(caller.run)
        await trio.testing.wait_all_tasks_blocked()

    callers[0].scope.cancel()
    bulkhead._leave()  # in the same step
    await trio.testing.wait_all_tasks_blocked()

    assert log == ["b"]
    assert bulkhead.statistics() == BulkheadStatistics(running=1, waiting=0, refused=0)
    callers[1].done.set()


async def test_bulkhead_place_given_right_before_the_cancel_is_given_back(nursery):
    """A waiter that is given a place, and cancelled in the same step, leaves no place taken."""
    bulkhead, log = Bulkhead(1, max_waiting=2), []
    bulkhead._try_enter()
    waiter = Caller(bulkhead, log, "waiter")
    nursery.start_soon(waiter.run)
    await trio.testing.wait_all_tasks_blocked()

    bulkhead._leave()
    waiter.scope.cancel()
    await trio.testing.wait_all_tasks_blocked()

    assert bulkhead.statistics() == BulkheadStatistics(running=0, waiting=0, refused=0)


async def test_bulkhead_last_waiter_cancelled_with_its_place_frees_it(nursery):
    """With nobody behind the cancelled waiter, the place it was given is free again."""
    bulkhead, log = Bulkhead(1, max_waiting=1), []
    bulkhead._try_enter()
    waiter = Caller(bulkhead, log, "waiter")
    nursery.start_soon(waiter.run)
    await trio.testing.wait_all_tasks_blocked()

    waiter.scope.cancel()
    bulkhead._leave()
    await trio.testing.wait_all_tasks_blocked()

    assert log == []
    assert bulkhead._try_enter()
    assert bulkhead.statistics() == BulkheadStatistics(running=1, waiting=0, refused=0)


async def test_bulkhead_outer_timeout_ends_the_wait(autojump_clock):
    """A deadline of the caller is seen while waiting; the place in the queue is given up."""
    bulkhead = Bulkhead(1, max_waiting=1)
    bulkhead._try_enter()

    with trio.move_on_after(2.0) as scope:
        await bulkhead._enter(False)

    assert scope.cancelled_caught
    assert trio.current_time() == 2.0
    assert bulkhead.statistics() == BulkheadStatistics(running=1, waiting=0, refused=0)


async def test_bulkhead_crowd_never_exceeds_the_limit(autojump_clock):
    """Two hundred callers through four places: never more than four at once, and all of them in the end."""
    bulkhead, running, most, served = Bulkhead(4, max_waiting=200), 0, 0, 0

    async def call():
        nonlocal running, most, served
        await bulkhead._enter(False)
        running += 1
        most = max(most, running)
        await trio.sleep(1.0)
        running -= 1
        served += 1
        bulkhead._leave()

    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(call)

    assert (most, served) == (4, 200)
    assert trio.current_time() == 50.0
    assert bulkhead.statistics() == BulkheadStatistics(running=0, waiting=0, refused=0)


# ---------------------------------------------------------------- runs


def test_bulkhead_starts_fresh_in_a_new_run():
    """Places and numbers belong to the run."""
    bulkhead = Bulkhead(1)

    async def use():
        bulkhead._try_enter()
        with pytest.raises(BulkheadFullError):
            await bulkhead._enter(False)

    async def look():
        return bulkhead.statistics()

    trio.run(use)

    assert trio.run(look) == BulkheadStatistics(running=0, waiting=0, refused=0)


async def test_bulkhead_statistics_is_a_frozen_record():
    """What statistics() returns cannot be changed."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        Bulkhead(1).statistics().running = 5


# ---------------------------------------------------------------- the queue


@given(st.lists(st.tuples(st.sampled_from(["join", "join!", "leave", "first"]), st.integers(0, 30)), max_size=60))
def test_queue_agrees_with_a_sorted_list(steps):
    """First come, first served, the urgent ones first, whoever leaves from wherever."""
    queue, model = FairQueue(), []

    for action, which in steps:
        if action.startswith("join"):
            waiter = Waiter(action.endswith("!"))
            before = queue.before(waiter.urgent)
            queue.join(waiter)
            model.append(waiter)
            model.sort(key=lambda waiter: not waiter.urgent)
            assert model.index(waiter) == before
        elif action == "leave" and model:
            waiter = model.pop(which % len(model))
            queue.leave(waiter)
            queue.leave(waiter)  # twice is once
        assert queue.first() is (model[0] if model else None)
        assert len(queue) == len(model)
