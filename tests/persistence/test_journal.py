"""The journal: durable, in order, gapless, and nothing twice."""

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints, assert_no_checkpoints, wait_all_tasks_blocked

from genesis_trio import open_store
from genesis_trio.errors import SchemaError, StoreError
from genesis_trio.testing import FaultyEngine, open_store_on
from persistence.desk import Fee, Fill, HeldEngine, Ledger, book

A = "desk/ledger"


@attrs.frozen
class Unnamed:
    """An event without a @schema: it is found by the classes that are asked for, and by nothing else."""

    number: int


async def replayed(store, component=A, event_type=Fill | Fee, after=0):
    async with store.replay(component, event_type, after=after) as records:
        return [record async for record in records]


async def test_journal_events_come_back_in_order(url):
    """Appended events are replayed as they were, with gapless sequences, also after opening again."""
    async with open_store(url) as store:
        assert await store.append(A, [Fill(1), Fee(2)]) == 2
        assert await store.append(A, []) == 2
        assert await store.append(A, [Fill(3)]) == 3
        assert await store.append("other", [Fill(9)]) == 1

    async with open_store(url) as store:
        assert await replayed(store) == [(1, Fill(1)), (2, Fee(2)), (3, Fill(3))]
        assert await replayed(store, after=1) == [(2, Fee(2)), (3, Fill(3))]
        assert await replayed(store, after=3) == []
        assert await replayed(store, after=99) == []
        assert await replayed(store, "other", Fill) == [(1, Fill(9))]
        assert await replayed(store, "nobody", Fill) == []
        assert await store.append(A, [Fill(4)]) == 4


async def test_journal_longer_than_a_page_is_read_whole(url):
    """Reading goes page by page, from wherever it begins."""
    events = [Fill(n) for n in range(1, 2501)]
    async with open_store(url) as store:
        assert await store.append(A, events) == 2500

        assert await replayed(store, event_type=Fill) == list(enumerate(events, 1))
        assert await replayed(store, event_type=Fill, after=2499) == [(2500, Fill(2500))]
        assert len(await replayed(store, event_type=Fill, after=476)) == 2024
        assert len(await replayed(store, event_type=Fill, after=1024)) == 1476


async def test_journal_page_ends_at_the_end(url):
    """A journal that is exactly a page long ends there."""
    async with open_store(url) as store:
        await store.append(A, [Fill(n) for n in range(1024)])

        assert len(await replayed(store)) == 1024


async def test_journal_replay_has_a_trio_checkpoint_every_millisecond_and_every_page(mock_clock):
    """Not at each record, which would take as long as reading it: others are kept waiting for a millisecond at most."""
    async with open_store("memory:") as store:
        await store.append(A, [Fill(n) for n in range(1, 1026)])
        async with store.replay(A, Fill) as records:
            with assert_checkpoints():
                assert (await anext(records))[0] == 1
            with assert_no_checkpoints():
                assert [(await anext(records))[0] for _ in range(2, 512)] == list(range(2, 512))
            mock_clock.jump(0.002)
            with assert_checkpoints():
                assert (await anext(records))[0] == 512
            with assert_no_checkpoints():
                assert [(await anext(records))[0] for _ in range(513, 1025)] == list(range(513, 1025))
            with assert_checkpoints():
                assert (await anext(records))[0] == 1025


async def test_journal_replay_ends_where_the_journal_ended(url):
    """What is recorded while somebody replays is not in that replay."""
    async with open_store(url) as store:
        await store.append(A, [Fill(1), Fill(2)])
        seen = []
        async with store.replay(A, Fill) as records:
            async for sequence, _ in records:
                seen.append(sequence)
                await store.append(A, [Fill(99)])

    assert seen == [1, 2]


async def test_journal_replay_after_its_block_is_a_runtime_error(url):
    """The iterator belongs to the block."""
    async with open_store(url) as store:
        await store.append(A, [Fill(1)])
        async with store.replay(A, Fill) as records:
            pass

        with pytest.raises(RuntimeError, match="inside of its block"):
            await anext(records)


async def test_journal_replay_left_early_leaves_nothing_behind(url):
    """Breaking out of a replay is allowed at any point; another one begins anew."""
    async with open_store(url) as store:
        await store.append(A, [Fill(1), Fill(2)])
        async with store.replay(A, Fill) as records:
            async for _ in records:
                break

        assert len(await replayed(store)) == 2


@pytest.mark.parametrize(("after", "error"), [(-1, ValueError), (True, TypeError), ("1", TypeError), (1.0, TypeError)])
async def test_journal_replay_from_nowhere_is_refused(url, after, error):
    """A sequence is an int from 0 on."""
    async with open_store(url) as store:
        with pytest.raises(error):
            store.replay(A, Fill, after=after)


async def test_journal_replay_wants_classes(url):
    """What is no class cannot be replayed as one."""
    async with open_store(url) as store:
        with pytest.raises(TypeError, match="event class or a union"):
            store.replay(A, "Fill")


async def test_journal_unknown_event_is_a_schema_error_after_all_before_it(url):
    """An event that fits no class ends the replay with its place; what comes before it is given."""
    async with open_store(url) as store:
        await store.append(A, [Fill(1), Unnamed(2), Fill(3)])
        seen = []
        async with store.replay(A, Fill, after=1) as records:
            with pytest.raises(SchemaError):
                await anext(records)
            with pytest.raises(SchemaError):
                await anext(records)
        async with store.replay(A, (Fill,)) as records:
            with pytest.raises(SchemaError) as caught:
                async for record in records:
                    seen.append(record)

    assert seen == [(1, Fill(1))]
    assert any("record 2" in note for note in caught.value.__notes__)


async def test_journal_event_that_cannot_be_kept_writes_none(url):
    """One bad event refuses the whole append."""
    async with open_store(url) as store:
        with pytest.raises(SchemaError):
            await store.append(A, [Fill(1), Fill("a string")])

        assert await replayed(store) == []


# ------------------------------------------------------------------ record


async def test_record_is_applied_once_it_is_durable(url):
    """record() applies the event with its sequence, then returns it."""
    ledger = Ledger()
    async with open_store(url) as store:
        assert await book(store, ledger, 5, 7) == [1, 2]

    assert ledger == Ledger(12, [5, 7])


async def test_record_key_that_is_known_applies_nothing(url):
    """A key counts once, also after opening again; its sequence is returned each time."""
    ledger = Ledger()
    async with open_store(url) as store:
        assert await book(store, ledger, 5, key="trade 1") == [1]
        assert await book(store, ledger, 6, key="trade 2") == [2]
        assert await book(store, ledger, 5, key="trade 1") == [1]
    async with open_store(url) as store:
        assert await book(store, ledger, 5, key="trade 1") == [1]
        assert await book(store, ledger, 5, component="other", key="trade 1") == [1]
        assert await replayed(store) == [(1, Fill(5)), (2, Fill(6))]

    assert ledger.entries == [5, 6, 5]


async def test_record_wrong_key_is_refused(url):
    """A key is text."""
    async with open_store(url) as store:
        for key, error in (("", ValueError), (7, TypeError)):
            with pytest.raises(error):
                await book(store, Ledger(), 1, key=key)


async def test_record_same_key_in_one_batch_applies_once():
    """Two that race for one key are one event: both get its sequence, it is applied once."""
    engine, ledger, got = FaultyEngine(), Ledger(), []

    async def race(store):
        got.extend(await book(store, ledger, 5, key="trade 1"))

    async with open_store_on(engine) as store, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(race, store)

    assert got == [1] * 5
    assert ledger.entries == [5]


async def test_record_many_components_share_one_commit():
    """All that waits while a commit is under way is one commit, applied in journal order before anybody goes on."""
    engine, ledgers, log = HeldEngine(), {}, []
    names = [f"c{n}" for n in range(64)]

    async def work(store, name):
        ledgers[name] = Ledger()
        fill = Fill(1)

        def apply(sequence):
            log.append(("applied", name))
            ledgers[name].apply(fill)

        assert await store.record(name, fill, key=None, apply=apply) == 1
        log.append(("went on", name))

    async with open_store_on(engine) as store:
        engine.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work, store, "first")
            await engine.wait_entered()
            for name in names:
                nursery.start_soon(work, store, name)
            await wait_all_tasks_blocked()
            engine.let_go()
        found = store.statistics()

    assert engine.writes == 2
    assert found.largest_batch == 64
    rest = log[2:]
    assert [what for what, _ in rest] == ["applied"] * 64 + ["went on"] * 64
    assert sorted(name for _, name in rest[:64]) == sorted(names)


async def test_record_order_of_application_is_that_of_the_journal(url):
    """Concurrent records of one component are applied in the order of their sequences."""
    applied = []

    async def work(store, quantity):
        await store.record(
            A, Fill(quantity), key=None, apply=lambda sequence: applied.append((sequence, Fill(quantity)))
        )

    async with open_store(url) as store:
        async with trio.open_nursery() as nursery:
            for quantity in range(50):
                nursery.start_soon(work, store, quantity)

        assert applied == await replayed(store)
    assert [sequence for sequence, _ in applied] == list(range(1, 51))


async def test_record_whose_application_fails_stays_and_tells_its_caller_alone(url):
    """When apply raises, the event is in the journal, its caller gets the error, and the others go on."""
    ledger, outcomes = Ledger(), []

    def refuse(sequence):
        raise ZeroDivisionError(f"cannot apply {sequence}")

    async def failing(store):
        with pytest.raises(ZeroDivisionError, match="cannot apply"):
            await store.record(A, Fill(1), key="bad", apply=refuse)
        outcomes.append("told")

    async def working(store):
        outcomes.extend(await book(store, ledger, 2, component="other"))

    async with open_store(url) as store:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failing, store)
            nursery.start_soon(working, store)

        assert await store.record(A, Fill(1), key="bad", apply=refuse) == 1
        assert await replayed(store) == [(1, Fill(1))]
    assert sorted(outcomes, key=str) == [1, "told"]
    assert ledger.entries == [2]


# ------------------------------------------------------------------ load


async def test_load_without_anything_makes_a_first_state(url):
    """A component that is new gets what `make` gives."""
    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=lambda: Ledger(100))

    assert (loaded.state, loaded.info, loaded.inbox) == (Ledger(100), None, None)
    assert (loaded.journal, loaded.replayed, loaded.fell_back_from, loaded.lost) == (0, 0, (), 0)


async def test_load_without_a_checkpoint_applies_the_whole_journal(url, events):
    """With a journal alone the state is made, and all of it applied."""
    async with open_store(url) as store:
        await store.append(A, [Fill(5), Fee(2)])
        loaded = await store.load(A, Ledger, make=Ledger)

    assert loaded.state == Ledger(3, [5, -2])
    assert (loaded.info, loaded.journal, loaded.replayed) == (None, 2, 2)
    assert [(event.name, event.checkpoint, event.replayed) for event in events] == [("state_restored", "", 2)]


async def test_load_applies_what_comes_after_the_checkpoint(url):
    """State and journal come back together: the part, and the records behind it."""
    ledger = Ledger()
    async with open_store(url) as store:
        await book(store, ledger, 1, 2)
        info = await store.create_checkpoint({A: ledger})
        await book(store, ledger, 3, 4)

    async with open_store(url) as store:
        loaded = await store.load(A, Ledger, make=Ledger)

    assert loaded.state == ledger == Ledger(10, [1, 2, 3, 4])
    assert (loaded.info, loaded.journal, loaded.replayed, loaded.lost) == (info, 4, 2, 0)


async def test_load_applies_page_by_page(url):
    """A long journal is applied whole, and the loop gets its turns."""
    turns = []

    async def count():
        while True:
            turns.append(len(turns))
            await trio.lowlevel.checkpoint()

    async with open_store(url) as store:
        await store.append(A, [Fill(1)] * 5000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count)
            loaded = await store.load(A, Ledger, make=Ledger)
            nursery.cancel_scope.cancel()

    assert loaded.state.total == loaded.replayed == 5000
    assert len(turns) >= 5


async def test_load_event_that_no_longer_fits_is_a_schema_error(url):
    """An event which apply() no longer takes stops the component from starting."""
    async with open_store(url) as store:
        await store.append(A, [Unnamed(1)])

        with pytest.raises(SchemaError):
            await store.load(A, Ledger, make=Ledger)


async def test_cut_behind_a_commit_under_way_does_not_claim_its_records(url):
    """A cut taken while records are on their way includes only what was applied; the rest is replayed."""
    ledger = Ledger()
    async with open_store(url) as store:
        await book(store, ledger, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book, store, ledger, 2)
            await trio.lowlevel.checkpoint()
            info = await store.create_checkpoint({A: ledger})

        assert info.journal[A] in (1, 2)
        loaded = await store.load(A, Ledger, make=Ledger)
    assert loaded.state == ledger == Ledger(3, [1, 2])


async def test_cut_in_one_commit_with_records_it_does_not_include():
    """The digest that a part goes on from is found, though newer records are written together with it."""
    engine, ledger = HeldEngine(), Ledger()
    async with open_store_on(engine) as store:
        await book(store, ledger, 1, 2)
        engine.hold()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(book, store, ledger, 3)
            await engine.wait_entered()
            nursery.start_soon(book, store, ledger, 4)
            await wait_all_tasks_blocked()
            nursery.start_soon(store.create_checkpoint, {A: Ledger(3, [1, 2])})
            await wait_all_tasks_blocked()
            engine.let_go()
        (info,) = await store.list_checkpoints()

        assert info.journal == {A: 2}
        assert (await store.load(A, Ledger, make=Ledger)).state == Ledger(10, [1, 2, 3, 4])
        assert (await store.verify()).ok


async def test_journal_bytes_grow_with_what_is_recorded(url):
    """The counter that a policy looks at grows by the bytes of the events."""
    async with open_store(url) as store:
        assert store.journal_bytes == 0
        await book(store, Ledger(), 1)
        one = store.journal_bytes
        await store.append(A, [Fill(1), Fill(1)])

        assert store.journal_bytes == 3 * one > 0


async def test_journal_of_another_component_is_refused_a_bad_name(url):
    """A component has a name."""
    async with open_store(url) as store:
        with pytest.raises(ValueError, match="cannot be empty"):
            await store.append("", [Fill(1)])
        with pytest.raises(StoreError):
            await store.restore("nothing", "a", Ledger)
