"""Everything about runs that are over: what is shown, printed and judged."""

import math
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import attrs

from genesis_trio.demo.faults import Fault
from genesis_trio.demo.harness.invariants import Invariant, judge
from genesis_trio.demo.harness.measure import Figures, measure, percentile
from genesis_trio.demo.harness.recording import Recording
from genesis_trio.demo.harness.run import Market

__all__ = ["Result", "Run", "as_json", "describe_machine", "make_result"]

SHOWN_VERSIONS = ("genesis_trio", "trio", "websockets", "httpx2", "h11")


@attrs.frozen
class Run:
    """One side: what was heard, what it comes to, and what holds."""

    recording: Recording
    figures: Figures
    invariants: tuple[Invariant, ...]

    @property
    def broken(self) -> tuple[Invariant, ...]:
        return tuple(each for each in self.invariants if not each.holds)


@attrs.frozen
class Result:
    """The sides, and what is needed to have it all again."""

    market: Market
    seed: int
    plan_name: str
    plan: tuple[Fault, ...]
    runs: Mapping[str, Run]
    date: datetime
    machine: Mapping[str, str]

    @property
    def broken(self) -> tuple[Invariant, ...]:
        """What does not hold of the protected run, which is the one that promises something."""
        protected = self.runs.get("protected")
        return protected.broken if protected else ()

    @property
    def lag(self) -> float:
        """Seconds by which the harness was late, at most."""
        return max(run.recording.lag for run in self.runs.values())

    @property
    def window(self) -> str:
        """Which part of the recording it was, in words."""
        start, end = self.market.start_minute, self.market.start_minute + self.market.minutes
        pace = "at its own pace" if self.market.speed == 1 else f"at {self.market.speed:g} times its pace"
        return f"minutes {start:g} to {end:g} of 30, {pace}"


def make_result(
    market: Market,
    recordings: Mapping[str, Recording],
    *,
    seed: int,
    plan_name: str,
    plan: Sequence[Fault],
    date: datetime,
    availability: float | None = None,
) -> Result:
    """Measure and judge *recordings*; *availability* is the share that the protected side has to reach."""
    runs: dict[str, Run] = {}
    for name, recording in recordings.items():
        figures = measure(recording)
        runs[name] = Run(recording, figures, judge(recording, figures, availability=availability))
    return Result(market, seed, plan_name, tuple(plan), runs, date, describe_machine())


def describe_machine() -> dict[str, str]:
    """What the figures depend on besides the code: processor, system, Python and the versions of what takes part."""
    facts = {"processor": _processor(), "system": f"{platform.system()} {platform.release()} {platform.machine()}"}
    facts["Python"] = platform.python_version()
    for name in SHOWN_VERSIONS:
        try:
            facts[name] = version(name)
        except PackageNotFoundError:
            continue
    return facts


def _processor() -> str:
    cores = f"{os.cpu_count() or 1} cores"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return cores
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {cores}" if names else cores


# ---------------------------------------------------------------- for machines


def as_json(result: Result) -> dict[str, Any]:
    """The figures as plain values: money as strings, what never ended as null."""
    return {
        "seed": result.seed,
        "plan": result.plan_name,
        "faults": [{"kind": fault.kind.name, "at": fault.at, "seconds": fault.seconds} for fault in result.plan],
        "market": {
            "start_minute": result.market.start_minute,
            "minutes": result.market.minutes,
            "speed": result.market.speed,
            "seconds": result.market.seconds,
        },
        "date": result.date.isoformat(timespec="seconds"),
        "machine": dict(result.machine),
        "harness_late_by": result.lag,
        "held": not result.broken,
        "runs": {name: _run_as_json(run) for name, run in result.runs.items()},
    }


def _run_as_json(run: Run) -> dict[str, Any]:
    figures, recording = run.figures, run.recording
    return {
        "availability": figures.availability,
        "order_intents": figures.intents,
        "outcomes_known": figures.intents - len(figures.unknown),
        "orders_lost": len(figures.lost),
        "orders_duplicated": len(figures.duplicated),
        "position": _sides(
            recording.position and recording.position.position, recording.ledger and recording.ledger.position
        ),
        "cash": _sides(recording.position and recording.position.cash, recording.ledger and recording.ledger.cash),
        "fills": {"desk": figures.desk_fills, "venue": figures.venue_fills},
        "repeats_recognised_by_the_venue": recording.ledger.repeated if recording.ledger else None,
        "recoveries": [
            {
                "kind": each.kind,
                "at": each.began,
                "seconds": None if math.isinf(each.seconds) else each.seconds,
                "bound": each.bound,
            }
            for each in figures.recoveries
        ],
        "mode_seconds": {mode: round(seconds, 3) for mode, seconds in figures.mode_seconds.items()},
        "order_latency": {
            "p50": percentile(figures.latencies, 0.5),
            "p99": percentile(figures.latencies, 0.99),
            "max": percentile(figures.latencies, 1.0),
        },
        "desk_started": recording.counts.get("desk_started", 0),
        "desk_died": recording.counts.get("desk_died", 0),
        "guard": {"calls": recording.guard_calls, "nanoseconds_per_call": recording.guard_nanoseconds},
        "invariants": [
            {"rule": each.rule, "holds": each.holds, "found": each.found if not each.holds else ""}
            for each in run.invariants
        ],
    }


def _sides(desk: object, venue: object) -> dict[str, str | None]:
    return {"desk": None if desk is None else str(desk), "venue": None if venue is None else str(venue)}
