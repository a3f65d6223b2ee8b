"""One run: a venue, a desk, and the plan that breaks them; or two runs side by side.

Each side has a venue of its own, with the same market, plan and seed.  They open at the same moment, so that they
share the machine's good and bad seconds.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import attrs
import trio

from genesis_trio.demo.faults import Fault
from genesis_trio.demo.harness.keepers import DeskKeeper, RunError, VenueKeeper
from genesis_trio.demo.harness.processes import monotonic
from genesis_trio.demo.harness.recorder import Recorder
from genesis_trio.demo.harness.recording import Recording

__all__ = ["BARE", "PROTECTED", "Market", "RunError", "Side", "bare_run_error", "play"]

LISTEN_LIMIT = 40.0  # seconds until a venue listens
START_LIMIT = 40.0  # seconds until a desk is ready
READY_LIMIT = 5.0  # seconds that a fault, or the close, waits for a desk that is being started again
SETTLE = 1.5  # seconds from the close until the desk is told to stop: what is late by plan has arrived
BEFORE_OPENING = 1.0  # seconds from the moment when all are ready until the market opens
LOOK = 0.1  # seconds between two looks at how late we are ourselves


@attrs.frozen
class Market:
    """The window of the recording, and how fast it is played."""

    start_minute: float
    minutes: float
    speed: float
    capture: Path | None = None

    @property
    def seconds(self) -> float:
        """How long the market is open, in real seconds."""
        return self.minutes * 60.0 / self.speed


def _python(module: str) -> tuple[str, ...]:
    return sys.executable, "-m", module


@attrs.frozen
class Side:
    """A desk and how it is looked after.

    Attributes:
        restart_delay: Seconds after which a desk that ended is started again.
        has_store: It is given a place to save its state.
    """

    name: str
    desk: tuple[str, ...]
    restart_delay: float
    has_store: bool
    exchange: tuple[str, ...] = _python("genesis_trio.demo.exchange")


PROTECTED = Side("protected", _python("genesis_trio.demo.desk"), restart_delay=0.1, has_store=True)
BARE = Side("bare", _python("genesis_trio.demo.bare"), restart_delay=1.0, has_store=False)


class StartLine:
    """Where the sides wait for each other."""

    def __init__(self, parties: int) -> None:
        self._missing = parties
        self._complete = trio.Event()
        self._at = 0.0

    async def wait(self) -> float:
        """The moment at which the market opens, the same for all."""
        self._missing -= 1
        if not self._missing:
            self._at = monotonic() + BEFORE_OPENING
            self._complete.set()
        await self._complete.wait()
        return self._at


async def play(
    market: Market,
    plan: Sequence[Fault],
    *,
    seed: int,
    folder: Path,
    sides: Sequence[Side] = (PROTECTED, BARE),
    watch: Callable[[Sequence[Recorder]], None] | None = None,
) -> dict[str, Recording]:
    """Play *market* with the faults of *plan* for each of *sides* at the same time.

    Args:
        folder: An empty folder for stores, journals and what the processes say on their standard error.
        watch: Gets the recorders before anything starts, to show them while the run goes on.

    Raises:
        RunError: a venue could not be started, or ended by itself.

    Trio checkpoint: always.
    Cancellation: all processes are killed and waited for.
    """
    recorders = {side.name: Recorder(side.name, tuple(plan)) for side in sides}
    if watch is not None:
        watch(tuple(recorders.values()))
    line = StartLine(len(sides))
    with bare_run_error():
        async with trio.open_nursery() as nursery:
            for side in sides:
                place = folder / side.name
                place.mkdir()
                nursery.start_soon(
                    partial(_play_side, side, market, plan, recorders[side.name], line, seed=seed, folder=place)
                )
    return {name: recorder.finish(market.seconds) for name, recorder in recorders.items()}


@contextlib.contextmanager
def bare_run_error() -> Iterator[None]:
    """Raise the `RunError` itself where nurseries made a group of it.

    Trio checkpoint: never.
    """
    try:
        yield
    except BaseExceptionGroup as group:
        matching, rest = group.split(RunError)
        if matching is None or rest is not None:
            raise
        leaf: BaseException = matching
        while isinstance(leaf, BaseExceptionGroup):
            leaf = leaf.exceptions[0]
        raise RunError(str(leaf)) from group


async def _play_side(
    side: Side, market: Market, plan: Sequence[Fault], recorder: Recorder, line: StartLine, *, seed: int, folder: Path
) -> None:
    venue = VenueKeeper([*side.exchange, *_exchange_options(market, folder)], recorder, folder / "exchange.err")
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(LISTEN_LIMIT) as limit:
            nursery.start_soon(venue.keep)
            await venue.listening.wait()
        if limit.cancelled_caught:
            raise RunError(f"the venue did not listen within {LISTEN_LIMIT:g} s")
        http, feed = venue.ports
        command = [
            *side.desk,
            "--http",
            f"http://127.0.0.1:{http}",
            "--feed",
            f"ws://127.0.0.1:{feed}",
            "--seed",
            str(seed),
        ]
        if side.has_store:
            command += ["--store", str(folder / "desk.db")]
        desk = DeskKeeper(command, recorder, folder / "desk.err", side.restart_delay)
        nursery.start_soon(desk.keep)
        if not await _is_ready(desk, START_LIMIT):
            recorder.problems.append(f"the desk was not ready within {START_LIMIT:g} s")
        recorder.opened = opened = await line.wait()
        await venue.tell({"op": "open", "at": opened})
        async with trio.open_nursery() as injecting:
            injecting.start_soon(_watch_lag, recorder)
            for fault in plan:
                injecting.start_soon(_inject, fault, opened, venue, desk)
            await _sleep_until(opened + market.seconds)
            injecting.cancel_scope.cancel()
        await _is_ready(desk, READY_LIMIT)
        await venue.close_market()
        await trio.sleep(SETTLE)
        await desk.stop()
        await venue.ask_ledger()
        await venue.stop()


def _exchange_options(market: Market, folder: Path) -> list[str]:
    options: Mapping[str, object] = {
        "--start-minute": market.start_minute,
        "--minutes": market.minutes,
        "--speed": market.speed,
        "--journal": folder / "journal.jsonl",
    }
    capture = [] if market.capture is None else ["--capture", str(market.capture)]
    return [*(str(part) for option in options.items() for part in option), *capture]


async def _inject(fault: Fault, opened: float, venue: VenueKeeper, desk: DeskKeeper) -> None:
    await _sleep_until(opened + fault.at)
    match fault.kind.name:
        case "venue.kill":
            venue.kill(fault.seconds)
        case "desk.kill":
            if await _is_ready(desk, READY_LIMIT):
                await desk.kill()
        case "desk.raise" | "desk.hang" | "desk.block" as kind:
            if await _is_ready(desk, READY_LIMIT):
                await desk.sabotage(kind, fault.seconds)
        case kind:
            await venue.tell({"op": "fault", "kind": kind, "seconds": fault.seconds})


async def _watch_lag(recorder: Recorder) -> None:
    """How late we are ourselves: what a busy machine does to us, it does to the desk."""
    while True:
        due = monotonic() + LOOK
        await trio.sleep(LOOK)
        recorder.lag = max(recorder.lag, monotonic() - due)


async def _is_ready(desk: DeskKeeper, limit: float) -> bool:
    with trio.move_on_after(limit):
        await desk.ready.wait()
        return True
    return False


async def _sleep_until(at: float) -> None:
    await trio.sleep(max(0.0, at - monotonic()))
