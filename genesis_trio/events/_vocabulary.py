"""Where the records stand: a module for each room that tells something, loaded when somebody looks.

Building the classes of all records takes a quarter of the time that importing Trio takes.  A
program that only guards its calls and watches nothing does not pay for them.
"""

import importlib
from types import ModuleType

_ROOMS = ("policies", "modes", "supervision", "messaging", "persistence")


def load_records() -> list[ModuleType]:
    """The modules with the records of all rooms, loaded if they were not."""
    return [importlib.import_module(f"genesis_trio.events.{room}") for room in _ROOMS]
