"""What you need to test a service that is built on genesis_trio.

- `simulate` runs a whole service in virtual time from a seed: the same seed gives the same run.
- `FaultyCall` is a call to the outside that goes wrong as a test tells it, `FaultyEngine` the same for a store.
- `genesis_trio.testing.engines` is the suite that a storage engine has to pass.
- pytest finds the fixtures ``simulation`` and ``memory_store`` by itself; see `genesis_trio.testing.pytest_plugin`.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genesis_trio.testing._simulate import simulate
    from genesis_trio.testing.faults import FaultyCall, FaultyEngine, open_store_on

__all__ = ["FaultyCall", "FaultyEngine", "open_store_on", "simulate"]

# Loaded when asked for: pytest imports this package in every run, also where nothing of it is used.
_WHERE = {
    "FaultyCall": "genesis_trio.testing.faults",
    "FaultyEngine": "genesis_trio.testing.faults",
    "open_store_on": "genesis_trio.testing.faults",
    "simulate": "genesis_trio.testing._simulate",
}


if not TYPE_CHECKING:  # or else a type checker takes every name for one that is here

    def __getattr__(name: str) -> object:
        if name not in _WHERE:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        public: object = getattr(importlib.import_module(_WHERE[name]), name)
        public.__module__ = __name__
        globals()[name] = public
        return public
