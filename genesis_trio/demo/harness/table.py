"""The summary in plain text: protected beside bare, in 40 columns where there are not more."""

import math
from collections.abc import Callable, Sequence
from decimal import Decimal

from genesis_trio.demo.faults import KINDS
from genesis_trio.demo.harness.measure import Figures, Recovery, format_share, percentile
from genesis_trio.demo.harness.result import Result, Run

__all__ = ["as_text", "recovery_rows", "summary_rows"]

NOTHING = "–"
BUSY = 0.2  # seconds by which the harness may be late without a word


def as_text(result: Result, width: int = 80) -> str:
    """The whole summary, no line of it wider than *width* (but 40 at least)."""
    width = max(width, 40)
    lines = [
        *_wrap(f"Bitstamp BTC/USD, {result.window}; seed {result.seed}; {len(result.plan)} faults", width),
        "",
        *_columns([("", *result.runs), *summary_rows(result)], width),
    ]
    if result.plan:
        lines += ["", *_columns(_recoveries(result, with_median=width >= 60), width)]
    lines.append("")
    if result.lag > BUSY:
        lines += _wrap(f"the machine was busy: the harness itself was up to {result.lag:.1f} s late", width)
    for name, run in result.runs.items():
        held = len(run.invariants) - len(run.broken)
        lines += _wrap(f"{name}: {held} of {len(run.invariants)} invariants held", width)
        for broken in run.broken:
            lines += _wrap(f"  {'BROKEN' if name == 'protected' else 'broken'}: {broken}", width, hang="    ")
    return "\n".join(lines)


def summary_rows(result: Result) -> list[tuple[str, ...]]:
    """Label, then a value for each side."""
    return [(label, *(value(run) for run in result.runs.values())) for label, value in ROWS]


def recovery_rows(result: Result) -> list[tuple[str, float, list[tuple[float | None, float | None, bool]]]]:
    """Kind, bound, and for each side median, maximum, and whether one was late; None where nothing was measured."""
    rows: list[tuple[str, float, list[tuple[float | None, float | None, bool]]]] = []
    for kind in KINDS:
        if not any(fault.kind.name == kind for fault in result.plan):
            continue
        sides: list[tuple[float | None, float | None, bool]] = []
        bounds = [0.0]
        for run in result.runs.values():
            found = run.figures.recoveries_of(kind)
            seconds = [recovery.seconds for recovery in found]
            sides.append((percentile(seconds, 0.5), percentile(seconds, 1.0), any(map(_is_late, found))))
            bounds += [recovery.bound for recovery in found]
        rows.append((kind, max(bounds), sides))
    return rows


def _is_late(recovery: Recovery) -> bool:
    return recovery.late


# ---------------------------------------------------------------- values


def _share(value: float | None) -> str:
    return NOTHING if value is None else format_share(value)


def _known(figures: Figures) -> str:
    return _share((figures.intents - len(figures.unknown)) / figures.intents if figures.intents else None)


def _gap(gap: Decimal | None) -> str:
    if gap is None:
        return "unknown"
    # Short, so that it fits; the broken invariant has it to the last unit.
    return "equal" if gap == 0 else f"off {float(gap):+.8g}"


def _fills(figures: Figures) -> str:
    desk, venue = ("?" if number is None else str(number) for number in (figures.desk_fills, figures.venue_fills))
    return f"{desk} of {venue}"


def _milliseconds(seconds: float | None) -> str:
    return NOTHING if seconds is None else f"{seconds * 1000:.0f} ms"


def _seconds_in(mode: str) -> Callable[[Run], str]:
    """Of a desk that has modes; the other one only is, or is not."""

    def seconds(run: Run) -> str:
        if run.recording.side != "protected" and mode != "down":
            return NOTHING
        return f"{run.figures.mode_seconds.get(mode, 0.0):.1f} s"

    return seconds


def _guard(run: Run) -> str:
    nanoseconds = run.recording.guard_nanoseconds
    return NOTHING if nanoseconds is None else f"{nanoseconds / 1000:.1f} µs"


ROWS: Sequence[tuple[str, Callable[[Run], str]]] = (
    ("available", lambda run: _share(run.figures.availability)),
    ("order intents", lambda run: str(run.figures.intents)),
    ("outcome known", lambda run: _known(run.figures)),
    ("orders lost", lambda run: str(len(run.figures.lost))),
    ("duplicated", lambda run: str(len(run.figures.duplicated))),
    ("position", lambda run: _gap(run.figures.position_gap)),
    ("cash", lambda run: _gap(run.figures.cash_gap)),
    ("fills known", lambda run: _fills(run.figures)),
    ("order p50", lambda run: _milliseconds(percentile(run.figures.latencies, 0.5))),
    ("order p99", lambda run: _milliseconds(percentile(run.figures.latencies, 0.99))),
    ("desk started", lambda run: str(run.recording.counts.get("desk_started", 0))),
    ("died by itself", lambda run: str(run.recording.counts.get("desk_died", 0))),
    ("NORMAL", _seconds_in("NORMAL")),
    ("SAFE", _seconds_in("SAFE")),
    ("EMERGENCY", _seconds_in("EMERGENCY")),
    ("process down", _seconds_in("down")),
    ("guard, a call", _guard),
)


# ---------------------------------------------------------------- layout


def _recoveries(result: Result, *, with_median: bool) -> list[tuple[str, ...]]:
    heads = [head for name in result.runs for head in ([f"{name} p50", "max"] if with_median else [name])]
    lines: list[tuple[str, ...]] = [("recovery, s", *heads, "bound")]
    for kind, bound, sides in recovery_rows(result):
        cells: list[str] = []
        for median, most, late in sides:
            cells += [_seconds(median)] if with_median else []
            cells.append(_seconds(most) + ("!" if late else ""))
        lines.append((kind, *cells, f"{bound:.1f}"))
    return lines


def _seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return "never" if math.isinf(value) else f"{value:.1f}"


def _columns(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    """The first column to the left, the others to the right; as close as they must be, as wide as they may."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    gap = max(1, min(4, (width - sum(widths)) // max(1, len(widths) - 1)))
    lines = []
    for first, *others in rows:
        cells = (cell.rjust(size) for cell, size in zip(others, widths[1:], strict=True))
        lines.append((" " * gap).join([first.ljust(widths[0]), *cells]).rstrip())
    return lines


def _wrap(text: str, width: int, hang: str = "") -> list[str]:
    indent = " " * (len(text) - len(text.lstrip()))
    lines, line = [], indent
    for word in text.split():
        if line.strip() and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = hang
        line = f"{line} {word}" if line.strip() else line + word
    return [*lines, line]
