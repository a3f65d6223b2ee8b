"""What the tests of entry actions share."""

import trio

NAMES = (
    "entry_action_started",
    "entry_action_done",
    "entry_action_failed",
    "entry_action_unwritten",
    "entry_action_unknown",
    "latch_not_written",
)


class Flatten:
    """An action that takes *seconds*, and remembers when it began."""

    def __init__(self, seconds=0.0):
        self.__qualname__ = "flatten"
        self.seconds = seconds
        self.began = []
        self.ended = []

    async def __call__(self, *args):
        self.began.append((trio.current_time(), *args))
        await trio.sleep(self.seconds)
        self.ended.append(trio.current_time())
