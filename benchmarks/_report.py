"""How a benchmark tells its numbers: what was measured, on what, how often, and as a ratio to a baseline."""

import argparse
import json
import platform
import statistics
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any


class Report:
    """Collects rows of repeated measurements and prints them as a table, or as JSON with ``--json``."""

    def __init__(self, title: str, *, unit: str, baseline: str) -> None:
        self.title = title
        self.unit = unit
        self.baseline = baseline
        self.rows: dict[str, list[float]] = {}

    def add(self, name: str, values: list[float]) -> None:
        """One row: the values of all repeats, in `unit`."""
        self.rows[name] = values

    def as_dict(self) -> dict[str, Any]:
        """All there is, for machines; the best of the repeats is the one least disturbed by other programs."""
        reference = min(self.rows[self.baseline])
        return {
            "title": self.title,
            "unit": self.unit,
            "baseline": self.baseline,
            "python": platform.python_version(),
            "machine": f"{platform.system()} {platform.machine()}",
            "versions": {name: version(name) for name in ("trio", "attrs", "genesis_trio")},
            "rows": [
                {
                    "name": name,
                    "best": min(values),
                    "median": statistics.median(values),
                    "repeats": len(values),
                    "ratio": min(values) / reference,
                }
                for name, values in self.rows.items()
            ],
        }

    def print(self, *, goals: Sequence[Mapping[str, Any]] = ()) -> None:
        """Print it in the form that the command line asks for, and how far the goals are met."""
        parser = argparse.ArgumentParser(description=self.title)
        parser.add_argument("--json", action="store_true", help="print one JSON object")
        known = self.as_dict()
        if parser.parse_args().json:
            print(json.dumps({**known, "goals": list(goals)} if goals else known))
            return
        versions = ", ".join(f"{name} {number}" for name, number in known["versions"].items())
        print(f"{self.title}\nPython {known['python']}, {versions}, {known['machine']}")
        width = max(len(name) for name in self.rows)
        print(f"  {'':{width}}  {'best':>10}  {'median':>10}  {'repeats':>7}  ratio to {self.baseline}")
        for row in known["rows"]:
            print(
                f"  {row['name']:{width}}  {row['best']:10.3f}  {row['median']:10.3f}  {row['repeats']:7}  {row['ratio']:.2f}"
            )
        print(f"  unit: {self.unit}")
        for goal in goals:
            limit = f"at most {goal['at most']}" if "at most" in goal else f"at least {goal['at least']}"
            print(f"  {goal['what']}: {goal['found']:.2f}; the goal is {limit}: {'met' if goal['met'] else 'MISSED'}")
        print()
