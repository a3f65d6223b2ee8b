"""A PERMANENT child that returns after it was ready: it starts again, and so does whoever goes with it."""

import pytest
import trio

from genesis_trio import Backoff, ChildSpec, Strategy, open_supervisor


@pytest.mark.parametrize(
    ("strategy", "again"),
    [
        (Strategy.ONE_FOR_ONE, ["source", "reader"]),  # the reader requires it
        (Strategy.ONE_FOR_ALL, ["first", "source", "reader"]),
        (Strategy.REST_FOR_ONE, ["source", "reader"]),
    ],
)
async def test_return_of_a_permanent_child_restarts_its_group(strategy, again, autojump_clock):
    """Who returns is started again like one that crashed, with its group and those that require it, in order."""
    started = []

    async def work(ctx):
        started.append(ctx.name)
        ctx.ready()
        if ctx.name == "source" and ctx.generation == 1:
            await trio.sleep(1)
            return
        await ctx.wait_stopping()

    backoff = Backoff(base_delay=0.5, jitter="none")
    async with open_supervisor("desk", strategy=strategy, backoff=backoff) as desk:
        await desk.start_all(
            [
                ChildSpec(work, name="first"),
                ChildSpec(work, name="source", requires=["first"]),
                ChildSpec(work, name="reader", requires=["source"]),
            ]
        )
        await trio.sleep(5)
        await desk.stop()

    assert started == ["first", "source", "reader", *again]
