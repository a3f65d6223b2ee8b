"""Events as lines of the standard library's `logging`."""

import json
import logging
import re
from typing import Any

from genesis_trio.events import Event

__all__ = ["log_event"]

logger = logging.getLogger("genesis_trio")


# What needs no quotes: no space, which would end the value, and nothing that begins another line.
PLAIN = re.compile(r"[^\s\"=\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def log_event(event: Event) -> None:
    """A hook for `observe`: one line an event, at the event's severity, as ``name key=value key="a text"``.

    A number with a fraction has four significant digits, or three decimals where it is large: who reads it wants to see
    0.04 s and not sixteen digits; whoever counts with them takes the event.
    Whatever text an error carries, line breaks included, stays inside its quotes, so a line is an event.
    """
    if logger.isEnabledFor(event.severity):
        fields = " ".join(
            f"{key}={_value(value)}"
            for key, value in event.as_dict().items()
            if key not in ("event", "severity", "time")
        )
        logger.log(event.severity, "%s %s", event.name, fields)


def _value(value: Any) -> str:
    if isinstance(value, float):
        value = f"{value:.4g}" if abs(value) < 1000 else f"{value:.3f}"
    text = str(value)
    return text if PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=not text.isprintable())
