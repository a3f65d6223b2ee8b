"""The head of a log, kept outside of it, in a file of two slots.

A database that loses the end of its log does not notice: what is left is a valid, older state.
This file remembers how far it had come.  The two slots are written in turn, each with its own
checksum, so that a torn write leaves the other one.
"""

import errno
import os
import struct
import zlib

_SLOT = 4096  # at least a disk sector, so that one torn write cannot reach both
_HEADER = struct.Struct("<4sIQI")  # magic, length, turn, checksum
_MAGIC = b"GTH1"
#: The longest head that fits.
ROOM = _SLOT - _HEADER.size


class HeadFile:
    """The newest head that was written.  Not for two threads at once.

    Attributes:
        was_missing: The file was not there when it was opened.
        was_damaged: A slot did not match its checksum; the other one may have been read instead.
    """

    def __init__(self, path: str) -> None:
        self.was_missing = not os.path.exists(path)
        self.was_damaged = False
        self._turn = 0
        self._newest: bytes | None = None
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(self._fd).st_size < 2 * _SLOT:
                # Allocated now: later writes replace bytes and cannot fail for want of room.
                os.pwrite(self._fd, bytes(2 * _SLOT), 0)
                os.fsync(self._fd)
                self.was_damaged = not self.was_missing
            else:
                self._read()
        except BaseException:
            os.close(self._fd)
            raise

    def _read(self) -> None:
        for slot in (0, 1):
            data = os.pread(self._fd, _SLOT, slot * _SLOT)
            magic, length, turn, checksum = _HEADER.unpack_from(data)
            body = data[_HEADER.size : _HEADER.size + length]
            if magic == _MAGIC and len(body) == length and checksum == _checksum(length, turn, body):
                if turn > self._turn:
                    self._turn, self._newest = turn, body
            elif any(data):
                self.was_damaged = True

    def read(self) -> bytes | None:
        """The newest head, or None when there never was one or both slots are damaged."""
        return self._newest

    def write(self, body: bytes) -> None:
        """Remember *body*.  It survives the process at once, a power cut after `sync`."""
        turn = self._turn + 1
        header = _HEADER.pack(_MAGIC, len(body), turn, _checksum(len(body), turn, body))
        data = header + body
        written = os.pwrite(self._fd, data, (turn % 2) * _SLOT)
        if written != len(data):
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes of the head were written")
        self._turn, self._newest = turn, body

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _checksum(length: int, turn: int, body: bytes) -> int:
    return zlib.crc32(struct.pack("<IQ", length, turn) + body)
