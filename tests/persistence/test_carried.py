"""A cut that is taken before a component has started holds it as it was saved last, and hides nothing by that."""

import pytest
import trio

from genesis_trio import Mode, open_store
from genesis_trio.errors import CorruptError
from genesis_trio.persistence.store import Part
from persistence.damage import damage_newest, damage_part, rewrite_row
from persistence.desk import Ledger, Note, book

A, B = "desk/ledger", "desk/late"


async def cut(store, note, **carried):
    """A cut with ``early`` in it, and *carried* as the last acknowledged records of those that are not."""
    part = Part("early", b'{"text":"%s"}' % note.encode(), Note)
    names = {"late": B, "ledger": A}
    return await store.commit_cut(
        [part],
        reason="periodic",
        label=None,
        mode=Mode.NORMAL,
        stall=0.0,
        carried={names.get(name, name): last for name, last in carried.items()},
    )


async def late_of(store, **expected):
    loaded = await store.load(B, Ledger, make=Ledger)
    found = {"state": loaded.state.entries, "lost": loaded.lost, "fell_back_from": loaded.fell_back_from}
    assert {name: found[name] for name in expected} == expected


async def test_cut_holds_who_has_not_started_with_what_was_recorded_since(url):
    """Its records up to the cut count, those after it do not: as for everybody else in it."""
    async with open_store(url) as store:
        await book(store, Ledger(), 1, component=B)
        await store.create_checkpoint({B: Ledger(1, [1])})
        await book(store, Ledger(1, [1]), 2, component=B)
        info = await cut(store, "x", late=2)
        assert info.components == (B, "early")
        await book(store, Ledger(3, [1, 2]), 3, component=B)
        await late_of(store, state=[1, 2, 3], lost=0, fell_back_from=())
        assert (await store.verify()).ok

        await store.rewind(info.id)
        await late_of(store, state=[1, 2], lost=0)

    async with open_store(url) as store:
        await late_of(store, state=[1, 2], lost=0)


async def test_cut_leaves_out_whom_nothing_was_saved_of(url):
    """Who is new has no part yet."""
    async with open_store(url) as store:
        await book(store, Ledger(), 1)
        info = await cut(store, "x", new=0, ledger=1)
        assert info.components == ("early",)


async def test_part_that_is_carried_has_a_second_copy(url):
    """All cuts that share it would go with the one."""
    async with open_store(url) as store:
        await store.create_checkpoint({B: Ledger(1, [1])})
        await cut(store, "x", late=0)
        damage_part(store, store._ledger.cuts[1].parts[B].digest)
        await late_of(store, state=[1], fell_back_from=())


@pytest.mark.parametrize("broken", ["part", "description", "journal"])
async def test_damage_of_who_has_not_started_is_not_hidden(broken, tmp_path):
    """Recovery tells what is lost; behind a newer checkpoint nobody would see that it is."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    async with open_store(url) as store:
        await store.create_checkpoint({B: Ledger(1, [1]), "early": Note("1")})
        if broken == "journal":
            before = (tmp_path / "desk.db-wal").read_bytes()
            await book(store, Ledger(1, [1]), 2, component=B)
            for ending in ("", "-wal", ".head"):
                (tmp_path / f"copy.db{ending}").write_bytes((tmp_path / f"desk.db{ending}").read_bytes())
            (tmp_path / "copy.db-wal").write_bytes(before)
            url = f"sqlite:{tmp_path / 'copy.db'}"
        else:
            await store.create_checkpoint({B: Ledger(3, [1, 2])})
            if broken == "part":
                damage_newest(store, B)
            else:
                rewrite_row(store, "cut", "", "000000000002")
    async with open_store(url) as store:
        info = await cut(store, "x", late=0)
        assert info.components == ("early",)
        await late_of(store, state=[1], lost=None)


async def test_state_that_violates_an_invariant_is_not_carried(url):
    """No restart takes it, and so no cut may say that one would."""
    async with open_store(url) as store:
        await store.create_checkpoint({B: Ledger(1, [1])})
        await store.create_checkpoint({B: Ledger(3, [1, 2])})
        store._ledger.cuts[2].violations[B] = "it does not add up"
        assert (await cut(store, "x", late=0)).components == ("early",)


async def test_cut_that_saves_a_component_itself_carries_nothing_older_over(url):
    """Two cuts in one commit: the newer of the two has what the older one saves."""
    async with open_store(url) as store:
        await store.create_checkpoint({B: Ledger(1, [1])})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.create_checkpoint, {B: Ledger(3, [1, 2])})
            await trio.lowlevel.checkpoint()
            nursery.start_soon(lambda: cut(store, "x", late=0))
        await late_of(store, state=[1, 2], fell_back_from=())


async def test_prune_keeps_older_states_of_who_does_not_start(url):
    """Its last state, carried over again and again, is one state, and not as many as there are cuts."""
    async with open_store(url) as store:
        for number in range(1, 6):
            await store.create_checkpoint({B: Ledger(number, [number]), "early": Note(str(number))})
        for number in range(6, 20):
            await cut(store, str(number), late=0)
        await store.prune(keep=3)
        kept = await store.list_checkpoints(B)
        assert [info.sequence for info in kept] == [19, 18, 17, 5, 4, 3]
        # Of the early one only the newest three are wanted, and the older ones are there for the late one alone.
        assert [info.components for info in kept[3:]] == [(B,)] * 3
        assert (await store.verify()).ok


async def test_prune_keeps_the_last_carried_state_where_the_one_that_it_is_from_is_gone(url):
    """It may be all that is left."""
    async with open_store(url) as store:
        await store.create_checkpoint({B: Ledger(1, [1]), "early": Note("1")})
        await cut(store, "2", late=0)
        rewrite_row(store, "cut", "", "000000000001")
    async with open_store(url) as store:
        for number in range(3, 6):
            await store.create_checkpoint({"early": Note(str(number))})
        await store.prune(keep=1)
        await late_of(store, state=[1])
        damage_newest(store, "early")
        with pytest.raises(CorruptError):
            await store.restore_latest("early", Note)
