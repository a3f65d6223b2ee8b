"""How many messages wait, as health: a reader that does not keep up works badly, before anything is refused."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from genesis_trio.messaging.mailbox import Mailbox

__all__ = ["watch_depth"]


@contextlib.contextmanager
def watch_depth(
    unhealthy: Callable[[str], AbstractContextManager[None]], mailbox: Mailbox, max_depth: int | None
) -> Iterator[None]:
    """Be *unhealthy* from the moment when more than *max_depth* messages wait until no more than half of that do."""
    if max_depth is None:
        yield
        return
    with contextlib.ExitStack() as complaint:
        is_deep = False

        def judge(depth: int) -> None:
            nonlocal is_deep
            if not is_deep and depth > max_depth:
                is_deep = True
                complaint.enter_context(unhealthy(f"more than {max_depth} messages wait in {mailbox.key}"))
            elif is_deep and depth <= max_depth // 2:  # not at the limit itself, where it would flap
                is_deep = False
                complaint.close()

        mailbox.on_depth = judge
        judge(len(mailbox))
        try:
            yield
        finally:
            mailbox.on_depth = None
