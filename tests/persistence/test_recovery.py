"""What comes back from a damaged store: the newest that is good, and the truth about the rest."""

import shutil
from pathlib import Path

import pytest

from genesis_trio import open_store
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence._envelope import Head
from genesis_trio.persistence.effects import EffectStatus
from persistence.damage import damage_newest, damage_part, flip, remove, rewrite_record, rewrite_row
from persistence.desk import Fee, Fill, Ledger, Note, book

A = "desk/ledger"


async def saved_twice(store):
    """Records 1 to 6, saved after 2 and 4: the ledger as it is now."""
    ledger = Ledger()
    for pair in ((1, 2), (3, 4)):
        await book(store, ledger, *pair)
        await store.create_checkpoint({A: ledger})
    await book(store, ledger, 5, 6)
    return ledger


def fell_back(events):
    return [event for event in events if event.name == "recovery_fell_back"]


# ------------------------------------------------------------------ damaged parts


async def test_recovery_damaged_part_falls_back_and_the_journal_fills_the_gap(url, events):
    """An older state and the records behind it are the newest state: nothing is lost, and it is told."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        damage_newest(store, A)
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)

    assert loaded.state == ledger
    assert (loaded.info.id, loaded.fell_back_from) == ("cp-000001", ("cp-000002",))
    assert (loaded.journal, loaded.replayed, loaded.lost) == (6, 4, 0)
    (event,) = fell_back(events)
    assert (event.component, event.checkpoint, event.lost) == (A, "cp-000001", 0)
    assert "cp-000002: part" in event.damaged and "digest does not match" in event.damaged


async def test_recovery_of_one_component_falls_back_for_that_one(url):
    """Only the component whose part is damaged gets an older state."""
    async with open_store(url) as store:
        for text in ("1", "2", "3"):
            await store.create_checkpoint({"a": Note(f"a{text}"), "b": Note(f"b{text}")})
        damage_newest(store, "a", count=2)

        a, b = await store.restore_latest("a", Note), await store.restore_latest("b", Note)

    assert (a.state, a.fell_back_from, a.info.id) == (Note("a1"), ("cp-000003", "cp-000002"), "cp-000001")
    assert (b.state, b.fell_back_from, b.lost) == (Note("b3"), (), 0)


async def test_recovery_of_state_that_no_record_explains_does_not_know_what_is_lost(url, events):
    """A newer state that changed without records cannot be counted in records: None, not 0."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note("1")})
        await store.create_checkpoint({"a": Note("2")})
        damage_newest(store, "a")

        restored = await store.restore_latest("a", Note)

    assert (restored.state, restored.lost) == (Note("1"), None)
    assert fell_back(events)[0].lost == -1


async def test_recovery_with_everything_damaged_is_corrupt_never_none(url):
    """When no saved checkpoint can be read, that is an error which lists them, never a fresh start."""
    async with open_store(url) as store:
        await saved_twice(store)
        damage_newest(store, A, count=2)

        with pytest.raises(
            CorruptError, match="no saved checkpoint of 'desk/ledger' can be read: cp-000002: .*cp-000001: "
        ):
            await store.restore_latest(A, Ledger)
        with pytest.raises(CorruptError, match="no saved checkpoint"):
            await store.load(A, Ledger, make=Ledger)
        with pytest.raises(CorruptError, match="is damaged"):
            await store.restore("cp-000001", A, Ledger)
        report = await store.verify()

    assert not report.ok
    assert len([problem for problem in report.problems if "digest does not match" in problem]) == 2


async def test_recovery_puts_damaged_parts_aside(tmp_path):
    """The damaged bytes are copied to quarantine, and stay where they are as well."""
    async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
        await store.create_checkpoint({"a": Note("x")})
        digest = store._ledger.cuts[1].parts["a"].digest
        damage_part(store, digest)
        damaged = store._ledger.engine.read_part("main", digest)
        with pytest.raises(CorruptError):
            await store.restore_latest("a", Note)

        (copy,) = (tmp_path / "desk.db.quarantine").iterdir()
        assert copy.read_bytes() == damaged == store._ledger.engine.read_part("main", digest)


async def test_recovery_missing_part_counts_as_damaged(url):
    """A part that is not there at all is passed over as a damaged one is."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        digest = store._ledger.cuts[2].parts[A].digest
        engine = store._ledger.engine
        from genesis_trio.persistence.engine import Batch

        engine.remove("main", store._ledger.token, Batch(engine.read_head("main")), parts=[digest])
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state, loaded.fell_back_from, loaded.lost) == (ledger, ("cp-000002",), 0)


async def test_recovery_damaged_part_is_written_again_when_the_state_is_saved_again(url):
    """A state whose stored bytes are damaged is not taken for stored: saving it again makes it whole."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note("x")})
        damage_newest(store, "a")
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note("x")})

        assert (await store.restore_latest("a", Note)).state == Note("x")
        assert (await store.verify()).ok


async def test_recovery_damaged_mailboxes_make_the_part_damaged(url):
    """State and mailboxes belong together: without the one the other is not used."""
    from genesis_trio import Mode
    from genesis_trio.persistence import codec
    from genesis_trio.persistence.store import Part

    async with open_store(url) as store:
        for text in ("1", "2"):
            part = Part("a", codec.encode(Note("same"), Note), Note, 0, b"inbox " + text.encode())
            await store.commit_cut([part], reason="manual", label=None, mode=Mode.NORMAL, stall=0.0)
        damage_part(store, store._ledger.cuts[2].parts["a"].inbox)
        loaded = await store.load("a", Note, make=Note)

    assert (loaded.inbox, loaded.fell_back_from) == (b"inbox 1", ("cp-000002",))


async def test_recovery_without_room_for_a_copy_goes_on(tmp_path, monkeypatch):
    """When damaged bytes cannot be put aside they stay where they are, and recovery goes on."""

    def fail(engine, scope, name, body):
        raise OSError(28, "no room")

    async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
        await saved_twice(store)
        damage_newest(store, A)
        monkeypatch.setattr(type(store._ledger.engine), "quarantine", fail)
        loaded = await store.load(A, Ledger, make=Ledger)
        report = await store.verify()

    assert loaded.fell_back_from == ("cp-000002",)
    assert any("no copy could be made" in problem for problem in report.problems)


# ------------------------------------------------------------------ damaged descriptions


async def test_recovery_damaged_description_of_a_checkpoint_is_passed_over(url, events):
    """A saved checkpoint whose description is damaged is named among those fallen back from."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        rewrite_row(store, "cut", "", f"{2:012d}")
    async with open_store(url) as store:
        assert any("cut/000000000002" in text for text in store.damage)
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.fell_back_from, loaded.lost) == (ledger, ("cp-000002",), 0)
        with pytest.raises(CorruptError, match="'cp-000002' cannot be read"):
            await store.restore("cp-000002", A, Ledger)
        assert not (await store.verify()).ok

        # Its number is not used again, and it goes when nothing that is kept is older.
        info = await store.create_checkpoint({A: ledger})
        assert info.id == "cp-000003"
        await store.prune(keep=1)
    async with open_store(url) as store:
        assert (await store.restore_latest(A, Ledger)).fell_back_from == ()

    assert any(event.name == "store_damaged" for event in events)


async def test_recovery_only_description_damaged_is_corrupt(url):
    """When the only description cannot be read, a component that is known was in it, as far as anybody can tell."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note("x")})
        rewrite_row(store, "cut", "", f"{1:012d}")
    async with open_store(url) as store:
        with pytest.raises(CorruptError, match="cp-000001"):
            await store.restore_latest("a", Note)
        # A component that is new since then has nothing to do with it.
        assert await store.restore_latest("new", Note) is None


async def test_recovery_vanished_description_is_noticed(url):
    """A row that is gone without a trace is missed by the sum over all rows."""
    async with open_store(url) as store:
        await saved_twice(store)
        rewrite_row(store, "cut", "", f"{2:012d}", remove)
    async with open_store(url) as store:
        assert any("do not add up" in text for text in store.damage)
        loaded = await store.load(A, Ledger, make=Ledger)
        assert loaded.state.entries == [1, 2, 3, 4, 5, 6]
        assert loaded.lost is None
        with pytest.raises(
            CorruptError, match="nothing of 'desk/nobody' is in the store, but acknowledged data is missing"
        ):
            await store.restore_latest("desk/nobody", Note)
        assert not (await store.verify()).ok

        # Once it is saved again, nothing about it is in doubt.
        await store.create_checkpoint({A: loaded.state})
        assert (await store.load(A, Ledger, make=Ledger)).lost == 0
    async with open_store(url) as store:
        assert not (await store.verify()).ok
        await store.accept_damage()
        assert await store.restore_latest("desk/nobody", Note) is None
        assert (await store.verify()).ok
    async with open_store(url) as store:
        assert (await store.verify()).ok
        assert store.damage == ()


@pytest.mark.parametrize("change", [flip, remove])
async def test_recovery_damaged_head_of_a_component_is_made_anew(url, change):
    """Where a component's head is lost, it is rebuilt from the checkpoint and the journal, and told."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        rewrite_row(store, "head", A, "", change)
    async with open_store(url) as store:
        assert any("head of 'desk/ledger' was lost and made anew" in text for text in store.damage)
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.lost) == (ledger, None)
        assert await book(store, ledger, 7) == [7]
        assert (await store.load(A, Ledger, make=Ledger)).state == ledger


async def test_recovery_damaged_head_without_a_checkpoint_is_made_anew(url):
    """With a journal alone its head is rebuilt from the first record on."""
    async with open_store(url) as store:
        await store.append(A, [Fill(1), Fill(2)])
        rewrite_row(store, "head", A, "")
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state.entries, loaded.lost) == ([1, 2], None)


async def test_recovery_damaged_control_state_is_told(url):
    """A control entry that cannot be read is named; the others are there."""
    async with open_store(url) as store:
        for name in ("latch/a", "latch/b"):
            await store.put_control(name, b"x").wait()
        rewrite_row(store, "control", "", "latch/a")
    async with open_store(url) as store:
        assert dict(await store.read_control()) == {"latch/b": b"x"}
        assert any("control/latch/a" in text for text in store.damage)
        await store.put_control("latch/a", b"y").wait()
    async with open_store(url) as store:
        assert dict(await store.read_control()) == {"latch/a": b"y", "latch/b": b"x"}
        assert store.damage == ()


async def test_recovery_damaged_root_is_told(url):
    """When the head of the whole store is damaged, everything is looked through, and it is told."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        engine = store._ledger.engine
        head = flip(engine.read_head("main"))
        from genesis_trio.persistence.engine import Batch

        engine.append("main", store._ledger.token, Batch(head))
    async with open_store(url) as store:
        assert any("head of the store is damaged" in text for text in store.damage)
        assert (await store.load(A, Ledger, make=Ledger)).state == ledger
        assert await book(store, ledger, 7) == [7]


# ------------------------------------------------------------------ damaged journals


@pytest.mark.parametrize("change", [flip, remove])
async def test_recovery_damaged_record_ends_the_replay_and_is_counted(url, events, change):
    """State comes back up to the damaged record; what is behind it counts as lost, exactly."""
    async with open_store(url) as store:
        await saved_twice(store)
        rewrite_record(store, A, 5, change)
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state.entries, loaded.journal, loaded.replayed, loaded.lost) == ([1, 2, 3, 4], 4, 0, 2)
    assert loaded.fell_back_from == ()
    (event,) = fell_back(events)
    assert event.lost == 2 and "5" in event.damaged


@pytest.mark.parametrize("change", [flip, remove])
async def test_recovery_new_records_behind_damaged_ones_come_back(url, change):
    """What is recorded after such a recovery is found at the next one, and the loss is told until a cut covers it."""
    async with open_store(url) as store:
        await saved_twice(store)
        rewrite_record(store, A, 5, change)
    async with open_store(url) as store:
        ledger = (await store.load(A, Ledger, make=Ledger)).state
        assert await book(store, ledger, 7, 8) == [7, 8]
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state.entries, loaded.journal, loaded.lost) == ([1, 2, 3, 4, 7, 8], 8, 2)
        assert await book(store, loaded.state, 9) == [9]
        await store.create_checkpoint({A: loaded.state})
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state.entries, loaded.lost) == ([1, 2, 3, 4, 7, 8, 9], 0)


async def test_recovery_cut_behind_records_that_were_given_up(url):
    """A cut right behind the gap, while newer records are on their way, knows where the journal goes on."""
    async with open_store(url) as store:
        await saved_twice(store)
        for sequence in (5, 6):
            rewrite_record(store, A, sequence, remove)
        await store.load(A, Ledger, make=Ledger)
        loaded = await store.load(A, Ledger, make=Ledger)
        assert loaded.journal == 6
        await store.append(A, [Fill(7)])
        from genesis_trio import Mode
        from genesis_trio.persistence import codec
        from genesis_trio.persistence.store import Part

        part = Part(A, codec.encode(loaded.state, Ledger), Ledger, loaded.journal)
        await store.commit_cut([part], reason="periodic", label=None, mode=Mode.NORMAL, stall=0.0)
        again = await store.load(A, Ledger, make=Ledger)

        assert (again.state.entries, again.lost) == ([1, 2, 3, 4, 7], 0)
        rewrite_record(store, A, 7, remove)
        await store.append(A, [Fill(8)])
        with pytest.raises(CorruptError, match="record 7 of 'desk/ledger' is missing"):
            part = Part(A, codec.encode(loaded.state, Ledger), Ledger, 7)
            await store.commit_cut([part], reason="periodic", label=None, mode=Mode.NORMAL, stall=0.0)


async def test_recovery_records_given_up_are_never_left_out_in_silence(url):
    """A reader of the journal is told where records were given up, verify() too, until somebody has accepted it."""
    text = "records 5 to 6 of 'desk/ledger' are damaged and were given up"
    async with open_store(url) as store:
        await saved_twice(store)
        rewrite_record(store, A, 5, remove)
        ledger = (await store.load(A, Ledger, make=Ledger)).state
        await book(store, ledger, 7)
        seen = []
        async with store.replay(A, Fill) as records:
            with pytest.raises(CorruptError, match=f"{text}; replay those behind them with after=6"):
                while True:
                    seen.append((await anext(records))[0])
        assert seen == [1, 2, 3, 4]
        async with store.replay(A, Fill, after=6) as records:
            assert [record async for record in records] == [(7, Fill(7))]
        assert text in (await store.verify()).problems

        await store.accept_damage()
        assert (await store.verify()).ok
        async with store.replay(A, Fill) as records:
            assert [sequence async for sequence, _ in records] == [1, 2, 3, 4, 7]
        assert (await store.load(A, Ledger, make=Ledger)).lost == 0


async def test_recovery_missing_end_of_a_journal_is_counted(url):
    """Records that are gone from the end are missed by the component's head."""
    async with open_store(url) as store:
        await saved_twice(store)
        for sequence in (5, 6):
            rewrite_record(store, A, sequence, remove)
        loaded = await store.load(A, Ledger, make=Ledger)
        restored = await store.restore_latest(A, Ledger)

    assert (loaded.journal, loaded.lost) == (4, 2)
    assert restored.lost == 2


async def test_recovery_damaged_record_that_a_newer_checkpoint_covers_is_harmless(url):
    """Damage before the newest good state costs nothing; verify() finds it all the same."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        rewrite_record(store, A, 2)
        loaded = await store.load(A, Ledger, make=Ledger)
        report = await store.verify()

    assert (loaded.state, loaded.lost) == (ledger, 0)
    assert report.problems == ("record 2 of 'desk/ledger' is damaged: its digest does not match",)


async def test_recovery_fall_back_onto_a_damaged_journal_counts_both(url):
    """An older state whose journal is damaged as well: the count is of all that is gone."""
    async with open_store(url) as store:
        await saved_twice(store)
        damage_newest(store, A)
        rewrite_record(store, A, 4)
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state.entries, loaded.fell_back_from, loaded.lost) == ([1, 2, 3], ("cp-000002",), 3)


async def test_recovery_fall_back_behind_a_pruned_journal_counts_what_is_gone(url):
    """Where the records between two states were removed, they are lost with the newer one."""
    async with open_store(url) as store:
        ledger = await saved_twice(store)
        # As it would be if a checkpoint that is older than the journal had been kept.
        head = store._ledger.heads[A]
        store._ledger.heads[A] = Head(head.last, head.chain, 4, store._ledger.cuts[2].parts[A].chain)
        for sequence in (1, 2, 3, 4):
            rewrite_record(store, A, sequence, remove)
        assert (await store.load(A, Ledger, make=Ledger)).state == ledger
        damage_newest(store, A)
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state.entries, loaded.lost) == ([1, 2], 4)


async def test_recovery_replay_gives_what_is_good_and_then_says_what_is_not(url):
    """A reader gets every record before the damage, and then a CorruptError with the last good one."""
    async with open_store(url) as store:
        await store.append(A, [Fill(n) for n in range(1, 6)])
        rewrite_record(store, A, 3)
        seen = []
        with pytest.raises(CorruptError, match="record 3 .*; the records up to 2 are good"):
            async with store.replay(A, Fill) as records:
                async for record in records:
                    seen.append(record)  # what was read before the error counts
        assert seen == [(1, Fill(1)), (2, Fill(2))]
        with pytest.raises(CorruptError, match="record 3 .* is missing"):
            rewrite_record(store, A, 3, remove)
            async with store.replay(A, Fill | Fee, after=3) as records:
                await anext(records)
        async with store.replay(A, Fill, after=4) as records:
            assert [record async for record in records] == [(5, Fill(5))]


# ------------------------------------------------------------------ damaged keys and effects


@pytest.mark.parametrize("change", [flip, remove])
async def test_recovery_damaged_keys_are_made_anew(url, events, change):
    """A key that is damaged or gone would let an event in twice: they are made anew from the journal."""
    ledger = Ledger()
    async with open_store(url) as store:
        for number in (1, 2, 3):
            await book(store, ledger, number, key=f"trade {number}")
        rewrite_row(store, "key", A, "trade 2", change)
    async with open_store(url) as store:
        assert not (await store.verify()).ok
        assert await book(store, ledger, 2, key="trade 2") == [2]
        assert await book(store, ledger, 4, key="trade 4") == [4]
        assert await book(store, ledger, 4, key="trade 4") == [4]
        assert any("keys of 'desk/ledger' are damaged" in text for text in store.damage)
    async with open_store(url) as store:
        assert await book(store, ledger, 2, key="trade 2") == [2]
        assert store.damage == ()
        assert (await store.verify()).ok

    assert ledger.entries == [1, 2, 3, 4]
    assert [event.name for event in events] == ["store_damaged"]


async def test_recovery_damaged_keys_without_their_journal_are_an_error(url):
    """When the keys cannot be made anew either, nothing is recorded under a key."""
    ledger = Ledger()
    async with open_store(url) as store:
        await book(store, ledger, 1, key="trade 1")
        rewrite_row(store, "key", A, "trade 1")
        rewrite_record(store, A, 1)
    async with open_store(url) as store:
        with pytest.raises(CorruptError, match="keys of 'desk/ledger' cannot be made anew: record 1"):
            await book(store, ledger, 1, key="trade 1")

    assert ledger.entries == [1]


@pytest.mark.parametrize("change", [flip, remove])
async def test_recovery_damaged_effects_make_what_is_absent_unknown(url, change):
    """An effect that may have been there counts as begun, until somebody has looked; one that is known stays so."""
    async with open_store(url) as store:
        for number in (1, 2):
            await store.begin_effect(A, f"order {number}")
            await store.end_effect(A, f"order {number}", result=b"ack")
        rewrite_row(store, "effect", A, "order 2", change)
    async with open_store(url) as store:
        assert (await store.begin_effect(A, "order 1")).status is EffectStatus.DONE
        assert (await store.begin_effect(A, "order 2")).status is EffectStatus.UNKNOWN
        assert (await store.begin_effect(A, "order 3")).status is EffectStatus.UNKNOWN
        assert (await store.begin_effect("other", "order 3")).status is EffectStatus.NEW
        assert any("effects of 'desk/ledger' are damaged" in text for text in store.damage)
    async with open_store(url) as store:
        await store.accept_damage()
        assert (await store.begin_effect(A, "order 4")).status is EffectStatus.NEW
        assert (await store.begin_effect(A, "order 1")).status is EffectStatus.DONE
    async with open_store(url) as store:
        assert (await store.verify()).ok


async def test_recovery_many_rows_are_looked_through_in_pages(url):
    """More keys than a page holds are checked in several steps, and are all right."""
    from genesis_trio.persistence._operations import Append, NewEvent

    async with open_store(url) as store:
        events = [NewEvent("test.fill", f"trade {number}", b"{}", lambda: None) for number in range(2500)]
        await store._writer.write(Append(A, events, 0.0))
    async with open_store(url) as store:
        assert await book(store, Ledger(), 1, key="trade 2499") == [2500]
        assert (await store.verify()).ok


async def test_recovery_verify_reads_on_where_it_cannot(url, monkeypatch):
    """What the engine cannot read at all is a problem like any other; the rest is read."""
    async with open_store(url) as store:
        await saved_twice(store)
        engine = store._ledger.engine

        def fail(*args, **options):
            raise CorruptError("the file is damaged")

        monkeypatch.setattr(type(engine), "check", fail)
        assert (await store.verify()).problems == ("the file is damaged",)
        monkeypatch.setattr(type(engine), "read_rows", fail)
        assert set((await store.verify()).problems) == {"the file is damaged"}


async def test_recovery_verify_notices_a_root_that_was_changed(url):
    """The head on disk has to be the one of the last commit."""
    from genesis_trio.persistence._envelope import Root
    from genesis_trio.persistence.engine import Batch

    async with open_store(url) as store:
        await saved_twice(store)
        store._ledger.engine.append("main", store._ledger.token, Batch(Root(commit=1).pack()))
        assert any("not the one of the last commit" in problem for problem in (await store.verify()).problems)


# ------------------------------------------------------------------ SQLite: a shortened log


def copied(source: Path, target: Path, *endings: str) -> str:
    """The files of a store as they are now: what a kill leaves, without the end of the process."""
    target.mkdir()
    for ending in endings or ("", "-wal", ".head"):
        shutil.copy(f"{source}{ending}", f"{target / source.name}{ending}")
    return f"sqlite:{target / source.name}"


@pytest.fixture
async def killed(tmp_path):
    """The files of a store that was killed after two cuts, six records, two effects and a latch."""
    path = tmp_path / "whole" / "desk.db"
    async with open_store(f"sqlite:{path}") as store:
        await store.create_checkpoint({"first": Note("x")})
        await store._writer.read(store._ledger.engine._write_back)
        await saved_twice(store)
        await store.begin_effect(A, "order 1")
        await store.put_control("latch", b"x").wait()
        copied(path, tmp_path / "killed")
    return tmp_path / "killed" / "desk.db"


async def test_shortened_nothing_is_lost_by_a_kill(killed):
    """Everything that was acknowledged is there after a kill; nothing is told, as nothing is wrong."""
    async with open_store(f"sqlite:{killed}") as store:
        assert store.damage == ()
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state.entries, loaded.lost) == ([1, 2, 3, 4, 5, 6], 0)
        assert (await store.begin_effect(A, "order 1")).status is EffectStatus.UNKNOWN
        assert dict(await store.read_control()) == {"latch": b"x"}
        assert (await store.verify()).ok


async def test_shortened_log_is_noticed_and_named(killed, events):
    """With the end of the WAL gone, SQLite is content; the head beside it tells what is missing."""
    wal = killed.with_name("desk.db-wal")
    wal.write_bytes(wal.read_bytes()[:-1])
    async with open_store(f"sqlite:{killed}") as store:
        assert any("the end of the log is missing: 1 commits with 0 records" in text for text in store.damage)
        assert (await store.load(A, Ledger, make=Ledger)).state.entries == [1, 2, 3, 4, 5, 6]
        assert dict(await store.read_control()) == {}

    assert [event.name for event in events].count("store_damaged") == 1


async def test_shortened_log_counts_and_names_what_is_gone(killed):
    """Checkpoints that are gone are named, records cannot be told apart, and numbers are not used again."""
    killed.with_name("desk.db-wal").unlink()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("with 6 records, and 2 saved checkpoints" in text for text in store.damage)
        with pytest.raises(CorruptError, match="nothing of 'desk/ledger' is in the store"):
            await store.load(A, Ledger, make=Ledger)
        with pytest.raises(CorruptError):
            await store.restore_latest(A, Ledger)
        restored = await store.restore_latest("first", Note)
        assert (restored.state, restored.lost) == (Note("x"), None)
        assert restored.fell_back_from == ("cp-000003", "cp-000002")
        # An intent may be among what is gone.
        assert (await store.begin_effect("first", "order 9")).status is EffectStatus.UNKNOWN
        info = await store.create_checkpoint({"first": Note("y")})
        assert info.id == "cp-000004"
        assert (await store.restore_latest("first", Note)).lost == 0

    async with open_store(f"sqlite:{killed}") as store:
        assert not (await store.verify()).ok
        with pytest.raises(CorruptError):
            await store.load(A, Ledger, make=Ledger)
        await store.accept_damage()
        assert (await store.load(A, Ledger, make=Ledger)).state == Ledger()
        assert (await store.begin_effect("first", "order 10")).status is EffectStatus.NEW
        assert (await store.verify()).ok


async def test_shortened_at_any_point_is_noticed(killed, tmp_path):
    """Wherever the WAL is cut off, what is missing is told: never silently, never with a wrong state."""
    data = killed.with_name("desk.db-wal").read_bytes()
    for number, cut in enumerate(range(0, len(data), 1777)):
        url = copied(killed, tmp_path / f"cut {number}")
        (tmp_path / f"cut {number}" / "desk.db-wal").write_bytes(data[:cut])
        async with open_store(url) as store:
            assert any("the end of the log is missing" in text for text in store.damage)
            try:
                loaded = await store.load(A, Ledger, make=Ledger)
            except CorruptError:
                continue
            assert loaded.state.entries == [1, 2, 3, 4, 5, 6][: len(loaded.state.entries)]


async def test_shortened_database_without_its_beginning_is_not_a_fresh_one(killed):
    """A store whose database is gone, but not its head, has lost everything: it is not a new store."""
    killed.unlink()
    killed.with_name("desk.db-wal").unlink()
    async with open_store(f"sqlite:{killed}") as store:
        with pytest.raises(CorruptError, match="acknowledged data is missing"):
            await store.restore_latest(A, Ledger)


async def test_head_file_that_was_not_copied_is_told(killed):
    """Without the head beside it a shortened log would not be noticed; that is told, and nothing else is in doubt."""
    killed.with_name("desk.db.head").unlink()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("copy all files of a store" in text for text in store.damage)
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state.entries, loaded.lost) == ([1, 2, 3, 4, 5, 6], 0)
        await store.append(A, [Fill(7)])
    async with open_store(f"sqlite:{killed}") as store:
        assert store.damage == ()


async def test_head_file_with_nothing_left_is_told(killed):
    """A head file of which nothing can be read is as good as none."""
    killed.with_name("desk.db.head").write_bytes(b"\xff" * 8192)
    async with open_store(f"sqlite:{killed}") as store:
        assert any("copy all files of a store" in text for text in store.damage)
        report = await store.verify()
        assert any("desk.db.head" in problem for problem in report.problems)


async def test_head_file_that_differs_is_told(killed):
    """Two heads of the same moment that say different things are told; a head that is no root as well."""
    from genesis_trio.persistence._envelope import Root
    from genesis_trio.persistence._head import HeadFile

    file = HeadFile(str(killed.with_name("desk.db.head")))
    root = Root.unpack(file.read())
    root.rows_sum += 1
    file.write(root.pack())
    file.close()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("two heads of the store differ" in text for text in store.damage)
    file = HeadFile(str(killed.with_name("desk.db.head")))
    file.write(b"valid for the file, and no root")
    file.close()
    async with open_store(f"sqlite:{killed}") as store:
        assert any("outside of the database: the head of the store is damaged" in text for text in store.damage)


async def test_recovery_wal_of_another_moment_is_a_store_error_or_told(killed, tmp_path):
    """A database and a WAL that do not belong together never give a wrong state silently."""
    whole = tmp_path / "whole" / "desk.db"
    shutil.copy(killed.with_name("desk.db-wal"), whole.with_name("desk.db-wal"))
    try:
        async with open_store(f"sqlite:{whole}") as store:
            loaded = await store.load(A, Ledger, make=Ledger)
            assert store.damage or loaded.lost != 0 or loaded.state.entries == [1, 2, 3, 4, 5, 6]
    except StoreError:
        pass
