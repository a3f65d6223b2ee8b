"""Pruning: room is made, and nothing that might be needed goes."""

import pytest

from genesis_trio import Mode, open_store
from genesis_trio._runtime import utcnow
from genesis_trio.errors import StoreError
from genesis_trio.persistence._cut_operations import Rewind
from persistence.damage import damage_part
from persistence.desk import Fill, Ledger, Note, book

A = "desk/ledger"


async def save(store, number, *names, label=None):
    return await store.create_checkpoint({name: Note(f"{name} {number}") for name in names}, label=label)


async def ids(store, component=None):
    return [info.sequence for info in await store.list_checkpoints(component)]


async def test_prune_keeps_the_newest_of_each_component(url):
    """The newest `keep` of each component stay, however old they are."""
    async with open_store(url) as store:
        await save(store, 1, "quiet")
        for number in range(2, 30):
            await save(store, number, "busy")

        before = store.statistics().commits
        assert await store.prune(keep=3) == 25
        assert store.statistics().commits - before == 3  # of at most ten each: a large one makes everybody wait
        assert await ids(store) == [29, 28, 27, 1]
        assert (await store.restore_latest("quiet", Note)).state == Note("quiet 1")
        assert await store.prune(keep=3) == 0
        assert (await store.verify()).ok

    async with open_store(url) as store:
        assert await ids(store) == [29, 28, 27, 1]
        assert (await store.restore("cp-000028", "busy", Note)).state == Note("busy 28")


async def test_prune_keeps_labelled_ones(url):
    """What has a name is pinned."""
    async with open_store(url) as store:
        await save(store, 1, "a", label="before release")
        for number in range(2, 6):
            await save(store, number, "a")

        assert await store.prune(keep=1) == 3
        assert await ids(store) == [5, 1]


async def test_prune_never_takes_the_newest_that_is_good(url):
    """When all that would be kept is damaged, the newest good one is kept as well."""
    async with open_store(url) as store:
        for number in range(1, 6):
            await save(store, number, "a")
        for number in (4, 5):
            damage_part(store, store._ledger.cuts[number].parts["a"].digest)

        assert await store.prune(keep=1) == 3
        assert await ids(store) == [5, 3]
        restored = await store.restore_latest("a", Note)
        assert (restored.state, restored.fell_back_from) == (Note("a 3"), ("cp-000005",))


async def test_prune_keeps_parts_that_others_share(url):
    """A part goes with the last checkpoint that needs it, not before."""
    async with open_store(url) as store:
        for number in range(1, 5):
            await store.create_checkpoint({"same": Note("x"), "other": Note(str(number))})
        await store.prune(keep=2)

        assert len(store._ledger.engine.list_parts("main")) == 4  # what they share is there twice
        assert (await store.restore("cp-000003", "same", Note)).state == Note("x")
        await store.create_checkpoint({"same": Note("x")})
        assert (await store.verify()).ok


async def test_prune_part_that_is_saved_again_is_written_again(url):
    """A state whose bytes were pruned is written anew when it comes back."""
    async with open_store(url) as store:
        for text in ("x", "y", "z"):
            await store.create_checkpoint({"a": Note(text)})
        await store.prune(keep=1)
        await store.create_checkpoint({"a": Note("x")})

    async with open_store(url) as store:
        assert (await store.restore_latest("a", Note)).state == Note("x")


@pytest.mark.parametrize(("keep", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), (1.5, TypeError)])
async def test_prune_of_everything_is_refused(url, keep, error):
    """At least one is kept, always."""
    async with open_store(url) as store:
        with pytest.raises(error, match="keep must be"):
            await store.prune(keep=keep)


async def test_prune_leaves_the_journal(url):
    """Records and keys stay, unless asked for."""
    async with open_store(url) as store:
        ledger = Ledger()
        for number in range(1, 5):
            await book(store, ledger, number, key=f"trade {number}")
            await store.create_checkpoint({A: ledger})
        await store.prune(keep=1)

        async with store.replay(A, Fill) as records:
            assert len([record async for record in records]) == 4
        assert await book(store, ledger, 1, key="trade 1") == [1]


async def test_prune_of_the_journal_keeps_what_a_checkpoint_needs(url):
    """Records before every checkpoint kept go with their keys; sequences and digests go on."""
    ledger = Ledger()
    async with open_store(url) as store:
        await book(store, Ledger(), 1, component="journal only")
        for number in range(1, 6):
            await book(store, ledger, number, key=f"trade {number}")
            await store.create_checkpoint({A: ledger})
        await book(store, ledger, 6, key="trade 6")

        assert await store.prune(keep=2, journal=True) == 3
        assert [record.sequence for _, record in store._ledger.engine.read_records("main", A)] == [5, 6]
        assert len(store._ledger.engine.read_records("main", "journal only")) == 1
        with pytest.raises(StoreError, match="records up to 4 of 'desk/ledger' were pruned"):
            async with store.replay(A, Fill):
                pass
        async with store.replay(A, Fill, after=4) as records:
            assert [record async for record in records] == [(5, Fill(5)), (6, Fill(6))]
        assert await store.prune(keep=2, journal=True) == 0

    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.replayed, loaded.lost) == (ledger, 1, 0)
        assert await book(store, ledger, 6, key="trade 6") == [6]
        assert await book(store, ledger, 1, key="trade 1") == [7]
        assert (await store.verify()).ok
        older = await store.restore("cp-000004", A, Ledger)
        assert (older.state.total, older.lost) == (10, 0)


async def test_prune_beside_writers_waits_its_turn(url):
    """Removing and recording go side by side, each in commits of its own."""
    import trio

    ledger = Ledger()
    async with open_store(url) as store:
        for number in range(25):
            await save(store, number, "a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book, store, ledger, *range(20))
            nursery.start_soon(store.prune)
            nursery.start_soon(save, store, 26, "b")

        assert len(await ids(store, "a")) == 10
        assert ledger.total == sum(range(20))
        assert (await store.verify()).ok


async def test_prune_takes_from_what_is_kept_for_former_components_what_the_others_do_not_need(url):
    """Of a checkpoint that only a component needs which is in no newer one its state stays, and the rest goes: records, too."""
    async with open_store(url) as store:
        ledger = Ledger()
        for number in range(1, 10):
            await book(store, ledger, number, key=f"trade {number}")
            await store.create_checkpoint({A: ledger, **({"former": Note(f"old {number}")} if number <= 4 else {})})

        assert await store.prune(keep=2) == 5
        assert await ids(store) == [9, 8, 4, 3]
        assert await ids(store, A) == [9, 8]
        assert [info.components for info in await store.list_checkpoints("former")] == [("former",), ("former",)]
        assert await store.shorten_journal() == 8
        assert await store.prune(keep=2) == 0
        assert (await store.verify()).ok

    async with open_store(url) as store:
        assert await ids(store) == [9, 8, 4, 3]
        assert (await store.restore_latest("former", Note)).state == Note("old 4")
        assert (await store.restore("cp-000003", "former", Note)).state == Note("old 3")
        with pytest.raises(StoreError, match=r"no component 'desk/ledger' in cp-000004; it holds former"):
            await store.restore("cp-000004", A, Ledger)
        assert (await store.verify()).ok


async def test_prune_leaves_a_checkpoint_whole_that_a_living_component_or_a_label_needs(url):
    """What can be gone back to has all that it had: only what is of nobody's use any more is taken away."""
    async with open_store(url) as store:
        await save(store, 1, "a", "former", label="before release")
        await save(store, 2, "a", "b", "former")
        for number in range(3, 6):
            await save(store, number, "a", *(["b"] if number == 4 else []))

        assert await store.prune(keep=2) == 1
        assert [(info.sequence, info.components) for info in await store.list_checkpoints()] == [
            (5, ("a",)),
            (4, ("a", "b")),
            (2, ("a", "b", "former")),
            (1, ("a", "former")),
        ]


async def test_prune_while_a_restore_chooses_what_it_trims_is_told(url):
    """A restore that waits behind the pruning of its components changes nothing."""
    async with open_store(url) as store:
        await save(store, 1, "a", "former")
        await save(store, 2, "a")
        rewind = Rewind(1, ["a", "former"], Mode.NORMAL, utcnow(), "test")
        await store.prune(keep=1)

        with pytest.raises(StoreError, match=r"'a' in cp-000001 was pruned meanwhile; choose another one"):
            await store._writer.write(rewind)
        assert (await store.restore_latest("a", Note)).state == Note("a 2")
