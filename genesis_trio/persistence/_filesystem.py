"""What the file system below a path is, and whether a store may lie on it."""

import os
import re
from pathlib import Path

__all__ = ["IN_MEMORY", "NETWORK", "filesystem_of"]

# Their locks, their syncs or both are not what they are on a local disk: an acknowledged record may be nowhere.
NETWORK = frozenset(
    [
        "9p",
        "afs",
        "autofs",
        "ceph",
        "cifs",
        "coda",
        "davfs",
        "fuse.glusterfs",
        "fuse.s3fs",
        "fuse.sshfs",
        "gcsfuse",
        "gfs",
        "gfs2",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs3",
        "nfs4",
        "ocfs2",
        "smb2",
        "smb3",
        "smbfs",
        "virtiofs",
        "vboxsf",
    ]
)
IN_MEMORY = frozenset({"ramfs", "tmpfs"})
_MOUNTS = "/proc/self/mounts"


def filesystem_of(path: str, mounts: str = _MOUNTS) -> str:
    """The type of the file system that *path* lies on, as Linux names it; empty where that cannot be known."""
    try:
        lines = Path(mounts).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    real = os.path.realpath(path)
    found, best = "", -1
    for line in lines:
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = _unescaped(fields[1])
        below = point if point.endswith("/") else point + "/"
        # Of two on the same point the later one covers the other.
        if (real == point or real.startswith(below)) and len(point) >= best:
            found, best = fields[2], len(point)
    return found


def _unescaped(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
