"""What the torture scripts share: processes to kill, a stream that outlives them, and figures to print.

The script itself is the other process: what a victim acknowledges counts once it was read here.  Victims are
forked, so that a thousand of them take minutes; the script never starts a thread, nor opens a store itself.
"""

import argparse
import ctypes
import functools
import json
import os
import random
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SOURCE = Path(__file__).with_name("_shim.c")
SYNC, WRITE, ANY = 1, 2, 0
FAIL_ONCE, FAIL_ON, DIE = 0, 1, 2
PATIENCE = 30  # seconds that a victim may live
_HEAD = struct.Struct("<cqII")


class Violated(Exception):
    """A promise was broken, or a control did not break it."""


# ------------------------------------------------------------------ the shim


def find_compiler():
    return next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)


def preload_shim():
    """Start this process anew with the shim in front of its system calls, unless it is there."""
    if shim() is not None:
        return
    compiler = find_compiler()
    if compiler is None or sys.platform != "linux":
        raise SystemExit("this script needs Linux and a C compiler (cc), to stand between a process and its files")
    folder = Path(tempfile.mkdtemp(prefix="torture-shim-"))
    library = folder / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl", "-lpthread"], check=True, timeout=60
    )
    before = os.environ.get("LD_PRELOAD")
    environment = {**os.environ, "LD_PRELOAD": f"{library}:{before}" if before else str(library)}
    try:
        done = subprocess.run([*sys.orig_argv], env=environment, check=False)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    raise SystemExit(done.returncode)


@functools.cache
def shim():
    library = ctypes.CDLL(None)
    if not hasattr(library, "lab_watch"):
        return None
    library.lab_watch.argtypes = [ctypes.c_char_p, ctypes.c_int]
    library.lab_arm.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
    library.lab_calls.restype = ctypes.c_long
    library.lab_tell.argtypes = [ctypes.c_char_p]
    return library


# ------------------------------------------------------------------ victims


class Victim:
    """A forked process that runs ``fn(tell)``; what it tells is read here, in order, until it ends.

    With *folder* the shim tells of each system call below it as well, in the same stream.
    """

    def __init__(self, fn, *, folder=None):
        self._reader, writer = os.pipe()
        self.is_watched = folder is not None
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            signal.alarm(PATIENCE)
            try:
                os.close(self._reader)
                fn(_teller(writer, folder))
                code = 0
            except BaseException as error:
                report = f"error {type(error).__name__}: {error}"[:500]
                _teller(writer, folder)(report.replace("\n", " | "))
                if os.environ.get("TORTURE_TRACE"):
                    import traceback

                    traceback.print_exc()
            finally:
                os._exit(code)
        os.close(writer)
        self._file = os.fdopen(self._reader, "rb", buffering=1 << 16)

    def lines(self):
        """What it tells, line by line, as long as it lives."""
        for kind, _, _, data in self.calls():
            if kind == "A":
                yield data.decode()

    def calls(self):
        """(kind, path, number, data) of each call, in order; an acknowledgement is of kind A."""
        while True:
            head = self._file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            kind, number, path, size = _HEAD.unpack(head)
            body = self._file.read(path + size)
            if len(body) < path + size:
                return
            yield kind.decode(), body[:path].decode(), number, body[path:]

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)

    def wait(self):
        """Its exit status, negative for a signal; what it still told is dropped."""
        self._file.close()
        _, status = os.waitpid(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        if code == -signal.SIGALRM:
            raise Violated(f"a victim did not come to an end within {PATIENCE} s")
        return code


def _teller(fd, folder):
    if folder is not None:
        library = shim()
        library.lab_watch(str(folder).encode(), fd)
        return lambda text: library.lab_tell(text.encode())

    def tell(text):
        data = text.encode()
        os.write(fd, _HEAD.pack(b"A", 0, 0, len(data)) + data)  # short enough to be written in one piece

    return tell


def run_victim(fn, *, folder=None):
    """All lines of a victim that ends by itself, and its exit status."""
    victim = Victim(fn, folder=folder)
    lines = list(victim.lines())
    return lines, victim.wait()


# ------------------------------------------------------------------ scripts


class Report:
    """Figures, printed as they come."""

    def __init__(self, name, as_json):
        self.name = name
        self.figures = {}
        self._as_json = as_json
        self._began = time.monotonic()

    def add(self, what, value):
        self.figures[what] = value
        if not self._as_json:
            print(f"{self.name}: {what}: {value}", flush=True)

    def require(self, what, value, *, wanted=0):
        """A figure that a promise stands on."""
        self.add(what, value)
        if value != wanted:
            raise Violated(f"{self.name}: {what} is {value}, and has to be {wanted}")

    def control(self, what, value):
        """A figure of a run in which something was broken on purpose: it must show."""
        self.add(f"control, {what} (must be more than 0)", value)
        if not value:
            raise Violated(f"{self.name}: the control {what!r} found nothing, so the script proves nothing")

    def finish(self):
        self.add("seconds", round(time.monotonic() - self._began, 1))
        if self._as_json:
            print(json.dumps({"name": self.name, **self.figures}))


def main(name, run, *, n, needs_shim=False, argv=None):
    """Run a script: ``run(report, n, rng, folder)``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.torture.{name}", description=sys.modules[run.__module__].__doc__
    )
    parser.add_argument("--n", type=int, default=n, help=f"how often (default {n})")
    parser.add_argument("--seed", type=int, default=20261124)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args(argv)
    if needs_shim:
        preload_shim()
    quieten()
    report = Report(name, arguments.json)
    for what, text in claims(sys.modules[run.__module__].__doc__):
        report.add(what, text)
    report.add("seed", arguments.seed)
    with tempfile.TemporaryDirectory(prefix=f"torture-{name}-") as folder:
        try:
            run(report, arguments.n, random.Random(arguments.seed), Path(folder).resolve())
        except Violated as error:
            print(f"VIOLATED: {error}", file=sys.stderr)
            raise SystemExit(1) from None
    report.finish()


def claims(text):
    """What a script says that it proves, and what not, from its docstring: ``(what, sentence)``."""
    found = re.search(r"Proved: (.*?)\s+Not proved: (.*?)\s+Controls?: ", text, re.DOTALL)
    return [(what, " ".join(found[at].split())) for at, what in ((1, "proves"), (2, "does not prove"))]


def quieten():
    """Damage is told at length, by hundreds of victims; and their reserves would only take time."""
    import importlib
    import logging
    import pkgutil

    import genesis_trio.persistence

    # All now, rather than in each victim, some of which are killed in the middle of it.
    for module in pkgutil.walk_packages(genesis_trio.persistence.__path__, "genesis_trio.persistence."):
        importlib.import_module(module.name)

    from genesis_trio.persistence.engines.sqlite import SqliteEngine

    logging.getLogger("genesis_trio").setLevel(logging.CRITICAL + 1)
    SqliteEngine.real_recover_room = SqliteEngine.recover_room
    SqliteEngine.recover_room = lambda self, size: True


def fresh(folder):
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder
