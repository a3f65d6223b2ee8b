"""The process that lives: market, venue, faults, and the desk as a child process that it kills."""

import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import PIPE

import trio

from genesis_trio import open_store
from genesis_trio.demo.capture import Moment
from genesis_trio.demo.desk import ExecutionState, LedgerState
from genesis_trio.demo.plan import Fault, FaultKind
from genesis_trio.demo.report import Report, Tally, make_report
from genesis_trio.demo.venue import Venue
from genesis_trio.demo.wire import JsonLines, NoSending

__all__ = ["play_day"]

START_LIMIT = 20.0  # seconds until the desk is ready, at most
SETTLE_LIMIT = 20.0  # seconds until it has everything, once the market is closed
STOP_LIMIT = 20.0
OUTAGE = 1.0


class DeskKeeper:
    """Keeps one desk process alive, kills it on demand, and counts what it tells."""

    def __init__(self, command: Sequence[str], tally: Tally) -> None:
        self.tally = tally
        self.ready = trio.Event()
        self._command = command
        self._process: trio.Process | None = None
        self._killed = False
        self._stopping = False
        self._where, self._since = "down", trio.current_time()

    async def keep(self) -> None:
        """Start the desk, and again each time it was killed; return when it has stopped, or ended by itself."""
        while not self._stopping:
            self._killed = False
            self.tally.starts += 1
            # A session of its own: Ctrl-C is for us, and its standard input ends with us.
            process = await trio.lowlevel.open_process(self._command, stdin=PIPE, stdout=PIPE, start_new_session=True)
            self._process = process
            try:
                await self._listen(process)
                status = await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()
                with trio.CancelScope(shield=True):  # killed: it takes no time
                    await process.wait()
                    for stream in (process.stdin, process.stdout):
                        if stream is not None:
                            await stream.aclose()
                self._move("down")
            self.ready = trio.Event()
            if status and not self._killed:
                self.tally.problems.append(f"the desk stops by itself only when it is told to: status {status}")
                return
            if not self._killed and not self._stopping:
                self.tally.problems.append("the desk stops only when it is told to: it ended")
                return

    def kill(self) -> None:
        """SIGKILL, as an operating system does it."""
        assert self._process is not None
        self._killed = True
        self.tally.kills += 1
        self._process.kill()
        self.ready = trio.Event()

    async def stop(self) -> None:
        """Let it stop in order."""
        self._stopping = True
        if self._process is not None and self._process.stdin is not None:
            await self._process.stdin.aclose()

    async def _listen(self, process: trio.Process) -> None:
        assert process.stdout is not None
        lines = JsonLines(trio.StapledStream(NoSending(), process.stdout))
        while True:
            try:
                event = await lines.receive()
            except ConnectionError:
                return
            except json.JSONDecodeError:
                continue
            self._hear(event)

    def _hear(self, event: dict[str, object]) -> None:
        tally = self.tally
        match event["event"]:
            case "desk_ready":
                self.ready.set()
                if self._where == "down":
                    self._move("NORMAL")
            case "mode_raised" | "mode_lowered" if event["scope"] == "desk":
                self._move(str(event["mode"]))
            case "restart_scheduled" | "child_trial":
                tally.restarts += 1
            case "child_parked":
                tally.parked += 1
            case "checkpoint_saved":
                tally.checkpoints += 1

    def _move(self, where: str) -> None:
        now = trio.current_time()
        self.tally.seconds[self._where] += now - self._since
        self._where, self._since = where, now


async def play_day(market: Sequence[Moment], plan: Sequence[Fault], *, seed: int, speed: float) -> Report:
    """Play *market* at *speed* times its own pace with the faults of *plan*, and report.

    Trio checkpoint: always.
    Cancellation: the desk is killed, and nothing is left.
    """
    tally = Tally(kills_planned=sum(fault.kind is FaultKind.KILL for fault in plan))
    venue = Venue()
    with tempfile.TemporaryDirectory(prefix="genesis-demo-") as folder:
        address, store = str(Path(folder, "venue.sock")), f"sqlite:{Path(folder, 'desk.db')}"
        keeper = DeskKeeper([sys.executable, "-m", "genesis_trio.demo.desk_process", address, store, str(seed)], tally)
        async with trio.open_nursery() as nursery:
            await nursery.start(venue.serve, address)
            nursery.start_soon(_keep, keeper, nursery.cancel_scope)
            await _play(market, plan, speed, venue, keeper)
            await keeper.stop()
            with trio.move_on_after(STOP_LIMIT) as limit:
                await trio.sleep_forever()  # until the desk has ended
            if limit.cancelled_caught:
                tally.problems.append(f"the desk stops in order: it took more than {STOP_LIMIT:g} s")
            nursery.cancel_scope.cancel()
        async with open_store(store) as opened:
            execution = await opened.restore_latest("desk/execution", ExecutionState)
            ledger = await opened.restore_latest("desk/ledger", LedgerState)
    return make_report(
        venue,
        execution.state if execution is not None else ExecutionState(),
        ledger.state if ledger is not None else LedgerState(),
        tally,
    )


async def _keep(keeper: DeskKeeper, day: trio.CancelScope) -> None:
    await keeper.keep()
    day.cancel()


async def _play(
    market: Sequence[Moment], plan: Sequence[Fault], speed: float, venue: Venue, keeper: DeskKeeper
) -> None:
    with trio.move_on_after(START_LIMIT) as limit:
        await keeper.ready.wait()
    if limit.cancelled_caught:
        keeper.tally.problems.append(f"the desk is ready within {START_LIMIT:g} s")
        return
    opened = trio.current_time()
    faults = list(plan)
    with trio.move_on_after(market[-1].at / speed + SETTLE_LIMIT) as limit:
        async with trio.open_nursery() as nursery:
            for moment in market:
                while faults and faults[0].at <= moment.at:
                    await trio.sleep_until(opened + faults[0].at / speed)
                    nursery.start_soon(_inject, faults.pop(0).kind, venue, keeper)
                await trio.sleep_until(opened + moment.at / speed)
                venue.happen(moment)
            for fault in faults:
                nursery.start_soon(_inject, fault.kind, venue, keeper)
        await keeper.ready.wait()
        venue.close()
        await venue.wait_acknowledged()
    if limit.cancelled_caught:
        keeper.tally.problems.append(f"the desk has every fill within {SETTLE_LIMIT:g} s of the close")


async def _inject(kind: FaultKind, venue: Venue, keeper: DeskKeeper) -> None:
    await keeper.ready.wait()
    keeper.tally.faults += 1
    match kind:
        case FaultKind.NONSENSE:
            venue.send_nonsense()
        case FaultKind.LINK_DOWN:
            await venue.go_down(OUTAGE)
        case FaultKind.LOST_REPLY:
            venue.withhold_reply()
        case FaultKind.SILENCE:
            venue.fall_silent()
        case FaultKind.KILL:
            accepted = venue.withhold_reply()
            with trio.move_on_after(1.0):
                await accepted.wait()
            await keeper.ready.wait()
            keeper.kill()
