"""The policy by which a tree saves itself."""

import attrs
import pytest

from genesis_trio import CheckpointPolicy


def test_policy_defaults_are_those_of_the_contract():
    """Every 30 seconds or 1000 messages, ten are kept."""
    policy = CheckpointPolicy()

    assert (policy.every, policy.messages, policy.bytes, policy.keep) == (30.0, 1000, None, 10)
    assert policy.keep_journal is False


@pytest.mark.parametrize("value", [1, None, "yes"])
def test_policy_flag_of_another_type_is_a_type_error(value):
    """What is kept is no matter of taste."""
    with pytest.raises(TypeError, match="keep_journal must be True or False"):
        CheckpointPolicy(keep_journal=value)


def test_policy_is_frozen():
    """A policy does not change once it is made."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        CheckpointPolicy().keep = 1


@pytest.mark.parametrize(
    "options",
    [{"every": None}, {"every": 1}, {"every": 0.001}, {"messages": None}, {"messages": 1}, {"bytes": 1}, {"keep": 1}],
)
def test_policy_that_can_work_is_accepted(options):
    """None switches a trigger off; anything positive is a trigger."""
    (name,) = options

    assert getattr(CheckpointPolicy(**options), name) == options[name]


@pytest.mark.parametrize("value", [0, 0.0, -1, float("nan"), float("inf")])
def test_policy_time_that_cannot_work_is_a_value_error(value):
    """Seconds are positive and finite."""
    with pytest.raises(ValueError, match="every must be positive and finite"):
        CheckpointPolicy(every=value)


@pytest.mark.parametrize("name", ["messages", "bytes", "keep"])
@pytest.mark.parametrize("value", [0, -1])
def test_policy_count_that_cannot_work_is_a_value_error(name, value):
    """Counts are at least 1."""
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
        CheckpointPolicy(**{name: value})


@pytest.mark.parametrize("name", ["every", "messages", "bytes", "keep"])
@pytest.mark.parametrize("value", ["1", True, b"1"])
def test_policy_wrong_type_is_a_type_error(name, value):
    """Numbers are numbers; a bool is none."""
    with pytest.raises(TypeError, match=f"{name} must be"):
        CheckpointPolicy(**{name: value})


@pytest.mark.parametrize("name", ["messages", "bytes", "keep"])
def test_policy_count_is_whole(name):
    """Nothing is counted by halves, and `keep` cannot be switched off."""
    with pytest.raises(TypeError):
        CheckpointPolicy(**{name: 1.5})
    with pytest.raises(TypeError):
        CheckpointPolicy(keep=None)
