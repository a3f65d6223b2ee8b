"""States in quarantine: passed over by each restore that does not name them, listed, kept, and released by hand."""

import pytest

from genesis_trio import open_store
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence import rungs
from genesis_trio.persistence._envelope import digest_part
from genesis_trio.persistence.codec import encode
from genesis_trio.persistence.inspection import Inspector
from persistence.damage import rewrite_record
from persistence.desk import Ledger, Note, book

A, B = "desk/a", "desk/b"
WHY = "it crashed 3 times"


def verdict(*cuts, text="none of them"):
    return rungs.Verdict((digest_part(encode(Note(text), Note)).hex(),), cuts, WHY)


async def save(store, *texts, **options):
    return [await store.create_checkpoint({A: Note(text), B: Note("b")}, **options) for text in texts]


async def test_quarantine_is_passed_over_and_listed_also_after_a_restart(url, events):
    """The component falls back to the one before, loudly; others of the same cut do not."""
    async with open_store(url) as store:
        await save(store, "good", "bad")
        await rungs.put_verdicts(store, A, [verdict(2)]).wait()
    async with open_store(url) as store:
        found = await store.restore_latest(A, Note)
        assert (found.state, found.info.id, found.fell_back_from) == (Note("good"), "cp-000001", ("cp-000002",))
        other = await store.restore_latest(B, Note)
        assert (other.info.id, other.fell_back_from) == ("cp-000002", ())
        listed = {info.id: info.quarantined for info in await store.list_checkpoints()}
        assert listed == {"cp-000002": {A: WHY}, "cp-000001": {}}
        assert (await Inspector(store).export("cp-000002"))["checkpoint"]["quarantined"] == {A: WHY}
        assert (await store.restore("cp-000002", A, Note)).state == Note("bad")
        assert (await store.verify()).ok
    fell_back = next(event for event in events if event.name == "recovery_fell_back")
    assert f"cp-000002: it is in quarantine: {WHY}" in fell_back.damaged


async def test_quarantine_concerns_every_checkpoint_with_the_same_state(url):
    """A later cut that holds the same bytes is no better."""
    async with open_store(url) as store:
        await save(store, "good", "bad")
        await rungs.put_verdicts(store, A, [verdict(2, text="bad")]).wait()
        await save(store, "bad")
        assert (await store.restore_latest(A, Note)).state == Note("good")
        assert list(await rungs.list_states(store, A)) == ["cp-000001"]


async def test_quarantine_of_all_is_an_error_and_not_a_first_state(url):
    """Nothing is left that a restart may take: it says so, and why."""
    async with open_store(url) as store:
        await save(store, "bad")
        await rungs.put_verdicts(store, A, [verdict(1)]).wait()
        with pytest.raises(CorruptError, match=f"cp-000001: it is in quarantine: {WHY}"):
            await store.restore_latest(A, Note)


async def test_quarantine_two_verdicts_of_one_commit_both_stand(url):
    """They are added to what is there, also to what the same commit has added."""
    async with open_store(url) as store:
        await save(store, "a", "b", "c")
        receipts = [rungs.put_verdicts(store, A, [verdict(number)]) for number in (2, 3, 3)]
        for receipt in receipts:
            await receipt.wait()
        assert list(await rungs.list_states(store, A)) == ["cp-000001"]


async def test_quarantine_is_released_by_hand(url):
    """Then a restart takes it again; what was not in quarantine is not counted."""
    async with open_store(url) as store:
        await save(store, "good", "bad")
        await rungs.put_verdicts(store, A, [verdict(2)]).wait()
        inspector = Inspector(store)
        info, released = await inspector.release("cp-000002", component=B)
        assert (info.quarantined, released) == ({A: WHY}, [])
        info, released = await inspector.release("newest")
        assert (info.id, info.quarantined, released) == ("cp-000002", {}, [A])
        assert (await store.restore_latest(A, Note)).state == Note("bad")
        assert await store.read_control() == {}
        with pytest.raises(StoreError, match="no component 'desk/c' in cp-000002"):
            await inspector.release("cp-000002", component="desk/c")


async def test_quarantine_ends_for_what_a_restore_names(url):
    """Who goes back to this very checkpoint wants it; a point in time names none."""
    async with open_store(url) as store:
        good, bad = await save(store, "good", "bad")
        await rungs.put_verdicts(store, A, [verdict(2)]).wait()
        await save(store, "later")
        await store.rewind(bad.created_at, only=[A])
        assert (await store.restore_latest(A, Note)).state == Note("good")
        assert (await store.list_checkpoints())[0].created_at >= good.created_at
        await store.rewind(bad.id, only=[A])
        assert (await store.restore_latest(A, Note)).state == Note("bad")
        assert all(info.quarantined == {} for info in await store.list_checkpoints())


async def test_quarantine_keeps_a_checkpoint_from_being_pruned(url):
    """It stays, and does not count among those that are kept; released, it is as old as any."""
    async with open_store(url) as store:
        await save(store, "a", "bad", "c", "d", "e")
        await rungs.put_verdicts(store, A, [verdict(2)]).wait()
        await store.prune(keep=2)
        assert [info.id for info in await store.list_checkpoints()] == ["cp-000005", "cp-000004", "cp-000002"]
        await Inspector(store).release("cp-000002")
        await store.prune(keep=2)
        assert [info.id for info in await store.list_checkpoints()] == ["cp-000005", "cp-000004"]


async def test_older_state_is_read_with_the_journal_behind_it(url):
    """Nothing is lost while the journal is whole; where it is not, the state cannot be taken."""
    async with open_store(url) as store:
        assert await rungs.read_newest(store, A) == rungs.Newest()
        ledger = Ledger()
        for number in (10, 20, 30):
            await book(store, ledger, number, component=A)
            await store.create_checkpoint({A: ledger})
        assert await rungs.read_newest(store, A) == rungs.Newest(3)
        found = await rungs.load_from(store, A, Ledger, "cp-000001", make=Ledger)
        assert (found.state, found.info.id, found.journal, found.replayed, found.lost) == (ledger, "cp-000001", 3, 2, 0)
        found = await rungs.load_from(store, A, Ledger, "", make=Ledger)
        assert (found.state, found.info, found.replayed, found.lost) == (ledger, None, 3, 0)
        found = await rungs.load_first(store, A, make=Ledger)
        assert (found.state, found.journal, found.replayed, found.lost) == (Ledger(), 3, 0, 3)
        rewrite_record(store, A, 2)
        with pytest.raises(CorruptError, match="record 2 of 'desk/a' is damaged"):
            await rungs.load_from(store, A, Ledger, "cp-000001", make=Ledger)
        assert (await rungs.load_from(store, A, Ledger, "cp-000002", make=Ledger)).lost == 0
