"""A desk on the recovery ladder that is killed in the middle of a trial; run as a process, with what it is to do.

``spoil URL``: save a good state and a spoilt one, and end.  ``trial URL``: start until an older state is on trial, say so, and
wait to be killed.  ``live URL``: the same, and live.  Each line that it prints is JSON.
"""

import json
import sys

import trio
import trio.testing

from genesis_trio import ModePolicy, observe
from supervision.ladder import SPOIL, World


def say(**fields):
    print(json.dumps(fields), flush=True)


async def spoil(world):
    async with world.open() as desk:
        await world.say(1)
        good = await desk.save()
        await world.say(2, SPOIL)
        bad = await desk.save()
        say(good=good.id, bad=bad.id)


async def start(world, *, lives):
    recover_after = 0.5 if lives else 3600.0
    policy = ModePolicy(recover_after=recover_after, max_recover_after=3600.0)
    convicted = trio.Event()

    def hear(event):
        if event.name == "checkpoint_quarantined":
            convicted.set()

    with observe(hear):
        async with world.open(raises=False, mode_policy=policy, max_restarts=9, within=60.0) as desk:
            say(
                starts=world.switches.starts,
                status=desk.ledger.status.name,
                state=[desk.state.position, desk.state.poisoned],
                fell_back=[event.checkpoint for event in world.log.named("recovery_fell_back")],
                quarantined=sorted(await desk.quarantined()),
            )
            if not lives:
                await desk.save()  # a cut in the middle of the trial must not decide it
                say(saved=True)
                await trio.sleep_forever()
            with trio.fail_after(30):
                await convicted.wait()
            await desk.save()  # the verdict was queued before it
            say(quarantined=sorted(await desk.quarantined()))


def main():
    what, url = sys.argv[1:]
    world = World(url)
    if what == "spoil":
        trio.run(
            spoil, world, clock=trio.testing.MockClock(autojump_threshold=0)
        )  # so that each message is handled at once
    else:
        trio.run(lambda: start(world, lives=what == "live"))


if __name__ == "__main__":
    main()
