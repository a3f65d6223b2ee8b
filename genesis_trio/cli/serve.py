"""Running and checking what a service.toml describes."""

import argparse
import importlib
import signal
from typing import TYPE_CHECKING

from genesis_trio.cli._loading import INTERRUPTED, ended_by

if TYPE_CHECKING:
    from genesis_trio.service.running import Service
    from genesis_trio.service.signals import StopSignals

__all__ = ["check", "demo", "run"]


def run(arguments: argparse.Namespace) -> int:
    """Run the service of a file until it ends; 130 if Ctrl-C stopped it."""
    with ended_by(signal.SIGINT, signal.SIGTERM):
        from genesis_trio.service.running import Service
        from genesis_trio.service.signals import StopSignals

        _log(arguments.log_level)
        service = Service.from_toml(arguments.file)
        signals = StopSignals()
        try:
            with signals.caught():
                _serve(service, signals)
        except KeyboardInterrupt:
            if not signals.received:
                raise
        return INTERRUPTED if signals.interrupted else 0


def _serve(service: "Service", signals: "StopSignals") -> None:
    import trio

    from genesis_trio.events import observe
    from genesis_trio.instrumentation.logs import log_event
    from genesis_trio.service.running import serve

    async def observed() -> None:
        with observe(log_event):
            await serve(service, signals, is_process=True)

    trio.run(observed)


def _log(level: str) -> None:
    """Write what is logged to stderr, in UTC; whoever has set up logging already is left alone."""
    import logging
    import time

    lines = logging.Formatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    lines.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(lines)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def check(arguments: argparse.Namespace) -> int:
    """Read a file and load what it names, without running it."""
    from genesis_trio.service.running import Service, limits_of

    service = Service.from_toml(arguments.file)
    children = "1 child" if len(service.children) == 1 else f"{len(service.children)} children"
    print(f"{arguments.file}: {service.name} with {children} is well described")
    if arguments.limits:
        for line in limits_of(service):
            print(f"  {line}")
    return 0


def demo(arguments: argparse.Namespace) -> int:
    """Run the demonstration."""
    return int(importlib.import_module("genesis_trio.demo.__main__").main(arguments.arguments))
