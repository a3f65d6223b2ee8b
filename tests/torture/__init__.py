"""Scripts that kill, cut, flip and fill, and count what is lost: ``python -m tests.torture.kill --n 1000``.

Each prints its figures, breaks something on purpose to show that it would see it, and exits with 1 when a promise
is broken.  ``make torture`` runs all of them at length, the tests a short form.
"""

import sys
from pathlib import Path

# They share the fakes of the other tests, also when they are run as scripts.
TESTS = Path(__file__).resolve().parents[1]
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
