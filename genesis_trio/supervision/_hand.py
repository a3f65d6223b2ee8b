"""Whose a message in hand is: which task got it, and which others work on it."""

import trio

__all__ = ["Hand", "is_ours", "take_in_hand"]

#: A task that got a message, and how many nurseries were open in it then: those that it opens for the message come after.
#: A plain tuple, since one is made for each message: that takes a third of the time.
Hand = tuple[trio.lowlevel.Task, int]


def take_in_hand() -> Hand:
    """This task is getting a message."""
    task = trio.lowlevel.current_task()
    return task, len(task.child_nurseries)


def is_ours(hand: Hand) -> bool:
    """True in the task that got the message, and in those that it has started for it, at any depth."""
    reader, nurseries = hand
    task = trio.lowlevel.current_task()
    if task is reader:
        return True
    nursery = task.parent_nursery
    while nursery is not None and nursery.parent_task is not reader:
        nursery = nursery.parent_task.parent_nursery
    return nursery in reader.child_nurseries[nurseries:]
