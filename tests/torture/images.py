"""Files as they may stand on a disk after the power failed, from the calls of the process that wrote them.

What a successful fsync covers is there.  Of the rest, each write may be there, or not, or in part (sector by sector),
independently of those before it; a new name may be missing until its folder was synced, a removed one may be back.
"""

import os

SECTOR = 512


class Disk:
    """Replays calls; `cut` makes the files of one possible power cut."""

    def __init__(self, folder, *, failed_sync_drops=False):
        self.folder = str(folder)
        self.files = {}  # path to what is known about it
        self.failed_sync_drops = failed_sync_drops

    def take(self, kind, path, number, data):
        if path.endswith((".reserve", ".lock")):
            return
        if kind == "C":
            old = self.files.get(path)
            self.files[path] = File(is_named=old is not None and old.is_named)
        elif kind == "U":
            if path in self.files:
                self.files[path].removed = True
        elif kind in "WT":
            self.files.setdefault(path, File()).pending.append((kind, number, data))
        elif kind == "B" and path in self.files:
            file = self.files[path]
            file.in_sync = len(file.pending)
        elif kind == "S":
            self._synced(path)
        elif kind == "F" and self.failed_sync_drops and path in self.files:
            # As Linux does it: the pages are marked clean, and no later sync brings them to the disk.
            self.files[path].pending.clear()

    def _synced(self, path):
        if path in self.files:
            file = self.files[path]
            for call in file.pending[: file.in_sync]:
                apply(file.durable, call)
            del file.pending[: file.in_sync]
        elif path == self.folder:
            for name, file in list(self.files.items()):
                if file.removed:
                    del self.files[name]
                else:
                    file.is_named = True

    def cut(self, rng, target):
        """Write the files as they may be after a cut now into *target*."""
        fate = rng.choice(("kept", "dropped", "some", "torn", "torn"))
        for path, file in sorted(self.files.items()):
            if not file.is_named and fate == "dropped":
                continue
            if file.removed and (fate == "kept" or rng.random() < 0.5):
                continue
            if not file.is_named and rng.random() < 0.3:
                continue
            body = bytearray(file.durable)
            for call in file.pending:
                if fate == "kept" or (fate == "some" and rng.random() < 0.5):
                    apply(body, call)
                elif fate == "torn":
                    for part in sectors(call):
                        if rng.random() < 0.5:
                            apply(body, part)
            with open(os.path.join(target, os.path.basename(path)), "wb") as out:
                out.write(body)

    def only_durable(self, target):
        """Write what was synced, and nothing else."""
        for path, file in self.files.items():
            if file.is_named:
                with open(os.path.join(target, os.path.basename(path)), "wb") as out:
                    out.write(file.durable)


class File:
    def __init__(self, *, is_named=False):
        self.durable = bytearray()
        self.pending = []
        self.in_sync = 0
        self.is_named = is_named
        self.removed = False


def apply(body, call):
    kind, number, data = call
    if kind == "T":
        del body[number:]
        body.extend(bytes(number - len(body)))
    else:
        body.extend(bytes(max(0, number - len(body))))
        body[number : number + len(data)] = data


def sectors(call):
    kind, number, data = call
    if kind == "T":
        yield call
        return
    begin = 0
    while begin < len(data):
        end = min(len(data), begin + SECTOR - (number + begin) % SECTOR)
        yield kind, number + begin, data[begin:end]
        begin = end
