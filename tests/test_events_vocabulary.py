"""The records of events: where they stand, and when they are loaded."""

import subprocess
import sys

import pytest

from genesis_trio import events
from genesis_trio.events._vocabulary import load_records


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()


def test_events_every_record_is_found_by_its_name():
    """Whoever writes ``from genesis_trio.events import BreakerOpened`` need not know the room."""
    records = [each for room in load_records() for each in vars(room).values() if isinstance(each, type)]
    found = [each for each in records if each.__module__.startswith("genesis_trio.events.")]

    assert len(found) > 40
    for record in found:
        assert getattr(events, record.__name__) is record


def test_events_record_is_looked_for_once():
    """Telling an event costs no search through the rooms: a mode that changes tells one for each of a thousand scopes."""
    program = "from genesis_trio import events; events.ModeRaised; print('ModeRaised' in vars(events))"
    assert run(program) == "True"


def test_events_unknown_name_is_an_attribute_error():
    """A typing error is told, and is no silent None."""
    with pytest.raises(AttributeError, match=r"^module 'genesis_trio\.events' has no attribute 'BreakerOpend'$"):
        events.BreakerOpend  # noqa: B018


def test_events_guards_alone_load_no_records():
    """A program that watches nothing does not pay for the classes of what it could have seen."""
    loaded = "[name for name in sys.modules if name.startswith('genesis_trio.events.') and '._' not in name]"

    program = f"import sys; from genesis_trio import CircuitBreaker, Guard, Retry; print({loaded})"
    assert run(program) == "['genesis_trio.events.observers']"


def test_events_breaker_that_nobody_observes_loads_no_records():
    """Its first opening would stop the event loop for as long as building the classes takes, amid the first failure."""
    program = (
        "import sys, trio; from genesis_trio import CircuitBreaker\n"
        "async def down(): raise OSError\n"
        "async def up(): pass\n"
        "async def main():\n"
        "    breaker = CircuitBreaker('venue', failure_threshold=1, recovery_timeout=0.001, success_threshold=1)\n"
        "    try: await breaker.execute(down)\n"
        "    except OSError: await trio.sleep(0.01)\n"
        "    await breaker.execute(up)\n"
        "    breaker.isolate(); breaker.disable()\n"
        "    print(breaker.statistics().opened, 'genesis_trio.events.policies' in sys.modules)\n"
        "trio.run(main)"
    )
    assert run(program) == "1 False"


def test_events_observing_loads_the_records_at_once():
    """They are there before the first incident, whose first second nobody wants to spend on building classes."""
    program = (
        "import sys, trio; from genesis_trio import observe\n"
        "async def main():\n"
        "    with observe(print): print('genesis_trio.events.supervision' in sys.modules)\n"
        "trio.run(main)"
    )
    assert run(program) == "True"
