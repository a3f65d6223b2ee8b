"""Orders to a running service: ask over its admin socket, print the answer."""

import argparse
import json
from functools import partial
from typing import Any

import trio

from genesis_trio.cli.options import DEFAULT_FILE, ORDERS
from genesis_trio.service.admin import ask
from genesis_trio.service.config import read_admin

__all__ = ["give_order"]


def give_order(arguments: argparse.Namespace) -> int:
    """Give the order that is named by the command."""
    given = vars(arguments)
    needed = next(needed for name, _, needed in ORDERS if name == arguments.command)
    fields = {key: given[key] for key in (*(name for name, _ in needed), "by", "label") if given.get(key) is not None}
    socket = arguments.socket if arguments.socket is not None else read_admin(arguments.file or DEFAULT_FILE)
    answer = trio.run(partial(ask, socket, arguments.command, timeout=arguments.timeout, **fields))
    if arguments.json:
        print(json.dumps(answer, indent=2))
    elif isinstance(answer, dict):
        print("\n".join(_status_lines(answer)))
    else:
        print(answer)
    return 0


def _status_lines(status: dict[str, Any]) -> list[str]:
    probes = f", http {status['http']}" if status["http"] else ""
    lines = [f"{status['name']}: {status['mode']} ({status['phase']}, process {status['pid']}{probes})"]
    for cause in status["causes"]:
        latched = ", latched" if cause["latched"] else ""
        scope = cause.get("scope", status["name"])  # a service of an older version names those of the root alone
        place = f" on {scope}" if scope != status["name"] else ""
        lines.append(f"  {cause['mode']} held{place} by {cause['owner']}: {cause['reason']}{latched}")
    width = max((len(path) for path in status["children"]), default=0)
    for path, child in status["children"].items():
        error = f"  {' '.join(child['last_error'].split())}" if child["last_error"] else ""
        lines.append(f"  {path:<{width}}  {child['status']:<9}  restarts {child['restarts']}{error}")
    saved = status["checkpoint"]
    lines.append(f"  saved checkpoint: {saved['id']} at {saved['at']}" if saved else "  saved checkpoint: none yet")
    if status.get("store"):  # a service of an older version does not say
        lines.append(f"  store: {status['store']}")
    return lines
