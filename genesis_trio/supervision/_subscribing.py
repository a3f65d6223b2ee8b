"""What a subscription needs: settings that can work, the mailbox of its child, and somebody who looks at the age of its data."""

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trio

from genesis_trio._members import check_member
from genesis_trio.messaging.mailbox import Mailbox, mailbox_key
from genesis_trio.messaging.topic import Overflow, Topic, check_topic
from genesis_trio.supervision._inbox import restore_mailbox

if TYPE_CHECKING:
    from genesis_trio.supervision.child import Child

__all__ = ["check_capacity", "check_seconds", "check_subscription", "open_mailbox", "watch_age"]


def check_capacity(capacity: object, what: str) -> None:
    """Refuse what is no number of *what*, messages or requests, that may wait."""
    if isinstance(capacity, bool) or not isinstance(capacity, int):
        raise TypeError(f"capacity is a number of {what}, got {capacity!r}")
    if capacity < 1:
        raise ValueError(f"capacity is at least 1, got {capacity!r}")


def check_seconds(what: str, seconds: object, limit: float) -> None:
    """Refuse what is no time of at most *limit* seconds: a comparison would, too, but not say which one it is."""
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{what} is a number of seconds, or None, got {seconds!r}")
    if not 0 < seconds <= limit:
        kind = "positive" if limit == math.inf else "positive and finite"
        raise ValueError(f"{what} is in seconds, {kind}, or None, got {seconds!r}")


def check_subscription(
    topics: tuple[object, ...],
    capacity: int,
    overflow: Overflow,
    every: float | None,
    max_age: float | None,
    max_depth: int | None,
) -> None:
    """Refuse what no inbox can be opened with, see `Context.subscribe`."""
    if not topics:
        raise ValueError("subscribe() wants at least one topic")
    for topic in topics:
        check_topic(topic)
    check_capacity(capacity, "messages")
    check_member("overflow", overflow, Overflow)
    for what, seconds in (("every", every), ("max_age", max_age)):
        if seconds is not None:
            check_seconds(what, seconds, sys.float_info.max)
    if max_depth is not None and (isinstance(max_depth, bool) or not isinstance(max_depth, int)):
        raise TypeError(f"max_depth is a number of messages, or None, got {max_depth!r}")
    if max_depth is not None and not 1 <= max_depth < capacity:
        raise ValueError(f"max_depth is at least 1 and below capacity={capacity}, got {max_depth!r}")


def open_mailbox(child: "Child", topics: tuple[Topic[Any], ...], *, capacity: int, overflow: Overflow) -> Mailbox:
    """The child's mailbox for *topics*: the one it had, what was saved of it, or a new one."""
    incarnation = child.incarnation
    assert incarnation is not None
    for subscription in incarnation.subscriptions():
        for topic in topics:
            if topic in subscription._mailbox.topics:
                raise ValueError(
                    f"{child.path!r} has a subscription to topic {topic.name!r} already; one inbox can have several topics: "
                    f"ctx.subscribe(A, B)"
                )
    for topic in topics:
        child.tree.bus.check_name(topic)  # a mailbox is found by the names of its topics
    if len(set(topics)) < len(topics):
        raise ValueError(f"subscribe() got a topic twice: {', '.join(topic.name for topic in topics)}")
    mailbox = child.mailboxes.get(mailbox_key(topics))
    if mailbox is not None:
        mailbox.capacity = capacity
        mailbox.awaits_reader = False
        if mailbox.in_hand:
            mailbox.give_back(crashed=mailbox.left_by_error)  # its reader failed and came back without a restart
        child.tree.bus.refresh(mailbox)
        return mailbox
    if child.is_saved and overflow.keeps_all:
        from genesis_trio.persistence import codec

        for topic in topics:
            codec.check_type(topic.message_type)
    mailbox = Mailbox(
        child.path,
        topics,
        capacity=capacity,
        overflow=overflow,
        keeps_handled=child.is_saved,
        on_dead=child.message_died,
        intake=child.intake(),
        peers=child.peers(),
    )
    saved = child.unopened.get(mailbox.key) if mailbox.keeps_handled else None
    if saved is not None:
        restore_mailbox(mailbox, saved)
        del child.unopened[mailbox.key]  # not before: what this code cannot read stays in each cut as it was saved
        assert child.poison is not None  # it is saved
        child.poison.mark(mailbox)
    child.tree.bus.open(mailbox, restored=saved is not None)
    child.mailboxes = child.mailboxes or {}
    child.mailboxes[mailbox.key] = mailbox
    return mailbox


@contextlib.contextmanager
def watch_age(child: "Child", mailbox: Mailbox, max_age: float | None) -> Iterator[None]:
    """Count as failing while *mailbox* gets no message for *max_age* seconds."""
    if max_age is None:
        yield
        return
    incarnation = child.incarnation
    assert incarnation is not None
    last_arrival = trio.current_time()
    arrived = trio.Event()

    def note() -> None:
        nonlocal last_arrival
        last_arrival = trio.current_time()
        arrived.set()

    async def watch() -> None:
        nonlocal arrived
        while True:
            due = last_arrival + max_age
            if trio.current_time() < due:
                await trio.sleep_until(due)
                continue
            arrived = trio.Event()
            with incarnation.unhealthy(f"no message on {mailbox.key} for {max_age} s"):
                await arrived.wait()

    mailbox.on_arrival = note
    scope = child.supervisor.start_service(watch)
    try:
        yield
    finally:
        scope.cancel(reason="the subscription ended")
        mailbox.on_arrival = None
