"""The last resort: when a stop does not end, the process ends with a report.

Trio cannot abandon a task.  A component that shields itself for ever, or sits in a thread that never comes back, keeps its supervisor,
and so the process, from ending; what keeps the service running waits for that end to start it anew.  So a thread watches the
stop of a service.  Once it is `MARGIN` seconds over its ``shutdown_timeout``, everything that can be saved is saved, and the process
exits with `STATUS`, having told who did not end, and where every task and thread stood.

Only a service that is the process, or that was stopped because a signal asked the process to, goes so far: in a program around it there
may be more to lose.  A virtual clock has no such thread.
"""

import contextlib
import logging
import math
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from genesis_trio._runtime import is_virtual_clock
from genesis_trio.events import emit
from genesis_trio.supervision._waiting import tasks_below, where_it_hangs
from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["MARGIN", "STATUS", "LastResort"]

#: The exit status: what sysexits.h calls EX_SOFTWARE.
STATUS = 70
#: Seconds after ``shutdown_timeout``, in which a stop ends that is only late.
MARGIN = 1.0
#: Seconds that an event loop has to give a sign of life, once it is asked to save and to report.
UNHEARD = 5.0
#: Seconds for the last saved checkpoint and for closing the store, once every child has ended: a slow disk is no stuck component.
CLOSING = 10.0
#: Seconds for writing the report: whoever reads it may be what hangs.
TELLING = 2.0

THREAD = "genesis_trio last resort"
MOST_TASKS = 200  # with their stacks

logger = logging.getLogger("genesis_trio")


class LastResort:
    """Watches that a service ends once its stop has begun.

    Args:
        service: Its name.
        store: Its store's address.
        limit: Its ``shutdown_timeout``; infinity: nobody watches.
        end: Ends the process.

    Attributes:
        supervisor: Its tree, once there is one.
    """

    def __init__(self, service: str, store: str, limit: float, *, end: Callable[[int], object] = os._exit) -> None:
        self.supervisor: Supervisor | None = None
        self._service = service
        self._store = store
        self._limit = limit
        self._end = end
        #: True when the stop begins, False when it has ended.  The one queue that a signal handler may put something into.
        self._news: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._token = trio.lowlevel.current_trio_token()
        self._root = trio.lowlevel.current_root_task()
        self._loop = threading.get_ident()

    def begin(self) -> None:
        """The stop has begun.  It may be called from a signal handler."""
        self._news.put(True)

    @contextlib.contextmanager
    def watch(self) -> Iterator[None]:
        """Watch until the block is left."""
        is_main = threading.current_thread() is threading.main_thread()
        if is_virtual_clock() or not is_main or self._limit == math.inf:
            yield
            return
        threading.Thread(target=self._watch, name=THREAD, daemon=True).start()
        try:
            yield
        finally:
            self._news.put(False)

    # ------------------------------------------------------------ in the thread

    def _watch(self) -> None:
        if not self._news.get():
            return
        due = time.monotonic() + self._limit + MARGIN
        while True:
            try:
                if not self._news.get(timeout=max(0.0, due - time.monotonic())):
                    return
            except queue.Empty:
                break
        try:
            report = self._ask_the_loop() or self._describe("the event loop is blocked, and saved nothing more")
        except Exception as error:  # whatever it is, the process has to end
            report = f"service {self._service!r} did not stop; there is no report, because of {error!r}"
        if self._has_ended():
            return  # just now
        telling = threading.Thread(target=self._tell, args=(report,), daemon=True)
        telling.start()
        telling.join(TELLING)
        self._end(STATUS)

    def _has_ended(self) -> bool:
        with contextlib.suppress(queue.Empty):
            while self._news.get_nowait():
                pass
            return True
        return False

    def _ask_the_loop(self) -> str:
        """The report of the event loop, once it has saved what it can; empty if it gives no sign of life."""
        signs: queue.SimpleQueue[tuple[str, bool]] = queue.SimpleQueue()
        report = ""
        with contextlib.suppress(trio.RunFinishedError, queue.Empty):
            self._token.run_sync_soon(trio.lowlevel.spawn_system_task, self._last_words, signs)
            is_last = False
            while not is_last:
                report, is_last = signs.get(timeout=UNHEARD)
        return report

    def _tell(self, report: str) -> None:
        place = self._write(report)
        logger.critical("%s%s", report, f"\nthis report is in {place}" if place else "")
        with contextlib.suppress(Exception):
            sys.stdout.flush()

    def _write(self, report: str) -> str:
        """Write it to a file beside the store, and return where; empty if it has no file, or it cannot be written."""
        scheme, _, path = self._store.partition(":")
        if scheme != "sqlite":
            return ""
        place = f"{path}.stuck-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.txt"
        try:
            with open(place, "x", encoding="utf-8", errors="backslashreplace", opener=_for_its_owner) as file:
                file.write(report + "\n")
        except OSError as error:
            logger.error("the report of a stop that did not end cannot be written to %s: %s", place, error)
            return ""
        return place

    # ------------------------------------------------------------ in the loop

    async def _last_words(self, signs: "queue.SimpleQueue[tuple[str, bool]]") -> None:
        """Save all else, within the times that saving and entry actions have of their own, and report."""
        saved = "there is nothing to save"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._give_signs, signs)
            supervisor = self.supervisor
            if supervisor is not None:
                saved = await self._save(supervisor)
            if not self._names():
                await trio.sleep(CLOSING)  # the run may end meanwhile, and then nothing is reported
            if supervisor is not None:
                self._tell_hooks(supervisor)
            nursery.cancel_scope.cancel()
        signs.put((self._describe(saved), True))

    @trio.lowlevel.enable_ki_protection
    async def _give_signs(self, signs: "queue.SimpleQueue[tuple[str, bool]]") -> None:
        while True:
            signs.put((self._describe("what was being saved, or done on entering a mode, was not waited for"), False))
            await trio.sleep(MARGIN)

    async def _save(self, supervisor: Supervisor) -> str:
        """A cut of all that has ended; in words.  What a mode has begun, such as to close positions, is not cut off."""
        try:
            children = supervisor.tree.children.values()
            for each in dict.fromkeys([supervisor, *(child.supervisor for child in children)]):
                await each.entries.finished()
            if supervisor.tree.saver is None:
                return "there is nothing to save"
            info = await supervisor.tree.saver.save("stop")
        except Exception as error:
            return f"all else could not be saved: {error!r}"
        return f"all else is in {info.id}" if info is not None else "all else could not be saved"

    def _tell_hooks(self, supervisor: Supervisor) -> None:
        if supervisor.tree.hooks:
            from genesis_trio.service._events import LastResortTaken

            emit(supervisor.tree, LastResortTaken, children=", ".join(self._names()), status=STATUS)

    # ------------------------------------------------------------ the report

    def _names(self) -> list[str]:
        children = [] if self.supervisor is None else list(self.supervisor.tree.children.values())
        return [child.path for child in children if child.incarnation is not None]

    def _describe(self, saved: str) -> str:
        """Who did not end, and where everything stands.  In the thread only while the loop stands still."""
        lines = [
            f"service {self._service!r} has not stopped {self._limit + MARGIN:g} s after it was asked to "
            f"(shutdown_timeout={self._limit:g} s and {MARGIN:g} s); the process exits with status {STATUS}; {saved}"
        ]
        for path in self._names():
            assert self.supervisor is not None
            incarnation = self.supervisor.tree.children[path].incarnation
            if incarnation is not None and incarnation.task is not None:
                task, where = where_it_hangs(incarnation.task)
                lines.append(f"{path} has not ended: task {task} is in {where or 'code of a library'}")
        if len(lines) == 1:
            lines.append(
                "every child has ended; what hangs is around them: a store, a socket, a task of the program's own"
            )
        return "\n".join([*lines, "", *self._stacks()])

    def _stacks(self) -> Iterator[str]:
        tasks = [] if self._root is None else list(tasks_below(self._root))
        for task in tasks[:MOST_TASKS]:
            yield f"task {task.name}"
            yield _in_lines(traceback.StackSummary.extract(task.iter_await_frames()))
        if len(tasks) > MOST_TASKS:
            yield f"{len(tasks) - MOST_TASKS} more tasks"
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != threading.get_ident() and names.get(ident) != THREAD:
                yield f"thread {names.get(ident, ident)}{' (the event loop)' if ident == self._loop else ''}"
                yield _in_lines(traceback.extract_stack(frame))


def _in_lines(stack: traceback.StackSummary) -> str:
    return "".join(stack.format()).rstrip()


def _for_its_owner(path: str | Path, flags: int) -> int:
    return os.open(path, flags, 0o600)
