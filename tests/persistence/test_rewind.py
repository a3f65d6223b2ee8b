"""Going back to an older saved checkpoint: nothing is deleted, and everything is as it was then."""

from datetime import datetime, timedelta

import pytest
import trio

from genesis_trio import observe, open_store
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._envelope import name_second_copy
from persistence.damage import damage_part
from persistence.desk import Fill, Ledger, Note, book

A = "desk/ledger"


async def three_saves(store, ledger):
    """Records 1 to 6 with keys, saved after 2, 4 and 6."""
    infos = []
    for number in (1, 3, 5):
        await book(store, ledger, number, key=f"trade {number}")
        await book(store, ledger, number + 1, key=f"trade {number + 1}")
        infos.append(await store.create_checkpoint({A: ledger, "desk/note": Note(str(number))}, label=f"save {number}"))
    return infos


async def test_rewind_makes_an_older_state_the_newest(url):
    """The old part is the newest again, in a checkpoint of its own, and what came after it is not replayed."""
    async with open_store(url) as store:
        first, _, third = await three_saves(store, Ledger())
        await book(store, Ledger(), 7, key="trade 7")
        info = await store.rewind(first.id)

        assert (info.reason, info.label, info.sequence) == ("restore", None, third.sequence + 1)
        assert info.components == (A, "desk/note")
        assert info.journal[A] == 7
        assert info.size == first.size

    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.journal, loaded.replayed, loaded.lost) == (Ledger(3, [1, 2]), 7, 0, 0)
        assert (await store.restore_latest("desk/note", Note)).state == Note("1")
        async with store.replay(A, Fill) as records:
            assert [record async for record in records] == [(1, Fill(1)), (2, Fill(2))]
        assert (await store.verify()).ok


async def test_rewind_frees_the_keys_of_what_is_void(url):
    """A trade that came after the old state can be recorded again; one before it cannot."""
    ledger = Ledger()
    async with open_store(url) as store:
        first, *_ = await three_saves(store, ledger)
        await store.rewind(first.id)
        ledger = (await store.load(A, Ledger, make=Ledger)).state

        assert await book(store, ledger, 2, key="trade 2") == [2]
        assert await book(store, ledger, 3, key="trade 3") == [7]
        assert await book(store, ledger, 3, key="trade 3") == [7]
        assert ledger.entries == [1, 2, 3]

    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.journal, loaded.replayed) == (Ledger(6, [1, 2, 3]), 7, 1)
        assert (await store.verify()).ok


async def test_rewind_keeps_the_records(url):
    """What is void stays in the journal: sequences go on behind it."""
    async with open_store(url) as store:
        first, *_ = await three_saves(store, Ledger())
        await store.rewind(first.id)

        assert len(store._ledger.engine.read_records("main", A)) == 6
        assert await store.append(A, [Fill(9)]) == 7


async def test_rewind_forwards_again_brings_everything_back(url):
    """Having gone back too far, one can go to the newer state again, with its keys."""
    async with open_store(url) as store:
        first, second, _ = await three_saves(store, Ledger())
        await store.rewind(first.id)
        await book(store, Ledger(), 8, key="trade 8")
        await store.rewind(second.id)

        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.journal, loaded.replayed) == (Ledger(10, [1, 2, 3, 4]), 7, 0)
        ledger = loaded.state
        assert await book(store, ledger, 4, key="trade 4") == [4]
        assert await book(store, ledger, 5, key="trade 5") == [8]
        assert await book(store, ledger, 8, key="trade 8") == [9]
        assert ledger.entries == [1, 2, 3, 4, 5, 8]
        assert (await store.load(A, Ledger, make=Ledger)).state == ledger
        assert (await store.verify()).ok

    async with open_store(url) as store:
        assert (await store.load(A, Ledger, make=Ledger)).state == ledger
        assert await book(store, ledger, 4, key="trade 4") == [4]


async def test_rewind_newest_with_that_label_is_meant(url):
    """A label names its newest checkpoint."""
    async with open_store(url) as store:
        for text in ("1", "2"):
            await store.create_checkpoint({"a": Note(text)}, label="evening")
        await store.create_checkpoint({"a": Note("3")})
        await store.rewind("evening")

        assert (await store.restore_latest("a", Note)).state == Note("2")


async def test_rewind_to_a_time_is_the_newest_at_or_before_it(autojump_clock, url):
    """A datetime names the newest checkpoint at or before it, to the microsecond."""
    async with open_store(url) as store:
        infos = []
        for text in ("1", "2", "3"):
            infos.append(await store.create_checkpoint({"a": Note(text)}))
            await trio.sleep(60)

        await store.rewind(infos[1].created_at)
        assert (await store.restore_latest("a", Note)).state == Note("2")
        await store.rewind(infos[1].created_at - timedelta(microseconds=1))
        assert (await store.restore_latest("a", Note)).state == Note("1")
        await store.rewind(infos[2].created_at + timedelta(seconds=59))
        assert (await store.restore_latest("a", Note)).state == Note("3")
        with pytest.raises(StoreError, match="no saved checkpoint at or before"):
            await store.rewind(infos[0].created_at - timedelta(seconds=1))
        with pytest.raises(ValueError, match="time zone"):
            await store.rewind(datetime(2026, 1, 1))  # noqa: DTZ001  # the mistake that is refused


async def test_rewind_of_some_leaves_the_others(url):
    """`only` takes paths with all below them; everybody else stays as it is."""
    async with open_store(url) as store:
        states = {name: Note("old") for name in ("desk", "desk/a", "desk/a/x", "desk/ab", "other")}
        old = await store.create_checkpoint(states)
        await store.create_checkpoint({name: Note("new") for name in states})
        info = await store.rewind(old.id, only=["desk/a", "other"])

        assert info.components == ("desk/a", "desk/a/x", "other")
        found = {name: (await store.restore_latest(name, Note)).state.text for name in states}
    assert found == {"desk": "new", "desk/a": "old", "desk/a/x": "old", "desk/ab": "new", "other": "old"}


async def test_rewind_unknown_target_is_a_store_error(url):
    """An unknown id, label or component is named, with what there is."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note()}, label="one")

        with pytest.raises(StoreError, match=r"'two'; there are cp-000001 \(one\)"):
            await store.rewind("two")
        with pytest.raises(StoreError, match="no component 'b' in cp-000001; it holds a"):
            await store.rewind("one", only=["b"])
        with pytest.raises(TypeError, match="sequence of paths"):
            await store.rewind("one", only="a")
        with pytest.raises(TypeError, match="by id, label or datetime"):
            await store.rewind(1)


async def test_rewind_passes_over_what_it_made_void(url):
    """A damaged part never brings back a state that a rewind had left behind."""
    async with open_store(url) as store:
        first, *_ = await three_saves(store, Ledger())
        await store.rewind(first.id)
        old = store._ledger.cuts[1].parts[A].digest
        damage_part(store, old)
        damage_part(store, name_second_copy(old))

        # The newest and the first share their bytes, which are there twice; the second and third are of another past.
        with pytest.raises(CorruptError, match="no saved checkpoint of 'desk/ledger' can be read"):
            await store.load(A, Ledger, make=Ledger)


async def test_rewind_to_damaged_bytes_is_refused(url):
    """What cannot be read does not become the newest."""
    async with open_store(url) as store:
        first, *_ = await three_saves(store, Ledger())
        damage_part(store, store._ledger.cuts[1].parts[A].digest)

        with pytest.raises(CorruptError, match="is damaged"):
            await store.rewind(first.id)
        assert (await store.load(A, Ledger, make=Ledger)).state.entries == [1, 2, 3, 4, 5, 6]


async def test_rewind_to_a_checkpoint_that_was_pruned_meanwhile_is_refused(url):
    """Between asking and writing the checkpoint may go; then nothing is written."""
    from genesis_trio import Mode
    from genesis_trio.persistence._cut_operations import Rewind

    async with open_store(url) as store:
        info = await store.create_checkpoint({"a": Note("1")})
        operation = Rewind(info.sequence + 7, ["a"], Mode.NORMAL, info.created_at, "")

        with pytest.raises(StoreError, match="cp-000008 was pruned meanwhile"):
            await store._writer.write(operation)


async def test_rewind_to_a_checkpoint_that_lacks_a_component_names_it(url, caplog):
    """Whoever had not started when it was taken stays as it is now: that is another moment, and is said."""
    seen = []
    async with open_store(url) as store:
        await book(store, Ledger(), 1, component="desk/late")
        await store.create_checkpoint({A: Ledger(), "desk/idle": Note("as ever"), "desk/late": Ledger(1, [1])})
        early = await store.create_checkpoint({A: Ledger()})
        with observe(seen.append):
            await store.rewind(early.id)
            assert not [event for event in seen if event.name == "restore_incomplete"]

            await book(store, Ledger(1, [1]), 2, component="desk/late")
            await store.create_checkpoint({A: Ledger(), "desk/idle": Note("as ever"), "desk/new": Note("new")})
            await store.rewind(early.id, only=[A])
            assert not [event for event in seen if event.name == "restore_incomplete"]

            await store.rewind(early.id)

    (event,) = [event for event in seen if event.name == "restore_incomplete"]
    assert (event.checkpoint, event.components) == (early.id, "desk/late, desk/new")
    (line,) = [record.getMessage() for record in caplog.records if "was restored" in record.getMessage()]
    assert line == (
        "cp-000002 was restored, which has no desk/late, desk/new: that stays as it is, and may have changed since; "
        "compare it with the others, or take it from another saved checkpoint with only="
    )
