"""The process that is killed: the desk under its supervisor, over its store.

    python -m genesis_trio.demo.desk_process VENUE STORE SEED

It tells each event as a line of JSON on its standard output, and stops in order when its standard input
ends: so it also ends with the process that started it, however that one went.
"""

import json
import os
import random
import sys
from typing import Any

import trio

from genesis_trio import Backoff, CheckpointPolicy, Event, ModePolicy, observe, open_store, open_supervisor
from genesis_trio.demo.desk import make_desk
from genesis_trio.demo.link import VenueLink

__all__ = ["run_desk"]


async def run_desk(address: str, store_url: str, seed: int) -> None:
    """Run the desk until standard input ends."""
    async with open_store(store_url) as store:
        with observe(tell_event):
            async with open_supervisor(
                "desk",
                store=store,
                checkpoint=CheckpointPolicy(every=1.0, messages=100),
                mode_policy=ModePolicy(trigger_after=0.25, recover_after=0.5, max_recover_after=2.0),
                max_restarts=5,
                within=2.0,
                backoff=Backoff(base_delay=0.1, max_delay=0.5, jitter="equal"),
                rng=random.Random(seed),
            ) as desk:
                await desk.start_all(make_desk(VenueLink(address)))
                tell({"event": "desk_ready"})
                async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as orders_from_above:
                    await orders_from_above.receive_some()
                await desk.stop()


def tell_event(event: Event) -> None:
    tell(event.as_dict())


def tell(fields: Any) -> None:
    sys.stdout.write(json.dumps(dict(fields), default=str) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(run_desk, sys.argv[1], sys.argv[2], int(sys.argv[3]))
