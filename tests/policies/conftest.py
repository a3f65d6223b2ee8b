"""Fixtures of this room."""

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from policies.every_step import Cancel

Scenario = Callable[[Cancel], Awaitable[None]]


@pytest.fixture(params=["begins to wait", "goes on"])
def at_every_step(request):
    """Run a scenario once for each step at which it can be cancelled; the scenario arms and asserts."""

    def run(scenario: Scenario, at_least: int) -> None:
        step = 0
        while True:
            step += 1
            cancel = Cancel(request.param, step)
            trio.run(scenario, cancel, clock=trio.testing.MockClock(autojump_threshold=0), instruments=[cancel])
            if not cancel.fired:
                break
            assert step < 2000
        assert step > at_least  # else this test has tested nothing

    return run
