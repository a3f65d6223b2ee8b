"""Saved checkpoints: what goes in comes back, with all that is known about it."""

from datetime import UTC, datetime

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints

from genesis_trio import Mode, mode_scope, open_store
from genesis_trio.errors import GenesisError, SchemaError, StoreError
from genesis_trio.persistence.checkpoints import CheckpointInfo
from genesis_trio.persistence.store import Part
from persistence.desk import Fill, Ledger, Note, book


async def test_store_state_comes_back_from_the_newest_checkpoint(url):
    """The newest state is restored, in the same block and after opening again."""
    async with open_store(url) as store:
        await store.create_checkpoint({"desk/ledger": Ledger(1)})
        newest = await store.create_checkpoint({"desk/ledger": Ledger(2, [2])})
        restored = await store.restore_latest("desk/ledger", Ledger)

    async with open_store(url) as store:
        again = await store.restore_latest("desk/ledger", Ledger)

    assert restored == again
    assert restored.state == Ledger(2, [2])
    assert restored.info == newest
    assert (restored.fell_back_from, restored.lost) == ((), 0)


async def test_store_never_saved_component_is_none(url):
    """None is what was never saved, and nothing else."""
    async with open_store(url) as store:
        await store.create_checkpoint({"desk/ledger": Ledger()})
        await store.append("desk/journal only", [Fill(1)])

        assert await store.restore_latest("desk/nobody", Ledger) is None
        assert await store.restore_latest("desk/journal only", Ledger) is None


async def test_store_state_is_taken_in_the_step_of_the_call(url):
    """What changes after the call is not in the checkpoint."""
    ledger, begun = Ledger(1), trio.Event()

    async def save(store):
        begun.set()
        await store.create_checkpoint({"desk/ledger": ledger})

    async with open_store(url) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(save, store)
            await begun.wait()
            ledger.total = 99

        restored = await store.restore_latest("desk/ledger", Ledger)

    assert restored.state.total == 1


async def test_store_metadata_is_complete(autojump_clock, url):
    """A checkpoint says everything that is known about it."""
    async with open_store(url, code_version="desk 1.2") as store:
        await store.append("desk/ledger", [Fill(1), Fill(2)])
        with mode_scope("desk") as scope:
            scope.hold(Mode.SAFE, owner="desk", reason="a test")
            info = await store.create_checkpoint(
                {"desk/note": Note("x"), "desk/ledger": Ledger(3)}, label="before release"
            )
        other = await store.create_checkpoint({"desk/note": Note("y")}, reason="periodic")

    assert info.id == "cp-000001"
    assert info.sequence == 1 and other.sequence == 2
    assert info.created_at.tzinfo is UTC
    assert (info.reason, other.reason) == ("manual", "periodic")
    assert (info.label, other.label) == ("before release", None)
    assert info.components == ("desk/ledger", "desk/note")
    assert (info.mode, other.mode) == (Mode.SAFE, Mode.NORMAL)
    assert info.journal == {"desk/ledger": 2, "desk/note": 0}
    assert set(info.schemas) == {"desk/ledger", "desk/note"}
    name, version, fingerprint = info.schemas["desk/note"]
    assert version == 1 and name and fingerprint
    assert info.size > other.size > 0
    assert len(info.digest) == 64 and info.digest != other.digest
    assert info.code_version == "desk 1.2"
    assert info.stall == 0.0


async def test_store_own_version_is_the_default(url):
    """Without a version of the user's code it is ours."""
    async with open_store(url) as store:
        info = await store.create_checkpoint({"a": Note()})

    assert info.code_version.startswith("genesis_trio")


async def test_store_list_is_newest_first(url):
    """Checkpoints are listed newest first, all of them or those of one component."""
    async with open_store(url) as store:
        first = await store.create_checkpoint({"a": Note("1")})
        second = await store.create_checkpoint({"a": Note("2"), "b": Note("2")})
        third = await store.create_checkpoint({"b": Note("3")})

        assert list(await store.list_checkpoints()) == [third, second, first]
        assert list(await store.list_checkpoints("a")) == [second, first]
        await store.append("recorded only", [1])
        assert list(await store.list_checkpoints("recorded only")) == []
        text = r"nothing of a component 'nobody' is in the store; there are a, b, recorded only"
        with pytest.raises(StoreError, match=text):
            await store.list_checkpoints("nobody")


async def test_store_restore_takes_that_very_checkpoint(url):
    """restore() gives the state of the checkpoint that is named, and leaves the newest as it is."""
    async with open_store(url) as store:
        first = await store.create_checkpoint({"a": Note("1")})
        await store.create_checkpoint({"a": Note("2")})

        restored = await store.restore(first.id, "a", Note)

        assert restored.state == Note("1")
        assert restored.info == first
        assert (await store.restore_latest("a", Note)).state == Note("2")


async def test_store_unknown_names_are_store_errors_that_list_what_there_is(url):
    """An unknown id or component is named, beside those that exist."""
    async with open_store(url) as store:
        with pytest.raises(StoreError, match="'cp-000009'.*there are none"):
            await store.restore("cp-000009", "a", Note)
        info = await store.create_checkpoint({"a": Note()}, label="one")

        with pytest.raises(StoreError, match=r"'cp-000009'.*cp-000001 \(one\)"):
            await store.restore("cp-000009", "a", Note)
        with pytest.raises(StoreError, match="no component 'b' in cp-000001; it holds a"):
            await store.restore(info.id, "b", Note)
        with pytest.raises(TypeError, match="named by id"):
            await store.restore(7, "a", Note)


async def test_store_many_names_are_not_all_listed(url):
    """A message stays readable, however much there is."""
    async with open_store(url) as store:
        await store.create_checkpoint({f"c{n:02}": Note() for n in range(25)})

        with pytest.raises(StoreError, match="c00, c01.*and 5 more"):
            await store.restore("cp-000001", "nobody", Note)


async def test_store_wrong_class_is_a_schema_error(url):
    """A state that is restored as another class is refused, not guessed."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note("x")})

        with pytest.raises(SchemaError):
            await store.restore_latest("a", Ledger)


async def test_store_state_that_cannot_be_kept_saves_nothing(url, events):
    """One bad state refuses the whole checkpoint, loudly, and nothing of it is there."""
    async with open_store(url) as store:
        with pytest.raises(SchemaError):
            await store.create_checkpoint({"good": Note("x"), "bad": Ledger(total="a string")})

        assert await store.restore_latest("good", Note) is None
        assert list(await store.list_checkpoints()) == []
    assert [event.name for event in events] == ["checkpoint_failed"]


async def test_store_nothing_to_save_is_a_value_error(url):
    """A checkpoint of nothing is a mistake of the caller."""
    async with open_store(url) as store:
        with pytest.raises(ValueError, match="at least one component"):
            await store.create_checkpoint({})


@pytest.mark.parametrize(
    ("states", "options", "error"),
    [
        ({"": Note()}, {}, ValueError),
        ({"\ud800": Note()}, {}, ValueError),
        ({7: Note()}, {}, TypeError),
        ({"a": Note()}, {"label": ""}, ValueError),
        ({"a": Note()}, {"label": 7}, TypeError),
    ],
)
async def test_store_wrong_names_are_refused(url, states, options, error):
    """Names are text, and not empty."""
    async with open_store(url) as store:
        with pytest.raises(error):
            await store.create_checkpoint(states, **options)


async def test_store_tells_of_what_it_saves_and_restores(url, events):
    """A saved checkpoint and a restored state are events."""
    async with open_store(url) as store:
        info = await store.create_checkpoint({"a": Note("x")}, label="one")
        await store.restore_latest("a", Note)

    saved, restored = events
    assert (saved.name, saved.checkpoint, saved.reason, saved.label) == ("checkpoint_saved", info.id, "manual", "one")
    assert (saved.components, saved.size) == (1, info.size)
    assert (restored.name, restored.component, restored.checkpoint, restored.replayed) == (
        "state_restored",
        "a",
        info.id,
        0,
    )


async def test_store_shares_parts_by_content(tmp_path):
    """A state that did not change is written twice, against damage, however often it is saved."""
    big = Note("x" * 1_000_000)
    async with open_store(f"sqlite:{tmp_path / 'desk.db'}") as store:
        for number in range(5):
            await store.create_checkpoint({"big": big, "small": Note(str(number))})
        parts = store._ledger.engine.list_parts("main")
        assert (await store.restore("cp-000002", "big", Note)).state == big

    assert len(parts) == 7
    assert (tmp_path / "desk.db").stat().st_size < 2_500_000


async def test_store_cut_of_parts_keeps_mailboxes(url):
    """What messaging puts into a part comes back with the state, byte for byte."""
    from genesis_trio.persistence import codec

    inbox = bytes(range(256))
    async with open_store(url) as store:
        parts = [
            Part("a", codec.encode(Note("x"), Note), Note, 0, inbox),
            Part("b", codec.encode(Note("y"), Note), Note),
        ]
        info = await store.commit_cut(parts, reason="periodic", label=None, mode=Mode.SAFE, stall=0.25)

        loaded = await store.load("a", Note, make=Note)
        assert (loaded.state, loaded.inbox, loaded.info) == (Note("x"), inbox, info)
        assert (await store.load("b", Note, make=Note)).inbox is None
        assert (info.mode, info.stall, info.reason) == (Mode.SAFE, 0.25, "periodic")


async def test_store_cut_with_a_component_twice_is_refused(url):
    """A component has one part in a cut."""
    from genesis_trio.persistence import codec

    part = Part("a", codec.encode(Note("x"), Note), Note)
    async with open_store(url) as store:
        with pytest.raises(ValueError, match="once only"):
            await store.commit_cut([part, part], reason="manual", label=None, mode=Mode.NORMAL, stall=0.0)


async def test_store_cut_ahead_of_the_journal_is_refused(url):
    """A state cannot include records that were never written."""
    from genesis_trio.persistence import codec

    part = Part("a", codec.encode(Note("x"), Note), Note, 3)
    async with open_store(url) as store:
        await store.append("a", [Fill(1)])
        with pytest.raises(StoreError, match="include record 3, but its journal ends at 1"):
            await store.commit_cut([part], reason="manual", label=None, mode=Mode.NORMAL, stall=0.0)


async def test_store_part_that_does_not_structure_back_is_not_acknowledged(url):
    """What cannot be read is not saved: the bytes are structured back before the commit."""
    part = Part("a", b"not what a codec writes", Note)
    async with open_store(url) as store:
        with pytest.raises(Exception) as caught:
            await store.commit_cut([part], reason="manual", label=None, mode=Mode.NORMAL, stall=0.0)

        assert not isinstance(caught.value, AssertionError)
        assert list(await store.list_checkpoints()) == []
        await store.create_checkpoint({"a": Note("good")})


async def test_store_every_call_is_a_trio_checkpoint(url):
    """Each public coroutine yields to the scheduler, and the context manager of replay() does."""
    async with open_store(url) as store:
        with assert_checkpoints():
            info = await store.create_checkpoint({"a": Note()})
        with assert_checkpoints():
            await store.append("a", [Fill(1)])
        with assert_checkpoints():
            await store.restore_latest("a", Note)
        with assert_checkpoints():
            await store.restore_latest("nobody", Note)
        with assert_checkpoints():
            await store.restore(info.id, "a", Note)
        with assert_checkpoints():
            await store.list_checkpoints()
        with assert_checkpoints():
            await store.verify()
        with assert_checkpoints():
            await store.prune()
        async with store.replay("a", Fill) as records:
            with assert_checkpoints():
                await anext(records)


async def test_store_cancelled_before_it_begins_saves_nothing(url):
    """A call that is cancelled already takes no state and writes nothing."""
    async with open_store(url) as store:
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.create_checkpoint({"a": Note()})

        assert scope.cancelled_caught
        assert list(await store.list_checkpoints()) == []


async def test_store_statistics_count_what_was_done(url):
    """The counters say what was written, and what is saved for whom, since when."""
    async with open_store(url) as store:
        assert store.statistics().checkpoints == {}
        await book(store, Ledger(), 1, 2)
        first = await store.create_checkpoint({"a": Note()})
        second = await store.create_checkpoint({"a": Note(), "b": Note()})
        found = store.statistics()

    assert (found.records, found.cuts, found.waiting) == (2, 2, 0)
    assert found.commits == 4
    assert found.largest_batch == 1
    assert found.commit_time >= 0.0
    assert found.checkpoints == {"a": 2, "b": 1}
    assert found.newest == {"a": second.created_at, "b": second.created_at}
    assert found.journal == {"desk/ledger": 2, "a": 0, "b": 0}
    assert found.keys == {"desk/ledger": 0, "a": 0, "b": 0}
    assert first.created_at <= second.created_at
    assert found.room and not found.poisoned


async def test_store_names_itself():
    """A store shows what it was opened with, and its tokens grow."""
    async with open_store("memory:named") as store:
        assert repr(store) == "<Store 'memory:named'>"
        assert store.url == "memory:named"
        first = store.token
    async with open_store("memory:named") as store:
        assert store.token > first
        assert store.poisoned is None
        assert store.damage == ()


async def test_store_records_of_infos_are_frozen(url):
    """What is known about a checkpoint cannot be changed by who reads it."""
    async with open_store(url) as store:
        info = await store.create_checkpoint({"a": Note()})

    assert isinstance(info, CheckpointInfo)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        info.label = "another"


async def test_store_verifies_a_whole_store(url):
    """Where nothing is wrong, verify() says so."""
    async with open_store(url) as store:
        await book(store, Ledger(), 1, 2, 3)
        await store.begin_effect("desk/ledger", "order 1")
        await store.create_checkpoint({"desk/ledger": Ledger(6)})
        await store.put_control("latch", b"x").wait()

        report = await store.verify()

    assert report.ok
    assert report.problems == ()


async def test_store_closed_says_so(url):
    """After its block a store refuses to write, in words."""
    async with open_store(url) as store:
        pass

    with pytest.raises(StoreError, match="is closed"):
        await store.create_checkpoint({"a": Note()})
    receipt = store.put_control("x", b"y")
    assert isinstance(receipt.error, GenesisError)


async def test_store_under_a_virtual_clock_takes_no_time(autojump_clock, url):
    """With a virtual clock everything is inline: no thread, and not a moment of virtual time."""
    began = trio.current_time()
    async with open_store(url) as store:
        await book(store, Ledger(), *range(1, 21))
        await store.create_checkpoint({"desk/ledger": Ledger()})
        await store.restore_latest("desk/ledger", Ledger)
        await store.prune(keep=1)

    assert trio.current_time() == began


async def test_store_wall_time_is_that_of_the_run(autojump_clock, url):
    """Two checkpoints an hour of virtual time apart are an hour apart in wall time."""
    async with open_store(url) as store:
        first = await store.create_checkpoint({"a": Note()})
        await trio.sleep(3600)
        second = await store.create_checkpoint({"a": Note()})

    assert (second.created_at - first.created_at).total_seconds() == pytest.approx(3600, abs=1e-5)
    assert first.created_at < datetime(2200, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("scheme", ["memory:", "sqlite:"])
async def test_store_read_after_its_block_is_refused(scheme, tmp_path):
    """What is closed is neither written nor read."""
    url = scheme if scheme == "memory:" else f"sqlite:{tmp_path / 'a.db'}"
    async with open_store(url) as store:
        assert await store.list_checkpoints() == []
    with pytest.raises(StoreError, match="is closed; read inside its open_store"):
        await store.list_checkpoints()
