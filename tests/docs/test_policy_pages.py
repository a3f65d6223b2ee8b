"""The pages of the policies say what the code says: one skeleton, and tables that are compared with signatures and events."""

import inspect
import re
from pathlib import Path

import attrs
import pytest

import genesis_trio
from genesis_trio.events import policies

FOLDER = Path(__file__).parent.parent.parent / "docs" / "reference" / "policies"
PAGES = sorted(page for page in FOLDER.glob("*.md") if page.name != "index.md")
SKELETON = ["What it is for", "Usage", "Failures", "Defaults", "Events", "States", "Patterns", "Anti-patterns"]
EVENTS = {one.name: one for one in vars(policies).values() if isinstance(one, type) and issubclass(one, policies.Event)}
# What a call hands over, and is no setting.
NO_SETTINGS = {"self", "fn", "args"}
RECORDS = {
    "retry": [],
    "circuit-breaker": ["BreakerStatistics"],
    "timeouts": [],
    "bulkhead": [],
    "rate-limit": [],
    "hedge": [],
    "budget": ["BudgetStatistics"],
    "guard": ["GuardStatistics"],
}


def sections(page):
    """Heading to text, in order, for the headings of the second level."""
    found = re.split(r"^## (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(found[1::2], found[2::2], strict=True))


def rows(text):
    """The cells of the first table in *text*, without its head."""
    first = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = first[0].splitlines() if first else []
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def shown(default):
    """How a default stands in a table."""
    if default is inspect.Parameter.empty:
        return "required"
    return f"`{default.__name__}`" if isinstance(default, type) else f"`{default!r}`"


def settings(name):
    """Each setting of the public thing *name*, with its default as a table shows it."""
    parameters = inspect.signature(getattr(genesis_trio, name)).parameters.values()
    return {p.name: shown(p.default) for p in parameters if p.name not in NO_SETTINGS}


def default_tables(page):
    """Each table of defaults: of what, whether it is all of them, and its first two columns."""
    for heading, text in sections(page).items():
        found = re.fullmatch(r"Defaults of `(\w+)`( \(those about .+\))?", heading)
        if found:
            yield found[1], not found[2], {row[0].strip("`"): row[1] for row in rows(text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_policy_page_has_the_skeleton(page):
    """Whoever knows one page finds everything on the others."""
    headings = list(dict.fromkeys(re.sub(r" of `.*", "", heading) for heading in sections(page)))

    assert headings == SKELETON


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_policy_page_defaults_are_those_of_the_signature(page):
    """A table of defaults lists each argument in the order of the signature, with its default."""
    tables = list(default_tables(page))

    assert tables
    for name, is_complete, table in tables:
        truth = settings(name)
        if not is_complete:
            truth = {argument: default for argument, default in truth.items() if argument in table}
        assert list(table.items()) == list(truth.items()), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_policy_page_events_are_those_of_the_code(page):
    """Severity and fields of each event in a table are those of its class."""
    found = rows(sections(page)["Events"])

    assert found
    for name, severity, fields, _ in found:
        event = EVENTS[name.strip("`")]
        truth = [field.name for field in attrs.fields(event) if field.name not in ("time", "tree")]
        assert severity == event.severity.name.lower(), name
        assert fields == ", ".join(f"`{field}`" for field in truth), name


def test_policy_pages_name_every_event_of_a_policy():
    """An event of a policy that stands on no page is one that nobody will look for."""
    named = {row[0].strip("`") for page in PAGES for row in rows(sections(page)["Events"])}

    assert named == EVENTS.keys() - {"event"}


def test_policy_pages_are_one_for_each_policy():
    """No policy of a guard is without its page."""
    assert {page.stem for page in PAGES} == set(RECORDS)


@pytest.mark.parametrize(
    ("stem", "record"), [(stem, record) for stem, records in RECORDS.items() for record in records]
)
def test_policy_page_names_every_number_of_the_statistics(stem, record):
    """Every field of a record of statistics stands on the page of its policy."""
    text = (FOLDER / f"{stem}.md").read_text(encoding="utf-8")

    missing = [field.name for field in attrs.fields(getattr(genesis_trio, record)) if f"`{field.name}`" not in text]
    assert not missing
