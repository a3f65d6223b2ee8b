"""Causes, capabilities and the tree of scopes."""

import pickle

import pytest
import trio
import trio.testing

from genesis_trio import (
    Capability,
    Criticality,
    Mode,
    ModePolicy,
    ModeRefusedError,
    allows,
    cancel_when,
    current_mode,
    current_scope,
    mode_scope,
    observe,
    require,
)
from genesis_trio.modes import admits

OPEN, REDUCE, CANCEL, READ = Capability.OPEN, Capability.REDUCE, Capability.CANCEL, Capability.READ


@pytest.mark.parametrize(
    "value", [Mode.NORMAL, Mode.SAFE, Criticality.OPTIONAL, 0, 8, True, None, "OPEN", {OPEN}], ids=repr
)
async def test_what_is_no_capability_is_refused_and_never_allowed(value, autojump_clock):
    """`require(Mode.NORMAL)` reads well and means nothing: it is an error, and not leave for an order."""
    with mode_scope("desk") as desk:
        for ask in (allows, require, desk.allows, desk.require):
            with pytest.raises(TypeError, match="needs is a Capability, got"):
                ask(value)


async def test_capabilities_made_in_any_way_are_asked_alike(autojump_clock):
    """Combined, inverted, from a number or from a pickle: a capability is its bits."""
    with mode_scope("desk") as desk, desk.hold(Mode.SAFE, owner="risk", reason="limit"):
        for allowed in (
            READ | CANCEL | REDUCE,
            ~OPEN,
            Capability(7),
            Capability(0),
            pickle.loads(pickle.dumps(READ | REDUCE)),
        ):
            assert allows(allowed)
            assert desk.allows(allowed)
        for refused in (OPEN | READ, ~READ, Capability(15), OPEN ^ READ, pickle.loads(pickle.dumps(OPEN | CANCEL))):
            assert not allows(refused)
            assert not desk.allows(refused)


@pytest.mark.parametrize("value", [1, True, Criticality.ESSENTIAL, "SAFE", None], ids=repr)
async def test_what_is_no_mode_cancels_nothing(value, autojump_clock):
    """A number would be compared as if it were one."""
    with mode_scope("desk") as desk:
        for watch in (cancel_when, desk.cancel_when):
            with pytest.raises(TypeError, match="mode is a Mode, got"), watch(value):
                pass


async def test_root_scope_is_normal_and_always_there(autojump_clock):
    """Without any scope everything is allowed."""
    assert current_scope().name == "root"
    assert current_mode() is Mode.NORMAL
    assert allows(OPEN | REDUCE | CANCEL | READ)
    require(OPEN)
    assert current_scope().why() == "'root' is in mode NORMAL and allows READ, CANCEL, REDUCE, OPEN; no cause is held"


@pytest.mark.parametrize("mode", [Mode.SAFE, Mode.EMERGENCY])
async def test_safe_and_emergency_take_open_away(mode, autojump_clock):
    """Nothing may add risk; everything that reduces it goes on."""
    with mode_scope("desk") as desk, desk.hold(mode, owner="risk", reason="limit"):
        assert not allows(OPEN)
        assert allows(REDUCE | CANCEL | READ)
        with pytest.raises(
            ModeRefusedError, match=rf"{mode.name}.*OPEN.*'desk' by 'risk'.*limit.*releases it"
        ) as caught:
            require(OPEN)
        assert (caught.value.mode, caught.value.needs) == (mode, OPEN)
        assert pickle.loads(pickle.dumps(caught.value)).mode is mode
    assert current_mode() is Mode.NORMAL


@pytest.mark.parametrize(
    ("criticality", "runs_in"),
    [
        (Criticality.OPTIONAL, [Mode.NORMAL]),
        (Criticality.ESSENTIAL, [Mode.NORMAL, Mode.SAFE]),
        (Criticality.CRITICAL, [Mode.NORMAL, Mode.SAFE, Mode.EMERGENCY]),
    ],
)
def test_admits(criticality, runs_in):
    """Which component runs in which mode."""
    assert [mode for mode in Mode if admits(mode, criticality)] == runs_in


async def test_effective_mode_is_the_worst_here_and_above(autojump_clock):
    """A child is never better than its parent; clearing one cause never clears another."""
    with mode_scope("desk") as desk, mode_scope("strategy") as strategy:
        low = strategy.hold(Mode.SAFE, reason="own")
        high = desk.hold(Mode.EMERGENCY, owner="risk", reason="limit")
        assert (desk.mode, strategy.mode) == (Mode.EMERGENCY, Mode.EMERGENCY)
        assert strategy.path == "desk/strategy"
        high.release()
        high.release()
        assert (desk.mode, strategy.mode) == (Mode.NORMAL, Mode.SAFE)
        assert not high.is_held
        assert "released" in repr(high)
        low.release()
        assert strategy.mode is Mode.NORMAL
        assert strategy.epoch == 4


async def test_capabilities_are_the_intersection(autojump_clock):
    """When the venue is the cause, REDUCE goes too."""
    with mode_scope("desk") as desk, mode_scope("x") as scope:
        desk.hold(Mode.NORMAL, reason="venue down", capabilities=READ | OPEN)
        scope.hold(Mode.SAFE, reason="own")
        assert scope.capabilities == READ
        assert desk.capabilities == READ | OPEN
        assert desk.mode is Mode.NORMAL


async def test_hold_again_is_the_same_cause_at_the_newer_level(autojump_clock):
    """Scope, owner and reason identify a cause; `since` stays."""
    with mode_scope("desk") as desk:
        first = desk.hold(Mode.SAFE, owner="x", reason="r")
        since = first.since
        await trio.sleep(5)
        assert desk.hold(Mode.EMERGENCY, owner="x", reason="r") is first
        (cause,) = desk.causes
        assert (cause.mode, cause.since, cause.owner, cause.reason) == (Mode.EMERGENCY, since, "x", "r")
        assert (first.mode, first.owner, first.reason, first.latched) == (Mode.EMERGENCY, "x", "r", False)
        desk.hold(Mode.SAFE, owner="x", reason="r")
        assert desk.mode is Mode.SAFE


async def test_hold_expires_at_its_time(autojump_clock):
    """Exactly; holding it anew moves the time."""
    with mode_scope("desk") as desk:
        hold = desk.hold(Mode.SAFE, reason="r", expires=2)
        assert (desk.causes[0].expires - desk.causes[0].since).total_seconds() == pytest.approx(2)
        assert "expires at" in desk.why()
        await trio.sleep(1)
        desk.hold(Mode.SAFE, reason="r", expires=3)
        assert await desk.wait_for(lambda mode: mode is Mode.NORMAL) is Mode.NORMAL
        assert trio.current_time() == 4
        assert not hold.is_held


async def test_hold_anew_without_an_expiry_lasts(autojump_clock):
    """The newest hold says how it ends: neither the time nor the condition of an older one clears it."""
    with mode_scope("desk") as desk:
        desk.hold(Mode.SAFE, reason="r", expires=2, clears_when=lambda: trio.current_time() > 1)
        desk.hold(Mode.SAFE, reason="r")
        await trio.sleep(10)
        assert desk.mode is Mode.SAFE
        assert desk.causes[0].expires is None


async def test_hold_clears_when_its_condition_is_true(autojump_clock):
    """Asked ten times a second; a condition that raises clears nothing."""
    well = False

    def broken():
        raise ValueError("broken")

    with mode_scope("desk") as desk:
        desk.hold(Mode.SAFE, reason="r", clears_when=lambda: well)
        desk.hold(Mode.EMERGENCY, reason="broken", clears_when=broken, expires=10)
        await trio.sleep(5)
        assert desk.mode is Mode.EMERGENCY
        well = True
        await desk.wait_for(lambda mode: mode is Mode.NORMAL)
        assert trio.current_time() == pytest.approx(10)


async def test_operator_clears_one_cause(autojump_clock):
    """By owner and reason; what is not held is answered with what is."""
    seen = []
    with observe(seen.append), mode_scope("desk") as desk:
        desk.hold(Mode.SAFE, owner="a", reason="r")
        with pytest.raises(LookupError, match=r"held are: 'a': 'r'"):
            desk.clear("a", "other", by="me")
        for nobody, error in (("", ValueError), (None, TypeError)):
            with pytest.raises(error, match="by is "):
                desk.clear("a", "r", by=nobody)
        desk.clear("a", "r", by="me")
        assert desk.mode is Mode.NORMAL
    assert [event.name for event in seen] == ["cause_held", "mode_raised", "cause_cleared", "mode_lowered"]
    assert seen[2].by == "me"


async def test_hold_that_is_taken_again_is_told_once_and_a_graver_one_again(autojump_clock):
    """Who holds its cause anew each second, as a watchdog does, tells nobody anything new."""
    seen = []
    with observe(seen.append), mode_scope("desk") as desk:
        for _ in range(3):
            desk.hold(Mode.SAFE, owner="feed", reason="no prices")
        desk.hold(Mode.EMERGENCY, owner="feed", reason="no prices")

    assert [event.mode for event in seen if event.name == "cause_held"] == ["SAFE", "EMERGENCY"]


async def test_clear_owned_leaves_latched_and_foreign_causes(autojump_clock):
    """The normal end of an owner clears what it held, but no latch."""
    with mode_scope("desk") as desk:
        for owner, latched in (("a", False), ("a", True), ("b", False)):
            desk.hold(Mode.SAFE, owner=owner, reason=f"latched={latched}", latched=latched)
        desk.clear_owned("a", "test")
        assert [(cause.owner, cause.latched) for cause in desk.causes] == [("a", True), ("b", False)]
        assert "latched: an operator" in desk.why()
        await desk.settled()


async def test_wait_for_judges_in_the_step_of_the_change(autojump_clock):
    """A mode that was left again before the waiter ran is not missed."""
    with mode_scope("desk") as desk:
        found = []

        async def wait():
            found.append(await desk.wait_for(lambda mode: mode is Mode.EMERGENCY))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            desk.hold(Mode.EMERGENCY, reason="pulse").release()
        assert found == [Mode.EMERGENCY]


async def test_changes_gives_every_change_in_order(autojump_clock):
    """From the call on; a pulse is two of them; an abandoned iterator goes away."""
    with mode_scope("desk") as desk:
        changes = desk.changes()
        desk.hold(Mode.SAFE, reason="r")
        desk.hold(Mode.EMERGENCY, reason="s").release()
        assert [await anext(changes) for _ in range(3)] == [Mode.SAFE, Mode.EMERGENCY, Mode.SAFE]
        with trio.move_on_after(1) as scope:
            await anext(changes)
        assert scope.cancelled_caught

        abandoned = desk.changes()
        assert len(desk._watchers) == 2
        del abandoned
        assert len(desk._watchers) == 1


async def test_cancel_when_cancels_in_the_step_and_at_once_when_entered_so(autojump_clock):
    """The function uses the current scope."""
    with mode_scope("desk") as desk:

        async def later():
            await trio.sleep(3)
            desk.hold(Mode.SAFE, reason="r")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            with cancel_when(Mode.SAFE) as scope:
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() == 3
        with desk.cancel_when(Mode.SAFE) as scope:
            await trio.sleep(1)
        assert scope.cancelled_caught
        with desk.cancel_when(Mode.EMERGENCY) as scope:
            await trio.sleep(1)
        assert not scope.cancelled_caught
        assert trio.current_time() == 4


async def test_tasks_started_before_a_change_see_it(autojump_clock):
    """A scope is found through the context, not copied into it."""
    seen = []
    with mode_scope("desk") as desk:

        async def reader():
            await trio.sleep(1)
            seen.append(current_mode())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            desk.hold(Mode.SAFE, reason="r")
    assert seen == [Mode.SAFE]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"mode": 1, "reason": "r"}, TypeError),
        ({"mode": Mode.SAFE, "reason": ""}, ValueError),
        ({"mode": Mode.SAFE, "reason": 1}, TypeError),
        ({"mode": Mode.SAFE, "reason": "r", "owner": ""}, ValueError),
        ({"mode": Mode.SAFE, "reason": "r", "owner": 1}, TypeError),
        ({"mode": Mode.SAFE, "reason": "r", "capabilities": 3}, TypeError),
        ({"mode": Mode.SAFE, "reason": "r", "latched": 1}, TypeError),
        ({"mode": Mode.SAFE, "reason": "r", "expires": 0}, ValueError),
        ({"mode": Mode.SAFE, "reason": "r", "expires": "1"}, TypeError),
        ({"mode": Mode.SAFE, "reason": "r", "clears_when": 1}, TypeError),
    ],
)
async def test_hold_wrong_arguments_are_refused(arguments, error, autojump_clock):
    """At once, with the value; nothing is held."""
    with mode_scope("desk") as desk:
        with pytest.raises(error):
            desk.hold(arguments.pop("mode"), **arguments)
        assert desk.causes == ()
        assert "desk" in repr(desk)
    with pytest.raises(ValueError, match="has no '/'"), mode_scope("a/b"):
        pass
    with pytest.raises(TypeError, match="name is a string, got 1"), mode_scope(1):
        pass


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"safe_at": 0}, ValueError),
        ({"safe_at": 0.6}, ValueError),
        ({"safe_at": True}, TypeError),
        ({"essential_failure": 1}, TypeError),
        ({"trigger_after": -1}, ValueError),
        ({"recover_after": 100}, ValueError),
    ],
)
def test_mode_policy_wrong_settings_are_refused(arguments, error):
    """Shares are in (0, 1], times are finite, and limits do not contradict each other."""
    with pytest.raises(error):
        ModePolicy(**arguments)


async def test_wait_for_a_mode_instead_of_a_function_is_refused_in_words(autojump_clock):
    """The usual slip."""
    with pytest.raises(TypeError, match=r"as in lambda mode: mode is Mode\.NORMAL, got <Mode\.SAFE: 1>$"):
        await current_scope().wait_for(Mode.SAFE)
