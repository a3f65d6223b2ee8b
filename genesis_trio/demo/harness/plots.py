"""The plots of the report, each a function of the result and of the width that there is."""

import itertools
import math
from collections.abc import Callable, Sequence

from genesis_trio.demo.harness.drawing import Drawing, Scale, ticks
from genesis_trio.demo.harness.measure import State
from genesis_trio.demo.harness.result import Result, Run

__all__ = ["NARROW", "WIDE", "list_faults", "plot_availability", "plot_latencies", "plot_recoveries", "plot_timeline"]

WIDE, NARROW = 920.0, 360.0

MARK = 20.0  # height of the row of numbers
STRIP = 24.0  # height of a strip
AXIS = 24.0  # height below a plot, for its numbers

#: How high a mode stands in its strip: the worse, the higher.
LEVELS = {"NORMAL": 0.25, "SAFE": 0.62, "EMERGENCY": 1.0, "down": 1.0}


def _is_wide(width: float) -> bool:
    return width > 600


def _margin(width: float) -> float:
    """Room for labels beside a plot; a narrow one has them above."""
    return 164.0 if _is_wide(width) else 0.0


def _time(result: Result, width: float) -> Scale:
    """The same for all plots over time, so that they can be read one below the other."""
    left, right = (_margin(width), 96.0) if _is_wide(width) else (12.0, 78.0)
    return Scale(0.0, result.market.seconds, left, width - right)


def _time_axis(drawing: Drawing, time: Scale, y: float) -> None:
    values = ticks(time.last, 8 if _is_wide(drawing.width) else 5)
    for value in values:
        anchor = "start" if value == 0 else "middle"
        words = f"{value:g} s" if value == values[-1] else f"{value:g}"
        drawing.text(time(value), y + 16, words, "muted", anchor)


# ---------------------------------------------------------------- timeline


def plot_timeline(result: Result, width: float) -> Drawing:
    """Faults, and under them when each side was available and in which mode."""
    strips: list[tuple[str, Callable[[Drawing, Run, Scale, float], None], Run]] = []
    for name, run in result.runs.items():
        strips.append((f"{name}: available", _draw_stretches, run))
        if name == "protected":
            strips.append((f"{name}: mode", _draw_modes, run))
    wide, time = _is_wide(width), _time(result, width)
    pitch = STRIP + (18.0 if wide else 26.0)
    crowded = any(time(later.at) - time(earlier.at) < 18 for earlier, later in itertools.pairwise(result.plan))
    marks = MARK * (2 if crowded else 1)
    top = marks + (14.0 if wide else 6.0)
    bottom = top + pitch * len(strips)
    drawing = Drawing(
        width, bottom + AXIS, "when each desk was available, and in which mode it was, with the faults above"
    )
    for number, fault in enumerate(result.plan, 1):
        x, y = time(fault.at), 10 + (MARK if crowded and number % 2 == 0 else 0)
        drawing.line(x, y + 10, x, bottom - 6, "fault-line")
        drawing.circle(x, y, 9, "fault", f"{fault.kind.name} at {fault.at:.1f} s: {fault.kind.text}")
        drawing.text(x, y + 4, str(number), "fault-number", "middle")
    if wide:
        drawing.text(0, 14, "faults", "label")
    for row, (label, draw, run) in enumerate(strips):
        y = top + row * pitch + (0.0 if wide else 20.0)
        if wide:
            drawing.text(0, y + STRIP / 2 + 5, label, "label")
        else:
            drawing.text(time.start, y - 5, label, "label halo")
        drawing.rect(time.start, y, time.end - time.start, STRIP, "ground")
        draw(drawing, run, time, y)
    _time_axis(drawing, time, bottom)
    return drawing


def list_faults(result: Result, width: float) -> Drawing:
    """What the numbers in the timeline mean, in columns."""
    columns = max(1, int(width // 184))
    rows = math.ceil(len(result.plan) / columns)
    drawing = Drawing(width, rows * 24.0, "the faults by number")
    for index, fault in enumerate(result.plan):
        x, y = (index // rows) * width / columns, (index % rows) * 24.0 + 10
        drawing.circle(x + 9, y, 9, "fault", fault.kind.text)
        drawing.text(x + 9, y + 4, str(index + 1), "fault-number", "middle")
        drawing.text(x + 25, y + 4, fault.kind.name)
    return drawing


def _draw_stretches(drawing: Drawing, run: Run, time: Scale, y: float) -> None:
    for stretch in run.figures.stretches:
        x, length = time(stretch.start), time(stretch.end) - time(stretch.start)
        seconds = f"{stretch.end - stretch.start:.1f} s from {stretch.start:.1f} s"
        if stretch.state is State.UP:
            drawing.rect(x, y + STRIP * 0.75, length, STRIP * 0.25, run.recording.side, f"available for {seconds}")
        elif stretch.state is State.VENUE_DOWN:
            drawing.rect(x, y, length, STRIP, "venue-down", f"venue down for {seconds}")
        else:
            drawing.rect(x, y, length, STRIP, "down", f"not available for {seconds}")


def _draw_modes(drawing: Drawing, run: Run, time: Scale, y: float) -> None:
    changes = [*sorted(run.recording.modes), (run.recording.seconds, "")]
    for (at, mode), (until, _) in itertools.pairwise(changes):
        start, end = max(at, 0.0), min(until, run.recording.seconds)
        if end > start:
            height = STRIP * LEVELS.get(mode, 1.0)
            length = max(time(end) - time(start), 0.8)
            words = "no process" if mode == "down" else mode
            drawing.rect(
                time(start), y + STRIP - height, length, height, f"mode-{mode}", f"{words} for {end - start:.2f} s"
            )


# ---------------------------------------------------------------- availability


def plot_availability(result: Result, width: float) -> Drawing:
    """The share of the time until then in which each side was available."""
    height, top = (190.0, 12.0) if _is_wide(width) else (170.0, 12.0)
    drawing = Drawing(
        width, top + height + AXIS, "share of the time since the opening in which each desk was available"
    )
    time = _time(result, width)
    curves = {name: _share_until(run) for name, run in result.runs.items()}
    settled = [share for curve in curves.values() for at, share in curve if at > 0.1 * result.market.seconds]
    least = math.floor(min([*settled, 0.9]) * 10) / 10
    share_scale = Scale(least, 1.0, top + height, top)
    step = 0.1 if 1 - least <= 0.5 else 0.2
    for number in range(round((1 - least) / step) + 1):
        share = 1 - number * step
        y = share_scale(share)
        drawing.line(time.start, y, time.end, y, "grid")
        if _is_wide(width):
            drawing.text(time.start - 10, y + 4, f"{share:.0%}", "muted", "end")
        else:
            drawing.text(time.start, y - 3, f"{share:.0%}", "muted")
    ends: list[float] = []
    for name, curve in curves.items():
        if not curve:
            continue
        drawing.path([(time(at), share_scale(share)) for at, share in curve], f"curve curve-{name}")
        y = share_scale(curve[-1][1]) + 4
        if any(abs(y - other) < 30 for other in ends):
            y = max(ends) + 32
        ends.append(y)
        drawing.text(time.end + 8, y, f"{math.floor(curve[-1][1] * 1000) / 10:.1f} %", f"figure ink-{name}")
        drawing.text(time.end + 8, y + 14, name, f"ink-{name}")
    if _is_wide(width):
        drawing.text(0, top + 4, "available", "label")
        drawing.text(0, top + 20, "since the opening", "muted")
    _time_axis(drawing, time, top + height)
    return drawing


def _share_until(run: Run) -> list[tuple[float, float]]:
    """The curve's corners: what changes is the state, and within a stretch the share moves evenly enough."""
    up = counted = 0.0
    points: list[tuple[float, float]] = []
    for stretch in run.figures.stretches:
        pieces = max(1, min(20, round(stretch.end - stretch.start)))
        piece = (stretch.end - stretch.start) / pieces
        for number in range(pieces):
            if stretch.state is not State.VENUE_DOWN:
                counted += piece
                up += piece if stretch.state is State.UP else 0.0
            if counted:
                points.append((stretch.start + piece * (number + 1), up / counted))
    return points


# ---------------------------------------------------------------- recoveries


def plot_recoveries(result: Result, width: float) -> Drawing:
    """For each fault: how long each side was away, and the bound."""
    wide = _is_wide(width)
    pitch, top = (26.0, 30.0) if wide else (40.0, 26.0)
    bottom = top + pitch * len(result.plan)
    drawing = Drawing(width, bottom + AXIS, "seconds from each fault to the recovery of each desk, with the bound")
    finite = [
        each.seconds for run in result.runs.values() for each in run.figures.recoveries if each.seconds < math.inf
    ]
    bounds = [each.bound for run in result.runs.values() for each in run.figures.recoveries]
    last = min(max([*finite, *bounds, 1.0]), 2.5 * max([*bounds, 1.0])) * 1.05
    left = 200.0 if wide else 12.0
    scale = Scale(0.0, last, left, width - (56.0 if wide else 60.0))
    for value in ticks(last, 8 if wide else 5):
        drawing.line(scale(value), top - 12, scale(value), bottom, "grid")
        drawing.text(scale(value), bottom + 16, f"{value:g} s", "muted", "middle" if value else "start")
    taken: dict[str, int] = {}
    for number, fault in enumerate(result.plan):
        kind = fault.kind.name
        turn = taken.get(kind, 0)
        taken[kind] = turn + 1
        y = top + pitch * number + (pitch / 2 if wide else pitch * 0.66)
        drawing.circle(9, y if wide else y - 17, 9, "fault", fault.kind.text)
        drawing.text(9, (y if wide else y - 17) + 4, str(number + 1), "fault-number", "middle")
        drawing.text(26, (y if wide else y - 17) + 4, kind, "label halo")
        for name, run in result.runs.items():
            found = run.figures.recoveries_of(kind)
            if turn >= len(found):
                continue
            each = found[turn]
            if name == next(iter(result.runs)):
                drawing.line(scale.start, y, scale.end, y, "grid")
                drawing.line(scale(each.bound), y - 9, scale(each.bound), y + 9, "bound")
            words = "never" if math.isinf(each.seconds) else f"{each.seconds:.1f} s"
            title = f"{name}: {words}, the bound is {each.bound:.1f} s"
            mark = drawing.circle if name == "protected" else drawing.diamond
            # Side by side, so that equal ones do not hide each other.
            mark(scale(each.seconds), y + (-3.5 if name == "protected" else 3.5), 5.5, f"mark mark-{name}", title)
            if each.seconds > last:
                drawing.text(scale.end + 12, y + 7, words, f"ink-{name}")
    _draw_key(drawing, [*result.runs], 26 if not wide else left, 10)
    return drawing


def _draw_key(drawing: Drawing, names: Sequence[str], x: float, y: float, *, bound: bool = True) -> None:
    for name in names:
        mark = drawing.circle if name == "protected" else drawing.diamond
        mark(x + 6, y - 4, 6.0, f"mark mark-{name}")
        drawing.text(x + 18, y, name, "muted")
        x += 34 + 7.0 * len(name)
    if bound:
        drawing.line(x + 6, y - 12, x + 6, y + 3, "bound")
        drawing.text(x + 14, y, "bound", "muted")


# ---------------------------------------------------------------- latency


def plot_latencies(result: Result, width: float) -> Drawing:
    """Each order: when it was meant, and how long it took until the desk knew what became of it."""
    height, top = 190.0, 26.0
    drawing = Drawing(width, top + height + AXIS, "seconds from each order intent to its outcome, over time")
    time = _time(result, width)
    every = [latency for run in result.runs.values() for latency in run.figures.latencies]
    least = -3  # a millisecond: what is less is how the lines of the desk happen to arrive
    most = max(math.ceil(math.log10(max([*every, 0.1]))), 0)
    scale = Scale(least, most, top + height, top + 8)
    for power in range(least, most + 1):
        y = scale(power)
        drawing.line(time.start, y, time.end, y, "grid")
        words = f"{10**power:g} s" if power >= 0 else f"{10 ** (power + 3):g} ms"
        if _is_wide(width):
            drawing.text(time.start - 10, y + 4, words, "muted", "end")
        else:
            drawing.text(time.start, y - 3, words, "muted halo")
    for name, run in result.runs.items():
        for intent in run.recording.intents:
            if not 0 <= intent.at <= result.market.seconds:
                continue
            x = time(intent.at)
            if intent.told is None:
                drawing.text(x, top + 4, "×", f"unknown ink-{name}", "middle")
                continue
            latency = max(intent.told - intent.at, 10.0**least)
            title = f"{name}: {latency * 1000:.0f} ms at {intent.at:.1f} s, {intent.status}"
            mark = drawing.circle if name == "protected" else drawing.diamond
            mark(x, scale(math.log10(latency)), 3.2, f"dot mark-{name}", title)
    if _is_wide(width):
        drawing.text(0, 10, "intent to outcome", "label")
    _draw_key(drawing, [*result.runs], time.start, 10, bound=False)
    _time_axis(drawing, time, top + height)
    return drawing
