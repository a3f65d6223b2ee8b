"""What nested children leave behind while their host is down: it waits for the next child of their path.

A child of the root is one object across its restarts, and so are its mailboxes.  A nested child ends with its supervisor, and its
host's next run makes another one.  In between its mailboxes belong to the host, and hold senders back as those of the host do;
and whoever asked it something waits on::

    host crashes, or is to restart           its next run makes a child of that path
    ─────────────┬──────────────────────────────────────┬──────────────────────────►
                 └── go_away: follows the host's status ┴── take_over

They are closed with the host's own mailboxes, or when it has been READY for its ``start_timeout`` without that child.
"""

from typing import TYPE_CHECKING

from genesis_trio.messaging.topic import Intake
from genesis_trio.supervision._unread import runs_on, tell_closed
from genesis_trio.supervision.component import Restart

if TYPE_CHECKING:
    from genesis_trio.supervision._child_state import ChildState
    from genesis_trio.supervision._incarnation import Incarnation

__all__ = ["await_return", "follow", "go_away", "release", "stay_known", "take_over"]


def stay_known(child: "ChildState") -> None:
    """*child* ends with its supervisor; until the next one of its path has a state, its own belongs to each cut, and crashes count on."""
    tree = child.tree
    if tree.saver is not None and child.spec.restart is not Restart.TEMPORARY:
        tree.saver.child_goes(child)
        poison = child.poison
        if tree.control is not None and poison is not None and (poison.counts or poison.batches):
            tree.control.child_goes(child.path, poison)


def go_away(child: "ChildState") -> None:
    """*child* ends, and its host may run again: its mailboxes wait for the next one of its path."""
    incarnation = child.supervisor.host
    assert incarnation is not None
    host = incarnation.child
    host.away = host.away or {}
    host.away[child.path] = child
    follow(child, host.intake(), host.peers() or host.path)
    if incarnation.is_ready and not incarnation.stopping:
        host.supervisor.start_service(lambda: await_return(host, incarnation))


def take_over(child: "ChildState") -> None:
    """*child* was just made: it has the mailboxes of the one that had its path before it, if that went away with its host."""
    host = child.supervisor.host
    former = host.child.away.pop(child.path, None) if host is not None and host.child.away else None
    if former is None:
        return
    child.comes_back = True
    child.away = former.away
    child.mailboxes = dict(former.mailboxes)  # the former one's own are still what it contributes to a cut
    for mailbox in child.mailboxes.values():
        mailbox.on_dead = child.message_died
        mailbox.keeps_handled = child.is_saved and mailbox.overflow.keeps_all
    child.set_intake()


def follow(child: "ChildState", intake: Intake, peers: str) -> None:
    """Let the mailboxes of *child*, which is away, and of those that it is the host of, do the same as those of its host.

    Nobody waited for one that had ended by itself, and so nobody does now.
    """
    if child.has_ended:
        return
    for mailbox in child.mailboxes.values():
        mailbox.set_intake(intake, peers)
    for nested in child.away.values():
        follow(nested, intake, peers)


def release(child: "ChildState", *, was_awaited: bool = False) -> None:
    """*child*, which has ended, and those that it is the host of do not come back: close their mailboxes."""
    child.tree.bus.stop_answering(child.path, for_good=True)
    for mailbox in child.mailboxes.values():
        child.tree.bus.close(mailbox)
        if was_awaited and not child.has_ended:
            tell_closed(child, mailbox, kept=len(mailbox) if mailbox.keeps_handled else 0)
    for nested in child.away.values():
        release(nested, was_awaited=was_awaited)


async def await_return(host: "ChildState", incarnation: "Incarnation") -> None:
    """*incarnation* of *host* is READY: whoever it does not make in its ``start_timeout`` does not come back."""
    awaited = dict(host.away)
    if await runs_on(host, incarnation):
        for path, child in awaited.items():
            if host.away.get(path) is child:
                del host.away[path]
                release(child, was_awaited=True)
