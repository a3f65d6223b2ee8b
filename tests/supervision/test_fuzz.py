"""Ten thousand random trees; `make fuzz` runs a hundred thousand."""

import pytest

from supervision.fuzz import World, run_tree

CHUNKS = 40
TREES_EACH = 250


@pytest.mark.untraced
@pytest.mark.slow
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_fuzz_random_trees_keep_the_rules(chunk):
    """The rules of `fuzz`: one incarnation at a time, stop order and time, no task left, exact budgets, the right scope, nobody
    forgotten, each message recorded once."""
    for seed in range(1 + chunk * TREES_EACH, 1 + (chunk + 1) * TREES_EACH):
        try:
            run_tree(seed)
        except Exception as error:
            error.add_note(f"python tests/supervision/fuzz.py --first {seed} --trees 1")
            raise


def test_fuzz_same_seed_is_the_same_tree():
    """A violation can be shown again by its seed."""
    first, second = run_tree(3), run_tree(3)

    assert [event.as_dict() for event in first.events] == [event.as_dict() for event in second.events]


def test_fuzz_trees_are_worth_it():
    """Everything that the rules are about happens in a hundred trees."""
    names = set()
    for seed in range(1, 101):
        world: World = run_tree(seed)
        names |= {event.name for event in world.events}

    assert {
        "child_crashed",
        "child_parked",
        "child_trial",
        "child_suspended",
        "crash_while_stopping",
        "state_restored",
        "child_unparked",
        "child_escalated",
        "child_unstopped",
    } <= names
