"""Every page can be found, and every link leads somewhere."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)
FENCE = re.compile(r"^(```+)([^\n]*)\n(.*?)^\1$", re.DOTALL | re.MULTILINE)
# Not written by anybody: copied by whoever writes a decision.
TEMPLATES = {DOCS / "decisions" / "0000-template.md"}


def children(page):
    """The pages that the tables of contents of *page* name."""
    for fence in FENCE.finditer(page.read_text(encoding="utf-8")):
        if fence[2] != "{toctree}":
            continue
        for line in fence[3].splitlines():
            if line and not line.startswith(":"):
                yield from page.parent.glob(f"{line}.md")


def anchors(page):
    """What a heading of *page* is linked by."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_pages_are_all_in_a_table_of_contents():
    """Whoever begins at the index reaches every page."""
    found, waiting = set(), [DOCS / "index.md"]
    while waiting:
        page = waiting.pop()
        if page not in found:
            found.add(page)
            waiting += children(page)

    assert set(PAGES) - TEMPLATES == found - TEMPLATES


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda page: str(page.relative_to(ROOT)))
def test_page_links_lead_to_what_is_there(page):
    """A link inside of the project names a file that exists, and a heading in it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))

    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        linked = (page.parent / name).resolve() if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target
