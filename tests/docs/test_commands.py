"""Every command that a page shows can be given: the parser takes it, and make knows it."""

import re
import shlex
from pathlib import Path

import pytest

from genesis_trio.cli.options import parse

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
SHOWN = sorted(
    {
        line
        for page in PAGES
        if "_build" not in page.parts
        for block in re.findall(r"^```console\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
        for line in re.findall(r"^\$ (.+)$", block, re.MULTILINE)
    }
)
IN_TEXT = sorted(
    {
        line
        for page in PAGES
        if "_build" not in page.parts
        for line in re.findall(r"`(genesis demo [^`]+)`", page.read_text(encoding="utf-8"))
    }
)
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("line", [*(line for line in SHOWN if line.startswith("genesis ")), *IN_TEXT])
def test_page_command_is_one_that_the_parser_takes(line):
    """A reader who copies the line is not told that it is wrong."""
    arguments = parse(shlex.split(line, comments=True)[1:])

    assert arguments.command == shlex.split(line)[1]


@pytest.mark.parametrize("line", [line for line in SHOWN if line.startswith("make ")])
def test_page_make_target_exists(line):
    """The same for make."""
    assert shlex.split(line, comments=True)[1] in TARGETS
