"""What the design promises of Guard, sentence by sentence, through public names: connect."""

import contextlib

import pytest
import trio
import trio.testing

from genesis_trio.errors import (
    AttemptTimeoutError,
    BreakerOpenError,
    TotalTimeoutError,
)
from genesis_trio.modes import Capability
from genesis_trio.policies.breaker import BreakerState
from genesis_trio.policies.bulkhead import Bulkhead
from genesis_trio.policies.guard import Guard
from genesis_trio.policies.hedge import Hedge
from policies.contract import breaker_of, exact


class Stream:
    """An async context manager factory that can fail at entering and notes what happens to it."""

    def __init__(self, *failures: Exception, seconds: float = 0.0) -> None:
        self.failures, self.seconds, self.log = list(failures), seconds, []

    @contextlib.asynccontextmanager
    async def open(self, *args):
        self.log.append(("enter", args))
        await trio.sleep(self.seconds)
        if self.failures:
            raise self.failures.pop(0)
        try:
            yield "socket"
        except BaseException as error:
            self.log.append(("exit", type(error)))
            raise
        self.log.append(("exit", None))


async def test_guard_connect_enters_yields_and_leaves(autojump_clock):
    """connect(factory, *args) gives what the factory's context manager gives, and leaves it at the end of the block."""
    stream = Stream()

    async with Guard("feed").connect(stream.open, "wss://x", 5) as socket:
        assert socket == "socket"
        await trio.sleep(1.0)

    assert stream.log == [("enter", ("wss://x", 5)), ("exit", None)]


async def test_guard_connect_retries_entering_with_a_new_manager(autojump_clock):
    """Policies apply to entering: a refused connection is tried again after the delay."""
    stream = Stream(OSError("refused"), OSError("refused"))

    async with Guard("feed", retry=exact()).connect(stream.open):
        assert trio.current_time() == 3.0

    assert [what for what, _ in stream.log] == ["enter", "enter", "enter", "exit"]


async def test_guard_connect_error_in_the_block_is_not_retried(autojump_clock):
    """The block is the caller's: its error reaches the caller, and entering is not done again."""
    stream, error = Stream(), OSError("stream broke")

    with pytest.raises(OSError) as caught:
        async with Guard("feed", retry=exact()).connect(stream.open):
            raise error

    assert caught.value is error
    assert [what for what, _ in stream.log] == ["enter", "exit"]


@pytest.mark.parametrize("policy", ["attempt_timeout", "total_timeout"])
async def test_guard_connect_timeout_ends_with_entering(policy, autojump_clock):
    """A stream may last longer than it may take to open."""
    stream = Stream(seconds=0.5)

    async with Guard("feed", **{policy: 1.0}).connect(stream.open):
        await trio.sleep(100.0)

    assert trio.current_time() == 100.5


async def test_guard_connect_attempt_timeout_limits_entering(autojump_clock):
    """A connection that does not come up in time is given up."""
    stream = Stream(seconds=10.0)

    with pytest.raises(AttemptTimeoutError):
        async with Guard("feed", attempt_timeout=1.0).connect(stream.open):
            pytest.fail("not entered")

    assert trio.current_time() == 1.0


async def test_guard_connect_total_timeout_limits_all_of_entering(autojump_clock):
    """Attempts and delays together: no stream within it is a TotalTimeoutError, or the real error if there was one."""
    with pytest.raises(TotalTimeoutError):
        async with Guard("feed", total_timeout=2.0).connect(Stream(seconds=10.0).open):
            pytest.fail("not entered")
    assert trio.current_time() == 2.0

    error = OSError("refused")
    hangs_then = Stream(error, seconds=1.5)
    with pytest.raises(OSError) as caught:
        async with Guard("feed", total_timeout=4.0, retry=exact(base_delay=2.0)).connect(hangs_then.open):
            pytest.fail("not entered")

    assert caught.value is error
    assert trio.current_time() == 6.0


async def test_guard_connect_total_timeout_is_a_failure_if_the_attempt_had_all_of_it(autojump_clock):
    """A stream that does not open for all of total_timeout is a failure of the other side."""
    breaker = breaker_of(failure_threshold=1)

    with pytest.raises(TotalTimeoutError):
        async with Guard("feed", total_timeout=2.0, breaker=breaker).connect(Stream(seconds=10.0).open):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_place_in_the_bulkhead_ends_with_entering(autojump_clock):
    """The bulkhead is for connecting; open streams do not take its places."""
    guard = Guard("feed", bulkhead=Bulkhead(1))

    async with guard.connect(Stream().open), guard.connect(Stream().open), guard.connect(Stream().open):
        pass


async def test_guard_connect_end_of_the_block_is_the_one_outcome(autojump_clock):
    """Anything else than an error or a cancellation is a success, one for the whole stream, counted at its end."""
    breaker = breaker_of()

    async with Guard("feed", breaker=breaker).connect(Stream().open):
        inside = breaker.statistics().successes

    assert (inside, breaker.statistics().successes) == (0, 1)


async def test_guard_connect_error_in_the_block_is_a_failure(autojump_clock):
    """A stream that breaks counts against the dependency, once."""
    breaker = breaker_of(failure_threshold=2)

    for _ in range(2):
        with pytest.raises(OSError):
            async with Guard("feed", breaker=breaker).connect(Stream().open):
                raise OSError("stream broke")

    assert breaker.statistics().failures == 2
    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_error_at_entering_is_a_failure(autojump_clock):
    """So does one that does not open."""
    breaker = breaker_of(failure_threshold=1)

    with pytest.raises(OSError):
        async with Guard("feed", breaker=breaker).connect(Stream(OSError("refused")).open):
            pytest.fail("not entered")

    assert breaker.state is BreakerState.OPEN


async def test_guard_connect_cancellation_in_the_block_is_no_outcome(autojump_clock):
    """A stream that the caller ends by cancelling says nothing."""
    breaker = breaker_of(failure_threshold=1)

    with trio.move_on_after(1.0):
        async with Guard("feed", breaker=breaker).connect(Stream().open):
            await trio.sleep_forever()

    statistics = breaker.statistics()
    assert (statistics.successes, statistics.failures, statistics.in_flight) == (0, 0, 0)


async def test_guard_connect_lease_of_a_probe_ends_with_entering(autojump_clock):
    """A probe that opened a stream may hold it for hours; it is judged by its end."""
    breaker = breaker_of(recovery_timeout=5.0, probe_lease=1.0, success_threshold=1)
    guard = Guard("feed", breaker=breaker)
    async with guard.connect(Stream().open):
        pass
    breaker.trip()
    await trio.sleep(5.0)

    async with guard.connect(Stream().open):
        await trio.sleep(3600.0)

    assert breaker.state is BreakerState.CLOSED


async def test_guard_connect_lease_of_a_probe_runs_while_entering(autojump_clock, nursery):
    """A probe that hangs in entering overruns its lease like any."""
    breaker = breaker_of(recovery_timeout=5.0, probe_lease=1.0)
    guard = Guard("feed", breaker=breaker)
    breaker.trip()
    await trio.sleep(5.0)

    async def connect():
        async with guard.connect(Stream(seconds=100.0).open):
            pass

    nursery.start_soon(connect)
    await trio.sleep(2.0)

    assert breaker.state is BreakerState.OPEN
    nursery.cancel_scope.cancel()


async def test_guard_connect_is_refused_by_mode_and_breaker(autojump_clock):
    """Refusals come before anything is entered."""
    guard, stream = Guard("feed", needs=Capability.READ, breaker=breaker_of()), Stream()
    guard.breaker.trip()

    with pytest.raises(BreakerOpenError):
        async with guard.connect(stream.open):
            pytest.fail("not entered")

    assert stream.log == []


async def test_guard_connect_runs_entering_in_the_task_of_the_block(autojump_clock):
    """A context manager with a nursery must be left in the task that entered it, hedge or not."""
    tasks = []

    @contextlib.asynccontextmanager
    async def opening():
        tasks.append(trio.lowlevel.current_task())
        await trio.sleep(3.0)
        async with trio.open_nursery():
            yield

    try:
        guard = Guard("feed", hedge=Hedge(delay=1.0))
        manager = guard.connect(opening)
    except (TypeError, ValueError):
        return  # refusing a hedge here is sound too
    async with manager:
        pass

    assert tasks == [trio.lowlevel.current_task()]


async def test_guard_connect_counts_as_one_call(autojump_clock):
    """One stream is one call, a success when its block ended well."""
    guard = Guard("feed", retry=exact())

    async with guard.connect(Stream(OSError("refused")).open):
        pass

    statistics = guard.statistics()
    assert (statistics.calls, statistics.successes, statistics.attempts, statistics.retries) == (1, 1, 2, 1)
