"""Venue and desk in one process, under a virtual clock: the real protocols over streams in memory.

A minute of it takes a second or two, and a seed decides everything: what goes wrong, when, and in which order
tasks run.  A seed whose run broke an invariant breaks it again.  What a kill -9 leaves is what the files hold at that
moment: the next desk starts from a copy of them, and the old one ends without anybody who hears it.
"""

import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import trio
import trio.testing
from websockets.trio.client import ClientConnection

from genesis_trio.demo.capture import Instant
from genesis_trio.demo.desk.running import run_desk
from genesis_trio.demo.exchange.exchange import Exchange
from genesis_trio.demo.exchange.ledger import Record
from genesis_trio.demo.faults import Fault
from genesis_trio.demo.harness.recorder import Recorder
from genesis_trio.demo.harness.recording import Recording
from genesis_trio.demo.memory_network import Door, MemoryListener, MemoryTransport
from genesis_trio.demo.trading.link import VenueLink, open_socket
from genesis_trio.demo.trading.process import Sabotage
from genesis_trio.testing import simulate

__all__ = ["play_simulated"]

RESTART_DELAY = 0.1  # seconds, as for the real process
BEFORE_OPENING = 0.2  # seconds, in which the desk gets to see the market
SETTLE = 1.5  # seconds from the close until the desk is told to stop


def play_simulated(
    instants: Sequence[Instant],
    plan: Sequence[Fault],
    *,
    start: float,
    speed: float,
    seconds: float,
    seed: int,
    folder: Path,
) -> Recording:
    """Play the market in *instants* from second *start* on, for so many virtual *seconds*, with the faults of *plan*.

    Args:
        folder: An empty folder, for the desk's store.
    """
    return simulate(partial(_play, instants, plan, start, speed, seconds, seed, folder), seed=seed)


async def _play(
    instants: Sequence[Instant],
    plan: Sequence[Fault],
    start: float,
    speed: float,
    seconds: float,
    seed: int,
    folder: Path,
) -> Recording:
    recorder = Recorder("protected", tuple(plan))
    async with trio.open_nursery() as nursery:
        venue = SimulatedVenue(instants, start, speed, recorder, nursery)
        await venue.start(opened=None)
        desk = SimulatedDesk(venue, folder, seed, recorder, nursery)
        nursery.start_soon(desk.keep)
        await desk.ready.wait()
        recorder.opened = trio.current_time() + BEFORE_OPENING
        venue.exchange.open(recorder.opened)
        await trio.sleep(BEFORE_OPENING)
        async with trio.open_nursery() as injecting:
            for fault in plan:
                injecting.start_soon(_inject, fault, recorder, venue, desk)
            await trio.sleep(seconds)
            injecting.cancel_scope.cancel()
        await desk.ready.wait()
        await venue.listening.wait()
        venue.exchange.close()
        await trio.sleep(SETTLE)
        await desk.stop()
        recorder.hear_venue({"event": "ledger", **venue.exchange.ledger.as_dict()}, trio.current_time())
        nursery.cancel_scope.cancel()
    return recorder.finish(seconds)


async def _inject(fault: Fault, recorder: Recorder, venue: "SimulatedVenue", desk: "SimulatedDesk") -> None:
    assert recorder.opened is not None
    await trio.sleep_until(recorder.opened + fault.at)
    match fault.kind.name:
        case "venue.kill":
            await venue.kill(fault.seconds)
        case "desk.kill":
            await desk.ready.wait()
            desk.kill()
        case "desk.raise" | "desk.hang" | "desk.block" as kind:
            await desk.ready.wait()
            desk.prepare_sabotage(kind, fault.seconds)
        case kind:
            await venue.listening.wait()
            await venue.exchange.faults.carry_out(kind, fault.seconds)


class SimulatedVenue:
    """The exchange behind two listeners in memory; what it has written to its journal outlives a kill."""

    def __init__(
        self,
        instants: Sequence[Instant],
        start: float,
        speed: float,
        recorder: Recorder,
        nursery: trio.Nursery,
    ) -> None:
        self.http, self.feed = MemoryListener(), MemoryListener()
        self.listening = trio.Event()
        self.exchange: Exchange
        self._instants, self._start, self._speed = instants, start, speed
        self._journal: list[Record] = []
        self._recorder = recorder
        self._nursery = nursery
        self._life = trio.CancelScope()

    async def start(self, *, opened: float | None) -> None:
        self.exchange = Exchange(
            self._instants,
            start=self._start,
            speed=self._speed,
            opened=opened,
            journal=self._journal.append,
            records=list(self._journal),
            tell=lambda event: self._recorder.hear_venue(event, trio.current_time()),
        )
        self._life = trio.CancelScope()
        await self._nursery.start(self._live, self.exchange, self._life)
        self._refuse(False)
        self.listening.set()

    async def kill(self, seconds: float) -> None:
        """SIGKILL; it is started again after so many *seconds*."""
        if not self.listening.is_set():
            return
        now = trio.current_time()
        self.listening = trio.Event()
        self._recorder.fault_began("venue.kill", now)
        self._recorder.venue_went_down(now)
        self._life.cancel()
        self._refuse(True)
        await trio.sleep(seconds)
        await self.start(opened=self._recorder.opened)
        self._recorder.venue_came_up(trio.current_time())
        self._recorder.fault_over("venue.kill", trio.current_time())

    async def _live(self, exchange: Exchange, life: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        with life:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, exchange.serve_orders, [self.http])
                nursery.start_soon(trio.serve_listeners, exchange.serve_feed, [self.feed])
                nursery.start_soon(self._follow_refusals, exchange)
                await nursery.start(exchange.run)
                task_status.started()

    async def _follow_refusals(self, exchange: Exchange) -> None:
        while True:
            await exchange.links.wait_refusing()
            self._refuse(True)
            await exchange.links.wait_accepting()
            self._refuse(False)

    def _refuse(self, refusing: bool) -> None:
        for listener in (self.http, self.feed):
            listener.is_refusing = refusing
            if refusing:
                listener.cut()


class _Life:
    """One process of the desk."""

    def __init__(self, folder: Path, venue: SimulatedVenue) -> None:
        self.folder = folder
        self.http, self.feed = Door(venue.http), Door(venue.feed)
        self.sabotage = Sabotage(_jump)
        self.scope = trio.CancelScope()
        self.over = trio.Event()
        self.is_dead = False


class SimulatedDesk:
    """The desk, killed and started again over what its files hold."""

    def __init__(
        self, venue: SimulatedVenue, folder: Path, seed: int, recorder: Recorder, nursery: trio.Nursery
    ) -> None:
        self.ready = trio.Event()
        self._venue, self._folder, self._seed = venue, folder, seed
        self._recorder = recorder
        self._nursery = nursery
        self._number = 0
        self._life = self._next_life()
        self._stop, self._stopped = trio.Event(), trio.Event()

    async def keep(self) -> None:
        """Start it, and again each time it ended, until `stop`."""
        while True:
            life = self._life
            self._recorder.desk_started()
            self._nursery.start_soon(self._live, life)
            await life.over.wait()
            if self._stop.is_set():
                break
            self.ready = trio.Event()
            await trio.sleep(RESTART_DELAY)
            if life is self._life:  # it ended by itself
                self._life = self._next_life(life)
        self._stopped.set()

    def kill(self) -> None:
        """SIGKILL: what is on disk now is what there is."""
        life, self._life = self._life, self._next_life(self._life)
        now = trio.current_time()
        self._recorder.fault_began("desk.kill", now)
        self._recorder.desk_ended(now, -9, wanted=True)
        life.is_dead = True
        life.http.shut()
        life.feed.shut()
        life.scope.cancel()
        life.over.set()

    def prepare_sabotage(self, kind: str, seconds: float) -> None:
        self._recorder.fault_began(kind, trio.current_time())
        self._life.sabotage.prepare({"sabotage": kind.removeprefix("desk."), "seconds": seconds})

    async def stop(self) -> None:
        """Let it stop in order."""
        self._stop.set()
        await self._stopped.wait()

    def _next_life(self, last: _Life | None = None) -> _Life:
        self._number += 1
        life = _Life(self._folder / str(self._number), self._venue)
        if last is None:
            life.folder.mkdir()
        else:
            shutil.copytree(last.folder, life.folder)
        return life

    async def _live(self, life: _Life) -> None:
        status = 0
        try:
            with life.scope:
                async with httpx2.AsyncClient(
                    base_url="http://venue", transport=MemoryTransport(life.http), timeout=None
                ) as http:
                    await run_desk(
                        VenueLink(http, partial(_open_memory, life.feed)),
                        f"sqlite:{life.folder / 'desk.db'}",
                        seed=self._seed,
                        tell=partial(self._hear, life),
                        sabotage=life.sabotage,
                        wait_stop=self._stop.wait,
                    )
        except Exception as error:
            if not life.is_dead:
                status = 1
                self._recorder.problems.append(f"the desk ended with {error!r}")
        finally:
            if not life.is_dead:
                self._recorder.desk_ended(trio.current_time(), status, wanted=self._stop.is_set() and not status)
            life.over.set()

    def _hear(self, life: _Life, event: Mapping[str, Any]) -> None:
        if not life.is_dead:
            self._recorder.hear_desk(dict(event), trio.current_time())
            if event["event"] == "desk_ready":
                self.ready.set()


def _jump(seconds: float) -> None:
    """Block the loop: time passes, and nobody gets to do anything."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, trio.testing.MockClock)
    clock.jump(seconds)


@contextlib.asynccontextmanager
async def _open_memory(door: Door, path: str) -> AsyncIterator[ClientConnection]:
    async with open_socket(f"ws://venue{path}", stream=await door.connect()) as connection:
        yield connection
