"""A thread that watches the event loop, and names the task and the line that block it while they do.

Nothing inside of a blocked loop can tell: its own timers are late as well.  The loop only notes when a round of ready tasks begins and
ends (twice a round, nothing a step); the thread looks at that, and when a round is too old it reads the loop's
stack and finds the task whose coroutine is in it.  Twenty tasks that take a little too long each are seen as well, which a
look at single steps would miss.

Under a virtual clock there is no thread: a round takes no time there.
"""

import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from types import FrameType

import attrs
import trio

from genesis_trio import events
from genesis_trio._runtime import is_virtual_clock, run_blocking
from genesis_trio.events import emit
from genesis_trio.modes import Hold, Mode, ModeScope

__all__ = ["Watchdog"]

logger = logging.getLogger("genesis_trio")

LOOKS_PER_LIMIT = 4  # found at the latest a quarter of the limit too late
LIBRARY = sysconfig.get_path("stdlib")
REASON = "the event loop was blocked"


@attrs.frozen
class Sighting:
    """What the thread saw: who blocked the loop, where, for how long already."""

    task: str
    where: str
    seconds: float


class Watchdog(trio.abc.Instrument):
    """Watches the loop of the current run for a supervisor.

    Args:
        scope: Whose tree is told of each stall.
        limit: Seconds that one round may take.
        holds_for: Hold SAFE on the scope from a stall on, until the loop has run for so many seconds without another.

    Attributes:
        longest: Seconds that the longest round took.
    """

    def __init__(self, scope: ModeScope, limit: float, *, holds_for: float | None) -> None:
        self.longest = 0.0
        self._scope = scope
        self._limit = limit
        self._holds_for = holds_for
        self._hold: Hold | None = None
        self._began: float | None = None  # of the round that runs; written by the loop, read by the thread
        self._took = 0.0
        self._ended = threading.Event()
        self._stalled = trio.Event()

    async def serve(self) -> None:
        """Watch until cancelled."""
        if is_virtual_clock():
            return
        token, root = trio.lowlevel.current_trio_token(), trio.lowlevel.current_root_task()
        watch = threading.Thread(
            target=self._watch, args=(threading.get_ident(), token, root), name="genesis_trio watchdog", daemon=True
        )
        self._began = time.monotonic()
        trio.lowlevel.add_instrument(self)
        watch.start()
        try:
            await self._clear()
        finally:
            trio.lowlevel.remove_instrument(self)
            self._ended.set()
            with trio.CancelScope(shield=True):  # bounded: the thread looks at the event that is set above, and ends
                await run_blocking(watch.join)

    async def _clear(self) -> None:
        """Release what is held once the loop has run for a while."""
        while True:
            await self._stalled.wait()
            while self._stalled.is_set():
                self._stalled = trio.Event()
                with trio.move_on_after(self._holds_for or 0.0):
                    await self._stalled.wait()
            if self._hold is not None:
                self._hold.release()
                self._hold = None

    # ------------------------------------------------------------ in the loop

    def after_io_wait(self, timeout: float) -> None:
        self._began = time.monotonic()

    def before_io_wait(self, timeout: float) -> None:
        if self._began is not None:
            self._took = time.monotonic() - self._began
            self.longest = max(self.longest, self._took)
            self._began = None

    def _runs_again(self, seen: Sighting) -> None:
        """The loop's first act after a stall that was seen."""
        tree = self._scope.tree
        try:
            if self._holds_for is not None:
                self._hold = self._scope.hold(Mode.SAFE, owner=self._scope.path, reason=REASON)
            self._stalled.set()
            if tree.hooks:
                emit(tree, events.LoopBlocked, task=seen.task, where=seen.where, seconds=max(seen.seconds, self._took))
        except Exception:
            # What is raised here would end Trio itself.
            logger.exception("the watchdog could not tell of a blocked loop: %s", seen)

    # ------------------------------------------------------------ in the thread

    def _watch(self, loop: int, token: trio.lowlevel.TrioToken, root: trio.lowlevel.Task | None) -> None:
        told: float | None = None
        while not self._ended.wait(self._limit / LOOKS_PER_LIMIT):
            began = self._began
            if began is None or began == told or time.monotonic() - began < self._limit:
                continue
            try:
                seen = look(loop, root, time.monotonic() - began)
                if self._began != began:
                    continue  # it went on while we looked: whoever was seen is not to blame
                told = began
                logger.error("the event loop is blocked for %.3g s by task %s, %s", seen.seconds, seen.task, seen.where)
                token.run_sync_soon(self._runs_again, seen)
            except trio.RunFinishedError:
                return
            except Exception:
                logger.exception("the watchdog could not see who blocks the event loop")
                told = began


def look(loop: int, root: trio.lowlevel.Task | None, seconds: float) -> Sighting:
    """Who runs in the thread *loop* now: the task, and the innermost line."""
    innermost = sys._current_frames().get(loop)
    stack = list(_outwards(innermost))
    coroutines = {id(frame) for frame in stack}
    task = next((task.name for task in _tasks(root) if id(getattr(task.coro, "cr_frame", None)) in coroutines), "none")
    if innermost is None:
        return Sighting(task, "nowhere", seconds)
    # A blocking call in the standard library says less than the line that made it.
    own = next((frame for frame in stack if not _is_of_the_library(frame)), innermost)
    where = f"{own.f_code.co_filename}:{own.f_lineno} in {own.f_code.co_name}"
    return Sighting(task, where, seconds)


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


def _tasks(root: trio.lowlevel.Task | None) -> Iterator[trio.lowlevel.Task]:
    """Every task below *root*; read while the loop stands still."""
    left = [] if root is None else [root]
    while left:
        task = left.pop()
        yield task
        for nursery in list(task.child_nurseries):
            left.extend(list(nursery.child_tasks))


def _is_of_the_library(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return name.startswith("<frozen") or (name.startswith(LIBRARY) and "site-packages" not in name)
