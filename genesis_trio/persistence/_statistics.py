"""What is saved now, and what was written since the store was opened, in numbers."""

from datetime import datetime

from genesis_trio.persistence._writer import Writer
from genesis_trio.persistence.checkpoints import StoreStatistics

__all__ = ["count"]


def count(writer: Writer) -> StoreStatistics:
    """See `Store.statistics`."""
    checkpoints: dict[str, int] = {}
    newest: dict[str, datetime] = {}
    cuts = list(writer.ledger.cuts.values())  # a copy, as the writer's thread may be adding one
    for cut in sorted(cuts, key=lambda cut: cut.number):
        for component in cut.parts:
            checkpoints[component] = checkpoints.get(component, 0) + 1
            newest[component] = cut.created_at
    heads = sorted(writer.ledger.heads.copy().items())
    return StoreStatistics(
        commits=writer.commits,
        records=writer.records,
        cuts=writer.cuts,
        waiting=writer.waiting,
        largest_batch=writer.largest_batch,
        commit_time=writer.commit_time,
        checkpoints=dict(sorted(checkpoints.items())),
        newest=dict(sorted(newest.items())),
        journal={component: head.last - head.base for component, head in heads},
        keys={component: head.keys for component, head in heads},
        room=not writer.is_full,
        poisoned=writer.trouble is not None,
    )
