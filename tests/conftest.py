"""What all tests share."""

import sys
from pathlib import Path

from hypothesis import settings

# Wall time says nothing about a property, and a loaded machine would make it say something.
settings.register_profile("genesis", deadline=None, print_blob=True)
settings.load_profile("genesis")

# Tests of one room may share fakes, in modules beside them; nothing here is installed.
TESTS = Path(__file__).parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
