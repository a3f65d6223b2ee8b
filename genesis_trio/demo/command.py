"""``python -m genesis_trio.demo``: parse, play, print."""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from genesis_trio.demo.capture import CaptureError, find_capture, read_capture
from genesis_trio.demo.plan import make_plan
from genesis_trio.demo.runner import play_day

__all__ = ["main"]

OK, BROKEN, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def positive(text: str) -> float:
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"it is positive and finite, got {text}")
    return number


def few(text: str) -> int:
    number = int(text)
    if not 0 <= number <= 20:
        raise argparse.ArgumentTypeError(f"it is between 0 and 20, got {text}")
    return number


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m genesis_trio.demo",
        description="Trade a recorded market while everything fails, and compare what is left with what the venue knows.",
        epilog="exit status: 0 all is equal; 1 it is not; 2 bad input; 130 interrupted",
    )
    parser.add_argument("--seed", type=int, default=1, help="what goes wrong, and when (default: %(default)s)")
    parser.add_argument(
        "--speed", type=positive, default=120.0, help="times the market's own pace (default: %(default)g)"
    )
    parser.add_argument("--kills", type=few, default=2, help="kill -9 of the desk (default: %(default)s)")
    parser.add_argument("--minutes", type=positive, default=30.0, help="of the recording (default: %(default)g)")
    parser.add_argument("--capture", type=Path, help="a folder with another recording, in the same files")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and return its exit status."""
    try:
        options = make_parser().parse_args(argv)
    except SystemExit as refused:  # argparse has said why, or helped
        return BAD_INPUT if refused.code else OK
    try:
        market = read_capture(options.capture or find_capture(), options.minutes)
        plan = make_plan(options.seed, window=market[-1].at, kills=options.kills)
        report = trio.run(partial(play_day, market, plan, seed=options.seed, speed=options.speed))
    except CaptureError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseExceptionGroup as group:
        if group.split(KeyboardInterrupt)[1] is None:
            return INTERRUPTED
        raise
    if options.json:
        print(json.dumps({"numbers": report.numbers, "violations": report.violations}, indent=2))
    else:
        print(report.as_text())
    return BROKEN if report.violations else OK
