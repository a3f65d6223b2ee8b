"""simulate() of a whole service: crashes, restarts, mailboxes and saved state follow from the seed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from genesis_trio import Component, Context, Event, Topic, observe, open_store, open_supervisor, schema
from genesis_trio.testing import simulate


@schema("tests.added")
@attrs.frozen
class Added:
    amount: int


@schema("tests.total")
@attrs.define
class Total:
    total: int = 0

    def apply(self, event: Added) -> None:
        self.total += event.amount


NUMBERS = Topic("numbers", int)


class Ledger(Component[Total]):
    """Adds up what it receives, and crashes now and then."""

    async def run(self, ctx: Context) -> None:
        async with ctx.subscribe(NUMBERS) as numbers:
            ctx.ready()
            async for number in numbers:
                await ctx.record(Added(number))
                if ctx.rng.random() < 0.2:
                    raise ConnectionResetError(f"the venue hung up at {self.state.total}")


async def feed(ctx: Context) -> None:
    ctx.ready()
    for number in range(30):
        await trio.sleep(ctx.rng.random())
        await ctx.send(NUMBERS, number)
    await ctx.wait_stopping()


async def service(url: str) -> list[dict[str, Any]]:
    """A minute of the service, as the events that an observer sees."""
    events: list[Event] = []
    with observe(events.append):
        async with open_store(url) as store, open_supervisor("desk", store=store, max_restarts=100, within=1.0) as desk:
            await desk.start(Ledger, name="ledger")
            await desk.start(feed, name="feed")
            await trio.sleep(60)
            await desk.stop()
    return [dict(event.as_dict()) for event in events]


def in_a_process(url: str, folder: Path, hash_seed: str) -> str:
    script = (
        f"import json, sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from genesis_trio.testing import simulate\n"
        "from test_simulate_service import service\n"
        f"print(json.dumps(simulate(service, {url!r}, seed=5)))"
    )
    folder.mkdir()
    path = os.pathsep.join([str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("url", ["memory:", "sqlite:desk.db"])
def test_simulate_service_same_seed_in_separate_processes_gives_the_same_events(url: str, tmp_path: Path) -> None:
    """Two runs of one seed give the same list of events byte for byte, whatever keeps the state."""
    first, second = in_a_process(url, tmp_path / "a", "0"), in_a_process(url, tmp_path / "b", "1")

    names = {event["event"] for event in json.loads(first)}

    assert first == second
    assert {"child_crashed", "restart_scheduled", "checkpoint_saved"} <= names  # it was a run worth comparing


def test_simulate_service_different_seeds_give_different_events() -> None:
    """Another seed is another minute."""
    assert simulate(service, "memory:", seed=5) == simulate(service, "memory:", seed=5)
    assert simulate(service, "memory:", seed=5) != simulate(service, "memory:", seed=6)
