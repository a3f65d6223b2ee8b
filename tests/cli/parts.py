"""Components of the services that the tests of the command line run: each phase takes long enough to be hit by a signal."""

import sys
import time

import attrs
import trio

from genesis_trio import CircuitBreaker, Component

BREAKER = CircuitBreaker("venue")

time.sleep(0.2)  # a package that takes its time to be imported


@attrs.define
class Count:
    starts: int = 0


class Keeper(Component[Count]):
    async def run(self, ctx):
        self.state.starts += 1
        await trio.sleep(0.2)
        ctx.ready()
        await ctx.wait_stopping()
        await trio.sleep(0.2)


async def follower(ctx):
    ctx.ready()
    await ctx.wait_stopping()


async def stubborn(ctx):
    ctx.ready()
    await trio.sleep_forever()


async def blocking(ctx):
    ctx.ready()
    await trio.sleep(0.2)
    print("blocking from here on", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)  # the loop stands still for ever


async def failing(ctx):
    if ctx.generation > 1:
        raise ValueError("not again")
    ctx.ready()
    await ctx.wait_stopping()


async def leaving(ctx):
    raise SystemExit(7)
