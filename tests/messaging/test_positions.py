"""Origins, positions and redelivery, in whole trees and across restarts."""

import attrs
import pytest
import trio

from genesis_trio import Component, Criticality, Mode, Overflow, Topic, open_store, open_supervisor, schema
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.messaging.topic import Sender
from genesis_trio.persistence.policy import CheckpointPolicy
from genesis_trio.supervision.component import Lifecycle
from supervision.desk import EXACT, QUIET, saved_desk


@schema("positions.fill", version=1)
@attrs.frozen
class Fill:
    number: int


@schema("positions.book", version=1)
@attrs.define
class Book:
    numbers: list[int] = attrs.Factory(list)

    def apply(self, fill: Fill) -> None:
        self.numbers.append(fill.number)


FILLS = Topic("positions.fills", Fill)
URGENT = Topic("positions.urgent", Fill, urgent=True)
NUMBERS = Topic("positions.numbers", int)


async def sender(ctx):
    ctx.ready()
    await ctx.wait_stopping()


async def context_of(desk, name="sender"):
    return (await desk.start(sender, name=name)).incarnation.context


class Seen:
    """What a ledger saw, by number: the origin and position of each delivery; and the numbers it crashes on, once each."""

    def __init__(self, crashes=()):
        self.deliveries = []
        self.crashes = list(crashes)


class Ledger(Component[Book]):
    def __init__(self, seen, *topics):
        self.seen, self.topics = seen, topics or (FILLS,)

    async def run(self, ctx):
        async with ctx.subscribe(*self.topics) as fills:
            ctx.ready()
            async for fill in fills:
                (entry,) = fills._mailbox.in_hand
                self.seen.deliveries.append((fill.number, entry.origin, entry.position))
                await ctx.record(fill)
                if fill.number in self.seen.crashes:
                    self.seen.crashes.remove(fill.number)
                    raise OSError("crashed after the record")


def by_number(seen):
    found = {}
    for number, origin, position in seen.deliveries:
        found.setdefault(number, []).append((origin, position))
    return found


async def test_origin_and_position_are_the_same_at_each_redelivery(autojump_clock):
    """So the default key of a record finds the record that was made before the crash."""
    seen = Seen(crashes=[2, 3])
    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store, checkpoint=QUIET, backoff=EXACT) as desk:
            ledger = await desk.start(Ledger, seen, name="ledger")
            ctx = await context_of(desk)
            for number in range(1, 5):
                ctx.publish(FILLS, Fill(number))
            await trio.sleep(5)
            # No save since the start: each crash brings everything again, and nothing is recorded twice.
            assert ledger.incarnation.component.state.numbers == [1, 2, 3, 4]
            await desk.stop()
    assert [number for number, _, _ in seen.deliveries] == [1, 2, 1, 2, 3, 1, 2, 3, 4]
    assert by_number(seen) == {
        1: [(f"desk/sender@{store.token}.1#1", 1)] * 3,
        2: [(f"desk/sender@{store.token}.1#2", 2)] * 3,
        3: [(f"desk/sender@{store.token}.1#3", 3)] * 2,
        4: [(f"desk/sender@{store.token}.1#4", 4)],
    }


async def test_positions_go_on_after_a_restart_of_the_process(autojump_clock, tmp_path):
    """What waits is saved with its origin; new messages take higher positions and new origins."""
    url, seen = f"sqlite:{tmp_path / 'desk.db'}", Seen()

    class Late(Ledger):
        async def run(self, ctx):
            async with ctx.subscribe(FILLS) as _:
                ctx.ready()
                await ctx.wait_stopping()

    async with saved_desk(url) as desk:
        await desk.start(Late, seen, name="ledger")
        ctx = await context_of(desk)
        for number in (1, 2):
            ctx.publish(FILLS, Fill(number))
        await desk.stop()
    async with saved_desk(url) as desk:
        ledger = await desk.start(Ledger, seen, name="ledger")
        ctx = await context_of(desk)
        ctx.publish(FILLS, Fill(3))
        await trio.sleep(1)
        assert ledger.incarnation.component.state.numbers == [1, 2, 3]
        await desk.stop()
    assert [(number, position) for number, _, position in seen.deliveries] == [(1, 1), (2, 2), (3, 3)]
    origins = [origin for _, origin, _ in seen.deliveries]
    assert len(set(origins)) == 3
    assert origins[2].endswith("#1")  # the first of a sender with another incarnation


@pytest.mark.parametrize("crash_on", range(1, 9))
async def test_urgent_and_ordinary_with_a_crash_anywhere_are_recorded_once_each(crash_on, autojump_clock, tmp_path):
    """Two lanes, saves in between, a crash, and a restart of the process: state and position come back together."""
    url, seen = f"sqlite:{tmp_path / 'desk.db'}", Seen(crashes=[crash_on])
    policy = CheckpointPolicy(every=None, messages=3)
    for first in (1, 5):
        async with open_store(url) as store:
            async with open_supervisor("desk", store=store, checkpoint=policy, backoff=EXACT) as desk:
                ledger = await desk.start(Ledger, seen, FILLS, URGENT, name="ledger")
                ctx = await context_of(desk)
                ctx.publish(FILLS, Fill(first))
                ctx.publish(FILLS, Fill(first + 1))
                ctx.publish(URGENT, Fill(first + 2))
                await trio.sleep(0.05)
                ctx.publish(URGENT, Fill(first + 3))
                await trio.sleep(3)
                numbers = list(ledger.incarnation.component.state.numbers)
                await desk.stop()
    assert sorted(numbers) == list(range(1, 9))
    assert numbers[0] == 3
    assert numbers.index(1) < numbers.index(2)
    assert {len(set(found)) for found in by_number(seen).values()} == {1}


async def test_suspended_child_holds_nobody_back_and_its_mailbox_keeps_the_newest(autojump_clock):
    """BLOCK, and full: senders go on, the newest `capacity` of the unhandled stay, the rest is counted."""
    got = []

    async def reader(ctx):
        async with ctx.subscribe(NUMBERS, capacity=3) as inbox:
            ctx.ready()
            async for number in inbox:
                got.append(number)

    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="x", criticality=Criticality.OPTIONAL)
        ctx = await context_of(desk)
        hold = desk.scope.hold(Mode.SAFE, owner="test", reason="r")
        await child.wait(Lifecycle.SUSPENDED)
        for number in range(10):
            await ctx.send(NUMBERS, number)
        assert trio.current_time() == 0.0
        (mailbox,) = child.mailboxes.values()
        assert (mailbox.statistics().waiting, mailbox.statistics().missed) == (3, 7)
        hold.release()
        await trio.sleep(1)
        assert got == [7, 8, 9]
        await ctx.send_all(NUMBERS, range(10, 20))
        await trio.sleep(1)
        assert got == [*range(7, 20)]
        await desk.stop()


async def test_sender_that_waits_goes_on_when_the_reader_is_suspended(autojump_clock):
    """Who waited for room in the mailbox of a child that stops reading is let go in that step."""
    sent = []

    async def reader(ctx):
        async with ctx.subscribe(NUMBERS, capacity=1) as _:
            ctx.ready()
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="x", criticality=Criticality.OPTIONAL)
        ctx = await context_of(desk)

        async def send():
            for number in range(4):
                await ctx.send(NUMBERS, number)
                sent.append((number, trio.current_time()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.sleep(5)
            desk.scope.hold(Mode.SAFE, owner="test", reason="r")
        (mailbox,) = child.mailboxes.values()
        assert mailbox.statistics().missed == 3
        await desk.stop()
    assert sent == [(0, 0.0), (1, 5.0), (2, 5.0), (3, 5.0)]


# ------------------------------------------------------------------ dead letters


async def test_dead_letters_survive_the_reader_and_come_oldest_first(autojump_clock):
    """Two messages that crash their reader three times each are put aside; the others are handled, once."""
    handled, inboxes = [], []

    async def reader(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            inboxes.append(inbox)
            ctx.ready()
            async for number in inbox:
                if number % 3 == 0:
                    raise ValueError(number)
                handled.append(number)

    async with open_supervisor("desk", backoff=EXACT, max_restarts=10, within=200.0) as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        await ctx.send_all(NUMBERS, range(1, 8))
        await trio.sleep(60)
        statistics = inboxes[-1].statistics()
        assert tuple(inboxes[-1].dead_letters) == (3, 6)
        assert (statistics.dead, statistics.redelivered, statistics.delivered) == (2, 4, 5 + 6)
        await desk.stop()
    assert handled == [1, 2, 4, 5, 7]


async def test_crash_between_messages_blames_none(autojump_clock):
    """With nothing in hand there is nothing to count: a reader that crashes at its start loses no message."""
    got = []

    async def reader(ctx):
        async with ctx.subscribe(NUMBERS) as inbox:
            ctx.ready()
            if ctx.generation < 5:
                await trio.sleep(0.1)
                raise OSError("not yet")
            async for number in inbox:
                got.append(number)

    async with open_supervisor("desk", backoff=EXACT, max_restarts=10, within=200.0) as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        await ctx.send_all(NUMBERS, [1, 2])
        await trio.sleep(60)
        await desk.stop()
    assert got == [1, 2]


def test_mailbox_restored_blame_counts_on_and_buries_what_had_its_last_chance():
    """What an earlier process counted is not forgotten by a restart."""
    died = []
    box = Mailbox("desk/x", (NUMBERS,), capacity=10, overflow=Overflow.BLOCK, keeps_handled=True, on_dead=died.append)
    feed = Sender("desk/feed", "1")
    for number in range(1, 4):
        box.lane(NUMBERS).put(NUMBERS, number, feed, number)
    entries = list(box.entries_after(0))
    fresh = Mailbox("desk/x", (NUMBERS,), capacity=10, overflow=Overflow.BLOCK, keeps_handled=True, on_dead=died.append)
    fresh.restore(entries, settled=0, next_position=1)
    fresh.blame({entries[0].origin: 3, entries[1].origin: 2})
    assert fresh.dead_letters == [1]
    assert fresh.take(1) == [2]
    fresh.give_back(crashed=True)
    assert fresh.dead_letters == [1, 2]
    assert [entry.position for entry in died] == [1, 2]
    assert fresh.take(None) == [3]


def test_mailbox_restored_goes_on_after_the_highest_position_that_is_stored():
    """Also where what had it is handled or dead: under one position there is one message for ever."""
    box = Mailbox("desk/x", (NUMBERS,), capacity=10, overflow=Overflow.BLOCK, keeps_handled=True, on_dead=print)
    box.restore([], settled=2, next_position=7)
    box.lane(NUMBERS).put(NUMBERS, 1, Sender("desk/feed", "1"), 1)
    assert [entry.position for entry in box.entries_after(0)] == [7]


def handled_box():
    """A mailbox that keeps what was handled, with four numbers in hand."""
    box = Mailbox(
        "desk/reader", (NUMBERS,), capacity=8, overflow=Overflow.BLOCK, keeps_handled=True, on_dead=lambda entry: None
    )
    sender = Sender("desk/sender", "0.1")
    for number in range(4):
        box.lane(NUMBERS).put(NUMBERS, number, sender, number + 1)
    box.take(None)
    return box


def test_save_in_the_middle_of_a_handled_batch_covers_what_is_before_it():
    """What is kept is counted one by one: by that count a save is asked for."""
    box = handled_box()
    box.settle()
    box.covered(2)
    assert (box.kept, [entry.position for entry in box.entries_after(0)]) == (2, [3, 4])
