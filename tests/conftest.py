"""What all tests share."""

import signal
import sys
from pathlib import Path

from hypothesis import settings

# Wall time says nothing about a property, and a loaded machine would make it say something.
settings.register_profile("genesis", deadline=None, print_blob=True)
settings.load_profile("genesis")

# Started in the background of a shell, we would hand an ignored Ctrl-C on to every process that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Tests of one room may share fakes, in modules beside them; nothing here is installed.
TESTS = Path(__file__).parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))
