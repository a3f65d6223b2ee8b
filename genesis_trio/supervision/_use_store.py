"""A supervisor with a store: latches, memory and saving, lined up before any child starts."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from genesis_trio.events import describe_error
from genesis_trio.modes import Mode

if TYPE_CHECKING:
    from genesis_trio.persistence.policy import CheckpointPolicy
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["use_store"]


async def use_store(
    supervisor: "Supervisor",
    store: "Store",
    checkpoint: "CheckpointPolicy | None",
    restore: "str | datetime | None",
    only: Sequence[str],
) -> None:
    """Restore what a process must not forget, and let the store's troubles be known; before any child starts."""
    # Whoever has no store need not load what goes with it.
    from genesis_trio.persistence.policy import CheckpointPolicy
    from genesis_trio.supervision._control import Control
    from genesis_trio.supervision._latches import Latches
    from genesis_trio.supervision._saving import Saver

    tree = supervisor.tree
    tree.latches = Latches(tree, store)
    await tree.latches.load()
    supervisor.scope.latch_log = tree.latches
    tree.latches.restore(supervisor.scope)
    newest = await store.newest_checkpoint()
    saved = set(newest.components) if newest is not None else set()
    if restore is not None:
        newest = await store.rewind(restore, only=only)
        saved.update(newest.components)
    tree.watch_breakers()
    tree.control = Control(tree, store)
    await tree.control.load()
    tree.saver = Saver(tree, store, checkpoint if checkpoint is not None else CheckpointPolicy(), saved=saved)
    tree.saver.last = newest

    def trouble(error: Exception) -> None:
        reason = f"the store failed: {describe_error(error)}"
        # A full disk passes, and the store goes on by itself; what has poisoned it does not pass.
        goes_on = None if store.poisoned is not None else lambda: store.statistics().room
        supervisor.scope.hold(Mode.SAFE, owner="store", reason=reason, clears_when=goes_on)

    store.belong_to(tree)
    store.on_trouble.append(trouble)
    if store.poisoned is not None:
        trouble(store.poisoned)
    if store.damage:
        supervisor.scope.hold(Mode.SAFE, owner="store", reason=f"the store is damaged: {'; '.join(store.damage)}")
    supervisor.start_service(tree.latches.serve)
    supervisor.start_service(tree.saver.serve)
    supervisor.start_service(tree.saver.prune)
    supervisor.start_service(tree.control.serve)
