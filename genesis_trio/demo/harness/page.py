"""The report: one page that needs nothing else, or only its picture."""

import math
from html import escape

from genesis_trio.demo.harness import style
from genesis_trio.demo.harness.drawing import HATCH, Drawing
from genesis_trio.demo.harness.plots import (
    NARROW,
    WIDE,
    list_faults,
    plot_availability,
    plot_latencies,
    plot_recoveries,
    plot_timeline,
)
from genesis_trio.demo.harness.result import Result, Run
from genesis_trio.demo.harness.table import recovery_rows, summary_rows

__all__ = ["as_html", "as_picture"]

WORDS = ("no faults", "one fault", "two faults", "three faults", "four faults", "five faults")
PLOTS = (
    (
        "What happened",
        plot_timeline,
        "Above, the faults by number. A low bar: the desk's sign of life reached the venue within half a second and was made "
        "with market data at most a second old. Each numbered line is where the plan put a fault.",
    ),
    (
        "Available since the opening",
        plot_availability,
        "The share of the samples, ten a second, at which the desk had a fresh book and was able to act. "
        "Time in which the venue itself was down counts for neither side.",
    ),
    (
        "How long each fault was felt",
        plot_recoveries,
        "From the moment a fault took effect until the desk was available for good. The bound is as long as the fault lasted, "
        "the limit within which its kind has to be noticed, and one second; a killed desk counts as gone for as long as the "
        "machine needs to start one. At 0 s nothing was felt outside.",
    ),
    (
        "Orders",
        plot_latencies,
        "From the intent to send an order until the desk knew its outcome. A cross above marks an order whose outcome "
        "the desk never learned.",
    ),
)


def title(result: Result) -> str:
    number = len(result.plan)
    return f"A trading desk lives through {WORDS[number] if number < len(WORDS) else f'{number} faults'}"


def as_html(result: Result) -> str:
    """The page: no script, no font, no picture from elsewhere."""
    parts = [
        f"<h1>{title(result)}</h1>",
        f"<p>A real market, Bitstamp BTC/USD of 2 May 2026, {escape(result.window)}, and {len(result.plan)} faults in "
        f"{result.market.seconds:g} seconds. {_sides(result)}</p>",
        f'<div class="cards">{"".join(_card(name, run) for name, run in result.runs.items())}</div>',
        _verdict(result),
    ]
    for heading, plot, about in PLOTS:
        if plot is plot_recoveries and not result.plan:
            continue
        parts.append(f'<h2>{heading}</h2><p class="about">{about}</p>')
        if plot is plot_timeline:
            parts.append(_key())
        parts += [plot(result, WIDE).as_svg("wide"), plot(result, NARROW).as_svg("narrow")]
    parts += ["<h2>Figures</h2>", _summary(result)]
    if result.plan:
        parts += ["<h2>Recovery by kind of fault</h2>", _recoveries(result)]
    parts += ["<h2>What has to hold</h2>", _invariants(result), "<h2>To have it again</h2>", _provenance(result)]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title(result)}</title><style>{style.PLOTS}{style.PAGE}</style></head><body>"
        f'<svg class="defs" aria-hidden="true">{HATCH}</svg>{"".join(parts)}</body></html>\n'
    )


def as_picture(result: Result) -> str:
    """Timeline and availability as one SVG file, for a page of somebody else."""
    pad = 24.0
    plots = [plot_timeline(result, WIDE), list_faults(result, WIDE), plot_availability(result, WIDE)]
    width, height = WIDE + 2 * pad, 72.0 + sum(plot.height + pad for plot in plots)
    drawing = Drawing(width, height, title(result))
    drawing.raw(f"<style>{style.PLOTS}</style>{HATCH}")
    drawing.rect(0, 0, width, height, "paper", radius=10)
    drawing.text(pad, 34, title(result), "title")
    drawing.text(
        pad,
        53,
        f"Bitstamp BTC/USD, {result.window}; seed {result.seed}; red: not available, hatched: venue down",
        "muted",
    )
    y = 72.0
    for plot in plots:
        drawing.raw(f'<g transform="translate({pad:g} {y:g})">{plot.inner()}</g>')
        y += plot.height + pad
    svg = drawing.as_svg().replace(
        "<svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}"', 1
    )
    return svg + "\n"


# ---------------------------------------------------------------- parts


def _sides(result: Result) -> str:
    if set(result.runs) == {"protected", "bare"}:
        return (
            "The same desk twice, side by side, each with a venue of its own: once as a service of genesis_trio, "
            "once on plain Trio with a simple reconnect and a restart."
        )
    return f"This is the {' and '.join(result.runs)} desk alone."


def _card(name: str, run: Run) -> str:
    figures = run.figures
    share = "–" if figures.availability is None else f"{math.floor(figures.availability * 10_000) / 100:.2f} %"
    equal = figures.position_gap == 0 and figures.cash_gap == 0 and figures.desk_fills == figures.venue_fills
    lines = [
        _count(len(figures.lost), "lost"),
        _count(len(figures.duplicated), "duplicated"),
        _count(len(figures.unknown), "without a known outcome"),
        (f"position and cash {'equal' if equal else 'differ from'} the venue's", not equal),
    ]
    items = "".join(f'<li class="bad">{words}</li>' if bad else f"<li>{words}</li>" for words, bad in lines)
    words = "with genesis_trio" if name == "protected" else "on plain Trio"
    return (
        f'<section class="card {name}"><h3>{name}, {words}</h3><b class="ink-{name}">{share}</b>'
        f"<span>of the time a fresh book, and able to act</span><ul>{items}</ul></section>"
    )


def _count(number: int, words: str) -> tuple[str, bool]:
    return f"{number} {'order' if number == 1 else 'orders'} {words}", number > 0


def _verdict(result: Result) -> str:
    if "protected" not in result.runs:
        return ""
    if not result.broken:
        return '<p class="verdict good">Every invariant of the protected desk held.</p>'
    rules = "; ".join(escape(str(each)) for each in result.broken)
    return f'<p class="verdict bad">Broken, with seed {result.seed}: {rules}.</p>'


def _key() -> str:
    entries = (
        ("var(--down)", "not available"),
        ("repeating-linear-gradient(45deg,var(--hatch) 0 3px,var(--panel) 3px 6px)", "venue down"),
        ("var(--normal)", "NORMAL"),
        ("var(--safe)", "SAFE"),
        ("var(--emergency)", "EMERGENCY"),
        ("var(--gone)", "no process"),
    )
    return (
        '<p class="key">' + "".join(f'<i style="background:{paint}"></i>{words}' for paint, words in entries) + "</p>"
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    heads = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{lines}</tbody></table></div>'


def _summary(result: Result) -> str:
    rows = [[escape(cell) for cell in row] for row in summary_rows(result)]
    return _table(["", *result.runs], rows)


def _recoveries(result: Result) -> str:
    head = ["", *(f"{name}, {what}" for name in result.runs for what in ("p50", "max")), "bound"]
    rows: list[list[str]] = []
    for kind, bound, sides in recovery_rows(result):
        cells = [kind]
        for median, most, late in sides:
            cells += [_seconds(median), f'<span class="bad">{_seconds(most)}</span>' if late else _seconds(most)]
        rows.append([*cells, f"{bound:.1f} s" if bound else "–"])
    return _table(head, rows)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return "never" if math.isinf(value) else f"{value:.1f} s"


def _invariants(result: Result) -> str:
    rows: list[list[str]] = []
    for index, first in enumerate(next(iter(result.runs.values())).invariants):
        cells = [escape(first.rule)]
        for run in result.runs.values():
            each = run.invariants[index]
            found = f'<span class="found">{escape(each.found)}</span>'
            cells.append('<span class="good">✓</span>' if each.holds else f'<span class="bad">✗</span>{found}')
        rows.append(cells)
    return _table(["", *result.runs], rows)


def _provenance(result: Result) -> str:
    facts = {
        "seed": str(result.seed),
        "plan": result.plan_name,
        "market": f"ob-analytics 0.1.0, {result.window}",
        "date": f"{result.date:%Y-%m-%d %H:%M} UTC",
        **result.machine,
        "lateness": f"the harness itself was at most {result.lag:.2f} s late",
    }
    listed = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    faults = [
        [
            str(number),
            escape(fault.kind.name),
            f"{fault.at:.1f} s",
            f"{fault.seconds:g} s" if fault.seconds else "–",
            escape(fault.kind.text),
        ]
        for number, fault in enumerate(result.plan, 1)
    ]
    plan = _table(["", "kind", "at", "lasts", "what it is"], faults) if faults else ""
    return f"<dl>{listed}</dl>{plan}"
