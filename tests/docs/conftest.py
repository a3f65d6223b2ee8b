"""What tests of pages share."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent.parent / "docs"


@pytest.fixture
def block_of():
    """A function: the block of a page whose first line says that it is the file *name*."""

    def find(page, name):
        text = (DOCS / page).read_text(encoding="utf-8")
        (found,) = re.findall(rf"^```\w+\n(# {re.escape(name)}\n.*?)^```", text, re.DOTALL | re.MULTILINE)
        return found

    return find
