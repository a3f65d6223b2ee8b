"""Messages that wait in a saved mailbox while their class gets a new version."""

import json

import attrs
import pytest
import trio

from genesis_trio import ChildSpec, Component, Lifecycle, Topic, migrates, observe, open_store, open_supervisor, schema
from genesis_trio.errors import SchemaError
from genesis_trio.supervision._inbox import SavedMailbox
from supervision.desk import QUIET, Log


@schema("migration.seen")
@attrs.define
class Seen:
    count: int = 0


def message_class(name, version, **fields):
    return schema(name, version=version)(
        attrs.make_class("Message", {key: attrs.field(type=of) for key, of in fields.items()})
    )


async def hand_over(url, first, second):
    """Let a message of class *first* wait, and read it as *second* in the next process; what was read, and the reader's last error."""
    old, new, read = Topic("migration.messages", type(first)), Topic("migration.messages", second), []

    class Deaf(Component[Seen]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(old):
                ctx.publish(old, first)
                await ctx.wait_stopping()

    class Reader(Component[Seen]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(new) as messages:
                async for message in messages:
                    read.append(message)

    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Deaf, name="reader")
        await trio.sleep(1)
        await desk.stop()
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        reader = await desk.start(Reader, name="reader")
        await trio.sleep(1)
        status, error = reader.status, reader.last_error
        await desk.stop()
    return read, status, error


async def test_messages_that_wait_are_migrated(url, autojump_clock):
    """Step by step, as states and events are."""
    before = message_class("migration.price", 1, price=int)
    after = message_class("migration.price", 3, text=str)
    migrates("migration.price", 1)(lambda fields: {"price": fields["price"] * 2})
    migrates("migration.price", 2)(lambda fields: {"text": str(fields["price"])})
    read, status, _ = await hand_over(url, before(21), after)
    assert (read, status) == ([after("42")], Lifecycle.READY)


@pytest.mark.parametrize("versions", [(1, 2), (2, 1)])
async def test_messages_that_cannot_be_migrated_park_their_reader(url, versions, autojump_clock):
    """Without a step, or newer than the code: nothing is guessed, and nothing is lost."""
    name = f"migration.unknown-{versions[0]}"
    before, after = (message_class(name, version, price=int) for version in versions)
    read, status, error = await hand_over(url, before(1), after)
    assert (read, status) == ([], Lifecycle.PARKED)
    assert isinstance(error, SchemaError)
    assert name in str(error)


async def test_messages_of_one_version_come_back_as_they_are(url, autojump_clock):
    """Nothing has to be done."""
    cls = message_class("migration.same", 4, price=int)
    assert (await hand_over(url, cls(1), cls))[0] == [cls(1)]


def test_mailbox_says_once_as_what_its_messages_were_saved():
    """For each type and version of it, not for each message."""
    old, new = ("price", 1, "aaaa", "price: int"), ("price", 2, "bbbb", "price: float")
    entries = [[place, "prices", f"feed@1#{place}", "{}", old if place < 3 else new] for place in range(5)]
    box = SavedMailbox(0, 5, entries)
    saved = json.loads(json.dumps(box.as_json()))
    assert saved["schemas"] == [list(old), list(new)]
    assert [entry[4:] for entry in saved["entries"]] == [[0], [0], [0], [1], [1]]
    assert SavedMailbox.from_json(saved) == box


async def test_messages_of_a_plain_type_come_back_as_they_are(url, autojump_clock):
    """What has no schema is restored as what it was."""
    assert (await hand_over(url, 1, int))[0] == [1]


async def test_messages_are_saved_whoever_else_has_the_name_of_their_schema(url, autojump_clock):
    """A second class of that name is a mistake that a start tells of; it must not keep what is here from being saved."""
    mine = message_class("migration.twice", 1, price=int)
    other = schema("migration.twice", version=1)(attrs.make_class("Other", ["text"]))
    assert other.__qualname__ != mine.__qualname__  # or the newer one would replace the older
    assert (await hand_over(url, mine(1), mine))[0] == [mine(1)]


def with_validator(name, accepts):
    def check(instance, attribute, value):
        if not accepts(value):
            raise ValueError("refused")

    return schema(name)(attrs.make_class("Message", {"price": attrs.field(type=int, validator=check)}))


#: The class that wrote the messages, the one that reads them, and what is said then.
UNREADABLE = {
    "a validator": (
        with_validator("migration.checked", lambda price: True),
        with_validator("migration.checked", lambda price: price != 2),
        "ValueError: refused",
    ),
    "another field": (
        message_class("migration.renamed", 1, price=int),
        message_class("migration.renamed", 1, amount=int),
        "the fields of migration.renamed changed and its version did not, it is still 1: amount added (int); price removed (int)",
    ),
    "no schema": (
        attrs.make_class("Message", {"price": attrs.field(type=int)}),
        attrs.make_class("Message", {"price": attrs.field(type=str)}),
        "price",
    ),
    "a new field with a default": (
        message_class("migration.more", 1, price=int),
        schema("migration.more")(
            attrs.make_class("Message", {"price": attrs.field(type=int), "side": attrs.field(type=str, default="buy")})
        ),
        "the fields of migration.more changed and its version did not, it is still 1: side added (str = default)",
    ),
    "another type that fits": (
        message_class("migration.wider", 1, price=int),
        message_class("migration.wider", 1, price=float),
        "price changed from int to float",
    ),
    "another type that fits, no schema": (
        attrs.make_class("Message", {"price": attrs.field(type=int)}),
        attrs.make_class("Message", {"price": attrs.field(type=float)}),
        "the fields of Message changed and its version did not",
    ),
    "a newer version": (
        message_class("migration.newer", 2, price=int),
        message_class("migration.newer", 1, price=int),
        "newer than the code",
    ),
}


@pytest.mark.parametrize("catches", [False, True])
@pytest.mark.parametrize("how", UNREADABLE)
async def test_messages_that_this_code_cannot_read_wait_for_one_that_can(url, how, catches, autojump_clock):
    """Who starts their reader is told, or it is parked; none is lost meanwhile, whatever is saved of it."""
    written, changed, words = UNREADABLE[how]
    old, new = (Topic("migration.messages", each) for each in (written, changed))
    seen, read = [], []

    class Deaf(Component[Seen]):
        async def run(self, ctx):
            ctx.ready()
            async with ctx.subscribe(old):
                for price in (1, 2, 3):
                    ctx.publish(old, written(price))
                self.state.count = 7
                await ctx.safe_point()
                await ctx.wait_stopping()

    class Reader(Component[Seen]):
        def __init__(self, topic):
            self.topic = topic

        async def run(self, ctx):
            try:
                async with ctx.subscribe(self.topic) as messages:
                    seen.append(self.state.count)
                    ctx.ready()
                    async for message in messages:
                        read.append(message.price)
                        self.state.count += 1
            except SchemaError:
                if not catches:
                    raise
                ctx.ready()
                await ctx.safe_point()
                await ctx.wait_stopping()

    def check(error):
        for part in (words, "'migration.messages'", "'desk/reader'", "sent as 'desk/reader@1.1#"):
            assert part in str(error)

    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Deaf, name="reader")
        await trio.sleep(1)
        await desk.stop()
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        if catches:
            await desk.start(Reader, new, name="reader")
        else:
            with pytest.raises(SchemaError) as caught:
                await desk.start(Reader, new, name="reader")
            check(caught.value)
        await desk.stop()
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        (reader,) = await desk.start_all([ChildSpec(Reader, new, name="reader")])
        assert reader.status is (Lifecycle.READY if catches else Lifecycle.PARKED)
        await desk.create_checkpoint()
        if catches:
            await reader.restart()
        else:
            with pytest.raises(SchemaError):
                await reader.restart()
            await trio.sleep(1000)  # its trials
            assert reader.status is Lifecycle.PARKED
            check(reader.last_error)
        await desk.create_checkpoint()
        await desk.stop()
    assert read == []
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Reader, old, name="reader")
        await trio.sleep(1)
        await desk.stop()
        assert (await store.load("desk/reader", Seen, make=Seen)).state == Seen(10)
    assert (seen, read) == ([7], [1, 2, 3])


async def test_messages_that_this_code_cannot_read_are_no_reason_to_try_an_older_state(url, autojump_clock):
    """Whichever state its reader starts from, they wait for it; so it is not the state that is to blame, and none is convicted."""
    written, changed, _ = UNREADABLE["another field"]
    old, new = (Topic("migration.messages", each) for each in (written, changed))

    class Deaf(Component[Seen]):
        async def run(self, ctx):
            async with ctx.subscribe(old):
                ctx.ready()
                for self.state.count in (1, 2, 3):
                    ctx.publish(old, written(self.state.count))
                    await ctx.create_checkpoint()
                await ctx.wait_stopping()

    class Reader(Component[Seen]):
        async def run(self, ctx):
            starts.append(self.state.count)
            async with ctx.subscribe(new):
                ctx.ready()

    starts, log = [], Log()
    async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        await desk.start(Deaf, name="reader")
        await trio.sleep(1)
        await desk.stop()
    with observe(log):
        async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            (reader,) = await desk.start_all([ChildSpec(Reader, name="reader")])
            await trio.sleep(10_000)
            assert reader.status is Lifecycle.PARKED
            await desk.stop()
    assert len(starts) > 5
    assert set(starts) == {3}
    assert log.named("recovery_fell_back", "recovery_ended", "checkpoint_quarantined") == []
