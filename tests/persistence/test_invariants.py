"""Invariants are checked at the cut: a state that violates one is kept to be looked at, and not restored by itself."""

import threading

import attrs
import pytest

from genesis_trio import open_store, schema
from genesis_trio.errors import CorruptError
from genesis_trio.persistence.inspection import Inspector
from persistence.desk import Fill, Note

A = "desk/position"


@schema("test.position")
@attrs.define
class Position:
    """What is held is the sum of what was bought."""

    held: int = 0
    bought: list[int] = attrs.Factory(list)

    def apply(self, event: Fill) -> None:
        self.bought.append(event.quantity)
        self.held += event.quantity

    def check_invariants(self) -> None:
        if self.held != sum(self.bought):
            raise ValueError(f"{self.held} held, {sum(self.bought)} bought")


GOOD, BAD = Position(3, [1, 2]), Position(4, [1, 2])
WHY = "ValueError: 4 held, 3 bought"


async def test_invariant_that_holds_says_nothing(url, events):
    """A good state is saved as ever."""
    async with open_store(url) as store:
        info = await store.create_checkpoint({A: GOOD})
        assert info.violations == {}
    assert [event.name for event in events] == ["checkpoint_saved"]


async def test_invariant_that_is_violated_keeps_the_checkpoint_for_diagnosis(url, events):
    """It is saved, named with the reason, also after a restart, and can be looked at and restored by its id."""
    async with open_store(url) as store:
        info = await store.create_checkpoint({A: BAD, "desk/note": Note("x")})
        assert info.violations == {A: WHY}
        assert [event.name for event in events] == ["checkpoint_failed", "checkpoint_saved"]
        assert f"cp-000001 holds states that violate their invariants: {A}: {WHY}" in str(events[0].error)
    async with open_store(url) as store:
        assert (await store.list_checkpoints())[0].violations == {A: WHY}
        assert (await store.restore("cp-000001", A, Position)).state == BAD
        assert (await Inspector(store).export("cp-000001"))["checkpoint"]["violations"] == {A: WHY}
        assert (await store.verify()).ok


async def test_invariant_that_is_violated_is_passed_over_by_recovery(url, events):
    """The component falls back loudly to its newest state that is good; the others of the cut do not."""
    async with open_store(url) as store:
        await store.create_checkpoint({A: GOOD, "desk/note": Note("old")})
        await store.create_checkpoint({A: BAD, "desk/note": Note("new")})
        await store.create_checkpoint({A: BAD, "desk/note": Note("newest")})
    async with open_store(url) as store:
        events.clear()
        loaded = await store.load(A, Position, make=Position)
        assert (loaded.state, loaded.fell_back_from) == (GOOD, ("cp-000003", "cp-000002"))
        assert loaded.lost is None  # the state changed without a record
        assert events[0].name == "recovery_fell_back"
        assert f"cp-000003: it violates an invariant: {WHY}" in events[0].damaged
        restored = await store.restore_latest("desk/note", Note)
        assert (restored.state, restored.fell_back_from) == (Note("newest"), ())


async def test_invariant_violated_in_all_checkpoints_is_an_error(url):
    """Never None, and never the bad one: somebody has to choose."""
    async with open_store(url) as store:
        await store.create_checkpoint({A: BAD})
    async with open_store(url) as store:
        with pytest.raises(CorruptError, match="can be read: cp-000001: it violates an invariant"):
            await store.load(A, Position, make=Position)


async def test_invariant_checked_again_for_the_same_bytes(url):
    """That a state was seen before does not make it good."""
    async with open_store(url) as store:
        for _ in range(2):
            assert (await store.create_checkpoint({A: BAD})).violations == {A: WHY}


async def test_invariant_rewind_by_name_overrules_it(url):
    """Who names the checkpoint wants it; who names a time gets one that is good."""
    async with open_store(url) as store:
        good = await store.create_checkpoint({A: GOOD})
        bad = await store.create_checkpoint({A: BAD})
        assert bad.created_at >= good.created_at
        await store.rewind(bad.created_at)
        assert (await store.restore_latest(A, Position)).state == GOOD
        await store.rewind(bad.id)
        assert (await store.restore_latest(A, Position)).state == BAD


async def test_invariant_prune_keeps_the_newest_that_is_good(url):
    """However many bad ones are newer, and with the journal behind it."""
    async with open_store(url) as store:
        state = Position()
        for number in (1, 2, 3):
            await store.record(A, Fill(number), key=f"{number}", apply=lambda _, n=number: state.apply(Fill(n)))
            if number == 1:
                await store.create_checkpoint({A: state})
            else:
                await store.create_checkpoint({A: Position(99, state.bought)})
        assert await store.prune(keep=1) == 1
        assert [info.id for info in await store.list_checkpoints()] == ["cp-000003", "cp-000001"]
        assert await store.shorten_journal() == 1
    async with open_store(url) as store:
        loaded = await store.load(A, Position, make=Position)
        assert (loaded.state, loaded.replayed) == (state, 2)


async def test_invariant_is_checked_off_the_loop_on_what_will_be_read(tmp_path):
    """On a copy that was read back from the bytes, in the writer's thread, so that the loop does not stand still."""
    seen = []

    @schema("test.watched")
    @attrs.define
    class Watched:
        number: int = 1

        def check_invariants(self) -> None:
            seen.append((self, threading.current_thread() is threading.main_thread()))

    state = Watched()
    async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
        await store.create_checkpoint({"watched": state})
    ((checked, in_loop),) = seen
    assert checked == state and checked is not state and not in_loop


@pytest.mark.parametrize("result", ["coroutine", "text"])
async def test_invariant_check_that_does_not_raise_but_returns_is_a_violation(url, result):
    """A mistake in the check itself is not taken for a good state."""

    @schema("test.mistaken")
    @attrs.define
    class Mistaken:
        async def wait(self) -> None:
            """Never run."""

        def check_invariants(self) -> object:
            return self.wait() if result == "coroutine" else "negative"

    async with open_store(url) as store:
        info = await store.create_checkpoint({"mistaken": Mistaken()})
    assert "it is a plain function that raises what is wrong" in info.violations["mistaken"]
