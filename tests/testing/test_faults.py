"""Calls and stores that go wrong as a test tells them."""

import errno
import random

import pytest
import trio

from genesis_trio import Guard, Mode, Retry, open_supervisor
from genesis_trio.errors import OutcomeUnknownError, PoisonedError, StoreError
from genesis_trio.persistence.engines.sqlite import SqliteEngine
from genesis_trio.testing import FaultyCall, FaultyEngine, open_store_on, simulate
from genesis_trio.testing.engines import EngineConformance
from persistence.desk import Fill, Note

RESET = ConnectionError("reset")


async def send(order):
    return f"ack {order}"


async def outcome(call, *args):
    try:
        return await call(*args)
    except Exception as error:
        return type(error).__name__


# ------------------------------------------------------------------ calls


async def test_faulty_call_without_a_plan_is_the_function(autojump_clock):
    """It takes the arguments and gives the result, and takes no time."""
    venue = FaultyCall(send)

    assert await venue("a") == "ack a"
    assert (venue.calls, venue.carried_out, trio.current_time()) == (1, 1, 0.0)


async def test_faulty_call_follows_its_plan_in_order(autojump_clock):
    """Each entry is for one call; what comes behind the plan goes well."""
    venue = FaultyCall(send)
    venue.succeed(2)
    venue.fail(ValueError, times=2)
    venue.lose_reply(RESET)
    venue.delay(1.5)

    outcomes = [await outcome(venue, number) for number in range(7)]

    assert outcomes == ["ack 0", "ack 1", "ValueError", "ValueError", "ConnectionError", "ack 5", "ack 6"]
    assert (venue.calls, venue.carried_out, trio.current_time()) == (7, 5, 1.5)


async def test_faulty_call_hangs_until_it_is_cancelled(autojump_clock):
    """A call that hangs ends with its caller, and was not carried out."""
    venue = FaultyCall(send)
    venue.hang()
    with trio.move_on_after(60):
        await venue("a")

    assert (trio.current_time(), venue.carried_out) == (60.0, 0)
    assert await venue("b") == "ack b"


async def test_faulty_call_heals(autojump_clock):
    """The plan is forgotten, and so is chance."""
    venue = FaultyCall(send)
    venue.fail(RESET, times=9)
    venue.fail_randomly(RESET, 1.0)
    venue.heal()

    assert await venue("a") == "ack a"


async def test_faulty_call_checks_for_cancellation(autojump_clock):
    """As any call to the outside does, also where it does nothing."""
    venue = FaultyCall(send)
    with trio.CancelScope() as scope:
        scope.cancel()
        await venue("a")

    assert scope.cancelled_caught and venue.carried_out == 0


def test_faulty_call_by_chance_follows_the_seed():
    """The same seed gives the same faults, another one others."""

    async def faults():
        venue = FaultyCall(send)
        venue.fail_randomly(RESET, 0.5)
        return [await outcome(venue, number) for number in range(40)]

    first, again, other = (simulate(faults, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 10 < first.count("ConnectionError") < 30


async def test_faulty_call_below_a_guard(autojump_clock):
    """It stands where the call stood."""
    venue = FaultyCall(send)
    venue.fail(RESET, times=2)
    guard = Guard("faulty.venue", retry=Retry(ConnectionError, max_retries=3, base_delay=1.0, jitter="none"))

    assert await guard.execute(venue, "a") == "ack a"
    assert (venue.calls, trio.current_time()) == (3, 3.0)


@pytest.mark.parametrize(
    "tell",
    [
        lambda plan: plan.fail(RESET, times=0),
        lambda plan: plan.succeed(True),
        lambda plan: plan.delay(-1.0),
        lambda plan: plan.delay(float("nan")),
        lambda plan: plan.fail_randomly(RESET, 1.1),
    ],
)
def test_faulty_plan_that_makes_no_sense_is_refused(tell):
    """At once, with the value."""
    for plan in (FaultyCall(send), FaultyEngine()):
        with pytest.raises(ValueError, match="got"):
            tell(plan)


# ------------------------------------------------------------------ engines


class TestFaultyEngineConformance(EngineConformance):
    """One that nothing was told is an engine like any other."""

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path):
        self.path = tmp_path / "desk.db"
        self.opened = []
        yield
        for engine in self.opened:
            engine.close()

    def open(self):
        for engine in self.opened:
            if engine.is_over:
                engine.engine.close()
        engine = Closing(SqliteEngine.open(str(self.path)))
        self.opened.append(engine)
        return engine


class Closing(FaultyEngine):
    """Gives back what it stands on, as the suite opens the same place anew."""

    is_over = False

    def close(self):
        self.is_over = True
        self.engine.close()


async def test_faulty_engine_that_fails_poisons_the_store_and_holds_safe(autojump_clock):
    """The n-th write fails, and nothing of it is there at the next start."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store, open_supervisor("desk", store=store) as desk:
        engine.succeed(1)
        engine.fail(OSError(errno.EIO, "input/output error"))
        assert await store.append("a", [Fill(1)]) == 1
        with pytest.raises(PoisonedError, match="input/output error"):
            await store.append("a", [Fill(2)])
        assert desk.scope.mode is Mode.SAFE
        await desk.stop()
    async with open_store_on(engine) as store:
        assert await store.append("a", []) == 1


async def test_faulty_engine_that_loses_its_reply_has_written(autojump_clock):
    """Whoever was told that it failed finds it at the next start."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store:
        engine.lose_reply(OSError(errno.EIO, "input/output error"))
        with pytest.raises(PoisonedError):
            await store.append("a", [Fill(1)])
    async with open_store_on(engine) as store:
        assert await store.append("a", []) == 1


async def test_faulty_engine_that_is_slow_takes_virtual_time(autojump_clock):
    """A delay passes as blocking work does."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store:
        engine.delay(2.0)
        await store.append("a", [Fill(1)])
        assert trio.current_time() == 2.0


async def test_faulty_engine_that_is_slow_in_real_time_leaves_the_outcome_unknown():
    """Without a virtual clock it waits in its thread; beyond the limit it is a commit that has not come back."""
    engine = FaultyEngine()
    async with open_store_on(engine, commit_timeout=0.05) as store:
        engine.delay(0.2)
        with pytest.raises(OutcomeUnknownError):
            await store.append("a", [Fill(1)])


async def test_faulty_engine_that_is_full_has_room_for_one_save(autojump_clock):
    """A full disk refuses records, saves from its reserve, and goes on once there is room."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store:
        engine.fill(saves=2)
        for _ in range(2):
            with pytest.raises(StoreError, match="is full"):
                await store.append("a", [Fill(1)])
        await store.create_checkpoint({"a": Note("1")})
        await store.create_checkpoint({"a": Note("2")})
        with pytest.raises(StoreError, match="no reserve is left"):
            await store.create_checkpoint({"a": Note("3")})
        engine.make_room()
        await trio.sleep(1)
        assert await store.append("a", [Fill(1)]) == 1
        assert store.poisoned is None


async def test_faulty_engine_with_damage_falls_back_at_the_next_start(autojump_clock):
    """The newest saved checkpoint cannot be read, and the one before is taken."""
    engine = FaultyEngine()
    with pytest.raises(ValueError, match="save a checkpoint first"):
        engine.damage_newest()
    async with open_store_on(engine) as store:
        for text in ("1", "2"):
            await store.create_checkpoint({"a": Note(text)})
    engine.damage_newest()
    async with open_store_on(engine) as store:
        restored = await store.restore_latest("a", Note)
    assert (restored.state, len(restored.fell_back_from)) == (Note("1"), 1)


def test_faulty_engine_by_chance_follows_its_source():
    """Its faults come from the source that it was given; without one they are the same each time."""

    def failures(**options):
        engine = FaultyEngine(**options)
        engine.fail_randomly(OSError(errno.EIO, "chance"), 0.5)
        token, seen = engine.acquire("main", "a test"), []
        for _ in range(30):
            try:
                engine._write(lambda: None)
            except OSError:
                seen.append(engine.writes)
        return token, seen

    assert failures() == failures() == failures(rng=random.Random(0)) != failures(rng=random.Random(1))
