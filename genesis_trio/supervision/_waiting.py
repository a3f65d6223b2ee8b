"""Where a component waits, in words: the frames between its ``run`` and what it waits for."""

from collections.abc import Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any

import trio

__all__ = ["tasks_below", "waits_for_the_outside", "where_it_hangs", "where_it_was_cut", "where_it_waits"]

_HERE, _TRIO = Path(__file__).parents[1], Path(trio.__file__).parent
#: Of these, and of `outcome`, by which Trio raises, a user knows the names and not the lines.
LIBRARY = (str(_HERE), str(_TRIO))
#: All of Trio's waiting for sockets, pipes and processes ends in the first two, that for files and names in the third.
OUTSIDE = (
    str(_TRIO / "_core" / "_generated_io_"),
    str(_TRIO / "_core" / "_io_"),
    str(_TRIO / "_threads.py"),
    str(_HERE / "messaging" / "requests.py"),
    str(_HERE / "policies"),
)

#: Frames told before those in the middle are left out.
MOST_FRAMES = 6


def where_it_waits(task: trio.lowlevel.Task) -> str:
    """Where *task* waits now, as ``Feed.run (feed.py:12) > connect (venue.py:30) > sleep``."""
    return _in_words(list(_frames_of(task.coro)))


def tasks_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """*task* and all in its nurseries, outermost first, those of one nursery by name."""
    left = [task]
    while left:
        each = left.pop()
        yield each
        for nursery in list(each.child_nurseries):
            left.extend(sorted(nursery.child_tasks, key=lambda below: below.name, reverse=True))


def where_it_hangs(task: trio.lowlevel.Task) -> tuple[str, str]:
    """Of *task* and those in its nurseries, the name of one that waits for none of the others, and where it waits."""
    for each in tasks_below(task):
        where = where_it_waits(each)
        if where and not any(nursery.child_tasks for nursery in each.child_nurseries):
            return each.name, where
    return task.name, where_it_waits(task)


def where_it_was_cut(traceback: TracebackType | None) -> str:
    """Where a task waited whose `trio.Cancelled` has this *traceback*."""
    frames = []
    while traceback is not None:
        frames.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return _in_words(frames)


def waits_for_the_outside(traceback: TracebackType | None) -> bool:
    """True where a task waited for a socket, a thread, an answer or its turn at a guard: no state makes these slow."""
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        if path.startswith(OUTSIDE):
            return True
        traceback = traceback.tb_next
    return False


def _frames_of(awaited: Any) -> Iterator[tuple[CodeType, int]]:
    """Along the chain of awaits, outermost first.  An async generator hides what it waits for; the chain ends with its reader."""
    while awaited is not None:
        for frame_name, next_name in (("cr_frame", "cr_await"), ("gi_frame", "gi_yieldfrom")):
            frame = getattr(awaited, frame_name, None)
            if frame is not None:
                yield frame.f_code, frame.f_lineno
                awaited = getattr(awaited, next_name, None)
                break
        else:
            return


def _in_words(frames: list[tuple[CodeType, int]]) -> str:
    """A user's frames with their lines, then the first of the library's that they call."""
    words: list[str] = []
    called = ""
    for code, line in frames:
        path = Path(code.co_filename)
        if code.co_filename.startswith(LIBRARY) or path.parent.name == "outcome":
            called = called or code.co_qualname
        else:
            words.append(f"{code.co_qualname} ({path.name}:{line})")
            called = ""
    if len(words) > 1 + MOST_FRAMES:  # of another library, whose inside tells an operator little
        words[MOST_FRAMES:-1] = ["…"]
    return " > ".join([*words, *([called] if called and words else [])])
