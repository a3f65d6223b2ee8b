"""``genesis checkpoints`` and ``genesis journal``, on a store that no service holds."""

import contextlib
import json
import sqlite3
import stat

import pytest
import trio

from genesis_trio import open_store
from genesis_trio.cli import main
from genesis_trio.persistence import rungs
from persistence.damage import damage_newest, rewrite_record
from persistence.desk import Ledger, book

A = "desk/ledger"


@pytest.fixture
def url(tmp_path):
    """Three fills, with a saved checkpoint after each; the first is labelled."""
    url = f"sqlite:{tmp_path / 'desk.db'}"

    async def fill():
        ledger = Ledger()
        async with open_store(url, code_version="desk 1.0") as store:
            for number in (10, 20, 30):
                await book(store, ledger, number, key=f"trade {number}")
                await store.create_checkpoint({A: ledger}, label="open" if number == 10 else None)

    trio.run(fill)
    return url


def damage(url, how):
    async def run():
        async with open_store(url) as store:
            how(store)

    trio.run(run)


def test_checkpoints_list_shows_what_is_saved_and_what_it_survives(url, capsys):
    """The promise first, then the newest first, with labels."""
    assert main(["checkpoints", "list", url]) == 0

    promise, *lines = capsys.readouterr().out.splitlines()
    assert promise.startswith("survives: kill -9 yes, power cut ")
    assert "disk loss no" in promise
    assert [line.split()[0] for line in lines] == ["cp-000003", "cp-000002", "cp-000001"]
    assert lines[-1].endswith("open")


def test_checkpoints_list_as_json_has_everything(url, capsys):
    """For machines: all metadata, and of one component only when asked."""
    assert main(["checkpoints", "list", url, "--json", "--component", A]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["id"] for each in found["checkpoints"]] == ["cp-000003", "cp-000002", "cp-000001"]
    assert found["checkpoints"][0]["journal"] == {A: 3}
    assert found["checkpoints"][0]["code_version"] == "desk 1.0"
    assert main(["checkpoints", "list", url, "--component", "other"]) == 2
    assert "nothing of a component 'other' is in the store" in capsys.readouterr().err


def test_checkpoints_list_names_violated_invariants(url, capsys):
    """A checkpoint that is kept for diagnosis says so, with the reason."""
    from persistence.test_invariants import BAD, WHY

    async def save():
        async with open_store(url) as store:
            await store.create_checkpoint({"desk/position": BAD})

    trio.run(save)
    assert main(["checkpoints", "list", url]) == 0
    assert capsys.readouterr().out.splitlines()[2] == f"  desk/position violates an invariant: {WHY}"


def test_checkpoints_show_prints_the_states(url, capsys):
    """The state as JSON, with its schema."""
    assert main(["checkpoints", "show", url, "open"]) == 0
    out = capsys.readouterr().out
    assert f"{A}: test.ledger version 1, with the journal up to 1" in out
    assert '"total": 10' in out
    assert main(["checkpoints", "show", url, "newest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["components"][A]["state"] == {"total": 60, "entries": [10, 20, 30]}


def test_checkpoints_diff_tells_paths_and_deltas(url, capsys):
    """One line for each path, with the exact difference of numbers."""
    assert main(["checkpoints", "diff", url, "open", "newest"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{A} $.total: 10 -> 60  (+50)",
        f"{A} $.entries[1]: added 20",
        f"{A} $.entries[2]: added 30",
    ]
    assert main(["checkpoints", "diff", url, "newest", "newest"]) == 0
    assert capsys.readouterr().out == "no difference\n"
    assert main(["checkpoints", "diff", url, "open", "newest", "--json", "--component", A]) == 0
    first = json.loads(capsys.readouterr().out)[0]
    assert (first["path"], first["delta"]) == ("$.total", "50")


def test_checkpoints_verify_fails_on_damage(url, capsys):
    """0 while all can be read, 1 with a line for each problem when not."""
    assert main(["checkpoints", "verify", url]) == 0
    assert capsys.readouterr().out == "everything can be read\n"
    damage(url, lambda store: damage_newest(store, A))
    assert main(["checkpoints", "verify", url, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is False and "is damaged" in report["problems"][0]


def test_checkpoints_restore_makes_an_older_one_the_newest(url, capsys):
    """What was recorded after it is void; its keys are free again."""
    assert main(["checkpoints", "restore", url, "open", "--only", A]) == 0
    assert capsys.readouterr().out == f"cp-000004 is the newest now: {A} as in cp-000001\n"
    assert main(["journal", "tail", url, A, "--json"]) == 0
    assert [each["sequence"] for each in json.loads(capsys.readouterr().out)] == [1]


def test_checkpoints_prune_removes_old_ones_and_their_records(url, capsys):
    """As many as told are kept, and labelled ones; records go only when asked."""
    assert main(["checkpoints", "prune", url, "--keep", "1"]) == 0
    assert capsys.readouterr().out == "1 saved checkpoint and 0 records were removed\n"
    assert main(["checkpoints", "prune", url, "--keep", "1", "--journal", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"checkpoints": 0, "records": 1}


def test_checkpoints_export_is_private_and_overwrites_nothing(url, tmp_path, capsys):
    """A JSON document, on stdout or in a new file that its owner alone can read."""
    assert main(["checkpoints", "export", url, "open"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["components"][A]["state"]["total"] == 10
    file = tmp_path / "open.json"
    assert main(["checkpoints", "export", url, "open", "-o", str(file)]) == 0
    assert json.loads(file.read_text()) == document
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert main(["checkpoints", "export", url, "open", "-o", str(file), "--json"]) == 2
    assert f"genesis: cannot write {file}: File exists" in capsys.readouterr().err


def test_journal_tail_prints_the_last_records(url, capsys):
    """Sequence, time, class, event and key, a line each."""
    assert main(["journal", "tail", url, "-n", "1"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"{A} 3  ")
    assert line.endswith('test.fill@1  {"quantity": 30}  key trade 30')


def test_journal_tail_of_a_damaged_journal_fails(url, capsys):
    """Damage is on stderr, with 1."""
    damage(url, lambda store: rewrite_record(store, A, 2))
    assert main(["journal", "tail", url]) == 1
    assert "genesis: record 2 of 'desk/ledger' is damaged" in capsys.readouterr().err


def test_journal_tail_of_an_empty_store_says_so(tmp_path, capsys):
    """Nothing is not an error."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    damage(url, lambda store: None)
    assert main(["journal", "tail", url]) == 0
    assert capsys.readouterr().out == "nothing is recorded\n"


async def test_checkpoints_of_a_store_that_a_service_holds_is_an_error(url, capsys):
    """Who holds it is said, with 2; it goes on undisturbed."""
    async with open_store(url) as store:
        assert await trio.to_thread.run_sync(main, ["checkpoints", "list", url]) == 2
        assert "is in use by process" in capsys.readouterr().err
        await store.append(A, [])


def snapshot(folder):
    """What is in *folder*, and when it was written."""
    return {file.name: (file.stat().st_size, file.stat().st_mtime_ns) for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["checkpoints", "show", "{url}", "cp-000009"], "no saved checkpoint 'cp-000009'; there are cp-000003"),
        (["checkpoints", "list", "sqlite:{folder}/none.db"], "there is no store"),
        (["checkpoints", "list", "sqlite:{folder}/zero.db"], "zero.db is an empty file and no store"),
        (["checkpoints", "list", "sqlite:{folder}/bare.db"], "bare.db is an SQLite file without tables and no store"),
        (["checkpoints", "list", "sqlite:{folder}/notes.db"], "notes.db is an SQLite file of another program"),
        (["checkpoints", "list", "sqlite:///desk.db"], "write sqlite:desk.db for one below the current folder"),
        (["checkpoints", "list", "desk.db"], "a store is named by scheme and place"),
        (["checkpoints", "show", "{url}", "2036-01-01"], "a time needs its zone, as in 2036-01-01T00:00:00+00:00"),
        (["checkpoints", "show", "{url}", "2016-01-01T00:00:00Z"], "no saved checkpoint at or before 2016-01-01"),
        (["checkpoints", "restore", "{url}", "newest", "--only", "x"], "no component 'x'"),
        (["journal", "tail", "{url}", "x"], "no component 'x'"),
    ],
)
def test_checkpoints_wrong_input_is_told_in_a_line(url, tmp_path, capsys, arguments, message):
    """What is wrong is said on stderr, with 2."""
    (tmp_path / "zero.db").touch()
    for name, statement in (("bare", "drop table note"), ("notes", "insert into note values('buy milk')")):
        with contextlib.closing(sqlite3.connect(tmp_path / f"{name}.db")) as foreign, foreign:
            foreign.execute("create table note(text)")
            foreign.execute(statement)
    before = snapshot(tmp_path)

    assert main([each.format(url=url, folder=tmp_path) for each in arguments]) == 2

    assert message in capsys.readouterr().err
    if "{url}" not in arguments:
        assert snapshot(tmp_path) == before  # nothing was made, and nothing touched


@pytest.mark.parametrize(
    "arguments",
    [
        ["checkpoints"],
        ["journal", "tail", "memory:", "-n", "0"],
        ["journal", "tail", "memory:", "-n", "9" * 30],
        ["checkpoints", "prune", "memory:", "--keep", "x"],
    ],
)
def test_checkpoints_wrong_use_ends_with_status_2(capsys, arguments):
    """As any other wrong option."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


def test_checkpoints_release_ends_a_quarantine(url, capsys):
    """The list says what is in quarantine and why; released, a restart takes it again."""

    async def convict():
        async with open_store(url) as store:
            await rungs.put_verdicts(store, A, [rungs.Verdict((), (3,), "it crashed 3 times")]).wait()

    trio.run(convict)
    assert main(["checkpoints", "list", url]) == 0
    assert capsys.readouterr().out.splitlines()[2] == f"  {A} is in quarantine: it crashed 3 times"
    assert main(["checkpoints", "release", url, "cp-000003", "--component", A]) == 0
    assert capsys.readouterr().out == f"{A} in cp-000003 may be taken by a restart again\n"
    assert main(["checkpoints", "release", url, "newest", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"checkpoint": "cp-000003", "released": []}
    assert main(["checkpoints", "release", url, "newest"]) == 0
    assert capsys.readouterr().out == "nothing in cp-000003 is in quarantine\n"
