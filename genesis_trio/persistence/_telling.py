"""What a store logs and shows to observers: saved, not saved, damaged, recovered."""

import logging
from collections.abc import Sequence

from genesis_trio import events
from genesis_trio._runtime import current_tree
from genesis_trio.errors import StoreError
from genesis_trio.events import emit
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._writer import Writer
from genesis_trio.persistence.checkpoints import CheckpointInfo

__all__ = [
    "tell_damage",
    "tell_failed",
    "tell_left_out",
    "tell_recovery",
    "tell_saved",
    "tell_spoilt_parts",
    "tell_violations",
]

logger = logging.getLogger("genesis_trio")


def tell_saved(info: CheckpointInfo) -> CheckpointInfo:
    """There is a new saved checkpoint; the very same."""
    if (tree := current_tree()).hooks:
        emit(
            tree,
            events.CheckpointSaved,
            checkpoint=info.id,
            reason=info.reason,
            label=info.label or "",
            components=len(info.components),
            size=info.size,
            stall=info.stall,
        )
    return info


def tell_failed(reason: str, error: Exception) -> None:
    """There is none.  Not logged: the error reaches who asked for it."""
    if (tree := current_tree()).hooks:
        emit(tree, events.CheckpointFailed, reason=reason, error=error)


def tell_left_out(cut: Cut, components: Sequence[str]) -> None:
    """All of *cut* is restored, and *components* are not in it: they are from another moment."""
    logger.warning(
        "%s was restored, which has no %s: that stays as it is, and may have changed since; compare it with the others, or "
        "take it from another saved checkpoint with only=",
        cut.id,
        ", ".join(components),
    )
    if (tree := current_tree()).hooks:
        emit(tree, events.RestoreIncomplete, checkpoint=cut.id, components=", ".join(components))


def tell_violations(cut: Cut) -> None:
    """It is there, but some of it is of no use."""
    text = "; ".join(f"{component}: {why}" for component, why in sorted(cut.violations.items()))
    error = StoreError(
        f"{cut.id} holds states that violate their invariants: {text}. It is kept to be looked at; a restart of these "
        f"components takes the one before"
    )
    logger.error("%s", error)
    tell_failed(cut.reason, error)


def tell_damage(url: str, damage: Sequence[str]) -> None:
    """Some of the store is damaged or missing."""
    tree = current_tree()
    for text in damage:
        logger.error("%s: %s", url, text)
        if tree.hooks:
            emit(tree, events.StoreDamaged, store=url, error=text)


def tell_spoilt_parts(writer: Writer) -> None:
    """Some of what was read is damaged, and its second copy was taken."""
    untold = writer.ledger.untold
    writer.ledger.untold = []
    tell_damage(writer.url, untold)


def tell_recovery(
    component: str, checkpoint: str, *, replayed: int, is_whole: bool, damage: Sequence[str], lost: int | None
) -> None:
    """A state came back from *checkpoint*, or from the journal alone where that is empty; *damage* was passed over."""
    tree = current_tree()
    if not is_whole:
        damaged = "; ".join(damage)
        logger.error(
            "%s: recovered from %s with damage passed over; %s acknowledged records are lost: %s",
            component,
            checkpoint or "the journal",
            "an unknown number of" if lost is None else str(lost),
            damaged,
        )
        if tree.hooks:
            fields = {"component": component, "checkpoint": checkpoint, "damaged": damaged}
            emit(tree, events.RecoveryFellBack, **fields, lost=-1 if lost is None else lost)
    if tree.hooks and (checkpoint or replayed):
        emit(tree, events.StateRestored, component=component, checkpoint=checkpoint, replayed=replayed)
