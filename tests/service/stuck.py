"""Components that do not end when they are told to; see `test_last_resort`."""

import sys
import time

import attrs
import trio

from genesis_trio import Component


@attrs.define
class Count:
    seen: int = 0


class Keeper(Component[Count]):
    """Its state changes once more while it is stopped."""

    async def run(self, ctx):
        ctx.ready()
        await ctx.wait_stopping()
        self.state.seen = 7


async def shielded(ctx):
    with trio.CancelScope(shield=True):
        ctx.ready()
        await trio.sleep_forever()


async def in_thread(ctx):
    ctx.ready()
    await trio.to_thread.run_sync(time.sleep, 3600)


async def blocking(ctx):
    ctx.ready()
    await trio.sleep(0.2)  # so that everybody is ready
    print("blocking from now on", file=sys.stderr, flush=True)
    while True:
        time.sleep(0.01)  # blocks the event loop, which hears no signal
