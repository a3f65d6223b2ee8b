"""A desk that gets into trouble and ends, by a stop or by kill -9: run as a process, with a store and how it ends.

``first`` makes the trouble; ``second`` says, as JSON, what came back of it.
"""

import json
import os
import signal
import sys

import attrs
import trio

from genesis_trio import (
    Backoff,
    CheckpointPolicy,
    ChildSpec,
    CircuitBreaker,
    Component,
    Lifecycle,
    Mode,
    Topic,
    observe,
    open_store,
    open_supervisor,
    schema,
)

NUMBERS = Topic("controlled.numbers", int)
QUIET = CheckpointPolicy(every=None, messages=None)
AT_ONCE = Backoff(base_delay=0.001, jitter="none")


@schema("controlled.tally")
@attrs.define
class Tally:
    handled: list[int] = attrs.Factory(list)


class Reader(Component[Tally]):
    """Its message 2 crashes it; at the third try it says so and holds still, if it is given *third*."""

    def __init__(self, third=None):
        self.third = third

    async def run(self, ctx):
        async with ctx.subscribe(NUMBERS) as numbers:
            ctx.ready()
            async for number in numbers:
                if number == 2:
                    if self.third is not None and ctx.generation == 3:
                        self.third.set()
                        await trio.sleep_forever()
                    raise OSError("poison")
                self.state.handled.append(number)


async def feed(ctx):
    ctx.ready()
    for number in (1, 2, 3):
        ctx.publish(NUMBERS, number)
    await ctx.create_checkpoint()
    await ctx.wait_stopping()


async def quiet(ctx):
    ctx.ready()
    await ctx.wait_stopping()


async def crashing(ctx):
    ctx.ready()
    await trio.sleep(0.01)
    raise OSError("boom")


def settings(store):
    return {"store": store, "checkpoint": QUIET, "backoff": AT_ONCE, "max_restarts": 5, "within": 600.0}


async def first(url, ending):
    breaker = CircuitBreaker("controlled.venue", failure_threshold=1, recovery_timeout=600.0)
    third = trio.Event()
    async with open_store(url) as store, open_supervisor("desk", **settings(store)) as desk:
        await desk.start(quiet, name="twice")
        await desk.children["twice"].restart()
        await desk.start(Reader, third, name="reader", stop_grace=0.1)
        await desk.start(feed, name="feed")
        with trio.fail_after(20):
            await third.wait()
            await desk.start(crashing, name="crashing", unpark_after=None)
            await desk.children["crashing"].wait(Lifecycle.PARKED)
        breaker.trip()
        desk.scope.hold(Mode.SAFE, owner="operator", reason="kill switch", latched=True)
        await desk.scope.settled()
        await trio.sleep(0.2)  # what is only queued is written meanwhile
        if ending == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        await desk.stop()


async def second(url):
    breaker = CircuitBreaker("controlled.venue", failure_threshold=1, recovery_timeout=600.0)
    names = []
    died = trio.Event()

    def see(event):
        names.append((event.name, event.as_dict().get("child")))
        if event.name == "message_dead":
            died.set()

    with observe(see):
        async with open_store(url) as store, open_supervisor("desk", **settings(store)) as desk:
            causes = [(cause.owner, cause.reason, cause.mode.name, cause.latched) for cause in desk.scope.causes]
            twice = await desk.start(quiet, name="twice")
            reader = await desk.start(Reader, name="reader")
            with trio.fail_after(20):
                await died.wait()
            await trio.sleep(0.2)
            saved = await desk.create_checkpoint()
            state = (await store.restore(saved.id, "desk/reader", Tally)).state
            crashing_child = (await desk.start_all([ChildSpec(crashing, name="crashing", unpark_after=None)]))[0]
            await trio.sleep(0.3)
            report = {
                "causes": causes,
                "state": breaker.state.value,
                "retry_after": breaker.statistics().retry_after,
                "twice": twice.generation,
                "handled": state.handled,
                "crashes_of_reader": len([1 for each in names if each == ("child_crashed", "desk/reader")]),
                "reader": reader.status.value,
                "crashing": crashing_child.status.value,
                "runs_of_crashing": len([1 for each in names if each == ("child_starting", "desk/crashing")]),
            }
            await desk.stop()
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1] == "first":
        trio.run(first, *sys.argv[2:])
    else:
        trio.run(second, sys.argv[2])
