"""What was recorded by default keys, in the long run: no key and no record stays that no message needs, and none is missed by one."""

import pytest
import trio
import trio.testing

from genesis_trio import Component, Overflow, Topic, open_store
from genesis_trio.errors import MailboxFullError
from genesis_trio.instrumentation.families import families
from genesis_trio.supervision._recorded import Recorded
from messaging.parts import context_of
from supervision.booking import NUMBERS, PRICES, Book, Booked, keys, records, save_and_shorten
from supervision.desk import killed, open_desk, state_of

ORDERS = Topic("keys.orders", int)
RUNS, EACH = 12, 30
#: Their numbers are of no message that a test sends twice.
FIRST_ORDER = 1000


class Reader(Component[Book]):
    """Books what comes on the topics of *subscriptions*, one subscription after the other.

    Each but the last is left by the message that the next one is to begin at, which it books and settles.  After it booked
    what *holds* names it never asks for another message.
    """

    def __init__(self, subscriptions, holds=()):
        self.subscriptions, self.holds = subscriptions, holds

    async def run(self, ctx):
        ctx.ready()
        for topics, overflow, leaves_at in self.subscriptions:
            async with ctx.subscribe(*topics, overflow=overflow) as inbox:
                async for number in inbox:
                    await ctx.record(Booked(number))
                    if number in self.holds:
                        await trio.sleep_forever()
                    self.state.handled += 1
                    if number == leaves_at:
                        break


def block(*topics, leaves_at=None):
    return topics, Overflow.BLOCK, leaves_at


def conflate(*topics, leaves_at=None):
    return topics, Overflow.CONFLATE, leaves_at


def samples(desk, name):
    """The mailboxes that a family is about, and its values."""
    return [
        (labels["mailbox"], value)
        for family in families(desk.tree)
        if family.name == name
        for labels, value in family.samples
    ]


async def send_each(ctx, topic, numbers):
    for number in numbers:
        ctx.publish(topic, number)
        await trio.sleep(1)


async def test_nothing_stays_of_prices_that_are_told_again(url, autojump_clock):
    """Twelve runs of a process that books each price: what is on disk at their ends is the same."""
    found = []
    for run in range(RUNS):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(Reader, [conflate(PRICES)], name="ledger")
            await send_each(await context_of(desk), PRICES, range(run * EACH, (run + 1) * EACH))
            assert state_of(child).booked == list(range((run + 1) * EACH))
            await save_and_shorten(desk, store, times=1)
            found.append((len(keys(store)), len(records(store))))
            assert (await store.verify()).ok
    assert found == [(0, 0)] * RUNS


@pytest.mark.parametrize("saved_in_hand", [False, True])
async def test_nothing_stays_for_a_mailbox_that_nobody_opens_again(url, saved_in_hand, autojump_clock):
    """A message of it was booked and waits on.  Ten runs later somebody opens it: it comes, and is booked no second time."""
    async with open_store(url) as store, open_desk(store) as desk:
        await desk.start(Reader, [block(NUMBERS)], (1,), name="ledger")
        ctx = await context_of(desk)
        ctx.publish(NUMBERS, 1)
        if not saved_in_hand:
            await desk.create_checkpoint()  # it has not been read: its record is behind this one
        await trio.sleep(1)
        if saved_in_hand:
            await desk.create_checkpoint()
        ctx.publish(NUMBERS, 2)
        await desk.create_checkpoint()
        url = killed(url)
    found, orders = [], range(0)
    for run in range(RUNS):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(Reader, [block(ORDERS)], name="ledger")
            orders = range(FIRST_ORDER, FIRST_ORDER + (run + 1) * EACH)
            await send_each(await context_of(desk), ORDERS, orders[-EACH:])
            assert state_of(child).booked == [1, *orders]
            assert dict(samples(desk, "genesis_mailbox_set_aside")) == {"keys.numbers": 2}
            await save_and_shorten(desk, store, times=1)
            found.append((len(keys(store)), len(records(store))))
            url = killed(url)
    assert found == [(0, 0)] * RUNS
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, [block(NUMBERS)], name="ledger")
        await trio.sleep(1)
        assert state_of(child).booked == [1, *orders, 2]
        assert state_of(child).handled == len(orders) + 2
        assert (await store.verify()).ok


async def test_nothing_stays_for_a_message_that_waits_in_a_second_mailbox(url, autojump_clock):
    """It was booked from the first one.  However much is recorded until then, and after a kill, it is not booked again."""
    both = block(NUMBERS, PRICES, leaves_at=0), block(NUMBERS, leaves_at=1), block(ORDERS)
    found = []
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, both, name="ledger")
        ctx = await context_of(desk)
        await send_each(ctx, NUMBERS, [0])  # the first mailbox is left
        await send_each(ctx, NUMBERS, [1])  # it waits there, and the second one is left
        orders = range(FIRST_ORDER, FIRST_ORDER + RUNS * EACH)
        for run in range(RUNS):
            await send_each(ctx, ORDERS, orders[run * EACH : (run + 1) * EACH])
            await save_and_shorten(desk, store, times=1)
            found.append((len(keys(store)), len(records(store))))
        assert state_of(child).booked == [0, 1, *orders]
        url = killed(url)
    assert found == [(0, 0)] * RUNS
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, [block(NUMBERS, PRICES)], name="ledger")
        await send_each(await context_of(desk), NUMBERS, [2])
        assert state_of(child).booked == [0, 1, *orders, 2]
        assert state_of(child).handled == len(orders) + 4


@pytest.mark.parametrize("when", ["before the cut", "after the cut", "two runs later"])
async def test_price_that_was_booked_comes_once_more_to_a_mailbox_that_is_saved(url, when, autojump_clock):
    """It was booked from one that keeps no positions; the other one is told it when it is opened, and saved with it."""
    late = conflate(PRICES, leaves_at=4), block(PRICES, NUMBERS)
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, [conflate(PRICES, leaves_at=2), block(PRICES, ORDERS)], (3,), name="ledger")
        ctx = await context_of(desk)
        await send_each(ctx, PRICES, [1, 2])
        await trio.sleep(1)
        assert state_of(child).booked == [1, 2]  # they were told again, and both are handled
        assert state_of(child).handled == 4
        if when != "before the cut":
            await save_and_shorten(desk, store, times=1)
            assert keys(store) == records(store) == []
        await send_each(ctx, PRICES, [3])  # in hand in the mailbox that is saved
        if when != "before the cut":
            await save_and_shorten(desk, store, times=1)
            assert records(store) == [3]
        url = killed(url)
    if when == "two runs later":
        for _ in range(2):
            async with open_store(url) as store, open_desk(store) as desk:
                child = await desk.start(Reader, late, name="ledger")
                await save_and_shorten(desk, store)
                assert state_of(child).booked == [1, 2, 3]
                url = killed(url)
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, [block(PRICES, ORDERS)], name="ledger")
        await trio.sleep(1)
        assert state_of(child).booked == [1, 2, 3]
        assert state_of(child).handled == (0 if when == "before the cut" else 5)


async def test_message_that_is_booked_after_the_cut_it_waits_in_is_booked_once(url, autojump_clock):
    """The record is behind the saved checkpoint that has the message, which is in two mailboxes there."""
    both = block(NUMBERS, PRICES, leaves_at=0), block(NUMBERS)
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, both, name="ledger")
        ctx = await context_of(desk)
        await send_each(ctx, NUMBERS, [0])
        ctx.publish(NUMBERS, 1)
        await desk.create_checkpoint()
        await trio.sleep(1)
        assert state_of(child).booked == [0, 1]
        url = killed(url)
    for _ in range(2):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(Reader, [block(ORDERS)], name="ledger")
            await save_and_shorten(desk, store)
            assert records(store) == []
            url = killed(url)
    for topics in ((NUMBERS, PRICES), (NUMBERS,)):
        async with open_store(url) as store, open_desk(store) as desk:
            child = await desk.start(Reader, [block(*topics)], name="ledger")
            await trio.sleep(1)
            assert state_of(child).booked == [0, 1]
            await save_and_shorten(desk, store)
            url = killed(url)


async def test_message_that_is_told_again_after_a_rewind_is_booked_again(url, autojump_clock):
    """What was recorded is void, and the component comes back from before it in the same process."""
    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Reader, [conflate(PRICES)], name="ledger")
        ctx = await context_of(desk)
        before = await desk.create_checkpoint()
        await send_each(ctx, PRICES, [1])
        assert records(store) == [1]
        await child.stop()
        await store.rewind(before.id)
        for _ in range(2):
            await child.restart()
            await trio.sleep(1)
            assert state_of(child).booked == [1]
            assert records(store) == [1, 2]


async def test_message_that_is_sent_again_to_a_second_mailbox_is_booked_once(url, autojump_clock):
    """That one was full.  However much was recorded meanwhile, the sender still has the message to send."""
    more = range(FIRST_ORDER, FIRST_ORDER + 400)

    class Two(Component[Book]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(NUMBERS, capacity=1, overflow=Overflow.REJECT):
                pass  # the next number fills it
            for topics in ((NUMBERS, ORDERS), (NUMBERS,)):
                async with ctx.subscribe(*topics) as inbox:
                    async for number in inbox:
                        await ctx.record(Booked(number))
                        if number == more[-1]:
                            break

    async with open_store(url) as store, open_desk(store) as desk:
        child = await desk.start(Two, name="ledger")
        ctx = await context_of(desk)
        await send_each(ctx, NUMBERS, [1])
        with pytest.raises(MailboxFullError) as refused:
            ctx.publish(NUMBERS, 2)
        for start in range(0, len(more), 50):
            await send_each(ctx, ORDERS, more[start : start + 50])
            await desk.create_checkpoint()
        assert state_of(child).booked == [1, 2, *more]
        assert len(desk.tree.recorded["desk/ledger"]) < len(more) / 2  # it was tidied up
        await ctx.send(NUMBERS, 2, retry_of=refused.value)
        await send_each(ctx, NUMBERS, [3])
        assert state_of(child).booked == [1, 2, *more, 3]
        url = killed(url)


def test_recorded_keeps_what_is_of_a_live_message():
    """And of the others not much more, however many they were."""
    recorded, looked = Recorded(), 0

    def live():
        nonlocal looked
        looked += 1
        return ["sender#1", "sender#2"]

    for number in range(1, 1001):
        recorded.note(f"sender#{number}", 1, number)
        recorded.tidy(live)
        assert len(recorded) <= 68
    assert [recorded.find(f"sender#{number}", 1) for number in (1, 2, 3)] == [1, 2, 0]
    assert looked <= 1000 / 60


def test_recorded_forgets_what_does_not_count():
    """Of a message whose second record is void, the second one is made again, and the first and the third are known."""
    recorded = Recorded()
    recorded.learn([{"sender#1": [4, 5]}], {"sender#1/3": 9}, lambda sequence: sequence != 5)
    assert list(recorded.of("sender#1")) == [4, 0, 9]
    assert [recorded.find("sender#1", number) for number in (1, 2, 3, 4)] == [4, 0, 9, 0]


@pytest.mark.parametrize("outcome", ["written", "failed"])
async def test_recorded_lets_who_has_a_message_again_wait_for_the_outcome(outcome, autojump_clock):
    """Its record may be under way, in a task of the one that had it before: it is written by one of them."""
    recorded, told = Recorded(), []

    async def get_again():
        told.append(await recorded.begin("sender#1", 2))

    async with trio.open_nursery() as nursery:
        assert await recorded.begin("sender#1", 2) == 0
        nursery.start_soon(get_again)
        await trio.testing.wait_all_tasks_blocked()
        assert told == []
        if outcome == "written":
            recorded.note("sender#1", 2, 7)
        recorded.end("sender#1", 2)
    assert told == ([7] if outcome == "written" else [0])
    assert recorded.find("sender#1", 1) == 0
