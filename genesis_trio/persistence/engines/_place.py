"""Where the files of a store lie: what is no place for one, and whether they are still there."""

import contextlib
import errno
import os
import stat
from collections.abc import Sequence

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._filesystem import NETWORK, filesystem_of

__all__ = [
    "OpenFiles",
    "make_private",
    "refuse_foreign_file",
    "refuse_name",
    "refuse_no_store",
    "refuse_place",
    "sync_folder",
]

# Of an SQLite file: the header of 100 bytes and the one of the page behind it, which holds the list of tables.
_HEADER = 108
_LEAF_PAGE = 0x0D


def refuse_name(location: str) -> None:
    """What stands behind ``sqlite:`` and names no file, or not the one that was meant."""
    if not location or location.startswith(":"):
        raise StoreError(f"sqlite:{location} names no file; for a store in memory open 'memory:'")
    if location.startswith("//"):
        # Elsewhere sqlite:///desk.db is a relative path; here it would be a file in the root folder.
        name = location.lstrip("/")
        raise StoreError(
            f"sqlite:{location} may mean two files; write sqlite:{name} for one below the current folder, "
            f"or sqlite:/{name} for an absolute path"
        )
    if location.endswith("/"):
        raise StoreError(f"sqlite:{location} names a folder; name a file in it, as in sqlite:{location}desk.db")
    if "\0" in location:
        raise StoreError(f"{location!r} has a NUL character in it, which no file name may have")


def refuse_place(path: str, folder: str) -> None:
    """Where no store can keep what it promises, or not for its owner alone."""
    place = filesystem_of(folder)
    if place in NETWORK:
        raise StoreError(
            f"{path} lies on a network file system ({place}), whose locks and syncs do not keep what a store promises; "
            f"choose a local disk"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(
            f"cannot open the store {path}: nothing can be written in its folder {folder}; give user {os.geteuid()} the "
            f"right to write there, remount it if it is mounted read-only, or choose another folder"
        )
    # The names beside the file are made from its own: with a link they would lie beside the link, and a second
    # process that opens the file itself would find other locks.
    for name in _names(path):
        with contextlib.suppress(FileNotFoundError):
            found = os.lstat(name)
            if stat.S_ISLNK(found.st_mode):
                raise StoreError(f"{name} is a symbolic link; name the file itself: {os.path.realpath(name)}")
            if not stat.S_ISREG(found.st_mode):
                kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
                raise StoreError(f"{name} is {kind}; a store is a file of its own, as in sqlite:{folder}/desk.db")
            if found.st_uid != os.geteuid() and os.geteuid() != 0:
                raise StoreError(
                    f"{name} belongs to user {found.st_uid}, not to us ({os.geteuid()}); run as its owner, or chown it"
                )


def make_private(path: str) -> None:
    """Whatever others were allowed to do with the files of the store at *path*, they no longer are."""
    for name in _names(path):
        with contextlib.suppress(FileNotFoundError):
            if stat.S_IMODE(os.stat(name).st_mode) & 0o077:
                os.chmod(name, stat.S_IRUSR | stat.S_IWUSR)


def _names(path: str) -> list[str]:
    return [path, *(path + ending for ending in (".lock", ".head", "-wal"))]


def refuse_foreign_file(path: str, application_id: int) -> None:
    """A file that is there and is no SQLite file, or one of another program; before anything is changed about it."""
    try:
        with open(path, "rb") as file:
            begin = file.read(_HEADER)
    except FileNotFoundError:
        return
    if begin and begin[:16] != b"SQLite format 3\x00":
        raise CorruptError(
            f"{path} is not a store, or its beginning is damaged: it begins with {begin[:16]!r}; nothing in it was changed"
        )
    if len(begin) < _HEADER:
        return
    # All of it may still be in the log beside the file: then the file has no tables yet, and no id.
    found = int.from_bytes(begin[68:72], "big")
    has_tables = begin[100] != _LEAF_PAGE or begin[103:105] != b"\0\0"
    if found != application_id and (found or has_tables):
        raise StoreError(
            f"{path} is an SQLite file of another program (application id {found}), not a store; nothing in it was changed"
        )


def refuse_no_store(path: str, application_id: int) -> None:
    """A place where no store is, for whoever only looks: opening it would make one."""
    if not os.path.exists(path):
        raise StoreError(f"there is no store {path}; looking at one does not make it")
    refuse_foreign_file(path, application_id)
    if _is_empty(path + "-wal"):
        with open(path, "rb") as file:
            begin = file.read(_HEADER)
        if not begin:
            raise StoreError(f"{path} is an empty file and no store; looking at one does not make it")
        if begin[68:72] != application_id.to_bytes(4, "big"):
            raise StoreError(f"{path} is an SQLite file without tables and no store; looking at one does not make it")


def _is_empty(path: str) -> bool:
    return not os.path.exists(path) or os.path.getsize(path) == 0


def sync_folder(folder: str) -> None:
    """Make the names in *folder* durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class OpenFiles:
    """Files by the names under which the next process looks for them.

    Whoever has a file open goes on writing to it when it was removed, renamed or replaced, and nobody will ever find
    what was written then.
    """

    __slots__ = ("_files",)

    def __init__(self, paths: Sequence[str]) -> None:
        self._files = [(path, _identity(path)) for path in paths]

    def check(self) -> None:
        """Raise an OSError unless each name still stands for the file that it stood for.

        Two of them take 3 microseconds, and a commit takes more than a hundred.
        """
        for path, identity in self._files:
            try:
                is_there = _identity(path) == identity
            except (FileNotFoundError, NotADirectoryError):
                is_there = False
            if not is_there:
                raise OSError(
                    errno.ESTALE,
                    f"{path} was removed, renamed or replaced while it was open, so what is written now would not be "
                    f"found again; stop the service, put the right files in their place, and start it",
                )


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
