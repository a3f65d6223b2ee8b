"""What comes back from a damaged journal, and from damaged keys and effects beside it: what is lost is counted."""

import attrs
import pytest

from genesis_trio import Mode, open_store
from genesis_trio.errors import CorruptError
from genesis_trio.persistence import codec
from genesis_trio.persistence._envelope import Head, chain_of, unpack_entry
from genesis_trio.persistence._operations import Append, NewEvent
from genesis_trio.persistence.effects import EffectStatus
from genesis_trio.persistence.store import Part
from persistence.damage import damage_newest, flip, remove, rewrite_record, rewrite_row
from persistence.desk import Fee, Fill, Ledger, book, fell_back, saved_twice

A = "desk/ledger"


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


async def test_recovery_last_record_that_was_never_acknowledged_is_noticed(url):
    """A record that continues the one before, and is not the one that the component's head speaks of."""

    def written_otherwise(body):
        entry, _ = unpack_entry(A, 2, body, first)
        return attrs.evolve(entry, at=entry.at + 1).pack(A, first)[0]

    async with open_store(url) as store:
        await book(store, Ledger(), 1, 2)
        ((_, record), _) = store._ledger.engine.read_records("main", A)
        first = chain_of(record.body)
        rewrite_record(store, A, 2, written_otherwise)
        assert (await store.verify()).problems == (f"the journal of {A!r} does not end as its head says",)


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


async def test_recovery_damage_before_what_a_rewind_left_counts_none_of_that(url):
    """Records that were void are missed by nobody."""
    async with open_store(url) as store:
        await saved_twice(store)
        await store.rewind("cp-000002")
        await book(store, Ledger(), 7)
        damage_newest(store, A, 2)
        rewrite_record(store, A, 3)
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state.entries, loaded.journal) == ([1, 2], 2)
    assert loaded.lost == 3  # 3, 4 and 7, and neither 5 nor 6


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
    async with open_store(url) as store:
        events = [NewEvent("test.fill", f"trade {number}", b"{}", lambda: None) for number in range(2500)]
        await store._writer.write(Append(A, events, 0.0))
    async with open_store(url) as store:
        assert await book(store, Ledger(), 1, key="trade 2499") == [2500]
        assert (await store.verify()).ok
