"""Tables that are made from the code when the documentation is built, so that nobody has to keep them in step.

``{genesis-events}`` shows every event, ``{genesis-errors}`` every error, ``{genesis-orders}`` every order, ``{genesis-modules}`` every module, and
``{genesis-defaults} ChildSpec`` the settings of one public class or function, with their defaults and what its docstring says about them.
"""

import re
from typing import Any

from docutils import nodes
from docutils.parsers.rst import Directive
from genesis_rows import Row, default_rows, error_rows, event_rows, module_rows, order_rows


def _inline(text: str) -> list[nodes.Node]:
    """*text* with ``code``, `code` and *names* of the docstrings as such."""
    found: list[nodes.Node] = []
    for part in re.split(r"(``.+?``|`.+?`|(?<!\w)\*\w+\*)", text):
        if part.startswith("`"):
            found.append(nodes.literal(text=part.strip("`")))
        elif part.startswith("*") and part.endswith("*") and len(part) > 2:
            found.append(nodes.emphasis(text=part.strip("*")))
        elif part:
            found.append(nodes.Text(part))
    return found


def _table(head: Row, rows: list[Row]) -> nodes.table:
    group = nodes.tgroup(cols=len(head))
    group += [nodes.colspec(colwidth=1) for _ in head]
    group += nodes.thead("", _row(head))
    group += nodes.tbody("", *map(_row, rows))
    return nodes.table("", group)


def _row(cells: Row) -> nodes.row:
    return nodes.row("", *(nodes.entry("", nodes.paragraph("", "", *_inline(cell))) for cell in cells))


class Events(Directive):
    """All events, room by room."""

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for room, rows in event_rows().items():
            found.append(nodes.rubric(text=room))
            found.append(_table(("event", "severity", "fields", "when"), rows))
        return found


class Errors(Directive):
    """All errors."""

    def run(self) -> list[nodes.Node]:
        return [_table(("error", "under", "when"), error_rows())]


class Orders(Directive):
    """What a running service can be asked and told."""

    def run(self) -> list[nodes.Node]:
        return [_table(("order", "what it does"), order_rows())]


class Modules(Directive):
    """Where things are: all modules but those of the demonstration, room by room."""

    def run(self) -> list[nodes.Node]:
        found: list[nodes.Node] = []
        for room, rows in module_rows().items():
            found.append(nodes.rubric(text=room))
            found.append(_table(("module", "what it is"), rows))
        return found


class Defaults(Directive):
    """The settings of one public thing."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        return [_table(("setting", "default", "meaning"), default_rows(self.arguments[0]))]


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("genesis-events", Events)
    app.add_directive("genesis-errors", Errors)
    app.add_directive("genesis-orders", Orders)
    app.add_directive("genesis-modules", Modules)
    app.add_directive("genesis-defaults", Defaults)
    return {"parallel_read_safe": True}
