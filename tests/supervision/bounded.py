"""No test of supervision or of modes waits for ever.

One that waits for a thread has no virtual clock: that would be at the end of the day before the thread is.
"""

import functools
import inspect

import trio


def pytest_itemcollected(item):
    """Let a test that waits for what never comes fail, after a day of virtual time, where it would hang."""
    test = item.obj
    if inspect.iscoroutinefunction(test) and "autojump_clock" in item.fixturenames:

        @functools.wraps(test)
        async def bounded(**fixtures):
            with trio.fail_after(86_400):
                await test(**fixtures)

        item.obj = bounded
