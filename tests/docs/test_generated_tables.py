"""The tables that the build of the documentation makes are complete, and say what the docstrings say."""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

import genesis_trio

DOCS = Path(__file__).parent.parent.parent / "docs"
SETTINGS = re.findall(
    r"^```\{genesis-defaults\} (\S+)$", (DOCS / "reference/settings.md").read_text("utf-8"), re.MULTILINE
)


@pytest.fixture(scope="module")
def tables():
    spec = importlib.util.spec_from_file_location("genesis_rows", DOCS / "_ext" / "genesis_rows.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["genesis_rows"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["genesis_rows"]


def test_event_table_has_events_of_every_room_with_their_meaning(tables):
    """Severity, fields and docstring of an event make its row."""
    rooms = tables.event_rows()

    assert {"policies", "modes", "supervision", "messaging", "persistence", "service"} <= set(rooms)
    assert all(all(row) or not row[2] for rows in rooms.values() for row in rows)
    assert (
        "`breaker_half_opened`",
        "warning",
        "`breaker`",
        "A circuit breaker lets probes through.",
    ) in rooms["policies"]


def test_error_table_has_every_public_error(tables):
    """No error is missing, and each says what it is."""
    rows = tables.error_rows()

    public = {name for name in genesis_trio.__all__ if name.endswith("Error")}
    assert {row[0].strip("`") for row in rows} == public
    assert all(row[2] for row in rows)
    assert ("`CorruptError`", "`StoreError`") in [row[:2] for row in rows]


def test_order_table_says_how_an_order_is_written(tables):
    """Its arguments stand in their order."""
    assert ("`genesis clear PATH OWNER REASON`", "clear a cause") in tables.order_rows()


def test_module_table_says_of_every_module_what_it_is(tables):
    """Who looks for a behaviour finds its module by one sentence; a module without a sentence would be lost."""
    rooms = tables.module_rows()

    assert set(rooms) >= {"genesis_trio", "events", "modes", "policies", "messaging", "persistence", "supervision"}
    assert [row for rows in rooms.values() for row in rows if not row[1].endswith(".")] == []
    assert ("`budget.py`", "A budget for retries: how much of the traffic may be repetition.") in rooms["policies"]
    assert "`engines/sqlite.py`" in [module for module, _ in rooms["persistence"]]


@pytest.mark.parametrize("path", SETTINGS)
def test_settings_table_has_a_meaning_for_every_setting(tables, path):
    """A setting with a default that the docstring does not explain would be an empty cell."""
    rows = tables.default_rows(path)

    assert rows
    assert [name for name, default, meaning in rows if default.startswith("`") and not meaning] == []


def test_settings_table_shows_defaults_as_one_writes_them(tables):
    """Enums by their name, strings in quotes, and what has no default is required."""
    rows = {name: default for name, default, _ in tables.default_rows("ChildSpec")}

    assert rows["`component`"] == "required"
    assert rows["`restart`"] == "`Restart.PERMANENT`"
    assert rows["`requires`"] == "`()`"
    assert rows["`start_timeout`"] == "`30.0`"
    modes = {name: default for name, default, _ in tables.default_rows("ModePolicy")}
    assert modes["`essential_failure`"] == "`Mode.SAFE`"  # whose str() is a number
