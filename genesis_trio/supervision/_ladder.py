"""Which state a child starts from when the one it starts from keeps killing it.  Plain values: no clock, no store.

::

    the newest ──── LIMIT crashes before the first message, all alike ────► it is a suspect
        ▲                                                                       │
        │                                      the next older state is tried  ◄─┤
        │                                                                       │  LIMIT crashes: a suspect, too
        ├── it lives: all suspects are quarantined, and it is the newest  ◄─────┤
        └── none is left to try: it was not the state, and nobody is quarantined ◄─┘

A crash before the first message may be due to the state, to the code or to the outside.  One state cannot tell which;
another one that lives where the first one died can.  So nothing is convicted by its own crashes alone.

A crash after the first message is not counted here: it is due to the message (see ``_poison``), or to nobody we know.
"""

import enum
from collections.abc import Iterable
from typing import Any

import attrs

__all__ = ["LIMIT", "Case", "Ladder", "Origin", "Recovery", "Rung", "refusal"]

#: Crashes that make a suspect; as many as a message has before it is dead.
LIMIT = 3


class Recovery(enum.Enum):
    """From which state a child may start when the newest one keeps killing it: the values of ``ChildSpec(recovery=…)``.

    - ``NEWEST``: from no other one.
    - ``COVERED``: from older saved checkpoints, where the journal covers what came after them.
    - ``OLDER``: from older saved checkpoints, also where something is lost.
    - ``COLD``: when none of them helps, from a first state, without what was saved and recorded.
    """

    NEWEST = "newest"
    COVERED = "covered"
    OLDER = "older"
    COLD = "cold"


@attrs.frozen
class Origin:
    """What a run started from.

    Attributes:
        state: The digest of the state, as the run got it; empty where it got none.
        checkpoint: The id of the saved checkpoint; empty where there was none.
        journal: The last record that the state includes.
    """

    state: str
    checkpoint: str = ""
    journal: int = 0


@attrs.frozen
class Case:
    """The crashes of one state: error and where it was raised, and what it was restored from.

    Attributes:
        error: The last one, as `name_crash` says it.
        states: The digests of the state; more than one where records came behind it that another state has made.
        checkpoints: The ids of the saved checkpoints that it came from: a later one may hold it again.
        journal: The last record that it includes.
        crashes: How many.
        life: Seconds from the start to the crash, of the run that lived longest.
    """

    error: str
    states: tuple[str, ...]
    checkpoints: tuple[str, ...]
    journal: int
    crashes: int
    life: float = 0.0

    def __str__(self) -> str:
        names = ", ".join(self.checkpoints) or "a first state"
        return f"{names} with the records up to {self.journal} crashed it {self.crashes} times before its first message: {self.error}"


class Ladder:
    """The crashes of one child that may be due to its state.

    Attributes:
        case: The state that it starts from, once that has crashed it.
        suspects: Newer states that it was taken down from, newest first.
        excused: An error that other states met as well: no state is suspected of it until the child has lived.
    """

    __slots__ = ("case", "excused", "suspects")

    def __init__(self) -> None:
        self.case: Case | None = None
        self.suspects: tuple[Case, ...] = ()
        self.excused = ""

    @property
    def longest_life(self) -> float:
        """Seconds that a run has to last at least to have got further than the suspects did."""
        return max((suspect.life for suspect in self.suspects), default=0.0)

    def crashed(self, error: str, origin: Origin, life: float = 0.0) -> bool:
        """Count a crash before the first message, *life* seconds after the start; True if another state should be tried.

        A state that is tried in place of another one has its crashes counted whatever the error: it did not live.
        """
        case = self.case
        if case is None or origin.state not in case.states or (case.error != error and not self.suspects):
            case = Case(error, (origin.state,), (), origin.journal, 0)
        names = case.checkpoints
        if origin.checkpoint and origin.checkpoint not in names:
            names = (*names, origin.checkpoint)
        longest = max(case.life, life)
        self.case = case = attrs.evolve(case, error=error, checkpoints=names, crashes=case.crashes + 1, life=longest)
        return case.crashes >= LIMIT and error != self.excused

    def is_suspect(self, *, checkpoint: str = "", states: Iterable[str]) -> bool:
        """True if it is one of the suspects that came from *checkpoint*, or is one of *states*."""
        return any(
            checkpoint in suspect.checkpoints or any(state in suspect.states for state in states)
            for suspect in self.suspects
        )

    def know(self, state: str) -> None:
        """The newest suspect is this *state* as well: records have come behind it."""
        newest, *others = self.suspects
        if state not in newest.states:
            self.suspects = (attrs.evolve(newest, states=(*newest.states, state)), *others)

    def is_alike(self, error: str) -> bool:
        """True if that is what the suspects died of."""
        return any(suspect.error == error for suspect in self.suspects)

    def step_down(self) -> Case:
        """The state that has just crashed is a suspect, and the next older one is tried."""
        assert self.case is not None
        suspect, self.case = self.case, None
        self.suspects = (*self.suspects, suspect)
        return suspect

    def acquit(self) -> tuple[Case, ...]:
        """No state is left to try: what crashed them all is not one of them.  Those that were suspects, and the last one."""
        last = () if self.case is None else (self.case,)
        tried = (*self.suspects, *last)
        self.excused = tried[0].error if tried else ""
        self.suspects, self.case = (), None
        return tried

    def lived(self) -> tuple[Case, ...] | None:
        """A run got further than the suspects: its state is good.  They are convicted, and returned; None if nothing was known."""
        knew = self.case is not None or self.suspects or self.excused
        convicted, self.suspects = self.suspects, ()
        self.case, self.excused = None, ""
        return convicted if knew else None

    # ------------------------------------------------------------ what outlives the process

    def as_json(self) -> dict[str, Any] | None:
        """What a later process has to know; None if that is nothing."""
        if self.case is None and not self.suspects and not self.excused:
            return None
        return {
            "case": None if self.case is None else attrs.asdict(self.case),
            "suspects": [attrs.asdict(suspect) for suspect in self.suspects],
            "excused": self.excused,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over what an earlier process left; KeyError, TypeError or ValueError where it is none of ours."""
        case = None if saved["case"] is None else _case_from_json(saved["case"])
        suspects = tuple(_case_from_json(suspect) for suspect in saved["suspects"])
        self.case, self.suspects, self.excused = case, suspects, str(saved["excused"])


def _case_from_json(saved: dict[str, Any]) -> Case:
    return Case(
        error=str(saved["error"]),
        states=tuple(str(state) for state in saved["states"]),
        checkpoints=tuple(str(name) for name in saved["checkpoints"]),
        journal=int(saved["journal"]),
        crashes=int(saved["crashes"]),
        life=float(saved["life"]),
    )


# ---------------------------------------------------------------- what may be taken


@attrs.frozen(kw_only=True)
class Rung:
    """What it means to start from an older state.

    Attributes:
        checkpoint: Its id; empty for a first state.
        lost: Acknowledged records that neither it nor the journal behind it holds; None when that cannot be known.
        gone: Messages that were handled after it, are saved with newer states, and do not come again.
        records: How many records between it and the newest saved state are replayed.
    """

    checkpoint: str
    lost: int | None
    gone: int
    records: int

    @property
    def is_whole(self) -> bool:
        """True if nothing is lost for certain: every record is there, and every message comes again."""
        return self.lost == 0 and self.gone == 0

    def __str__(self) -> str:
        """The arithmetic in words."""
        lost = "an unknown number of" if self.lost is None else str(self.lost)
        words = f"{lost} acknowledged records are lost"
        if self.gone:
            words += f", and {self.gone} messages that were handled after it do not come again ({self.records} records were made meanwhile)"
        return words


def refusal(rung: Rung, recovery: Recovery) -> str | None:
    """Why *recovery* does not allow to start from *rung*; None where it does.

    Covered is a saved state that loses no record, and has at least one record for each message that does not come again.
    """
    if recovery is Recovery.NEWEST:
        return "recovery is NEWEST"
    is_covered = rung.lost == 0 and rung.gone <= rung.records
    if recovery is Recovery.COLD or (rung.checkpoint and (is_covered or recovery is Recovery.OLDER)):
        return None
    return str(rung)
