"""What importing costs: the front alone, one room, and all public names, against Trio itself.

Each repeat is a fresh interpreter with warm bytecode caches; its own start is not counted.
"""

import subprocess
import sys

from benchmarks._report import Report

REPEATS = 15
STATEMENTS = {
    "import trio": "import trio",
    "import genesis_trio": "import genesis_trio",
    "with modes": "from genesis_trio import Mode",
    "all names": "from genesis_trio import *",
}


def measure(statement: str) -> float:
    """Milliseconds that *statement* takes in a fresh interpreter."""
    script = f"from time import perf_counter as t\na = t()\n{statement}\nb = t()\nprint((b - a) * 1e3)"
    return float(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)


if __name__ == "__main__":
    report = Report("Import", unit="milliseconds", baseline="import trio")
    for name, statement in STATEMENTS.items():
        measure(statement)  # writes the bytecode that the others read
        report.add(name, [measure(statement) for _ in range(REPEATS)])
    report.print()
