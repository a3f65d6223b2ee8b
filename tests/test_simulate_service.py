"""simulate() of a whole service: crashes, restarts, mailboxes, a breaker and saved state follow from the seed."""

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from genesis_trio import (
    BreakerOpenError,
    CircuitBreaker,
    Component,
    Context,
    Event,
    Guard,
    Retry,
    Topic,
    observe,
    open_store,
    open_supervisor,
    schema,
)
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
VENUE = Guard(
    "venue",
    retry=Retry(OSError, max_retries=2, base_delay=0.2),
    breaker=CircuitBreaker("venue", failure_threshold=2, recovery_timeout=3.0),
    attempt_timeout=0.5,
)
ROOT = Path(__file__).parent.parent
PYTHONS = ("3.11", "3.12", "3.13")


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


async def trader(ctx: Context) -> None:
    """Calls a venue that fails, hangs and recovers: retries, timeouts, and the breaker in each of its states."""

    async def call() -> None:
        await trio.sleep(ctx.rng.choice([0.01, 0.1, 1.0]))
        if ctx.rng.random() < 0.4:
            raise ConnectionError("the venue is busy")

    ctx.ready()
    while not ctx.stopping:
        await trio.sleep(0.2)
        try:
            await VENUE.execute(call)
        except (OSError, BreakerOpenError):
            ctx.count("refused or failed")


async def service(url: str) -> list[dict[str, Any]]:
    """A minute of the service, as the events that an observer sees."""
    events: list[Event] = []
    with observe(events.append):
        async with open_store(url) as store, open_supervisor("desk", store=store, max_restarts=100, within=1.0) as desk:
            await desk.start(Ledger, name="ledger")
            await desk.start(feed, name="feed")
            await desk.start(trader, name="trader")
            await trio.sleep(60)
            await desk.stop()
    return [dict(event.as_dict()) for event in events]


@functools.cache
def find_python(version: str) -> tuple[str, str]:
    """An interpreter of that version that has what genesis_trio needs, or "" and why there is none."""
    here = "{}.{}".format(*sys.version_info)
    candidates = [sys.executable] if version == here else []
    candidates += [str(path) for path in sorted(ROOT.glob(f".venv-{version}*/bin/python"))]
    candidates += [path for path in [shutil.which(f"python{version}")] if path is not None]
    candidates += [str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))]
    reason = f"there is no Python {version}"
    for candidate in candidates:
        done = subprocess.run(
            [candidate, "-c", "import pytest, genesis_trio.testing, genesis_trio.supervision.supervisor"],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return candidate, ""
        reason = f"{candidate} cannot import genesis_trio: {(done.stderr.splitlines() or ['no reason given'])[-1]}"
    return "", reason


def in_a_process(python: str, url: str, folder: Path, hash_seed: str) -> str:
    script = (
        f"import json, sys; sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from genesis_trio.testing import simulate\n"
        "from test_simulate_service import service\n"
        f"print(json.dumps(simulate(service, {url!r}, seed=5)))"
    )
    folder.mkdir()
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": path}
    command = [python, "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
@pytest.mark.parametrize("url", ["memory:", "sqlite:desk.db"])
def test_simulate_service_same_seed_in_separate_processes_gives_the_same_events(
    url: str, version: str, tmp_path: Path
) -> None:
    """Two runs of one seed give the same list of events byte for byte, on every Python, whatever keeps the state."""
    python, reason = find_python(version)
    if not python:
        pytest.skip(reason)

    first = in_a_process(python, url, tmp_path / "a", "0")
    second = in_a_process(python, url, tmp_path / "b", "1")

    names = {event["event"] for event in json.loads(first)}
    assert first == second
    # It was a run worth comparing.
    assert {
        "child_crashed",
        "restart_scheduled",
        "checkpoint_saved",
        "retry_scheduled",
        "breaker_opened",
        "breaker_half_opened",
        "breaker_closed",
    } <= names


def test_simulate_service_different_seeds_give_different_events() -> None:
    """Another seed is another minute."""
    assert simulate(service, "memory:", seed=5) == simulate(service, "memory:", seed=5)
    assert simulate(service, "memory:", seed=5) != simulate(service, "memory:", seed=6)
