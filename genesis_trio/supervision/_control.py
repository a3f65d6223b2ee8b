"""What a process must not forget about its children: generations, budgets, parking, poison, and open breakers.

Without it a restart of the process would be a way around every limit: a child that crashed on the same message twice would
get three more crashes of it, and a breaker that has just opened would let a herd through.

Each child and each breaker has one entry in the store's control state, written when it changes.  Times are kept as what is left
of them, beside the wall time of the writing; how long the process was away is taken off.
"""

import json
import math
from datetime import datetime
from typing import TYPE_CHECKING, Any

import attrs
import trio

from genesis_trio import events
from genesis_trio._runtime import Tree, current_run, utcnow
from genesis_trio.errors import GenesisError
from genesis_trio.events import emit
from genesis_trio.policies.breaker import BREAKERS, CircuitBreaker
from genesis_trio.supervision._breaker_watch import breakers_of_this_run

if TYPE_CHECKING:
    from genesis_trio.persistence.store import Store
    from genesis_trio.supervision._poison import Poison

__all__ = ["ChildRecord", "Control"]

CHILD = "child/"
BREAKER = "breaker/"
LADDER = "ladder/"


@attrs.frozen(kw_only=True)
class ChildRecord:
    """What is kept of one child; seconds are counted from the moment of writing.

    Attributes:
        generation: Its last incarnation.
        crashes: For each crash that its budget still counts, the seconds until it no longer does.
        in_a_row: Crashes without a healthy time between them: they set the next delay.
        parked: It was parked, and had not proved itself since.
        unpark_after: Seconds that it would be parked for next time, or None for by hand.
        poison: By mailbox and origin of a message: its position, and how often it crashed the child.
        batches: By mailbox: the batch that crashed it, see `Poison`.
    """

    generation: int
    crashes: tuple[float, ...] = ()
    in_a_row: int = 0
    parked: bool = False
    unpark_after: float | None = None
    poison: dict[str, dict[str, tuple[int, int]]] = attrs.Factory(dict)
    batches: dict[str, tuple[int, int, str]] = attrs.Factory(dict)


class Control:
    """The control state of one tree's children and breakers."""

    def __init__(self, tree: Tree, store: "Store") -> None:
        self._tree = tree
        self._store = store
        self._written: dict[str, str] = {}
        self._children: dict[str, tuple[ChildRecord, float]] = {}  # with the seconds since it was written
        self._breakers: dict[str, tuple[dict[str, Any], float]] = {}
        self._ladders: dict[str, dict[str, Any]] = {}
        self._moved: dict[CircuitBreaker, None] = {}
        self._woken = trio.Event()

    # ------------------------------------------------------------ restoring

    async def load(self) -> None:
        """Read what the last process left; breakers that are made already are restored at once."""
        now = utcnow()
        for name, body in (await self._store.read_control()).items():
            if not name.startswith((CHILD, BREAKER, LADDER)):
                continue
            try:
                saved = json.loads(body)
                if name.startswith(LADDER):
                    self._ladders[name.removeprefix(LADDER)] = dict(saved)
                    continue
                # A wall clock that was set back must not make a limit longer.
                away = max(0.0, (now - datetime.fromisoformat(saved.pop("at"))).total_seconds())
                if name.startswith(CHILD):
                    self._children[name.removeprefix(CHILD)] = _child_from_json(saved), away
                else:
                    self._breakers[name.removeprefix(BREAKER)] = saved, away
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                self._not_restored(name, error)
        for named in BREAKERS.by_name().values():
            for breaker in named:
                self.restore_breaker(breaker)

    def restore_breaker(self, breaker: CircuitBreaker) -> None:
        """Bring *breaker* into its saved state, unless this run has used it already: then its own state is newer."""
        saved = self._breakers.get(breaker.name)
        if saved is None or breaker._run is current_run():
            return
        try:
            breaker._restore(saved[0], away=saved[1])
        except ValueError as error:
            self._not_restored(BREAKER + breaker.name, error)

    def take_child(self, path: str) -> tuple[ChildRecord, float] | None:
        """What was saved of the child at *path*, once, and how many seconds ago."""
        return self._children.pop(path, None)

    def child_goes(self, path: str, poison: "Poison") -> None:
        """Its supervisor stops with its host: the next one of its name is given the same messages, whose crashes count on.

        Budget and parking begin anew, as in OTP; a message that kills its reader would go round for ever.
        """
        self._children[path] = ChildRecord(generation=0, poison=poison.counts, batches=poison.batches), 0.0

    def take_ladder(self, path: str) -> dict[str, Any] | None:
        """What is known of crashes that may be due to the state of the child at *path*; also where its start was given up."""
        return self._ladders.get(path)

    def _not_restored(self, name: str, error: Exception) -> None:
        if self._tree.hooks:
            emit(self._tree, events.ControlNotRestored, entry=name, error=error)

    # ------------------------------------------------------------ saving

    def put_child(self, path: str, record: ChildRecord) -> None:
        """Queue what is to be kept of a child; never waits."""
        self._put(CHILD + path, attrs.asdict(record))

    def put_ladder(self, path: str, ladder: dict[str, Any] | None) -> None:
        """Queue what is known of crashes that may be due to the state of a child; None: nothing."""
        if ladder is not None:
            self._ladders[path] = ladder
            self._put(LADDER + path, ladder)
        elif self._ladders.pop(path, None) is not None:
            self._written.pop(LADDER + path, None)
            self._write(LADDER + path, None)

    def forget_child(self, path: str) -> None:
        """The child never was, or is gone for good."""
        if self._written.pop(CHILD + path, None) is not None:
            self._store.put_control(CHILD + path, None)

    def breaker_moved(self, breaker: CircuitBreaker) -> None:
        """Save *breaker* soon: it tells of a move while it makes it."""
        self._moved[breaker] = None
        self._woken.set()

    async def serve(self) -> None:
        """Save the breakers that moved."""
        while True:
            self._woken = trio.Event()
            moved, self._moved = self._moved, {}
            for breaker in moved:
                self._put_breaker(breaker)
            await self._woken.wait()

    def put_breakers(self) -> None:
        """Queue the state of every breaker that this run has used."""
        for breaker in breakers_of_this_run():
            self._put_breaker(breaker)

    def _put_breaker(self, breaker: CircuitBreaker) -> None:
        self._put(BREAKER + breaker.name, breaker._snapshot())

    def _put(self, name: str, fields: dict[str, Any]) -> None:
        body = json.dumps(fields, sort_keys=True)
        if self._written.get(name) == body:
            return
        self._written[name] = body
        stamped = {**fields, "at": utcnow().isoformat()}
        self._write(name, json.dumps(stamped, sort_keys=True).encode())

    def _write(self, name: str, body: bytes | None) -> None:
        # A store that refuses has told its listeners why; what was written before stands.
        try:
            self._store.put_control(name, body)
        except GenesisError as error:
            self._not_restored(name, error)


def _child_from_json(saved: dict[str, Any]) -> ChildRecord:
    record = ChildRecord(
        generation=int(saved["generation"]),
        crashes=tuple(float(left) for left in saved["crashes"]),
        in_a_row=int(saved["in_a_row"]),
        parked=bool(saved["parked"]),
        unpark_after=None if saved["unpark_after"] is None else float(saved["unpark_after"]),
        poison={
            key: {origin: (int(position), int(crashes)) for origin, (position, crashes) in counts.items()}
            for key, counts in saved["poison"].items()
        },
        batches={
            key: (int(first), int(last), str(origin)) for key, (first, last, origin) in saved.get("batches", {}).items()
        },
    )
    if record.generation < 0 or not all(math.isfinite(left) for left in record.crashes):
        raise ValueError(f"no record of a child: {saved!r}")
    return record
