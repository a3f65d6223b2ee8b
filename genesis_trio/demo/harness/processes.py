"""Child processes that speak lines of JSON, and leave nothing behind.

A child has a session of its own, so that Ctrl-C is for the harness alone.  It ends with the harness in any case:
the block that opened it kills it, and if the harness itself is killed, the child's standard input ends, which every
process of the demonstration takes as the order to stop.
"""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from subprocess import PIPE
from typing import Any

import trio

from genesis_trio._interrupts import uninterrupted
from genesis_trio.demo.wire import JsonLines

__all__ = ["Child", "monotonic", "open_child"]


def monotonic() -> float:
    """Seconds on the machine's own clock, which all processes share."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


class Child:
    """One process, from its start to its end."""

    def __init__(self, process: trio.Process, errors: Path) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._stdin = process.stdin
        self._lines = JsonLines(trio.StapledStream(process.stdin, process.stdout))
        self._telling = trio.Lock()
        self._errors = errors
        self._errors_before = errors.stat().st_size

    @property
    def pid(self) -> int:
        return self._process.pid

    async def tell(self, message: dict[str, Any]) -> bool:
        """Send one line; False if the process is gone.

        Trio checkpoint: always.
        Cancellation: passes; half of a line may have been sent, so only cancel what is about to be closed.
        """
        async with self._telling:
            try:
                await self._lines.send(message)
            except (ConnectionError, trio.ClosedResourceError):
                return False
        return True

    async def listen(self, hear: Callable[[dict[str, Any]], None]) -> int:
        """Hand each line to *hear* until there are no more; return the process's status.

        A line that is no JSON object arrives as ``{"event": "garbled", "text": …}``.

        Trio checkpoint: always.
        Cancellation: passes.
        """
        while True:
            try:
                message = await self._lines.receive()
            except ConnectionError:
                return await self._process.wait()
            except ValueError as error:
                message = {"event": "garbled", "text": str(error)}
            hear(message)

    def kill(self) -> None:
        """SIGKILL: it can do nothing about it."""
        self._process.kill()

    async def close_stdin(self) -> None:
        """Ask it to stop in order.

        Trio checkpoint: always.
        """
        await self._stdin.aclose()

    def last_words(self) -> str:
        """The last line with words in it of its standard error, or what to say when there is none."""
        with self._errors.open("rb") as file:
            file.seek(self._errors_before)
            lines = file.read().decode(errors="replace").splitlines()
        # The traceback of a group draws frames around and below what it says.
        worded = [words for line in lines if (words := line.strip(" |+-"))]
        return worded[-1] if worded else "it said nothing about it"


@uninterrupted
@contextlib.asynccontextmanager
async def open_child(command: Sequence[str], *, errors: Path) -> AsyncIterator[Child]:
    """Run *command* while inside; its standard error is appended to the file *errors*.

    Leaving the block kills what still runs and waits for its end.

    Trio checkpoint: always.
    Cancellation: the process is killed and waited for, under a shield, which takes no time.
    Ctrl-C: strikes in the block, not on the way in or out, where a process would be left that nobody kills.
    """
    with errors.open("ab") as file:
        process = await trio.lowlevel.open_process(
            command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=file,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    try:
        yield Child(process, errors)
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    await stream.aclose()
