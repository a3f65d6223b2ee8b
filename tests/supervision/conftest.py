"""What several files of this room share."""

import functools
import inspect

import pytest
import trio

from supervision.ladder import World


def pytest_itemcollected(item):
    """Let a test that waits for what never comes fail, after a day of virtual time, where it would hang."""
    test = item.obj
    if inspect.iscoroutinefunction(test) and "autojump_clock" in item.fixturenames:

        @functools.wraps(test)
        async def bounded(**fixtures):
            with trio.fail_after(86_400):
                await test(**fixtures)

        item.obj = bounded


@pytest.fixture(params=["memory:", "sqlite"])
def world(request, tmp_path):
    """A desk whose state can be spoilt, over each of the two engines."""
    return World(f"memory:{tmp_path.name}" if request.param == "memory:" else f"sqlite:{tmp_path / 'desk.db'}")
