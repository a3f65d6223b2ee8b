"""Run every benchmark of this folder, one after the other, each in a process of its own.

    python -m benchmarks [NAME ...] [--json]

NAME chooses by the part after ``bench_``; with --json each prints one line of JSON.  One after the other, because side by
side they would measure each other.
"""

import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the chosen scripts; the exit status is 1 if any of them failed."""
    scripts = {path.stem.removeprefix("bench_"): path for path in sorted(Path(__file__).parent.glob("bench_*.py"))}
    chosen = [name for name in arguments if not name.startswith("-")] or list(scripts)
    options = [option for option in arguments if option.startswith("-")]
    unknown = sorted(set(chosen) - set(scripts))
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(scripts)}", file=sys.stderr)
        return 2
    failed = [
        name
        for name in chosen
        if subprocess.run([sys.executable, "-m", f"benchmarks.bench_{name}", *options]).returncode
    ]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
