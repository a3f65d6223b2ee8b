"""``genesis demo``, ``python -m genesis_trio.demo``: parse, play, print."""

import argparse
import importlib.util
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import trio

from genesis_trio.demo.capture import CaptureError, find_capture
from genesis_trio.demo.faults import DEFAULT_PLAN, Entry, Fault, PlanError, draw_plan, read_plan
from genesis_trio.demo.harness.live import View, make_view
from genesis_trio.demo.harness.measure import format_share
from genesis_trio.demo.harness.page import as_html, as_picture
from genesis_trio.demo.harness.recorder import Recorder
from genesis_trio.demo.harness.recording import Recording
from genesis_trio.demo.harness.result import Result, as_json, make_result
from genesis_trio.demo.harness.run import BARE, PROTECTED, Market, RunError, Side, bare_run_error, play
from genesis_trio.demo.harness.table import as_text

__all__ = ["main"]

#: Of the extra `demo`; rich is not among them, because there are lines without it.
PACKAGES = ("h11", "httpcore2", "httpx2", "websockets")

OK, BROKEN, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

RECORDED_MINUTES = 30.0
# Eleven busy minutes in about one: with the starts and stops of four processes it stays below 90 s.
START_MINUTE, MINUTES, SPEED = 10.0, 11.0, 10.0
FULL = Market(start_minute=0.0, minutes=RECORDED_MINUTES, speed=1.0)
FULL_AVAILABILITY = 0.99  # over the whole half hour; in a minute with the same faults it would mean nothing

SEEDS, MOST_SEEDS = 20, 100_000

SIDES: dict[str, Side] = {"protected": PROTECTED, "bare": BARE}


def _number(least: float, most: float, *, least_too: bool = True) -> "partial[float]":
    return partial(_parse_number, least, most, least_too)


def _parse_number(least: float, most: float, least_too: bool, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not (least <= number if least_too else least < number) or not number <= most:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: {'' if least_too else 'more than '}{least:g} to {most:g}")
    return number


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_SEEDS:
        raise argparse.ArgumentTypeError(f"{text!r}; allowed: 1 to {MOST_SEEDS}")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="genesis demo",
        description="A trading desk lives through a bad half hour of real market data, with genesis_trio and without.",
        epilog="exit status: 0 all invariants of the protected desk held; 1 one did not; 2 bad input; 130 interrupted",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="what goes wrong, and when (default: %(default)s)")
    add("--faults", type=Path, metavar="FILE", help="a plan of your own, in TOML")
    add("--full", action="store_true", help="the whole half hour at its own pace, and 99 %% availability asked for")
    add(
        "--start-minute", type=_number(0, RECORDED_MINUTES), help=f"where the window begins (default: {START_MINUTE:g})"
    )
    add(
        "--minutes", type=_number(0, RECORDED_MINUTES, least_too=False), help=f"of the recording (default: {MINUTES:g})"
    )
    add("--speed", type=_number(0, 1000, least_too=False), help=f"times the market's own pace (default: {SPEED:g})")
    add("--simulate", action="store_true", help="desk and venue in one process and virtual time, for many seeds")
    add("--seeds", type=_count, metavar="N", help=f"so many, from --seed on (default: {SEEDS}); with --simulate")
    add("--only", choices=[*SIDES], help="one of the two desks")
    add("--headless", action="store_true", help="lines instead of a picture")
    add("--json", action="store_true", help="nothing but the figures, for machines")
    add(
        "--report",
        type=Path,
        metavar="FILE",
        help="a page with plots (default: report.html); its picture, if FILE ends in .svg; - for none",
    )
    add("--events", type=Path, metavar="FILE", help="write all that was heard, as lines of JSON")
    add("--capture", type=Path, metavar="FOLDER", help="another recording, in the same files")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and return its exit status."""
    try:
        options = make_parser().parse_args(argv)
    except SystemExit as refused:  # argparse has said why, or helped
        return BAD_INPUT if refused.code else OK
    try:
        return _main(options)
    except (CaptureError, PlanError, InputError) as error:
        print(f"genesis demo: {error}", file=sys.stderr)
        return BAD_INPUT
    except RunError as error:
        print(f"genesis demo: {error}", file=sys.stderr)
        return BROKEN
    except KeyboardInterrupt:
        return _interrupted()
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[0] is not None:
            return _interrupted()
        raise


class InputError(Exception):
    """What was asked for cannot be; the text says what can."""


def _interrupted() -> int:
    print("genesis demo: interrupted; nothing is left running", file=sys.stderr)
    return INTERRUPTED


def check_packages() -> None:
    """See that the packages are there that venue and desk will import, in processes of their own.

    Raises:
        InputError: one is not; says how to get it.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(
            f"{', '.join(missing)} not installed; get what it needs with: pip install 'genesis_trio[demo]'"
        )


def _main(options: argparse.Namespace) -> int:
    check_packages()
    _check_together(options)
    market = choose_market(options)
    if options.report is None and not options.simulate:
        options.report = Path("report.html")
    elif str(options.report) == "-":
        options.report = None
    for name, path in (("--report", options.report), ("--events", options.events)):
        if path is not None:
            _check_writable(name, path)
    entries = read_plan(options.faults or DEFAULT_PLAN)
    return (_simulate if options.simulate else _run)(options, market, entries)


def _run(options: argparse.Namespace, market: Market, entries: Sequence[Entry]) -> int:
    """Real processes, and real seconds."""
    plan = draw_plan(entries, seed=options.seed, window=market.seconds, file=_plan_name(options))
    sides = [SIDES[options.only]] if options.only else list(SIDES.values())
    view = make_view(headless=options.headless, silent=options.json)
    recorders: list[Recorder] = []
    try:
        recordings = trio.run(
            partial(play_and_show, market, plan, view, seed=options.seed, sides=sides, watched=recorders)
        )
    finally:
        if options.events is not None:
            _write_events(options.events, recorders)
    result = _judge(options, market, plan, recordings, options.seed)
    if options.json:
        print(json.dumps(as_json(result), indent=2))
    else:
        print(as_text(result, shutil.get_terminal_size().columns))
    _write_report(options, result)
    return _conclude([result], "genesis demo")


def _simulate(options: argparse.Namespace, market: Market, entries: Sequence[Entry]) -> int:
    """Many seeds, and virtual seconds."""
    from genesis_trio.demo.harness.simulated import play_seeds

    results: list[Result] = []
    seeds = range(options.seed, options.seed + options.seeds)
    for seed, recording in play_seeds(market, entries, seeds):
        plan = draw_plan(entries, seed=seed, window=market.seconds)
        results.append(_judge(options, market, plan, {"protected": recording}, seed))
        if not options.json:
            run = results[-1].runs["protected"]
            said = f"{len(run.invariants) - len(run.broken)} of {len(run.invariants)} invariants held"
            available = format_share(run.figures.availability or 0.0)
            print(f"seed {seed}: {available} available, {said}", file=sys.stderr, flush=True)
    broken = [result for result in results if result.broken]
    if options.json:
        print(json.dumps([as_json(result) for result in results], indent=2))
    elif len(results) == 1:
        print(as_text(results[0], shutil.get_terminal_size().columns))
    else:
        held = len(results) - len(broken)
        print(f"{results[0].window}, in virtual time: every invariant held in {held} of {len(results)} seeds")
    _write_report(options, (broken or results)[0])
    return _conclude(broken, "genesis demo --simulate")


def _judge(
    options: argparse.Namespace,
    market: Market,
    plan: Sequence[Fault],
    recordings: Mapping[str, Recording],
    seed: int,
) -> Result:
    return make_result(
        market,
        recordings,
        seed=seed,
        plan_name=_plan_name(options),
        plan=plan,
        date=datetime.now(UTC),
        availability=FULL_AVAILABILITY if options.full else None,
    )


def _plan_name(options: argparse.Namespace) -> str:
    return "the default plan" if options.faults is None else str(options.faults)


def _write_report(options: argparse.Namespace, result: Result) -> None:
    if options.report is not None:
        draw = as_picture if options.report.suffix == ".svg" else as_html
        options.report.write_text(draw(result), encoding="utf-8")
        if not options.json:
            print(f"\nplots: {options.report}")


def _conclude(results: Sequence[Result], command: str) -> int:
    """Name what is broken, with what shows it again."""
    for result in results:
        for broken in result.broken:
            print(f"{command}: seed {result.seed} broke an invariant: {broken}", file=sys.stderr)
    return BROKEN if any(result.broken for result in results) else OK


def _check_together(options: argparse.Namespace) -> None:
    if options.seeds is not None and not options.simulate:
        raise InputError("--seeds goes with --simulate; real processes play one seed at a time")
    if options.simulate:
        for name in ("only", "events"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name} goes with real processes; leave it out, or leave --simulate out")
        options.seeds = SEEDS if options.seeds is None else options.seeds


def choose_market(options: argparse.Namespace) -> Market:
    """The window that *options* ask for.

    Raises:
        CaptureError: there is no recording.
        InputError: the window is not within it.
    """
    capture = options.capture or find_capture()
    if options.full:
        for name in ("start_minute", "minutes", "speed"):
            if getattr(options, name) is not None:
                raise InputError(f"--full is the whole half hour at its own pace; leave --{name.replace('_', '-')} out")
        return Market(FULL.start_minute, FULL.minutes, FULL.speed, capture)
    start = START_MINUTE if options.start_minute is None else options.start_minute
    speed = SPEED if options.speed is None else options.speed
    minutes = min(MINUTES, RECORDED_MINUTES - start) if options.minutes is None else options.minutes
    if not minutes > 0 or start + minutes > RECORDED_MINUTES:
        raise InputError(
            f"minutes {start:g} to {start + minutes:g} are not in the recording; allowed: up to {RECORDED_MINUTES:g}"
        )
    return Market(start, minutes, speed, capture)


def _check_writable(name: str, path: Path) -> None:
    """Before the run, not after it."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{name} {path}: allowed: a file that can be written, in a folder that there is")


def _write_events(path: Path, recorders: Sequence[Recorder]) -> None:
    with path.open("w", encoding="utf-8") as file:
        for recorder in recorders:
            file.writelines(json.dumps(event) + "\n" for event in recorder.everything())


async def play_and_show(
    market: Market,
    plan: Sequence[Fault],
    view: View,
    *,
    seed: int,
    sides: Sequence[Side],
    watched: list[Recorder],
) -> Mapping[str, Recording]:
    """Play, with *view* following along.

    Args:
        watched: Gets the recorders, so that what they heard is not lost with an error.

    Trio checkpoint: always.
    Cancellation: nothing is left running.
    """
    with tempfile.TemporaryDirectory(prefix="genesis-demo-") as folder:
        with bare_run_error():
            async with trio.open_nursery() as nursery:

                def watch(recorders: Sequence[Recorder]) -> None:
                    watched.extend(recorders)
                    nursery.start_soon(view.follow, recorders, market.seconds)

                recordings = await play(market, plan, seed=seed, folder=Path(folder), sides=sides, watch=watch)
                nursery.cancel_scope.cancel()
    return recordings
