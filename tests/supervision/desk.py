"""What the tests of supervision share: a log of events, plain components, backoffs without jitter, and saves only when asked."""

import shutil
from contextlib import asynccontextmanager

import trio

from genesis_trio.events import Event
from genesis_trio.persistence.opening import open_store
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.supervision.backoff import Backoff
from genesis_trio.supervision.supervisor import open_supervisor

EXACT = Backoff(jitter="none")
QUIET = CheckpointPolicy(every=None, messages=None)


class Log:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def named(self, *names: str) -> list[Event]:
        return [event for event in self.events if event.name in names]

    def times(self, name: str) -> list[float]:
        return [event.time for event in self.events if event.name == name]


async def forever(ctx):
    ctx.ready()
    await trio.sleep_forever()


async def until_stopped(ctx):
    ctx.ready()
    await ctx.wait_stopping()


def crashing_after(seconds, error=OSError):
    async def component(ctx):
        ctx.ready()
        await trio.sleep(seconds)
        raise error(f"boom {ctx.generation}")

    return component


@asynccontextmanager
async def open_desk(store, *, checkpoint=QUIET, **settings):
    """A desk over *store* that saves only when asked; at the end of the block it is stopped."""
    async with open_supervisor("desk", store=store, checkpoint=checkpoint, **settings) as desk:
        yield desk
        await desk.stop()


@asynccontextmanager
async def saved_desk(url="memory:"):
    """A desk over the store at *url* that saves only when asked; at the end of the block it waits for its children."""
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        yield desk


def state_of(child):
    return child.incarnation.component.state


def killed(url):
    """The store as a kill would leave it now."""
    path = url.removeprefix("sqlite:")
    for ending in ("", "-wal", ".head"):
        shutil.copy(path + ending, f"{path}.killed{ending}")
    return f"sqlite:{path}.killed"
