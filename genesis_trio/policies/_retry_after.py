"""What a server's "come back later" means in seconds, as plain numbers."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import SupportsFloat


def seconds_of(value: object, utcnow: Callable[[], datetime]) -> float | None:
    """The seconds that *value* names, or None where it names no delay.

    A number of any kind or a timedelta; a text as in HTTP's ``Retry-After``, seconds (of which some servers send fractions) or a date; or
    an aware datetime.  A moment that
    is over names no delay: clocks differ, and our own delay is the better guess then.
    """
    if isinstance(value, str):
        text = value.strip()
        value = float(text) if text.isascii() and text.replace(".", "", 1).isdecimal() else _http_date(text)
    if isinstance(value, datetime):
        left = (value - utcnow()).total_seconds() if value.utcoffset() is not None else 0.0
        return left if left > 0.0 else None
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return None
    try:
        seconds = float(value)
    except OverflowError:  # a whole number beyond all floats
        seconds = math.inf if value > 0 else -math.inf  # type: ignore[operator]
    except (TypeError, ValueError):  # a number that is none, such as a signalling NaN
        return None
    return seconds if seconds >= 0.0 else None


def _http_date(text: str) -> datetime | None:
    # Here, because it costs more to import than everything else in this room, and few servers send a date.
    from email.utils import parsedate_to_datetime

    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError, OverflowError):  # the last of a number that fits into no year
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)
