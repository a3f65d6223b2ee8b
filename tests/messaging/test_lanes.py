"""Urgent messages, many at once, and the order of everything against a model."""

import random
from collections import deque

import pytest
import trio
import trio.testing

from genesis_trio import Context, MailboxFullError, Overflow, Topic, open_supervisor
from genesis_trio.messaging._lanes import Batch
from genesis_trio.messaging.mailbox import Mailbox
from genesis_trio.messaging.topic import Sender
from supervision.desk import EXACT

ORDERS = Topic("lanes.orders", str, key=lambda text: text[0])
CANCELS = Topic("lanes.cancels", str, key=lambda text: text[0], urgent=True)
NEWEST = Topic("lanes.newest", str, key=lambda text: text[0], latest=True)


class Slow:
    """A reader that waits for the test's leave before it asks for anything, and then remembers what it got."""

    def __init__(self, *topics, batches=False, crashes_on=(), **options):
        self.topics, self.options, self.batches = topics, options, batches
        self.crashes_on = list(crashes_on)
        self.go = trio.Event()
        self.got = []
        self.inbox = None

    async def __call__(self, ctx: Context):
        async with ctx.subscribe(*self.topics, **self.options) as inbox:
            self.inbox = inbox
            ctx.ready()
            await self.go.wait()
            async for item in inbox.batches() if self.batches else inbox:
                self.got.append(item)
                if self.crashes_on and item == self.crashes_on[0]:
                    self.crashes_on.pop(0)
                    raise OSError("crashed")


async def sender(ctx):
    ctx.ready()
    await ctx.wait_stopping()


async def context_of(desk, name="sender"):
    return (await desk.start(sender, name=name)).incarnation.context


# ------------------------------------------------------------------ urgent


async def test_urgent_stands_before_what_waits(autojump_clock):
    """Each kind keeps its own order; what is in hand stays in hand."""
    reader = Slow(ORDERS, CANCELS)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        for text in ("o1", "o2"):
            ctx.publish(ORDERS, text)
        for text in ("c1", "c2"):
            ctx.publish(CANCELS, text)
        ctx.publish(ORDERS, "o3")
        reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["c1", "c2", "o1", "o2", "o3"]


async def test_urgent_leads_its_batch(autojump_clock):
    """A batch is all there is, in the order in which it would be handed out singly."""
    reader = Slow(ORDERS, CANCELS, batches=True)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        await ctx.send_all(ORDERS, ["o1", "o2"])
        await ctx.send_all(CANCELS, ["c1", "c2"])
        ctx.publish(ORDERS, "o3")
        reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == [["c1", "c2", "o1", "o2", "o3"]]


@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.REJECT])
async def test_urgent_is_not_refused_by_a_mailbox_full_of_ordinary_messages(overflow, autojump_clock):
    """It has a capacity of its own, which has an end as well."""
    reader = Slow(ORDERS, CANCELS, capacity=2, overflow=overflow)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        for topic, names in ((ORDERS, ["o1", "o2"]), (CANCELS, ["c1", "c2"])):
            for text in names:
                ctx.publish(topic, text)
            with pytest.raises(MailboxFullError, match="'desk/x'"):
                ctx.publish(topic, "one too many")
        assert reader.inbox.statistics().refused == 2
        assert reader.inbox.statistics().waiting == 4
        reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["c1", "c2", "o1", "o2"]


async def test_urgent_send_does_not_queue_behind_ordinary_senders(autojump_clock):
    """Senders wait lane by lane."""
    reader = Slow(ORDERS, CANCELS, capacity=1)
    sent = []
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)

        async def send(topic, text):
            await ctx.send(topic, text)
            sent.append(text)

        async with trio.open_nursery() as nursery:
            await send(ORDERS, "o1")
            nursery.start_soon(send, ORDERS, "o2")
            await trio.testing.wait_all_tasks_blocked()
            await send(CANCELS, "c1")
            assert sent == ["o1", "c1"]
            reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["c1", "o1", "o2"]


async def test_urgent_comes_after_what_comes_again(autojump_clock):
    """A replay keeps its old order, or the state would come back as another one; then what is urgent."""
    reader = Slow(ORDERS, CANCELS, crashes_on=["o1"])
    async with open_supervisor("desk", backoff=EXACT) as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        await ctx.send_all(ORDERS, ["o1", "o2"])
        reader.go.set()
        await trio.sleep(0.05)
        reader.go = trio.Event()
        ctx.publish(CANCELS, "c1")
        reader.go.set()
        await trio.sleep(1)
        assert reader.inbox.statistics().redelivered == 1
        await desk.stop()
    assert reader.got == ["o1", "o1", "c1", "o2"]


@pytest.mark.parametrize("overflow", [Overflow.DROP_OLDEST, Overflow.CONFLATE])
async def test_urgent_is_dropped_only_for_what_is_urgent(overflow, autojump_clock):
    """A flood of ordinary messages pushes no cancel out."""
    reader = Slow(ORDERS, CANCELS, capacity=2, overflow=overflow)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        ctx.publish(CANCELS, "c1")
        for number in range(10):
            ctx.publish(ORDERS, f"{number} order")
        assert reader.inbox.statistics().dropped == 8
        reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["c1", "8 order", "9 order"]


# ------------------------------------------------------------------ many at once


async def test_send_all_goes_on_as_room_comes(autojump_clock):
    """More than the mailbox holds: in pieces, in order, nothing twice; one that waits is not overtaken."""
    reader = Slow(ORDERS, capacity=3)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ctx.send_all, ORDERS, [f"a{n}" for n in range(10)])
            await trio.testing.wait_all_tasks_blocked()
            assert reader.inbox.statistics().waiting == 3
            nursery.start_soon(ctx.send, ORDERS, "b")
            await trio.testing.wait_all_tasks_blocked()
            reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert [text for text in reader.got if text != "b"] == [f"a{n}" for n in range(10)]
    assert reader.got.count("b") == 1


async def test_send_all_cancelled_while_it_waits_has_sent_what_there_was_room_for(autojump_clock):
    """As many as fitted are there, in order, and the place in the line goes to the next."""
    reader = Slow(ORDERS, capacity=3)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        with trio.move_on_after(1):
            await ctx.send_all(ORDERS, [f"a{n}" for n in range(10)])
        reader.go.set()
        await ctx.send(ORDERS, "b")
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["a0", "a1", "a2", "b"]


async def test_send_all_wrong_type_sends_nothing(autojump_clock):
    """All are looked at before the first one goes."""
    reader = Slow(ORDERS)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        with pytest.raises(TypeError, match=r"carries str, got 2"):
            await ctx.send_all(ORDERS, ["a", 2, "b"])
        assert reader.inbox.statistics().waiting == 0
        with trio.testing.assert_checkpoints():
            await ctx.send_all(ORDERS, [])
        await desk.stop()


async def test_send_all_reject_serves_the_others_and_stops(autojump_clock):
    """The first refusal is raised; what went before it is everywhere, and the refused one at the others."""
    strict, patient = Slow(ORDERS, capacity=2, overflow=Overflow.REJECT), Slow(ORDERS)
    async with open_supervisor("desk") as desk:
        await desk.start(strict, name="strict")
        await desk.start(patient, name="patient")
        ctx = await context_of(desk)
        with pytest.raises(MailboxFullError, match="'desk/strict'"):
            await ctx.send_all(ORDERS, ["a", "b", "c", "d"])
        strict.go.set()
        patient.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert (strict.got, patient.got) == (["a", "b"], ["a", "b", "c"])


async def test_send_all_drop_oldest_and_latest(autojump_clock):
    """Where messages push others out it is as if they came one by one; the newest is known to later readers."""
    reader, late = Slow(NEWEST, capacity=2, overflow=Overflow.DROP_OLDEST), Slow(NEWEST)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        ctx = await context_of(desk)
        messages = ["a1", "b1", "a2", "c1"]
        await ctx.send_all(NEWEST, messages)
        messages.clear()  # what was sent is not the caller's list
        assert reader.inbox.statistics().dropped == 2
        await desk.start(late, name="late")
        reader.go.set()
        late.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["a2", "c1"]
    assert late.got == ["b1", "a2", "c1"]


async def test_send_all_crash_in_a_batch_brings_it_back_one_by_one(autojump_clock):
    """What was sent in one step is single messages all the same: the third crash with one of them puts it aside."""
    reader = Slow(ORDERS, batches=True)
    poison = []

    async def run(ctx):
        async with ctx.subscribe(ORDERS) as inbox:
            reader.inbox = inbox
            ctx.ready()
            async for batch in inbox.batches():
                reader.got.append(list(batch))
                if "bad" in batch:
                    poison.append(ctx.generation)
                    raise OSError("crashed")

    async with open_supervisor("desk", backoff=EXACT, max_restarts=10, within=200.0) as desk:
        await desk.start(run, name="x")
        ctx = await context_of(desk)
        await ctx.send_all(ORDERS, ["a", "bad", "b"])
        await trio.sleep(20)
        assert tuple(reader.inbox.dead_letters) == ("bad",)
        await desk.stop()
    assert reader.got == [["a", "bad", "b"], ["a"], ["bad"], ["bad"], ["b"]]
    assert poison == [1, 2, 3]


async def test_send_all_conflate_keeps_the_newest_of_each_key_and_batches_have_a_size(autojump_clock):
    """Many at once are the same as one by one: replaced by key, the oldest update first, the oldest key dropped."""
    got = []

    async def reader(ctx):
        async with ctx.subscribe(ORDERS, capacity=3, overflow=Overflow.CONFLATE) as inbox:
            ctx.ready()
            await trio.sleep(1)
            got.append(inbox.statistics())
            async for batch in inbox.batches(2):
                got.append(list(batch))

    async with open_supervisor("desk") as desk:
        child = await desk.start(reader, name="x")
        ctx = await context_of(desk)
        await ctx.send_all(ORDERS, ["a1", "b1", "a2", "c1", "d1"])
        (mailbox,) = child.mailboxes.values()
        assert [entry.message for entry in mailbox.entries_after(0)] == ["a2", "c1", "d1"]
        await trio.sleep(2)
        await desk.stop()
    assert (got[0].waiting, got[0].dropped) == (3, 2)
    assert got[1:] == [["a2", "c1"], ["d1"]]


async def test_latest_while_a_reader_restarts_is_not_handed_out_twice(autojump_clock):
    """The newest that waits already is not put in again for the next reader, whether it waits in a run or alone."""
    reader = Slow(NEWEST, crashes_on=["a1"])
    async with open_supervisor("desk", backoff=EXACT) as desk:
        child = await desk.start(reader, name="x")
        ctx = await context_of(desk)
        reader.go.set()
        ctx.publish(NEWEST, "a1")
        await trio.sleep(0.05)
        assert child.restarts == 0
        for text in ("b1", "c1", "c2"):
            ctx.publish(NEWEST, text)
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == ["a1", "a1", "b1", "c1", "c2"]


async def test_publish_to_two_mailboxes_from_two_senders_keeps_every_origin(autojump_clock):
    """Messages that follow each other are kept together; who sent which is known of each, in every mailbox."""
    first, second = Slow(ORDERS, NEWEST), Slow(ORDERS)
    async with open_supervisor("desk") as desk:
        await desk.start(first, name="first")
        await desk.start(second, name="second")
        one, two = await context_of(desk, "one"), await context_of(desk, "two")
        for number in range(4):
            one.publish(ORDERS, f"1{number}")
        two.publish(ORDERS, "20")
        one.publish(NEWEST, "14")
        for number in (5, 6):
            one.publish(ORDERS, f"1{number}")
        await two.send_all(ORDERS, ["21", "22"])
        two.publish(ORDERS, "23")
        expected = ["10", "11", "12", "13", "20", "15", "16", "21", "22", "23"]
        for reader, texts in ((first, [*expected[:5], "14", *expected[5:]]), (second, expected)):
            entries = list(reader.inbox._mailbox.entries_after(0))
            assert [entry.message for entry in entries] == texts
            for entry in entries:
                sender = {"1": "one", "2": "two"}[entry.message[0]]
                assert entry.origin == f"desk/{sender}@0.1#{int(entry.message[1:]) + 1}"
            reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert second.got == expected


async def test_publish_that_follows_by_number_only_is_not_taken_for_the_same_sender(autojump_clock):
    """Neither a gap in a sender's count nor another sender with the next number is hidden by being kept together."""
    reader = Slow(ORDERS)
    async with open_supervisor("desk") as desk:
        await desk.start(reader, name="x")
        one, two = await context_of(desk, "one"), await context_of(desk, "two")
        for text in ("n1", "n2"):
            two.publish(NEWEST, text)
        for text in ("a", "b"):
            one.publish(ORDERS, text)
        two.publish(ORDERS, "c")  # its third, as it would be of the other one
        for text in ("d", "e"):
            two.publish(ORDERS, text)
        two.publish(NEWEST, "n3")
        two.publish(ORDERS, "f")
        two.publish(NEWEST, "n4")
        two.publish(ORDERS, "g")
        entries = list(reader.inbox._mailbox.entries_after(0))
        assert [(entry.message, entry.origin) for entry in entries] == [
            ("a", "desk/one@0.1#1"),
            ("b", "desk/one@0.1#2"),
            ("c", "desk/two@0.1#3"),
            ("d", "desk/two@0.1#4"),
            ("e", "desk/two@0.1#5"),
            ("f", "desk/two@0.1#7"),
            ("g", "desk/two@0.1#9"),
        ]
        reader.go.set()
        await trio.sleep(1)
        await desk.stop()
    assert reader.got == list("abcdefg")


# ------------------------------------------------------------------ against a model


class Model:
    """A mailbox as lists: messages with their lane, handed out by the written rules."""

    def __init__(self):
        self.urgent, self.ordinary, self.again, self.in_hand, self.handled = deque(), deque(), deque(), [], []

    def take(self, at_most):
        everything = [*self.again, *self.urgent, *self.ordinary]
        taken = everything if at_most is None else everything[:at_most]
        for _ in taken:
            for lane in (self.again, self.urgent, self.ordinary):
                if lane:
                    lane.popleft()
                    break
        self.in_hand = taken
        return taken


@pytest.mark.parametrize("seed", range(20))
def test_mailbox_random_steps_agree_with_the_model(seed):
    """Nothing is lost, nothing is handed out of order, and positions grow, whatever crashes and whenever it is saved."""
    rng = random.Random(seed)
    box, model, names = new_mailbox(), Model(), iter(range(10**6))
    sender, count = Sender("desk/feed", "1"), 0
    saved_at, state = 0, []  # the state is the list of what was handled
    positions = {}
    for _ in range(1500):
        step = rng.choices(
            ("put", "batch", "take", "settle", "stop", "back", "save", "process"), (6, 3, 8, 8, 1, 1, 2, 1)
        )[0]
        if step in ("put", "batch"):
            topic = rng.choice((ORDERS, ORDERS, CANCELS))
            wanted = 1 if step == "put" else rng.randrange(1, 9)
            lane = box.lane(topic)
            if wanted <= lane.room:
                messages = [f"m{next(names)}" for _ in range(wanted)]
                if step == "put":
                    assert lane.put(topic, messages[0], sender, count + 1)
                else:
                    lane.put_batch(Batch(topic, messages, sender, count + 1))
                count += len(messages)
                (model.urgent if topic.urgent else model.ordinary).extend(messages)
        elif step == "take":
            finish(box, model, state)
            at_most = rng.choice((None, 1, 1, 3))
            taken = [box.take_one()] if at_most == 1 and len(box) else box.take(at_most)
            assert taken == model.take(at_most)
            for entry in box.in_hand:
                assert positions.setdefault(entry.message, entry.position) == entry.position, "the position is kept"
                assert entry.position > box.settled
            assert [entry.message for entry in box.in_hand] == model.in_hand
        elif step == "settle":
            finish(box, model, state)
        elif step == "stop":  # no crash: what was in hand comes again
            box.give_back(crashed=False)
            model.again.extendleft(reversed(model.in_hand))
            model.in_hand = []
        elif step == "back":  # a new reader, with the state of the last save
            box.give_back(crashed=False)
            box.give_back(crashed=False, to=saved_at)
            again = [*model.handled, *model.in_hand]
            model.again.extendleft(reversed(again))
            model.handled, model.in_hand = [], []
            undone = set(again)
            state[:] = [name for name in state if name not in undone]
        elif step == "save" and not model.in_hand:
            saved_at = box.settled
            box.covered(saved_at)
            model.handled = []
        elif step == "process":
            settled = box.settled if not model.in_hand else None
            if settled is None:
                continue
            entries = list(box.entries_after(settled))
            assert [entry.message for entry in entries] == [*model.again, *model.urgent, *model.ordinary]
            assert [entry.position for entry in entries] == sorted({entry.position for entry in entries})
            fresh = new_mailbox()
            fresh.restore(entries, settled=settled, next_position=box.next_position)
            for entry in entries:
                positions[entry.message] = entry.position
            box, saved_at = fresh, settled
            model.again.extend([*model.urgent, *model.ordinary])
            model.urgent.clear()
            model.ordinary.clear()
            model.handled = []
        assert len(box) == len(model.again) + len(model.urgent) + len(model.ordinary)
        assert box.kept == len(model.handled)
    finish(box, model, state)
    while True:
        taken = box.take(None)
        assert taken == model.take(None)
        if not taken:
            break
        finish(box, model, state)
    assert sorted(state) == sorted(f"m{number}" for number in range(count)), "each message was handled exactly once"


def new_mailbox():
    return Mailbox(
        "desk/x",
        (ORDERS, CANCELS),
        capacity=20,
        overflow=Overflow.BLOCK,
        keeps_handled=True,
        on_dead=lambda entry: None,
    )


def finish(box, model, state):
    """The reader asks for more: what it had in hand is handled."""
    if model.in_hand:
        box.settle()
        state += model.in_hand
        model.handled += model.in_hand
        model.in_hand = []
        assert box.settled > 0
