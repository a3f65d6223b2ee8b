"""What is seen while a run goes on: a picture that is drawn anew, or plain lines where there is no terminal for it.

Both only read what the recorders hold.  They live in the harness's process, so they cost the desk nothing but a
little of the machine.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TextIO

import trio

from genesis_trio.demo.harness.glance import Glance
from genesis_trio.demo.harness.measure import State
from genesis_trio.demo.harness.processes import monotonic
from genesis_trio.demo.harness.recorder import Recorder

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["PlainLines", "RichView", "Silence", "View", "make_view"]

PERIOD = 0.25  # seconds between two pictures
TRAIL = 240  # samples of the trail of availability: the last 24 s

WORDS = {State.UP: "available", State.DOWN: "not available", State.VENUE_DOWN: "venue down"}


class View(Protocol):
    """Shows *recorders* for *seconds* after the opening, until it is cancelled."""

    async def follow(self, recorders: Sequence[Recorder], seconds: float) -> None: ...


class Silence:
    """Shows nothing."""

    async def follow(self, recorders: Sequence[Recorder], seconds: float) -> None:
        await trio.sleep_forever()


class PlainLines:
    """A line for each thing that happens."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    async def follow(self, recorders: Sequence[Recorder], seconds: float) -> None:
        """Say when the market opens, which faults take effect, and when a side goes and comes back."""
        glances = [Glance(recorder, seconds) for recorder in recorders]
        said = [0] * len(glances)
        states: list[State] = [State.UP] * len(glances)
        since = [0.0] * len(glances)
        self._write("starting the processes")
        opened = await _wait_open(recorders)
        self._write(f"the market is open for {seconds:g} s")
        while True:
            now = monotonic()
            for number, glance in enumerate(glances):
                glance.advance(now)
                name, begun = glance.recorder.side, sorted(glance.recorder.faults_begun, key=lambda each: each[0])
                for at, fault in begun[said[number] :]:
                    self._write(f"{at - opened:6.1f} s  {name}: {fault.kind.name}, {fault.kind.text}")
                said[number] = len(begun)
                state = glance.state or State.UP
                if state is not states[number] and 0 <= now - opened < seconds:
                    words = WORDS[state]
                    if state is State.UP:
                        words = f"{words} again after {now - since[number]:.1f} s"
                    elif states[number] is State.UP:
                        since[number] = now
                    self._write(f"{now - opened:6.1f} s  {name}: {words}")
                    states[number] = state
            await trio.sleep(PERIOD)


class RichView:
    """A picture in the terminal, with the library rich."""

    def __init__(self, console: "Console") -> None:
        self._console = console

    async def follow(self, recorders: Sequence[Recorder], seconds: float) -> None:
        """Draw it four times a second; leave the terminal as it was."""
        from rich.live import Live

        glances = [Glance(recorder, seconds) for recorder in recorders]
        # Drawn from here, so that there is no thread; wiped at the end, where the summary follows.
        with Live(console=self._console, auto_refresh=False, transient=True) as live:
            while True:
                now = monotonic()
                for glance in glances:
                    glance.advance(now)
                live.update(draw(glances, now, seconds, self._console.width), refresh=True)
                await trio.sleep(PERIOD)


async def _wait_open(recorders: Sequence[Recorder]) -> float:
    # Recorders are plain records that others fill, with nothing to wait on; this is a display.
    while (opened := recorders[0].opened) is None:  # noqa: ASYNC110
        await trio.sleep(PERIOD)
    return opened


# ---------------------------------------------------------------- the picture

STYLES = {State.UP: "green", State.DOWN: "red", State.VENUE_DOWN: "bright_black"}
MODE_STYLES = {"NORMAL": "green", "SAFE": "yellow", "EMERGENCY": "magenta"}


def draw(glances: Sequence[Glance], now: float, seconds: float, width: int) -> "RenderableType":
    """The picture of this moment, for a terminal of *width* columns."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    opened = glances[0].recorder.opened
    table = Table.grid(padding=(0, 2), expand=False)
    table.add_column(style="dim")
    for _ in glances:
        table.add_column(justify="right", min_width=10)
    table.add_row("", *(Text(glance.recorder.side, style="bold") for glance in glances))
    table.add_row("now", *(_now(glance) for glance in glances))
    table.add_row("mode", *(_mode(glance.recorder) for glance in glances))
    table.add_row("available", *(_percent(glance.availability) for glance in glances))
    table.add_row("orders", *(str(len(glance.recorder.intents)) for glance in glances))
    unknown = [sum(not each.known for each in glance.recorder.intents.values()) for glance in glances]
    table.add_row("no outcome", *(Text(str(each), style="red" if each > 1 else "") for each in unknown))
    table.add_row("fills", *(str(glance.recorder.fills) for glance in glances))
    table.add_row("starts", *(str(glance.recorder.counts["desk_started"]) for glance in glances))
    parts: list[RenderableType] = [_clock(opened, now, seconds, width), table]
    for glance in glances:
        parts.append(Text(f"{glance.recorder.side}, the last {TRAIL // 10} s", style="dim"))
        parts.append(_trail(glance.states[-TRAIL:], min(width, 60)))
    parts.extend(_faults(glances[0].recorder, now))
    return Group(*parts)


def _clock(opened: float | None, now: float, seconds: float, width: int) -> "RenderableType":
    from rich.text import Text

    if opened is None or now < opened:
        return Text("starting the processes")
    passed = min(now - opened, seconds)
    cells = min(width, 60) - 14
    done = int(cells * passed / seconds)
    words = f" {passed:4.0f} of {seconds:.0f} s" if passed < seconds else " market closed"
    return Text.assemble(("━" * done, "cyan"), ("━" * (cells - done), "bright_black"), words)


def _now(glance: Glance) -> "RenderableType":
    from rich.text import Text

    state = glance.state
    if state is None:
        return Text("ready" if glance.recorder.ready else "starting", style="dim")
    return Text({State.UP: "up", State.DOWN: "DOWN", State.VENUE_DOWN: "venue down"}[state], style=STYLES[state])


def _mode(recorder: Recorder) -> "RenderableType":
    from rich.text import Text

    if not recorder.ready:
        return Text("no process", style="red")
    if recorder.side != "protected":
        return Text("has none", style="dim")
    return Text(recorder.mode, style=MODE_STYLES.get(recorder.mode, ""))


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{math.floor(share * 1000) / 10:.1f} %"


def _trail(states: Sequence[State], width: int) -> "RenderableType":
    """A cell for some samples, as bad as the worst of them."""
    from rich.text import Text

    line = Text()
    per_cell = max(1, math.ceil(TRAIL / width))
    worst = (State.DOWN, State.VENUE_DOWN, State.UP)
    for start in range(0, len(states), per_cell):
        cell = states[start : start + per_cell]
        found = next(state for state in worst if state in cell)
        line.append("█" if found is State.UP else "▁", style=STYLES[found])
    return line


def _faults(recorder: Recorder, now: float) -> "list[RenderableType]":
    from rich.text import Text

    last = sorted(recorder.faults_begun, key=lambda each: each[0])[-3:]
    return [
        Text(f"{now - at:3.0f} s ago  {fault.kind.name}: {fault.kind.text}", no_wrap=True, overflow="ellipsis")
        for at, fault in last
    ]


def make_view(*, headless: bool, silent: bool, stream: TextIO | None = None) -> View:
    """The picture if there is a terminal and rich for it, plain lines if not, nothing if *silent*."""
    if silent:
        return Silence()
    out = stream or sys.stderr
    if not headless and out.isatty():
        try:
            from rich.console import Console
        except ImportError:
            pass
        else:
            return RichView(Console(file=out))
    return PlainLines(lambda line: print(line, file=out, flush=True))
