"""The recovery ladder as plain values: who is a suspect, who is convicted, and what may be taken instead."""

import json

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from genesis_trio.errors import StoreError
from genesis_trio.supervision._exits import name_crash
from genesis_trio.supervision._inbox import SavedMailbox, merge_inboxes
from genesis_trio.supervision._ladder import LIMIT, Ladder, Origin, Recovery, Rung, refusal

NEWEST, OLDER, OLDEST = (
    Origin("state-3", "cp-000003", 30),
    Origin("state-2", "cp-000002", 20),
    Origin("state-1", "cp-000001", 10),
)


def crash(ladder, origin, error="KeyError in run", times=1, life=0.0):
    return [ladder.crashed(error, origin, life) for _ in range(times)]


def test_ladder_third_crash_alike_makes_a_suspect():
    """The same error from the same state, three times before the first message."""
    ladder = Ladder()
    assert crash(ladder, NEWEST, times=LIMIT) == [False, False, True]
    suspect = ladder.step_down()
    assert str(suspect) == (
        "cp-000003 with the records up to 30 crashed it 3 times before its first message: KeyError in run"
    )
    assert ladder.is_suspect(states=["state-3"])
    assert not ladder.is_suspect(states=["state-2"])


@pytest.mark.parametrize("other", [("TypeError in run", NEWEST), ("KeyError in run", OLDER)])
def test_ladder_another_error_or_state_begins_to_count_anew(other):
    """Crashes that are not alike say nothing about one state."""
    ladder = Ladder()
    crash(ladder, NEWEST, times=2)
    error, origin = other
    assert crash(ladder, origin, error, times=LIMIT) == [False, False, True]


def test_ladder_same_state_in_a_later_checkpoint_is_the_same_case():
    """A cut that was taken between two crashes holds the same bytes under another id."""
    ladder = Ladder()
    crash(ladder, NEWEST, times=2)
    assert crash(ladder, Origin("state-3", "cp-000004", 30)) == [True]
    assert ladder.step_down().checkpoints == ("cp-000003", "cp-000004")


def test_ladder_run_that_lived_forgets_the_crashes():
    """What got to a message was no crash of its state."""
    ladder = Ladder()
    crash(ladder, NEWEST, times=2)
    assert ladder.lived() == ()
    assert crash(ladder, NEWEST) == [False]
    assert Ladder().lived() is None


def test_ladder_older_state_that_lives_convicts_all_above_it():
    """Nothing is convicted before another state lived where it died."""
    ladder = Ladder()
    crash(ladder, NEWEST, times=LIMIT)
    ladder.step_down()
    crash(ladder, OLDER, "TypeError elsewhere", times=1)
    assert crash(ladder, OLDER, times=2) == [False, True]  # whatever the errors: it did not live
    ladder.step_down()
    convicted = ladder.lived()
    assert convicted is not None
    assert [case.states[0] for case in convicted] == ["state-3", "state-2"]
    assert ladder.suspects == ()


def test_ladder_states_that_all_crash_are_acquitted_and_not_suspected_of_it_again():
    """The outside, or the code: trying all of them again at each trial would only take time."""
    ladder = Ladder()
    crash(ladder, NEWEST, times=LIMIT)
    ladder.step_down()
    crash(ladder, OLDER, times=LIMIT)
    ladder.step_down()
    assert [case.states[0] for case in ladder.acquit()] == ["state-3", "state-2"]
    assert crash(ladder, NEWEST, times=LIMIT + 1) == [False] * (LIMIT + 1)
    assert crash(ladder, NEWEST, "TypeError elsewhere", times=LIMIT) == [False, False, True]
    ladder.lived()
    assert crash(ladder, NEWEST, times=LIMIT) == [False, False, True]


def test_ladder_knows_a_suspect_also_with_records_behind_it():
    """What an older state on trial records changes what the newest would be restored to; that is no other state."""
    ladder = Ladder()
    crash(ladder, NEWEST, times=LIMIT)
    ladder.step_down()
    ladder.know("state-3 and a record")
    ladder.know("state-3")
    assert ladder.is_suspect(states=["state-3 and a record"])
    assert ladder.is_suspect(checkpoint="cp-000003", states=["state-3 and two"])
    assert not ladder.is_suspect(checkpoint="cp-000002", states=["state-2"])
    assert [case.states for case in ladder.suspects] == [("state-3", "state-3 and a record")]
    assert ladder.is_alike("KeyError in run")
    assert not ladder.is_alike("TypeError elsewhere")


def test_ladder_remembers_how_long_the_suspects_lived():
    """A crash at ten o'clock kills each state at ten o'clock: only one that lives longer proves anything."""
    ladder = Ladder()
    assert ladder.longest_life == 0.0
    for life in (1.0, 7.0, 2.0):
        ladder.crashed("KeyError in run", NEWEST, life)
    ladder.step_down()
    assert ladder.longest_life == 7.0


def test_ladder_survives_the_process():
    """All that was counted comes back; there is nothing to keep of a child that is well."""
    ladder = Ladder()
    assert ladder.as_json() is None
    crash(ladder, NEWEST, times=LIMIT, life=1.5)
    ladder.step_down()
    crash(ladder, OLDER)
    again = Ladder()
    again.restore(json.loads(json.dumps(ladder.as_json())))
    assert (again.case, again.suspects, again.excused) == (ladder.case, ladder.suspects, ladder.excused)


@pytest.mark.parametrize(
    ("rung", "allowed_by"),
    [
        (Rung(checkpoint="cp-1", lost=0, gone=0, records=0), "COVERED OLDER COLD"),
        (Rung(checkpoint="cp-1", lost=0, gone=5, records=5), "COVERED OLDER COLD"),
        (Rung(checkpoint="cp-1", lost=0, gone=6, records=5), "OLDER COLD"),
        (Rung(checkpoint="cp-1", lost=1, gone=0, records=0), "OLDER COLD"),
        (Rung(checkpoint="cp-1", lost=None, gone=0, records=0), "OLDER COLD"),
        (Rung(checkpoint="", lost=None, gone=0, records=0), "COLD"),
        (Rung(checkpoint="", lost=0, gone=0, records=0), "COLD"),
    ],
)
def test_refusal_follows_the_setting(rung, allowed_by):
    """What is covered is allowed by default; a loss, and a cold start, only where somebody said so."""
    allowed = [recovery.name for recovery in Recovery if refusal(rung, recovery) is None]
    assert allowed == allowed_by.split()


def test_refusal_is_the_arithmetic_in_words():
    """It says how much would be lost."""
    rung = Rung(checkpoint="cp-1", lost=2, gone=6, records=5)
    assert refusal(rung, Recovery.COVERED) == (
        "2 acknowledged records are lost, and 6 messages that were handled after it do not come again "
        "(5 records were made meanwhile)"
    )
    assert (
        str(Rung(checkpoint="", lost=None, gone=0, records=0)) == "an unknown number of acknowledged records are lost"
    )
    assert refusal(rung, Recovery.NEWEST) == "recovery is NEWEST"


class LadderMachine(RuleBasedStateMachine):
    """Any crashes and lives, in any order, against the one rule that matters: no verdict without a life elsewhere."""

    def __init__(self):
        super().__init__()
        self.ladder = Ladder()
        self.died = {}

    @property
    def current(self):
        """The newest state that is no suspect."""
        return next((number for number in (3, 2, 1) if not self.ladder.is_suspect(states=[f"state-{number}"])), None)

    @precondition(lambda self: self.current is not None)
    @rule(error=st.sampled_from(["a", "b"]), life=st.floats(0, 100))
    def dies(self, error, life):
        number = self.current
        self.died[number] = self.died.get(number, 0) + 1
        if self.ladder.crashed(error, Origin(f"state-{number}", f"cp-{number}", number), life):
            self.ladder.step_down()

    @precondition(lambda self: self.current is not None)
    @rule()
    def lives(self):
        number = self.current
        convicted = self.ladder.lived() or ()
        assert [case.states[0] for case in convicted] == [f"state-{n}" for n in range(3, number, -1)]
        assert all(self.died[int(case.states[0][-1])] >= LIMIT for case in convicted)
        assert self.ladder.as_json() is None
        self.died.clear()

    @precondition(lambda self: self.current is None)
    @rule()
    def none_is_left(self):
        assert len(self.ladder.acquit()) == 3
        self.died.clear()

    @rule()
    def process_restarts(self):
        saved, again = self.ladder.as_json(), Ladder()
        if saved is not None:
            again.restore(json.loads(json.dumps(saved)))
        self.ladder = again

    @invariant()
    def suspects_are_the_newest_in_order(self):
        assert [case.states[0] for case in self.ladder.suspects] == [
            f"state-{3 - n}" for n in range(len(self.ladder.suspects))
        ]


TestLadderMachine = LadderMachine.TestCase
TestLadderMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def raised(error):
    try:
        raise error
    except BaseException as caught:
        return caught


def test_crash_is_named_by_its_types_and_places_in_any_order():
    """The same crash has the same name, whatever its text says and however its group is nested."""
    one, two = raised(KeyError("a")), raised(TypeError("b"))
    name = name_crash(ExceptionGroup("g", [one, ExceptionGroup("h", [two])]))
    assert name == name_crash(ExceptionGroup("g", [raised(TypeError("other")), raised(KeyError("text"))]))
    assert name is not None
    assert name.startswith("KeyError in raised (")
    assert " and TypeError in raised (" in name
    assert name_crash(KeyError("never raised")) == "KeyError in nobody's code"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        StoreError("no"),
        trio.ClosedResourceError(),
        ExceptionGroup("g", [KeyError("a"), TimeoutError()]),
        BaseExceptionGroup("g", [trio.Cancelled._create(source="explicit")]),
    ],
)
def test_crash_by_the_outside_or_a_refusal_of_ours_has_no_name(error):
    """It says nothing about the state."""
    assert name_crash(error) is None


def box(settled, *positions, following=0):
    return SavedMailbox(settled, following, [[position, "t", f"origin {position}", "1"] for position in positions])


def test_inboxes_merge_to_what_the_older_state_has_to_get():
    """Its own messages and those that came later; what was handled between and waits in neither is counted as gone."""
    older = {"a": box(2, 3, 4, following=5), "only-older": box(1, 2, following=3)}
    newer = {"a": box(6, 7, 8, following=9), "only-newer": box(3, 4, following=5)}
    merged, gone = merge_inboxes(older, newer)
    assert {key: (each.settled, [entry[0] for entry in each.entries]) for key, each in merged.items()} == {
        "a": (2, [3, 4, 7, 8]),
        "only-older": (1, [2]),
        "only-newer": (0, [4]),
    }
    assert [each.next_position for each in merged.values()] == [9, 5, 3]
    assert gone == 2 + 3  # 5 and 6 of a, 1 to 3 of the one that was opened later
    assert merged["a"].up_to(6) == newer["a"]
