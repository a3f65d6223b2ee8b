"""What follows a crash by its exception, and what ends a whole supervisor; all of it off by default."""

import pytest
import trio

from genesis_trio import Criticality, Mode, OnCrash, observe, open_supervisor
from genesis_trio.supervision._exits import what_follows
from genesis_trio.supervision.component import ChildSpec, Lifecycle
from supervision.desk import EXACT, Log, until_stopped


class Refused(ConnectionError):
    """The venue does not want us."""


def raising(error, after=1.0):
    async def component(ctx):
        ctx.ready()
        await trio.sleep(after)
        raise error

    return component


# ---------------------------------------------------------------- rules


@pytest.mark.parametrize(
    ("error", "follows"),
    [
        (Refused("no"), OnCrash.PARK),  # the first that fits, as with except
        (ConnectionError("gone"), OnCrash.STOP),
        (ValueError("other"), OnCrash.RESTART),
        (ExceptionGroup("g", [ValueError("a"), Refused("b")]), OnCrash.PARK),
        (
            ExceptionGroup("g", [Refused("a"), ExceptionGroup("h", [KeyError("b"), ConnectionError("c")])]),
            OnCrash.ESCALATE,
        ),
        (BaseExceptionGroup("g", [Refused("a"), trio.Cancelled._create(source="explicit")]), OnCrash.PARK),
    ],
)
def test_rules_first_that_fits_counts_and_in_a_group_the_gravest(error, follows):
    """RESTART, PARK, STOP, ESCALATE is the order of gravity."""
    rules = {Refused: OnCrash.PARK, ConnectionError: OnCrash.STOP, KeyError: OnCrash.ESCALATE}

    assert what_follows(error, rules) is follows
    assert what_follows(error, {}) is OnCrash.RESTART


async def test_rules_park_at_the_first_crash_and_hold_the_cause(autojump_clock):
    """Another run would meet the same, so no budget is used up first."""
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(
            raising(Refused("no")), name="x", unpark_after=None, rules={ConnectionError: OnCrash.PARK}
        )
        await trio.sleep(1.5)
        assert (child.status, child.generation, desk.scope.mode) == (Lifecycle.PARKED, 1, Mode.SAFE)
        await desk.stop()


async def test_rules_stop_ends_the_child_and_nothing_else(autojump_clock):
    """A child stopped by a rule is done: it holds no mode, and is not restarted."""
    log = Log()
    with observe(log):
        async with open_supervisor("desk", backoff=EXACT) as desk:
            child = await desk.start(raising(Refused("no")), name="x", rules={Refused: OnCrash.STOP})
            await desk.start(until_stopped, name="y")
            await trio.sleep(1.5)
            assert (child.status, desk.scope.mode) == (Lifecycle.STOPPED, Mode.NORMAL)
            assert isinstance(child.last_error, Refused)
            await desk.stop()

    first = log.named("child_stopped")[0]
    assert (first.child, first.reason) == ("desk/x", "rule for Refused")


async def test_rules_escalate_ends_the_supervisor_with_the_error_bare(autojump_clock):
    """All children stop in reverse order, and the block raises the very error, with a note who escalated it."""
    log = Log()
    error = Refused("no")
    with observe(log), pytest.raises(Refused) as caught:
        async with open_supervisor("desk", backoff=EXACT) as desk:
            await desk.start(until_stopped, name="a")
            await desk.start(raising(error), name="x", rules={Refused: OnCrash.ESCALATE})
            await desk.start(until_stopped, name="b")
            await trio.sleep_forever()

    assert caught.value is error
    assert error.__notes__ == ["child 'desk/x' escalated it: its rules say so of Refused"]
    assert [event.child for event in log.named("child_stopped")] == ["desk/x", "desk/b", "desk/a"]
    assert [event.child for event in log.named("child_escalated")] == ["desk/x"]
    assert trio.current_time() == 1


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"rules": [Refused]}, TypeError, "map exception types"),
        ({"rules": {"OSError": OnCrash.STOP}}, TypeError, "types of Exception"),
        ({"rules": {KeyboardInterrupt: OnCrash.STOP}}, TypeError, "types of Exception"),
        ({"rules": {OSError: "stop"}}, TypeError, "is an OnCrash"),
        ({"escalate": 1}, TypeError, "True or False"),
    ],
)
def test_rules_wrong_settings_are_refused(settings, error, message):
    """At construction, with the child's name."""
    with pytest.raises(error, match=f"child 'x'.*{message}|{message}"):
        ChildSpec(until_stopped, name="x", **settings)


# ---------------------------------------------------------------- escalation


async def test_escalate_over_budget_ends_the_supervisor_instead_of_parking(autojump_clock):
    """The fourth crash within the time is raised; there is no parking and no mode."""
    log = Log()
    with observe(log), pytest.raises(OSError, match="boom") as caught:
        async with open_supervisor("desk", backoff=EXACT) as desk:
            await desk.start(raising(OSError("boom"), after=0.0), name="x", escalate=True)
            await trio.sleep_forever()

    assert "used up its restarts" in caught.value.__notes__[0]
    assert len(log.named("child_crashed")) == 4
    assert not log.named("child_parked", "cause_held")
    assert trio.current_time() == pytest.approx(0.7)


async def test_escalate_of_a_nested_supervisor_is_a_crash_of_its_host(autojump_clock):
    """Escalation goes up one level, and is charged there: the host restarts with a new inner tree."""
    generations = []

    async def host(ctx):
        async with open_supervisor("inner", backoff=EXACT) as inner:
            await inner.start(raising(OSError("boom"), after=0.0), name="x", escalate=True)
            generations.append(ctx.generation)
            ctx.ready()
            await ctx.wait_stopping()

    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(host, name="host", criticality=Criticality.OPTIONAL)
        await trio.sleep(1)
        assert generations == [1, 2]
        assert isinstance(child.last_error, OSError)
        assert desk.scope.mode is Mode.NORMAL
        await desk.stop()


async def test_escalate_after_counts_the_crashes_of_all_children_together(autojump_clock):
    """Three children that crash once each are over a limit of two, though each is within its own budget."""
    with pytest.raises(OSError, match="third") as caught:
        async with open_supervisor("desk", backoff=EXACT, escalate_after=2) as desk:
            for number, name in enumerate(["first", "second", "third"]):
                await desk.start(raising(OSError(name), after=3.0 - 0.5 * (2 - number)), name=name, stop_grace=0)
            await trio.sleep_forever()

    assert "more than escalate_after=2 crashes of all children within 5 s" in caught.value.__notes__[0]
    assert trio.current_time() == 3


async def test_escalate_after_forgets_what_is_longer_ago(autojump_clock):
    """One crash every three seconds is never more than two within five."""
    async with open_supervisor("desk", backoff=EXACT, escalate_after=2) as desk:
        child = await desk.start(raising(OSError("boom"), after=3.0), name="x")
        await trio.sleep(60)
        assert child.restarts == 8
        await desk.stop()


@pytest.mark.parametrize(("limit", "error"), [(True, TypeError), (1.5, TypeError), (-1, ValueError)])
async def test_escalate_after_wrong_settings_are_refused(limit, error):
    """A number of crashes, or None."""
    with pytest.raises(error, match="escalate_after"):
        async with open_supervisor("desk", escalate_after=limit):
            pass
