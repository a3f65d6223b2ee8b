"""One run: a venue, a desk, and the plan that breaks them; or two runs side by side.

Each side has a venue of its own, with the same market, plan and seed.  They open at the same moment, so that they
share the machine's good and bad seconds.
"""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import trio

from genesis_trio.demo.faults import Fault
from genesis_trio.demo.harness.processes import Child, monotonic, open_child
from genesis_trio.demo.harness.recorder import Recorder
from genesis_trio.demo.harness.recording import Recording

__all__ = ["BARE", "PROTECTED", "Market", "RunError", "Side", "bare_run_error", "play"]

LISTEN_LIMIT = 40.0  # seconds until a venue listens
START_LIMIT = 40.0  # seconds until a desk is ready
READY_LIMIT = 5.0  # seconds that a fault, or the close, waits for a desk that is being started again
SETTLE = 1.5  # seconds from the close until the desk is told to stop: what is late by plan has arrived
STOP_LIMIT = 8.0  # seconds for an ordered stop
BEFORE_OPENING = 1.0  # seconds from the moment when all are ready until the market opens
LOOK = 0.1  # seconds between two looks at how late we are ourselves
AN_ORDER_IN_FLIGHT = 0.5  # seconds that a kill of the desk waits for one


class RunError(Exception):
    """The harness itself cannot go on; the text says why."""


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


class VenueKeeper:
    """Keeps the venue's process: kills it when the plan says so, and starts it again where the market is by then."""

    def __init__(self, command: Sequence[str], recorder: Recorder, errors: Path) -> None:
        self.ports = (0, 0)
        self._command, self._errors = command, errors
        self._recorder = recorder
        self._child: Child | None = None
        self.listening, self._closed, self._told = trio.Event(), trio.Event(), trio.Event()
        self._killed = self._stopping = False
        self._pause = 0.0

    async def keep(self) -> None:
        """Run it until `stop`.

        Raises:
            RunError: it ended by itself.
        """
        arguments: list[str] = []
        while True:
            async with open_child([*self._command, *arguments], errors=self._errors) as child:
                self._child = child
                status = await child.listen(self._hear)
                self._child = None
                words = child.last_words()
            if self._stopping:
                return
            if not self._killed:
                raise RunError(f"the venue ended by itself, with status {status}: {words}")
            await trio.sleep(self._pause)
            self._killed = False
            http, feed = self.ports
            arguments = ["--http-port", str(http), "--feed-port", str(feed), "--opened", repr(self._recorder.opened)]

    async def tell(self, message: dict[str, Any]) -> None:
        """Say *message* to the venue, waiting for one that is being started again."""
        await self.listening.wait()
        if self._child is not None:
            await self._child.tell(message)

    def kill(self, seconds: float) -> None:
        """SIGKILL; it is started again after so many *seconds*."""
        if self._child is not None and self.listening.is_set():
            self._killed, self._pause = True, seconds
            self.listening = trio.Event()
            now = monotonic()
            self._child.kill()
            self._recorder.fault_began("venue.kill", now)
            self._recorder.venue_went_down(now)

    async def close_market(self) -> None:
        await self.tell({"op": "close"})
        await self._closed.wait()

    async def ask_ledger(self) -> None:
        await self.tell({"op": "ledger"})
        await self._told.wait()

    async def stop(self) -> None:
        self._stopping = True
        if self._child is not None:
            await self._child.close_stdin()

    def _hear(self, event: dict[str, Any]) -> None:
        now = monotonic()
        match event:
            case {"event": "listening", "http": int(http), "feed": int(feed)}:
                self.ports = (http, feed)
                self.listening.set()
                self._recorder.venue_came_up(now)
                self._recorder.fault_over("venue.kill", now)
            case {"event": "closed"}:
                self._closed.set()
        self._recorder.hear_venue(event, now)
        if event.get("event") == "ledger":
            self._told.set()


class DeskKeeper:
    """Keeps one desk's process alive, and breaks it on demand."""

    def __init__(self, command: Sequence[str], recorder: Recorder, errors: Path, restart_delay: float) -> None:
        self.ready = trio.Event()
        self._command, self._errors, self._restart_delay = command, errors, restart_delay
        self._recorder = recorder
        self._child: Child | None = None
        self._intent = trio.Event()
        self._started = 0.0
        self._killed = self._stopping = False
        self._ended = trio.Event()

    async def keep(self) -> None:
        """Start it, and again each time it ended, until `stop`."""
        while not self._stopping:
            self._killed = False
            self._started = monotonic()
            self._recorder.desk_started()
            async with open_child(self._command, errors=self._errors) as child:
                self._child = child
                status = await child.listen(self._hear)
                self._child = None
                wanted = self._killed or (self._stopping and status == 0)
                self._recorder.desk_ended(monotonic(), status, wanted=wanted)
                if not wanted:
                    self._recorder.counts["desk_died"] += 1
            if self.ready.is_set():
                self.ready = trio.Event()
            if not self._stopping:
                await trio.sleep(self._restart_delay)
        self._ended.set()

    async def kill(self) -> None:
        """SIGKILL, with an order in flight if one comes soon."""
        self._intent = trio.Event()
        with trio.move_on_after(AN_ORDER_IN_FLIGHT):
            await self._intent.wait()
        if self._child is not None:
            self._killed = True
            self._recorder.fault_began("desk.kill", monotonic())
            self._child.kill()

    async def sabotage(self, kind: str, seconds: float) -> None:
        """Let something inside of it raise, hang or block."""
        if self._child is not None and await self._child.tell(
            {"sabotage": kind.removeprefix("desk."), "seconds": seconds}
        ):
            self._recorder.fault_began(kind, monotonic())

    async def stop(self) -> None:
        """Let it stop in order; kill it if it does not."""
        self._stopping = True
        with trio.move_on_after(STOP_LIMIT):
            if self._child is not None:
                await self._child.close_stdin()
            await self._ended.wait()
        if self._child is not None:
            self._recorder.problems.append(f"the desk did not stop within {STOP_LIMIT:g} s")
            self._child.kill()
            await self._ended.wait()

    def _hear(self, event: dict[str, Any]) -> None:
        self._recorder.hear_desk(event, monotonic())
        match event:
            case {"event": "desk_ready"}:
                if not self._recorder.restart_seconds:
                    self._recorder.restart_seconds = self._restart_delay + monotonic() - self._started
                self.ready.set()
            case {"event": "intent"}:
                self._intent.set()


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
