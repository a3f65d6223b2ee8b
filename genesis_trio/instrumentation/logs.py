"""Events as lines of the standard library's `logging`."""

import logging

from genesis_trio.events import Event

__all__ = ["log_event"]

logger = logging.getLogger("genesis_trio")


def log_event(event: Event) -> None:
    """A hook for `observe`: one line an event, at the event's severity."""
    if logger.isEnabledFor(event.severity):
        fields = " ".join(
            f"{key}={value}" for key, value in event.as_dict().items() if key not in ("event", "severity", "time")
        )
        logger.log(event.severity, "%s %s", event.name, fields)
