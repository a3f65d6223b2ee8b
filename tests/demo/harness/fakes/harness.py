"""The harness as a process, with the fakes for its desks and venues."""

import sys
from pathlib import Path

import attrs

from genesis_trio.demo.harness import cli

HERE = Path(__file__).parent
DESK, VENUE = (sys.executable, str(HERE / "desk.py")), (sys.executable, str(HERE / "venue.py"))
cli.SIDES.update({name: attrs.evolve(side, desk=DESK, exchange=VENUE) for name, side in cli.SIDES.items()})

if __name__ == "__main__":
    sys.exit(cli.main())
