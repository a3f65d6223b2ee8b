"""The journal of the ledger: a file of JSON lines, each written before anybody hears of what it says.

It outlives a SIGKILL, which is what the demonstration does to a venue; a power cut is not part of it, so nothing
waits for the disk.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["Journal", "JournalError"]


class JournalError(Exception):
    """The journal cannot be used; the text names the file and says why."""


class Journal:
    """Appends to the file at *path*; `records` is what was in it before.

    Raises:
        JournalError: the file cannot be read or written, or is something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            content = path.read_bytes()
            # A line without an end was cut off by a kill, and nobody has heard of what it says.
            whole = content.rfind(b"\n") + 1
            os.ftruncate(self._descriptor, whole)
        except OSError as error:
            raise JournalError(f"the journal {path} cannot be used: {error.strerror}") from error
        self.records = [read_record(path, number, line) for number, line in enumerate(content[:whole].splitlines(), 1)]

    def write(self, record: Mapping[str, Any]) -> None:
        """Append *record*."""
        line = json.dumps(record).encode() + b"\n"
        while line:
            line = line[os.write(self._descriptor, line) :]

    def close(self) -> None:
        os.close(self._descriptor)


def read_record(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "record" not in record:
        raise JournalError(f"line {number} of the journal {path} is no record: {line[:80]!r}")
    return record
