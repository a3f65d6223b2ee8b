"""``genesis messages``, on a store that no service holds: what waits, and dropping what no code can read."""

import json
import stat

import attrs
import pytest
import trio
import trio.testing

from genesis_trio import ChildSpec, Component, Topic, open_store, open_supervisor, schema
from genesis_trio.cli import main
from genesis_trio.errors import SchemaError
from persistence.damage import damage_newest
from supervision.desk import QUIET

READER, OTHER = "desk/reader", "desk/other"
NOTES = Topic("messages.notes", str)


@schema("messages.count")
@attrs.define
class Count:
    number: int = 0


def price_class(of):
    return schema("messages.price")(attrs.make_class("Price", {"price": attrs.field(type=of)}))


OLD, NEW = (Topic("messages.prices", price_class(of)) for of in (int, float))


class Deaf(Component[Count]):
    """Lets three prices and a note wait."""

    async def run(self, ctx):
        self.state.number += 1
        async with ctx.subscribe(OLD), ctx.subscribe(NOTES):
            ctx.ready()
            for price in (1, 2, 3):
                ctx.publish(OLD, OLD.message_type(price))
            ctx.publish(NOTES, "é")
            await ctx.safe_point()
            await ctx.wait_stopping()


class Counting(Component[Count]):
    async def run(self, ctx):
        self.state.number += 1
        ctx.ready()
        await ctx.safe_point()
        await ctx.wait_stopping()


def reader_of(topic, read):
    class Reader(Component[Count]):
        async def run(self, ctx):
            async with ctx.subscribe(topic) as messages, ctx.subscribe(NOTES):
                ctx.ready()
                async for message in messages:
                    read.append(message.price)

    return Reader


def process(url, component):
    """A second of a process with that reader and another component; the last error of the reader."""

    async def run():
        async with open_store(url) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
            specs = [ChildSpec(Counting, name="other"), ChildSpec(component, name="reader")]
            _, reader = await desk.start_all(specs)
            await trio.sleep(1)
            await desk.stop()
            return reader.last_error

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.fixture
def url(tmp_path):
    url = f"sqlite:{tmp_path / 'desk.db'}"
    process(url, Deaf)
    return url


@pytest.fixture
def waiting(url, capsys):
    """What waits, as JSON."""

    def find():
        capsys.readouterr()
        assert main(["messages", "list", url, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return find


def test_messages_list_names_each_with_all_that_is_known(url, waiting, capsys):
    """For whom, by whom, of which topic and class, and what it says."""
    first = waiting()[0]
    sent_as = first.pop("sent_as")
    assert sent_as.startswith("desk/reader@1.1#")
    assert first == {
        "component": READER,
        "mailbox": "messages.notes",
        "position": 1,
        "topic": "messages.notes",
        "schema": ["str", 1],
        "fields": "$: str",
        "message": "é",
    }
    assert main(["messages", "list", url, "--component", READER]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'{READER}  {sent_as}  messages.notes  "é"'
    assert [line.split("  ", 3)[3] for line in lines[1:]] == ['{"price": 1}', '{"price": 2}', '{"price": 3}']
    assert main(["messages", "list", url, "--component", OTHER]) == 0
    assert capsys.readouterr().out == "no message waits\n"
    assert main(["messages", "list", url, "--component", "desk/nobody"]) == 2
    assert "there are desk/other, desk/reader" in capsys.readouterr().err


def test_messages_drop_lets_the_reader_start_with_the_others(url, waiting, tmp_path, capsys):
    """The one is in a file, private as the store; state, other messages and other components are as they were."""
    assert isinstance(process(url, reader_of(NEW, [])), SchemaError)
    before = waiting()
    prices = [each for each in before if each["topic"] == "messages.prices"]
    for each in prices[1:]:
        file = tmp_path / f"{each['position']}.json"
        assert main(["messages", "drop", url, READER, each["sent_as"], "-o", str(file)]) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{each['sent_as']} no longer waits for {READER}: cp-")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        written = json.loads(file.read_text(encoding="utf-8"))
        assert written.pop("checkpoint").startswith("cp-")
        assert written == {"format": 1, "store": url, **each}
    assert waiting() == [each for each in before if each not in prices[1:]]
    assert main(["checkpoints", "verify", url]) == 0

    read = []
    process(url, reader_of(OLD, read))
    assert read == [1]

    async def states():
        async with open_store(url) as store:
            return [(await store.restore_latest(path, Count)).state.number for path in (READER, OTHER)]

    assert trio.run(states) == [1, 3]


def test_messages_drop_writes_one_checkpoint_with_all_components(url, waiting, tmp_path, capsys):
    """To go back to it brings everybody to that moment."""
    sent_as = waiting()[0]["sent_as"]
    assert main(["messages", "drop", url, READER, sent_as, "-o", str(tmp_path / "m"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["dropped"]["sent_as"] == sent_as
    assert main(["checkpoints", "list", url, "--json"]) == 0
    newest = json.loads(capsys.readouterr().out)["checkpoints"][0]
    assert (newest["id"], newest["reason"], newest["components"]) == (answer["checkpoint"], "drop", [OTHER, READER])


def test_messages_drop_asks_for_the_exact_one(url, waiting, tmp_path, capsys):
    """A part of its name is none, nor is that of another component; nothing is written then."""
    sent_as = waiting()[0]["sent_as"]
    for component, name in ((READER, sent_as[:-1]), (OTHER, sent_as)):
        assert main(["messages", "drop", url, component, name, "-o", str(tmp_path / "m")]) == 2
        assert "`genesis messages list" in capsys.readouterr().err
        assert not (tmp_path / "m").exists()
    with pytest.raises(SystemExit):
        main(["messages", "drop", url, READER, sent_as])
    assert len(waiting()) == 4


def test_messages_drop_keeps_the_message_where_the_file_is_there(url, waiting, tmp_path, capsys):
    """What cannot be written down is not dropped."""
    (tmp_path / "m").write_text("mine")
    assert main(["messages", "drop", url, READER, waiting()[0]["sent_as"], "-o", str(tmp_path / "m")]) == 2
    assert "cannot write" in capsys.readouterr().err
    assert (tmp_path / "m").read_text() == "mine"
    assert len(waiting()) == 4


def test_messages_drop_is_refused_where_a_start_has_damage_to_tell(url, waiting, tmp_path, capsys):
    """Behind a newer checkpoint nobody would be told of it."""
    process(url, Deaf)
    sent_as = waiting()[-1]["sent_as"]

    async def damage():
        async with open_store(url) as store:
            damage_newest(store, READER)

    trio.run(damage)
    assert main(["messages", "drop", url, READER, sent_as, "-o", str(tmp_path / "m")]) == 2
    assert "let the service start once, which tells of it" in capsys.readouterr().err
