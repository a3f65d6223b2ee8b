"""How a run comes to its state: what was saved, an older one on trial, or a first one."""

from functools import partial
from typing import TYPE_CHECKING, Any

from genesis_trio.errors import GenesisError
from genesis_trio.modes import Mode
from genesis_trio.persistence import codec
from genesis_trio.supervision._captured import CapturedPart
from genesis_trio.supervision._first_state import make_first_state
from genesis_trio.supervision._inbox import decode_inbox, merge_inboxes
from genesis_trio.supervision._ladder import Origin
from genesis_trio.supervision._recovery import digest_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genesis_trio.persistence.checkpoints import Loaded
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._inbox import SavedMailbox
    from genesis_trio.supervision._incarnation import Incarnation
    from genesis_trio.supervision._recovery import Start
    from genesis_trio.supervision.child import Child
    from genesis_trio.supervision.component import Component

__all__ = ["bring_state"]


async def bring_state(incarnation: "Incarnation", component: "Component[Any]", store: "Store") -> None:
    """Set ``component.state`` to what was saved, or to a first one, and line the mailboxes up with it."""
    child, state_type = incarnation.child, incarnation.child.spec.state_type
    recovery = child.recovery
    assert state_type is not None
    assert recovery is not None
    incarnation.origin = Origin("")
    codec.check_state_type(state_type)
    loaded: Loaded[Any] | None = None
    failure: Exception | None = None
    try:
        loaded = await store.load(child.path, state_type, make=partial(make_first_state, state_type))
    except GenesisError:
        raise
    except Exception as error:  # of apply(): the newest cannot even be replayed
        failure = error
    start = await recovery.choose(loaded)
    if start is not None:
        _learn(child, store, start.inbox, start.loaded)
        _begin_trial(incarnation, component, start, loaded)
        if child.part is None:
            recovery.lived(incarnation)  # there is no going back to what cannot be replayed
        return
    if failure is not None:
        raise failure
    assert loaded is not None
    component.state = loaded.state
    if loaded.lost != 0:
        lost = "nobody can say how much" if loaded.lost is None else f"{loaded.lost} acknowledged records"
        child.supervisor.scope.hold(
            Mode.SAFE,
            owner="store",
            reason=f"{child.path} came back older than it was, without {lost}; compare it with the outside, then clear this",
        )
    incarnation.journal = loaded.journal
    inbox, _ = merge_inboxes(decode_inbox(loaded.inbox), decode_inbox(loaded.newer_inbox))
    _learn(child, store, inbox, loaded)
    child.line_up(inbox, is_older=bool(loaded.fell_back_from))
    incarnation.capture()
    _note_origin(incarnation, loaded)


def _learn(child: "Child", store: "Store", inbox: "Mapping[str, SavedMailbox]", loaded: "Loaded[Any]") -> None:
    """Know what was recorded for the messages that come with a state."""
    saved = [box.recorded for box in inbox.values()]
    child.tree.recorded_by(child.path).learn(saved, loaded.keys, partial(store.has_record, child.path))


def _begin_trial(
    incarnation: "Incarnation", component: "Component[Any]", start: "Start", newest: "Loaded[Any] | None"
) -> None:
    """Set the state to an older one.  Until it has lived, the newest is what is saved: with the messages that it has to get."""
    child, state_type = incarnation.child, incarnation.child.spec.state_type
    assert state_type is not None
    if child.part is None and newest is not None:
        positions = {key: box.settled for key, box in decode_inbox(newest.inbox).items()}
        body = codec.encode(newest.state, state_type)
        child.part = CapturedPart(body, newest.journal, positions)
    component.state = start.loaded.state
    incarnation.journal = start.loaded.journal
    child.line_up(start.inbox, is_older=True)
    body = codec.encode(component.state, state_type)
    incarnation.trial_part = CapturedPart(body, incarnation.journal, child.positions())
    _note_origin(incarnation, start.loaded)


def _note_origin(incarnation: "Incarnation", loaded: "Loaded[Any]") -> None:
    part = incarnation.trial_part if incarnation.trial_part is not None else incarnation.child.part
    assert part is not None
    checkpoint = loaded.info.id if loaded.info is not None else ""
    incarnation.origin = Origin(digest_state(part.body), checkpoint, loaded.journal)
