"""Who looks after one process: starts it, breaks it when the plan says so, and starts it again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trio

from genesis_trio.demo.harness.processes import Child, monotonic, open_child
from genesis_trio.demo.harness.recorder import Recorder

__all__ = ["DeskKeeper", "RunError", "VenueKeeper"]

STOP_LIMIT = 8.0  # seconds for an ordered stop
AN_ORDER_IN_FLIGHT = 0.5  # seconds that a kill of the desk waits for one


class RunError(Exception):
    """The harness itself cannot go on; the text says why."""


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
