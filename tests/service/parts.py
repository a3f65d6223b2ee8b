"""Components that the service files of the tests name."""

import attrs
import trio

from genesis_trio import Component


async def worker(ctx):
    ctx.ready()
    ctx.count("work")
    ctx.gauge("load", 0.5)
    await ctx.wait_stopping()


async def job(ctx):
    await trio.lowlevel.checkpoint()


async def broken(ctx):
    raise OSError("no venue")


@attrs.define
class State:
    number: int = 0


class Keeper(Component[State]):
    async def run(self, ctx):
        self.state.number += 1
        ctx.ready()
        await ctx.wait_stopping()


def two_events(event, another):
    """No instrument: nobody calls it with two."""


def note_event(event):
    """An instrument that does nothing."""
