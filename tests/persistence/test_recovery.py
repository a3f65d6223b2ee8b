"""What comes back from a damaged store: the newest that is good, and the truth about the rest."""

import pytest

from genesis_trio import Mode, open_store
from genesis_trio.errors import CorruptError
from genesis_trio.persistence import codec
from genesis_trio.persistence._envelope import Root
from genesis_trio.persistence.engine import Batch
from genesis_trio.persistence.store import Part
from persistence.damage import damage_newest, damage_part, flip, remove, rewrite_row
from persistence.desk import Fill, Ledger, Note, book, fell_back, saved_twice

A = "desk/ledger"


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
        engine.append("main", store._ledger.token, Batch(head))
    async with open_store(url) as store:
        assert any("head of the store is damaged" in text for text in store.damage)
        assert (await store.load(A, Ledger, make=Ledger)).state == ledger
        assert await book(store, ledger, 7) == [7]


# ------------------------------------------------------------------ looking for damage


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
    async with open_store(url) as store:
        await saved_twice(store)
        store._ledger.engine.append("main", store._ledger.token, Batch(Root(commit=1).pack()))
        assert any("not the one of the last commit" in problem for problem in (await store.verify()).problems)
