"""SQLite's errors, as those of the engine contract."""

import contextlib
import errno
import sqlite3
from collections.abc import Iterator

from genesis_trio.errors import CorruptError, StoreError

__all__ = ["as_store_errors", "translate"]


@contextlib.contextmanager
def as_store_errors(path: str) -> Iterator[None]:
    """Raise what SQLite raises in the block as what an engine may raise; *path* goes into the message."""
    try:
        yield
    except sqlite3.Error as error:
        raise translate(path, error) from error
    except UnicodeDecodeError as error:  # in a message of SQLite that quotes damaged text
        raise CorruptError(f"the file is damaged: {path}: {error}") from error


def translate(path: str, error: sqlite3.Error) -> Exception:
    """No room and a failing medium are OSErrors, everything else is a StoreError."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = f"{path}: {error} ({getattr(error, 'sqlite_errorname', type(error).__name__)})"
    if code == sqlite3.SQLITE_FULL:
        return OSError(errno.ENOSPC, text)
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return OSError(errno.EIO, text)
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return CorruptError(f"the file is damaged: {text}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"the file is in use by another program: {text}")
    return StoreError(text)
