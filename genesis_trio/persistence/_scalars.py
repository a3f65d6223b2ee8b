"""Single values to JSON and back: exactly, or not at all.

Each kind of value has a writer and a reader.  Both take only what the type says, by its exact
class: a subclass would come back as its base, a bool is no int, "12" is no 12.  What a reader
gives back equals what the writer took, and has the same class.

============ =============================================================================
int          a JSON number up to 64 bits; beyond, ``{"$int": "…"}``, because JSON readers make
             a float of a longer one without a word.  Decimal up to 600 digits, then hexadecimal.
float        a JSON number.  An int where a float is expected stays the int it is.
str          a JSON string; lone surrogates are refused, they have no UTF-8
bytes        base 64
Decimal      a string, with its trailing zeros
UUID         a string, in the canonical form
datetime     ISO 8601 with offset, and ``[Europe/Paris]`` after it for a `zoneinfo.ZoneInfo`
             (RFC 9557).  Another tzinfo keeps the instant and its offset, not its rules.
date, time   ISO 8601; a time may have a fixed offset
timedelta    ``PT1.500000S``, a negative one ``-PT…``: seconds and microseconds, exactly
============ =============================================================================
"""

import base64
import binascii
import math
import re
import reprlib
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

__all__ = ["KEYS", "SCALARS", "WIDE", "Reader", "RefusedError", "refusal", "Writer", "int_text", "narrowed", "widened"]

Writer = Callable[[Any], Any]
Reader = Callable[[Any, Any], Any]  # cattrs calls its hooks with the type as a second argument

WIDE = "$int"
_MIN, _MAX = -(2**63), 2**63 - 1
# Within the smallest limit that sys.set_int_max_str_digits accepts (640 digits): str() never refuses it.
_DECIMAL_LIMIT = 10**600

_shown = reprlib.Repr()
_shown.maxstring = _shown.maxother = 60


class RefusedError(ValueError):
    """A value that its type does not admit; where it stands is known to the caller."""

    def __init__(self, reason: str, value: object, *, named: bool = True) -> None:
        super().__init__(reason)
        self.reason = reason
        self.value = value
        self.named = named
        self.hidden = False

    def __str__(self) -> str:
        kind = type(self.value).__qualname__.rpartition("<locals>.")[2]
        if not self.named:
            return self.reason
        if self.hidden or self.value is None:
            return f"{self.reason}, got {kind if self.hidden else 'null'}"
        return f"{self.reason}, got {kind} {_shown.repr(self.value)}"


def refusal(expected: str, value: object) -> RefusedError:
    """Say that *value* has the wrong type, with the word for the one that would be right."""
    for base in type(value).__mro__[1:-1]:
        if base.__name__ == expected and not isinstance(value, bool):
            return RefusedError(f"expected exactly {expected}: a subclass would come back as its base", value)
    return RefusedError(f"expected {expected}", value)


# ---------------------------------------------------------------- None, bool, int, float, str


def write_none(value: Any) -> None:
    if value is not None:
        raise refusal("None", value)


def read_none(value: Any, _: Any = None) -> None:
    if value is not None:
        raise refusal("null", value)


def write_bool(value: Any) -> Any:
    if value is True or value is False:
        return value
    raise refusal("bool", value)


def read_bool(value: Any, _: Any = None) -> Any:
    return write_bool(value)


def write_int(value: Any) -> Any:
    if value.__class__ is int:
        return value  # one that is too long for the encoder is found when it refuses it, see widened()
    raise refusal("int", value)


def read_int(value: Any, _: Any = None) -> int:
    if value.__class__ is int:
        return value
    if value.__class__ is dict and (number := _wide(value)) is not None:
        return number
    raise refusal("int", value)


def write_float(value: Any) -> Any:
    kind = value.__class__
    if kind is float:
        if math.isfinite(value):
            return value
        raise RefusedError("expected a finite number", value)
    if kind is int:
        return value
    raise refusal("float", value)


def read_float(value: Any, _: Any = None) -> Any:
    kind = value.__class__
    if kind is float or kind is int:
        return value
    if kind is dict and (number := _wide(value)) is not None:
        return number
    raise refusal("float", value)


def write_str(value: Any) -> Any:
    if value.__class__ is str:
        return value  # a lone surrogate is found when the encoder refuses it
    raise refusal("str", value)


def check_str(value: Any) -> Any:
    """As `write_str`, and finds the lone surrogates that the encoder refuses without saying where."""
    write_str(value)
    try:
        value.encode()
    except UnicodeEncodeError as exc:
        raise RefusedError(f"expected a str without lone surrogates (index {exc.start})", value) from None
    return value


def read_str(value: Any, _: Any = None) -> Any:
    return write_str(value)


def fits(number: int) -> bool:
    """Whether every JSON reader keeps it."""
    return _MIN <= number <= _MAX


def int_text(value: int) -> str:
    """The one text of *value*: decimal, and hexadecimal where Python limits decimal digits."""
    return str(value) if -_DECIMAL_LIMIT < value < _DECIMAL_LIMIT else hex(value)


def int_of(text: str) -> int | None:
    """The number whose text this is, or None; no other spelling is taken."""
    try:
        number = int(text, 16 if "0x" in text else 10)
    except ValueError:
        return None
    return number if int_text(number) == text else None


def _wide(value: dict[str, Any]) -> int | None:
    text = value.get(WIDE) if len(value) == 1 else None
    if not isinstance(text, str):
        return None
    number = int_of(text)
    return number if number is not None and not fits(number) else None


def widened(tree: Any) -> Any:
    """*tree* with each int that 64 bits cannot hold in its ``{"$int": "…"}`` form."""
    kind = tree.__class__
    if kind is int:
        return tree if fits(tree) else {WIDE: int_text(tree)}
    if kind is dict:
        return {key: widened(value) for key, value in tree.items()}
    if kind is list or kind is tuple:
        return [widened(value) for value in tree]
    return tree


def narrowed(tree: Any) -> Any:
    """The other way, for migrations: they see ints, whatever their size."""
    if tree.__class__ is dict:
        number = _wide(tree)
        return number if number is not None else {key: narrowed(value) for key, value in tree.items()}
    if tree.__class__ is list:
        return [narrowed(value) for value in tree]
    return tree


# ---------------------------------------------------------------- bytes, Decimal, UUID


def write_bytes(value: Any) -> str:
    if value.__class__ is bytes:
        return binascii.b2a_base64(value, newline=False).decode()
    raise refusal("bytes", value)


def read_bytes(value: Any, _: Any = None) -> bytes:
    if value.__class__ is str:
        try:
            data = base64.b64decode(value, validate=True)
        except ValueError:
            data = None
        if data is not None and write_bytes(data) == value:
            return data
    raise refusal("bytes as base 64", value)


_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def write_decimal(value: Any) -> str:
    if value.__class__ is Decimal:
        if value.is_finite():
            return str(value)
        raise RefusedError("expected a finite Decimal", value)
    raise refusal("Decimal", value)


def read_decimal(value: Any, _: Any = None) -> Decimal:
    if value.__class__ is str:
        try:
            number = Decimal(value)
        except InvalidOperation:
            number = None
        # str() first: it is what a writer wrote, and faster than the pattern for what a hand wrote.
        if number is not None and number.is_finite() and (str(number) == value or _DECIMAL.fullmatch(value)):
            return number
    raise refusal("a finite Decimal as a string", value)


def write_uuid(value: Any) -> UUID:
    if value.__class__ is UUID:
        return value  # the encoder knows it, and is faster than str()
    raise refusal("UUID", value)


def read_uuid(value: Any, _: Any = None) -> UUID:
    if value.__class__ is str and _UUID.fullmatch(value):
        return UUID(value)
    raise refusal("a UUID as a string, in lower case with hyphens", value)


# ---------------------------------------------------------------- points and spans of time

_DATETIME = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d(:\d\d(\.\d{1,6})?)?)(\[(?P<zone>[^\[\]]+)\])?",
    re.ASCII,
)
_SPAN = re.compile(r"(-?)PT(\d{1,14})(?:\.(\d{6}))?S", re.ASCII)


def write_datetime(value: Any) -> Any:
    if value.__class__ is not datetime:
        raise refusal("datetime", value)
    zone = value.tzinfo
    if zone is UTC:
        return value  # the encoder writes the same text as isoformat()
    if value.utcoffset() is None:
        raise RefusedError("expected a datetime with a time zone, as ctx.utcnow() gives", value)
    text = value.isoformat()
    return f"{text}[{zone.key}]" if zone.__class__ is ZoneInfo and zone.key is not None else text


def read_datetime(value: Any, _: Any = None) -> datetime:
    if value.__class__ is str:
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            return _read_zoned(value)
        # fromisoformat() takes forms without a zone, and cuts what is shorter than a microsecond.  Written out and in
        # UTC there is no room for that; everything else pays for the pattern.
        length = len(value)
        if moment.tzinfo is not None and (
            (length == 32 and value[19] == "." and value[26] in "+-")
            or (length == 25 and value[19] in "+-")
            or _DATETIME.fullmatch(value)
        ):
            return moment
    raise refusal("a datetime with offset in ISO 8601", value)


def _read_zoned(value: str) -> datetime:
    match = _DATETIME.fullmatch(value)
    if match is None or match["zone"] is None:
        raise refusal("a datetime with offset in ISO 8601", value)
    try:
        zone = ZoneInfo(match["zone"])
    except (OSError, ValueError, LookupError):
        raise RefusedError(
            f"expected a datetime; this machine does not know the time zone {match['zone']!r}", value
        ) from None
    try:
        moment = datetime.fromisoformat(value[: match.start("zone") - 1])
    except ValueError:
        raise refusal("a datetime with offset in ISO 8601", value) from None
    # Both sides of the hour that a change of the clocks repeats or skips, so that a time in it comes back as it was.
    for fold in (0, 1):
        local = moment.replace(tzinfo=zone, fold=fold)
        if local.utcoffset() == moment.utcoffset():
            return local
    return moment.astimezone(zone)  # the rules of the zone have changed since: the instant is what counts


def write_date(value: Any) -> str:
    if value.__class__ is date:
        return value.isoformat()
    raise refusal("date", value)


def read_date(value: Any, _: Any = None) -> date:
    if value.__class__ is str:
        try:
            day = date.fromisoformat(value)
        except ValueError:
            day = None
        if day is not None and day.isoformat() == value:
            return day
    raise refusal("a date as YYYY-MM-DD", value)


def write_time(value: Any) -> str:
    if value.__class__ is not time:
        raise refusal("time", value)
    if value.tzinfo is not None and value.tzinfo.__class__ is not timezone:
        raise RefusedError("expected a time without a zone or with a fixed offset", value)
    if value.fold:
        raise RefusedError("expected a time without fold, which means nothing without a zone", value)
    return value.isoformat()


def read_time(value: Any, _: Any = None) -> time:
    if value.__class__ is str:
        try:
            found = time.fromisoformat(value)
        except ValueError:
            found = None
        if found is not None and found.isoformat() == value:
            return found
    raise refusal("a time as HH:MM:SS", value)


def write_timedelta(value: Any) -> str:
    if value.__class__ is not timedelta:
        raise refusal("timedelta", value)
    micros = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    seconds, rest = divmod(abs(micros), 1_000_000)
    return f"{'-' if micros < 0 else ''}PT{seconds}{f'.{rest:06}' if rest else ''}S"


def read_timedelta(value: Any, _: Any = None) -> timedelta:
    if value.__class__ is str and (match := _SPAN.fullmatch(value)):
        sign, seconds, micros = match.groups()
        try:
            span = timedelta(seconds=int(seconds), microseconds=int(micros or 0))
            return -span if sign else span
        except OverflowError:
            pass
    raise refusal("a timedelta as PT…S", value)


# ---------------------------------------------------------------- the tables


def write_int_key(value: Any) -> str:
    return int_text(write_int(value))


def read_int_key(value: Any, _: Any = None) -> int:
    number = int_of(value)
    if number is None:
        raise refusal("an int as a key", value)
    return number


def write_uuid_key(value: Any) -> str:
    return str(write_uuid(value))


def write_datetime_key(value: Any) -> str:
    text = write_datetime(value)
    return text if text.__class__ is str else text.isoformat()


SCALARS: dict[type, tuple[str, Writer, Reader]] = {
    type(None): ("None", write_none, read_none),
    bool: ("bool", write_bool, read_bool),
    int: ("int", write_int, read_int),
    float: ("float", write_float, read_float),
    str: ("str", write_str, read_str),
    bytes: ("bytes", write_bytes, read_bytes),
    Decimal: ("Decimal", write_decimal, read_decimal),
    UUID: ("UUID", write_uuid, read_uuid),
    datetime: ("datetime", write_datetime, read_datetime),
    date: ("date", write_date, read_date),
    time: ("time", write_time, read_time),
    timedelta: ("timedelta", write_timedelta, read_timedelta),
}

# The keys of a JSON object are strings, so a key is written in a form of its own where its value is not one.
KEYS: dict[type, tuple[Writer, Reader]] = {
    str: (write_str, read_str),
    int: (write_int_key, read_int_key),
    bytes: (write_bytes, read_bytes),
    Decimal: (write_decimal, read_decimal),
    UUID: (write_uuid_key, read_uuid),
    datetime: (write_datetime_key, read_datetime),
    date: (write_date, read_date),
    time: (write_time, read_time),
    timedelta: (write_timedelta, read_timedelta),
}
