"""Every Python snippet of the documentation runs.

The snippets of one page share a namespace and run in the order of the page, in an empty folder.
A block that is not to be run is not marked as Python; there is no way to skip one.
"""

import re
from pathlib import Path

import pytest
from sybil import Document
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_docs_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader who types in a page from top to bottom sees no error."""
    monkeypatch.chdir(tmp_path)
    document = Document.parse(str(page), PythonCodeBlockParser())

    for snippet in document.examples():
        snippet.evaluate()


def test_docs_readme_has_snippets_that_are_run() -> None:
    """The parser finds the blocks: an empty page would pass the test above."""
    document = Document.parse(str(ROOT / "README.md"), PythonCodeBlockParser())

    assert len(list(document.examples())) >= 3


def test_docs_readme_shows_what_its_first_snippet_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Word for word, but for what stands behind an ellipsis."""
    first = next(iter(Document.parse(str(ROOT / "README.md"), PythonCodeBlockParser()).examples()))
    shown = re.search(r"```text\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert shown is not None

    first.evaluate()

    pattern = ".*".join(re.escape(part) for part in shown[1].split("…"))
    assert re.fullmatch(pattern, capsys.readouterr().out, re.DOTALL)


def test_docs_wrong_snippet_fails_with_its_line(tmp_path: Path) -> None:
    """The check above has teeth, and names the place in the page."""
    page = tmp_path / "page.md"
    page.write_text("# Page\n\n```python\nimport trio\n\nassert trio.run(trio.sleep, 0) == 1\n```\n", encoding="utf-8")
    (snippet,) = Document.parse(str(page), PythonCodeBlockParser()).examples()

    with pytest.raises(AssertionError) as caught:
        snippet.evaluate()

    assert (caught.traceback[-1].path, caught.traceback[-1].lineno + 1) == (page, 6)


DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
SECTIONS = ["## Context", "## Options", "## Outcome", "## Consequences", "## Confirmation"]
STATUS = re.compile(r"^- Status: (proposed|accepted|superseded by \d{4})$", re.MULTILINE)


@pytest.mark.parametrize("record", DECISIONS, ids=lambda record: record.stem)
def test_docs_decision_record_has_the_sections_of_the_template(record: Path) -> None:
    """A record says what else was possible and what would show that it was wrong, or it is not one."""
    text = record.read_text(encoding="utf-8")

    assert [line for line in text.splitlines() if line.startswith("## ")] == SECTIONS


@pytest.mark.parametrize("record", DECISIONS[1:], ids=lambda record: record.stem)
def test_docs_decision_record_names_number_status_and_date(record: Path) -> None:
    """The number in the title is the file's, and status and date are there to be read by a script."""
    text = record.read_text(encoding="utf-8")

    assert text.startswith(f"# {record.stem[:4]}: ")
    assert STATUS.search(text)
    assert re.search(r"^- Date: \d{4}-\d{2}-\d{2}$", text, re.MULTILINE)


def test_docs_decision_records_have_numbers_of_their_own() -> None:
    """Two records of one number cannot be referred to."""
    numbers = [record.stem[:4] for record in DECISIONS]

    assert sorted(set(numbers)) == numbers


FRAGMENTS = sorted(path for path in (ROOT / "changelog.d").iterdir() if path.name != "README.md")


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda fragment: fragment.name)
def test_docs_changelog_fragment_has_a_kind_and_one_paragraph(fragment: Path) -> None:
    """The kind decides the heading under which it is released; the text is one paragraph for users."""
    assert re.fullmatch(r"[a-z0-9-]+\.(added|changed|deprecated|removed|fixed)\.md", fragment.name)
    assert re.fullmatch(r"[^\s#].*\.\n", fragment.read_text(encoding="utf-8"), re.DOTALL)
