"""The tables of mutations follow the code: each text that they replace stands in its file, once, and what comes of it is Python."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLES = {path.parent.name: tomllib.loads(path.read_text()) for path in sorted(ROOT.glob("tests/*/mutations.toml"))}
MUTATIONS = [
    pytest.param(mutation, id=f"{room}: {mutation['rule']}")
    for room, table in TABLES.items()
    for mutation in table["mutation"]
]


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_mutation_can_be_made(mutation):
    """Whoever changes such a line changes the table with it; a text that is no Python would be caught by any test at all."""
    text = (ROOT / mutation["file"]).read_text()

    assert text.count(mutation["old"]) == 1
    compile(text.replace(mutation["old"], mutation["new"]), mutation["file"], "exec")


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_mutation_table_names_tests_and_files_that_exist(table):
    """What has got another name is named so there, too."""
    named = [*(test.partition("::")[0] for test in table["tests"]), *table["generated"]["files"]]

    assert [path for path in named if not (ROOT / path).exists()] == []


def test_mutation_tables_are_those_of_the_core():
    """A table that nobody finds would hold nothing."""
    assert {"messaging", "modes", "policies", "supervision"} <= set(TABLES)
