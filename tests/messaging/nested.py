"""What the tests of nested mailboxes share: a host that crashes when it is told to, and who sends meanwhile."""

import trio
import trio.testing

from genesis_trio import Backoff, Lifecycle, open_supervisor
from messaging.parts import NUMBERS

#: A host that crashes is down for ten seconds.
SLOW = {"backoff": Backoff(base_delay=10.0, multiplier=1.0, jitter="none"), "within": 600.0}


class Host:
    """A component with one nested child, or several; `crash` ends the run that is under way, *before* is awaited in each start."""

    def __init__(self, *components, before=None, **spec):
        self.components = components
        self.before = before
        self.spec = {"stop_grace": 0.0, **spec}
        self.crashes = trio.Event()

    def crash(self):
        self.crashes.set()

    async def __call__(self, ctx):
        self.crashes = trio.Event()
        async with open_supervisor("inner") as inner:
            if self.before is not None:
                await self.before(ctx)
            for number, component in enumerate(self.components):
                await inner.start(component, name=f"n{number}", **self.spec)
            ctx.ready()
            await self.crashes.wait()
            raise OSError("down")


async def go_down(host, child, status=Lifecycle.BACKOFF):
    """Let *host*, which is *child*, crash."""
    await trio.testing.wait_all_tasks_blocked()
    host.crash()
    await child.wait(status)


def receivers(desk, topic=NUMBERS):
    """How many mailboxes get what is published."""
    return len(desk.tree.bus._routes.get(topic, ()))


class Sending:
    """Sends one number after the other, and notes when it could."""

    def __init__(self, numbers, every=0.0):
        self.numbers = numbers
        self.every = every
        self.times = []

    async def __call__(self, ctx):
        ctx.ready()
        for number in self.numbers:
            await ctx.send(NUMBERS, number)
            self.times.append(trio.current_time())
            await trio.sleep(self.every)
        await ctx.wait_stopping()
