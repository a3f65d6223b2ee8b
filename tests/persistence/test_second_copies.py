"""A part that several saved checkpoints share is there twice, so that no single damage spoils them all."""

import pytest

from genesis_trio import open_store
from genesis_trio.errors import CorruptError
from genesis_trio.persistence.engine import Batch
from persistence.damage import SCOPE, damage_part
from persistence.desk import Ledger, Note, book

A = "desk/idle"
STATE = Note("idle for hours")


async def save(store, times):
    for _ in range(times):
        await store.create_checkpoint({A: STATE})


def digest_of(store, number=1):
    return store._ledger.cuts[number].parts[A].digest


def stored(store):
    return store._ledger.engine.list_parts(SCOPE)


def damaged(events):
    return [event.error for event in events if event.name == "store_damaged"]


async def test_second_copy_is_written_when_a_part_is_shared_and_never_a_third(url):
    """The first checkpoint writes a state once, the second one once more, and the others not at all."""
    counts = []
    async with open_store(url) as store:
        for _ in range(5):
            await save(store, 1)
            counts.append(len(stored(store)))
    async with open_store(url) as store:
        await save(store, 1)

        assert [*counts, len(stored(store))] == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("eighth", range(8))
async def test_second_copy_stands_in_for_a_damaged_part(url, events, eighth):
    """A bit that flips anywhere in a part that ten checkpoints share costs nothing, and is told."""
    async with open_store(url) as store:
        await save(store, 10)
        digest = digest_of(store)
        body = bytearray(store._ledger.engine.read_part(SCOPE, digest))
        body[eighth * (len(body) - 1) // 7] ^= 1 << eighth
        batch = Batch(store._ledger.engine.read_head(SCOPE))
        store._ledger.engine.commit_cut(SCOPE, store._ledger.token, {digest: bytes(body)}, batch)
    async with open_store(url) as store:
        restored = await store.restore_latest(A, Note)

        (told,) = damaged(events)
        assert (restored.state, restored.info.id, restored.fell_back_from, restored.lost) == (
            STATE,
            "cp-000010",
            (),
            0,
        )
        assert "digest does not match" in told and "its second copy is good" in told
        assert store.damage == (told,)
        assert (await store.load(A, Note, make=Note)).state == STATE
        assert (await store.restore("cp-000003", A, Note)).state == STATE
        assert len(damaged(events)) == 1  # once, not for each reader


async def test_second_copy_stands_in_for_a_part_that_is_missing(url, events):
    """A part that is not there at all is damaged like one whose bytes are."""
    async with open_store(url) as store:
        await save(store, 2)
        engine = store._ledger.engine
        engine.remove(SCOPE, store._ledger.token, Batch(engine.read_head(SCOPE)), parts=[digest_of(store)])
    async with open_store(url) as store:
        assert (await store.load(A, Note, make=Note)).state == STATE
    assert "is missing" in damaged(events)[0]


async def test_second_copy_damaged_part_is_a_problem_until_the_next_checkpoint_writes_it_again(url):
    """verify() names it as long as there is one copy only; a save of the same state makes it two again."""
    async with open_store(url) as store:
        await save(store, 3)
        damage_part(store, digest_of(store))
    async with open_store(url) as store:
        before = await store.verify()
        assert (await store.load(A, Note, make=Note)).state == STATE
        await save(store, 1)

        assert not before.ok and "digest does not match" in before.problems[0]
        assert (await store.verify()).ok
        assert store.damage == ()


async def test_second_copy_that_is_damaged_itself_is_found_and_written_again(url):
    """The copy is no blind spot: verify() reads it, and a save in another process replaces it."""
    async with open_store(url) as store:
        await save(store, 2)
        (second,) = set(stored(store)) - {digest_of(store)}
        damage_part(store, second)
    async with open_store(url) as store:
        before = await store.verify()
        assert (await store.restore_latest(A, Note)).state == STATE
        await save(store, 1)

        assert not before.ok and "second copy" in before.problems[0]
        assert (await store.verify()).ok


async def test_second_copy_with_both_damaged_is_corrupt(url, events):
    """Two damages are more than it is for: an error, never a state that nobody saved."""
    async with open_store(url) as store:
        await save(store, 3)
        for digest in stored(store):
            damage_part(store, digest)
    async with open_store(url) as store:
        with pytest.raises(CorruptError, match="no saved checkpoint of 'desk/idle' can be read"):
            await store.load(A, Note, make=Note)


async def test_second_copy_goes_with_its_part(url):
    """Nothing of a state stays once the last checkpoint with it is removed."""
    async with open_store(url) as store:
        await save(store, 3)
        for text in ("x", "y"):
            await store.create_checkpoint({A: Note(text)})
        await store.prune(keep=2)

        assert len(stored(store)) == 2
        assert (await store.verify()).ok


async def test_second_copy_of_a_state_that_a_rewind_takes_up_again(url):
    """A rewind shares the part of the checkpoint that it goes back to."""
    async with open_store(url) as store:
        ledger = Ledger()
        await book(store, ledger, 1, component=A)
        await store.create_checkpoint({A: ledger})
        await book(store, ledger, 2, component=A)
        await store.create_checkpoint({A: ledger})
        await store.rewind("cp-000001")
        damage_part(store, digest_of(store, 1))
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)

    assert (loaded.state, loaded.info.id, loaded.fell_back_from) == (Ledger(1, [1]), "cp-000003", ())


async def test_second_copy_damage_that_a_rewind_meets_is_told_and_mended(url, events):
    """Going back to a checkpoint whose part is damaged takes the second copy, and writes the first again."""
    async with open_store(url) as store:
        await save(store, 2)
        await store.create_checkpoint({A: Note("newer")})
        damage_part(store, digest_of(store))
    async with open_store(url) as store:
        await store.rewind("cp-000001")

        assert (await store.load(A, Note, make=Note)).state == STATE
        assert (await store.verify()).ok
    assert len(damaged(events)) == 1
