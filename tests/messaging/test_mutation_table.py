"""The table of mutations follows the code: each text that it replaces stands in its file, once."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
TABLE = tomllib.loads((Path(__file__).parent / "mutations.toml").read_text())


@pytest.mark.parametrize("mutation", TABLE["mutation"], ids=lambda mutation: mutation["rule"])
def test_mutation_text_stands_in_its_file_once(mutation):
    """Whoever changes such a line changes the table with it, or the next run of tools/mutate.py ends before it begins."""
    assert (ROOT / mutation["file"]).read_text().count(mutation["old"]) == 1


def test_mutation_table_names_tests_and_files_that_exist():
    """What has got another name is named so here, too."""
    named = [*(test.partition("::")[0] for test in TABLE["tests"]), *TABLE["generated"]["files"]]

    assert [path for path in named if not (ROOT / path).exists()] == []
