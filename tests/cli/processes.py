"""Real processes of ``genesis``, and what is left of them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import trio

from genesis_trio import open_store

ROOT = Path(__file__).parent.parent.parent
# The dot says that the command has control: it is the first import that `main` makes.  What Python does before is not ours.
SCRIPT = """
import os, sys
from genesis_trio.cli import command

class Dot:
    def find_spec(self, name, path=None, target=None):
        if name == "genesis_trio.cli.options":
            os.write(1, b".")

sys.meta_path.insert(0, Dot())
command()
"""

TOML = """
name = "desk"
store = "sqlite:desk.db"
admin = "desk.sock"
[[children]]
name = "keeper"
component = "cli.parts:Keeper"
criticality = "critical"
[[children]]
name = "follower"
component = "cli.parts:follower"
requires = ["keeper"]
"""


def start(folder, *arguments):
    """Start ``genesis`` in *folder*, whose modules it can import, and wait until it has control."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT), str(folder)])}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout.read(1) == b"."
    return process


def end(process, timeout=30):
    """Wait for its end: exit status, stdout, stderr; nothing of its session may be left."""
    try:
        out, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, errors = process.communicate()
        raise AssertionError(f"it did not end within {timeout} s; stderr: {errors.decode()}") from None
    for _ in range(100):  # a kernel may take a moment to forget a group whose last process has been waited for
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return process.returncode, out.decode(), errors.decode()
        time.sleep(0.02)  # polling: another process tells nobody of its end
    raise AssertionError("it left a process behind")


def genesis(folder, *arguments):
    """One command from start to end."""
    return end(start(folder, *arguments))


def wait_for_line(process, text):
    """Read its stderr until a line has *text*."""
    seen = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        seen += line
        if text in line.decode():
            return seen.decode()
        assert line, f"it ended without {text!r}: {seen.decode()}"
    raise AssertionError(f"no line with {text!r}: {seen.decode()}")


def verify(folder):
    """What the store of *folder* says about itself, and how many checkpoints it has."""

    async def look():
        async with open_store(f"sqlite:{folder}/desk.db") as store:
            report = await store.verify()
            return report.ok, sum("desk/keeper" in info.components for info in await store.list_checkpoints())

    return trio.run(look)
