"""Hedge: copies that fail, and whose error is that of the call."""

import pytest
import trio
import trio.testing

from genesis_trio.policies.hedge import Hedge
from policies.copies import Copies


async def test_hedge_first_call_that_fails_early_starts_no_copy(autojump_clock):
    """A failure before the delay is raised at once, bare, and nothing else is started."""
    error = OSError("early")
    attempt = Copies((0.5, error), 0.0)

    with pytest.raises(OSError, match="early") as caught:
        await Hedge(delay=1.0)._call(attempt)

    assert caught.value is error
    assert attempt.log == [("start", 0, 0.0), ("failed", 0, 0.5)]
    assert trio.current_time() == 0.5


async def test_hedge_failed_copy_does_not_harm_the_first(autojump_clock):
    """The first one goes on when its copy fails."""
    attempt = Copies(3.0, (0.5, OSError("copy")))

    value = await Hedge(delay=1.0)._call(attempt)

    assert value == "copy 0"
    assert trio.current_time() == 3.0


async def test_hedge_first_copy_that_fails_late_leaves_it_to_the_other(autojump_clock):
    """Once a copy runs, the failure of the first one waits for what the copy says; no further copy starts."""
    attempt = Copies((1.5, OSError("first")), 3.0, 0.0)

    value = await Hedge(delay=1.0, max_hedges=2)._call(attempt)

    assert value == "copy 1"
    assert [entry for entry in attempt.log if entry[0] == "start"] == [("start", 0, 0.0), ("start", 1, 1.0)]
    assert trio.current_time() == 4.0


@pytest.mark.parametrize("plan", [((2.0, OSError("first")), (3.0, KeyError("second")))] * 2)
async def test_hedge_all_failed_raises_the_first_copys_error_bare(plan, autojump_clock):
    """When all have failed it is the first copy's own error, the very object, not in a group."""
    with pytest.raises(OSError, match="first") as caught:
        await Hedge(delay=1.0)._call(Copies(*plan))

    assert caught.value is plan[0][1]
    assert caught.value.__context__ is None
    assert trio.current_time() == 4.0


async def test_hedge_first_copy_failing_last_is_still_the_error_and_ends_the_call(autojump_clock):
    """The copy failed before; when the first one fails too, no third one is waited for."""
    attempt = Copies((1.75, OSError("first")), (0.5, KeyError("second")), 0.0)

    with pytest.raises(OSError, match="first"):
        await Hedge(delay=1.0, max_hedges=2)._call(attempt)

    assert trio.current_time() == 1.75
    assert [entry for entry in attempt.log if entry[0] == "start"] == [("start", 0, 0.0), ("start", 1, 1.0)]


async def test_hedge_exception_group_of_a_copy_is_its_error(autojump_clock):
    """A group that the call itself raises comes through as it is."""
    error = ExceptionGroup("own", [OSError("a"), KeyError("b")])

    with pytest.raises(ExceptionGroup) as caught:
        await Hedge(delay=1.0)._call(Copies((0.5, error)))

    assert caught.value is error


async def test_hedge_loser_that_fails_in_its_cleanup_changes_nothing(autojump_clock):
    """A copy that has lost counts nowhere, also when it raises, bare or in a group with its cancellation."""

    async def attempt(copy, delay):
        if copy == 2:
            await trio.sleep(1.0)
            return "won"
        if copy == 1:
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("cleanup")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise OSError("cleanup in a nursery")

    value = await Hedge(delay=1.0, max_hedges=2)._call(attempt)

    assert value == "won"
    assert trio.current_time() == 3.0


@pytest.mark.parametrize("copy", [0, 1])
async def test_hedge_base_exception_of_a_copy_ends_the_race_and_comes_bare(copy, autojump_clock):
    """SystemExit and its like are nobody's failure: they end the race at once and are raised as they are."""
    error = SystemExit(3)
    plan = [(2.0, error), 9.0] if copy == 0 else [9.0, (1.0, error)]

    with pytest.raises(SystemExit) as caught:
        await Hedge(delay=1.0)._call(Copies(*plan))

    assert caught.value is error
    assert trio.current_time() == 2.0


async def test_hedge_base_exception_of_a_loser_is_not_swallowed(autojump_clock):
    """Ctrl-C in the cleanup of a copy that has lost still reaches the caller."""

    async def attempt(copy, delay):
        if copy == 1:
            return "won"
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        await Hedge(delay=1.0)._call(attempt)


async def test_hedge_base_exception_beside_a_cancellation_is_not_swallowed(autojump_clock):
    """In a group with the cancellation of the loser it reaches the caller too; the cancellation does not."""

    async def attempt(copy, delay):
        if copy == 1:
            return "won"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise KeyboardInterrupt

    with pytest.raises(BaseExceptionGroup) as caught:
        await Hedge(delay=1.0)._call(attempt)

    assert [type(error) for error in caught.value.exceptions] == [KeyboardInterrupt]
