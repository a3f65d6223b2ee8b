"""Shortening the journal behind saved checkpoints: what anybody may still need stays, and every key is still known."""

import pytest
import trio

from genesis_trio import CheckpointPolicy, Component, open_store, open_supervisor
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence import _removal
from persistence.damage import damage_newest, flip, remove, rewrite_row
from persistence.desk import Fill, Ledger, book

A = "desk/ledger"


def sequences(store, component=A):
    return [record.sequence for _, record in store._ledger.engine.read_records("main", component)]


async def record(store, ledger, numbers, component=A):
    for number in numbers:
        await book(store, ledger, number, component=component, key=f"trade {number}")


async def test_shorten_removes_what_every_kept_checkpoint_includes(url):
    """Records behind the oldest checkpoint kept go, all others stay, and so does a journal that no checkpoint covers."""
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, Ledger(), [1, 2], "journal only")
        for number in range(1, 7):
            await record(store, ledger, [number])
            if number in (3, 5):
                await store.create_checkpoint({A: ledger})

        assert await store.shorten_journal() == 3
        assert sequences(store) == [4, 5, 6]
        assert sequences(store, "journal only") == [1, 2]
        assert await store.shorten_journal() == 0
        with pytest.raises(StoreError, match="records up to 3 of 'desk/ledger' were pruned"):
            async with store.replay(A, Fill):
                pass
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)
        assert (loaded.state, loaded.replayed, loaded.lost) == (ledger, 1, 0)
        older = await store.restore("cp-000001", A, Ledger)
        assert (older.state.entries, older.lost) == ([1, 2, 3], 0)
        assert (await store.verify()).ok


async def test_shorten_keeps_every_key(url):
    """A key whose record was removed still returns its sequence and applies nothing, also after a restart."""
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, ledger, range(1, 6))
        await store.create_checkpoint({A: ledger})
        assert await store.shorten_journal() == 5
        assert await book(store, ledger, 2, key="trade 2") == [2]
    async with open_store(url) as store:
        assert await book(store, ledger, 3, key="trade 3") == [3]
        assert await book(store, ledger, 6, key="trade 6") == [6]
        assert ledger.entries == [1, 2, 3, 4, 5, 6]
        assert (await store.verify()).ok


async def test_shorten_goes_in_small_commits_that_components_share(url, monkeypatch):
    """At most so many records in one commit, of as many components as fit."""
    monkeypatch.setattr(_removal, "SHORTEN_AT_ONCE", 4)
    ledgers = {name: Ledger() for name in ("a", "b", "c")}
    async with open_store(url) as store:
        for number in range(1, 4):
            for name, ledger in ledgers.items():
                await record(store, ledger, [number], name)
        await store.create_checkpoint(ledgers)
        commits = store.statistics().commits
        assert await store.shorten_journal() == 9
        assert store.statistics().commits - commits == 3
        assert [sequences(store, name) for name in ledgers] == [[], [], []]
        assert (await store.verify()).ok
        for name, ledger in ledgers.items():
            await record(store, ledger, [4], name)
    async with open_store(url) as store:
        for name, ledger in ledgers.items():
            assert (await store.load(name, Ledger, make=Ledger)).state == ledger


async def test_shorten_never_goes_beyond_a_labelled_checkpoint(url):
    """A pinned checkpoint keeps the journal behind it."""
    ledger = Ledger()
    async with open_store(url) as store:
        for number in range(1, 6):
            await record(store, ledger, [number])
            await store.create_checkpoint({A: ledger}, label="pinned" if number == 2 else None)
        assert await store.prune(keep=1) == 3
        assert await store.shorten_journal() == 2
        assert sequences(store) == [3, 4, 5]


async def test_shorten_leaves_the_way_back_from_a_rewind(url):
    """Who goes forwards again to a state that a rewind left finds the keys of all its records."""
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, ledger, [1, 2])
        early = await store.create_checkpoint({A: ledger})
        await record(store, ledger, [3, 4])
        await store.create_checkpoint({A: ledger}, label="late")
        await store.rewind(early.id)
        back = Ledger(3, [1, 2])
        await record(store, back, [5])
        await store.create_checkpoint({A: back})
        assert await store.prune(keep=1) == 2

        assert await store.shorten_journal() == 2
        assert sequences(store) == [3, 4, 5]
        await store.rewind("late")
        for number in (1, 2, 3, 4):
            assert await book(store, ledger, number, key=f"trade {number}") == [number]
        assert await book(store, ledger, 5, key="trade 5") == [6]
        assert (await store.verify()).ok


async def test_shorten_waits_for_a_good_checkpoint(url):
    """While the newest checkpoint is damaged the journal is what is left, and stays."""
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, ledger, [1, 2])
        await store.create_checkpoint({A: ledger})
        await record(store, ledger, [3])
        await store.create_checkpoint({A: ledger})
        damage_newest(store, A)
        assert await store.shorten_journal() == 0
        assert sequences(store) == [1, 2, 3]


@pytest.mark.parametrize("change", [flip, remove])
async def test_shorten_damaged_key_of_a_record_that_is_there_is_made_anew(url, change):
    """The keys of records that are gone are taken as they are, the others from the journal."""
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, ledger, [1, 2])
        await store.create_checkpoint({A: ledger})
        await record(store, ledger, [3, 4])
        await store.shorten_journal()
        rewrite_row(store, "key", A, "trade 3", change)
    async with open_store(url) as store:
        for number in (1, 2, 3, 4):
            assert await book(store, ledger, number, key=f"trade {number}") == [number]
        assert ledger.entries == [1, 2, 3, 4]
        assert (await store.verify()).problems == tuple(store.damage)


@pytest.mark.parametrize("change", [flip, remove])
async def test_shorten_damaged_key_of_a_record_that_is_gone_refuses_until_somebody_looked(url, change):
    """Nothing is recorded a second time by mistake: no key is taken for new until the damage is accepted."""
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, ledger, [1, 2])
        await store.create_checkpoint({A: ledger})
        await store.shorten_journal()
        rewrite_row(store, "key", A, "trade 1", change)
    async with open_store(url) as store:
        for number in (1, 3):
            with pytest.raises(CorruptError, match="whether a key is new cannot be known"):
                await book(store, ledger, number, key=f"trade {number}")
        await store.accept_damage()
        assert await book(store, ledger, 2, key="trade 2") == [2]
        assert await book(store, ledger, 3, key="trade 3") == [3]
        assert ledger.entries == [1, 2, 3]
        assert (await store.verify()).ok


# ------------------------------------------------------------------ by itself


class Booking(Component[Ledger]):
    """Records a fill every second."""

    async def run(self, ctx):
        ctx.ready()
        while not ctx.stopping:
            number = len(self.state.entries) + 1
            await ctx.record(Fill(number), key=f"trade {number}")
            await ctx.safe_point()
            await trio.sleep(1)


@pytest.mark.parametrize("keep_journal", [False, True])
async def test_shorten_is_part_of_saving_by_itself(autojump_clock, keep_journal):
    """A tree that saves itself keeps the records behind the oldest checkpoint kept, or all of them when told to."""
    policy = CheckpointPolicy(every=10, messages=None, keep=2, keep_journal=keep_journal)
    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store, checkpoint=policy) as desk:
            await desk.start(Booking, name="ledger")
            await trio.sleep(60.5)
            kept = await store.list_checkpoints()
            first = 1 if keep_journal else kept[-1].journal[A] + 1
            assert len(kept) == 2
            assert sequences(store) == list(range(first, 62))
            assert await store.record(A, Fill(1), key="trade 1", apply=print) == 1
            await desk.stop()


async def test_shorten_reads_a_checkpoint_once_for_all_batches(url, monkeypatch):
    """A long journal goes in many commits; that its checkpoint is good is looked at once."""
    monkeypatch.setattr(_removal, "SHORTEN_AT_ONCE", 2)
    ledger = Ledger()
    async with open_store(url) as store:
        await record(store, ledger, range(10))
        await store.create_checkpoint({A: ledger})
        engine = store._ledger.engine
        reads = []
        read_part = engine.read_part
        monkeypatch.setattr(engine, "read_part", lambda *args: reads.append(args) or read_part(*args))
        assert await store.shorten_journal() == 10
    assert len(reads) == 1
