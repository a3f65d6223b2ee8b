"""What all tests share."""

import os
import signal
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
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

#: What tells coverage to watch a process that a test starts.
WATCHED = "COVERAGE_PROCESS_CONFIG"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked `untraced` without coverage, in this process and in those that it starts."""
    if item.get_closest_marker("untraced") is None:
        return (yield)
    tracer, of_threads, config = sys.gettrace(), threading.gettrace(), os.environ.pop(WATCHED, None)
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)
        threading.settrace(of_threads)
        if config is not None:
            os.environ[WATCHED] = config
