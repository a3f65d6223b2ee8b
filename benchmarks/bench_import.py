"""What importing costs: the front alone, two rooms, and all public names, against Trio itself.

Each repeat is a fresh interpreter with warm bytecode caches; its own start is not counted.  It is the processor's time,
in turn for all rows: an import waits for nothing, and what else the machine does is not to count.
"""

import os
import subprocess
import sys

from benchmarks._report import Report

REPEATS = 15
STATEMENTS = {
    "import trio": "import trio",
    "import genesis_trio": "import genesis_trio",
    "with modes": "from genesis_trio import Mode",
    "with guards": "from genesis_trio import CircuitBreaker, Guard, Retry",
    "all names": "from genesis_trio import *",
}
# Where no bytecode is written, each repeat would compile us anew, and the installed Trio not.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure(statement: str) -> float:
    """Milliseconds of processor time that *statement* takes in a fresh interpreter."""
    script = f"from time import process_time as t\na = t()\n{statement}\nb = t()\nprint((b - a) * 1e3)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return float(run.stdout)


if __name__ == "__main__":
    report = Report("Import", unit="milliseconds", baseline="import trio")
    for statement in STATEMENTS.values():
        measure(statement)  # writes the bytecode that the others read
    rounds = [{name: measure(statement) for name, statement in STATEMENTS.items()} for _ in range(REPEATS)]
    for name in STATEMENTS:
        report.add(name, [found[name] for found in rounds])
    report.print()
