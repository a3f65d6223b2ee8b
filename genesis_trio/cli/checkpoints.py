"""Looking at a store that no service holds, and going back in it: ``genesis checkpoints`` and ``genesis journal``."""

import argparse
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genesis_trio.persistence.inspection import Difference, Inspector

__all__ = ["add_checkpoints", "add_journal", "add_order", "answer", "carry_out", "write_new"]

FAILED = 1
SHOWN = 60  # characters of a value in a line
MOST = 1_000_000_000  # of what can be counted

#: The exit status, the answer as JSON, and the same in lines.
Answer = tuple[int, Any, list[str]]


def add_checkpoints(parser: argparse.ArgumentParser) -> None:
    """Add what stands after ``genesis checkpoints``."""
    orders = parser.add_subparsers(dest="order", required=True, metavar="ORDER")
    order = partial(add_order, orders)
    order("list", "what is saved, newest first, and what it survives").add_argument(
        "--component", help="only those with this component, as in desk/ledger"
    )
    _add_checkpoint(order("show", "the states in a saved checkpoint"))
    diff = order("diff", "where two saved checkpoints differ, by JSON path")
    diff.add_argument("old", help="id, label, time or newest")
    diff.add_argument("new", help="id, label, time or newest")
    diff.add_argument("--component", help="of this component only")
    order("verify", "read everything there is; 1 if anything is damaged")
    restore = order("restore", "make an older saved checkpoint the newest; what was recorded after it is void")
    _add_checkpoint(restore)
    restore.add_argument(
        "--only", action="append", default=[], metavar="PATH", help="these components, and those below"
    )
    release = order("release", "let a restart take a state again that was put into quarantine")
    _add_checkpoint(release)
    release.add_argument("--component", help="of this component only")
    prune = order("prune", "remove old saved checkpoints")
    prune.add_argument("--keep", type=_count, default=10, help="how many to keep for each component (default: 10)")
    prune.add_argument(
        "--journal", action="store_true", help="also the records that every one kept includes; given keys stay"
    )
    export = order("export", "a saved checkpoint as one JSON document")
    _add_checkpoint(export)
    export.add_argument("-o", "--output", help="a file that is not there yet (default: stdout)")


def add_journal(parser: argparse.ArgumentParser) -> None:
    """Add what stands after ``genesis journal``."""
    orders = parser.add_subparsers(dest="order", required=True, metavar="ORDER")
    tail = add_order(orders, "tail", "the last records")
    tail.add_argument("component", nargs="?", help="of this component, as in desk/ledger (default: of each)")
    tail.add_argument("-n", type=_count, default=20, dest="count", help="how many (default: 20)")


def add_order(orders: "argparse._SubParsersAction[Any]", name: str, help_: str) -> argparse.ArgumentParser:
    order: argparse.ArgumentParser = orders.add_parser(name, help=help_, description=f"{help_[0].upper()}{help_[1:]}.")
    order.add_argument("store", help="its URL, as in sqlite:desk.db")
    order.add_argument("--json", action="store_true", help="the answer as JSON, for machines")
    order.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    return order


def _add_checkpoint(order: argparse.ArgumentParser) -> None:
    order.add_argument("checkpoint", help="id, label, time with its zone, or newest")


def _count(text: str) -> int:
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 to {MOST}")
    return number


# ------------------------------------------------------------------ carrying it out


def carry_out(arguments: argparse.Namespace) -> int:
    """Open the store, ask it, and print the answer; 1 if it is damaged."""
    return answer(arguments, _ORDERS[arguments.command, arguments.order])


def answer(arguments: argparse.Namespace, ask: "Callable[[Inspector, argparse.Namespace], Awaitable[Answer]]") -> int:
    """The same for any question."""
    import json

    import trio

    from genesis_trio.errors import CorruptError
    from genesis_trio.persistence.inspection import open_inspector

    async def run() -> tuple[int, Any, list[str]]:
        async with open_inspector(arguments.store) as inspector:
            return await ask(inspector, arguments)

    try:
        status, answer, lines = trio.run(run)
    except CorruptError as error:
        print(f"genesis: {error}", file=sys.stderr)
        return FAILED
    if arguments.json:
        print(json.dumps(answer, indent=2, default=str, ensure_ascii=False))
    elif lines:
        print("\n".join(lines))
    return status


async def _list(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    from genesis_trio.persistence.inspection import describe

    promise = await inspector.store.read_promise()
    infos = await inspector.store.list_checkpoints(arguments.component)
    lines = [str(promise)]
    for info in infos:
        label = f"  {info.label}" if info.label else ""
        when = info.created_at.isoformat(sep=" ", timespec="seconds")
        what = f"{_many(len(info.components), 'component')}, {_many(info.size, 'byte')}"
        lines.append(f"{info.id}  {when}  {info.reason:<8}  {info.mode.name:<9}  {what}{label}")
        lines += [f"  {component} violates an invariant: {why}" for component, why in sorted(info.violations.items())]
        lines += [f"  {component} is in quarantine: {why}" for component, why in sorted(info.quarantined.items())]
    if not infos:
        lines.append("nothing is saved")
    return 0, {"promise": str(promise), "checkpoints": [describe(info) for info in infos]}, lines


async def _show(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    import json

    document = await inspector.export(arguments.checkpoint)
    info = document["checkpoint"]
    lines = [f"{info['id']}  {info['created_at']}  {info['reason']}  {info['mode']}  {info['code_version']}"]
    for path, part in document["components"].items():
        name, version = part["schema"]
        lines.append(f"{path}: {name} version {version}, with the journal up to {part['journal']}")
        lines += [f"  {line}" for line in json.dumps(part["state"], indent=2, ensure_ascii=False).splitlines()]
        if part["inbox"]:
            lines += [
                f"  {name}: {_many(len(box['entries']), 'message')}, waiting" for name, box in part["inbox"].items()
            ]
    return 0, document, lines


async def _diff(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    import attrs

    found = await inspector.diff(arguments.old, arguments.new, component=arguments.component)
    lines = [_difference_line(each) for each in found] or ["no difference"]
    return 0, [attrs.asdict(each) for each in found], lines


def _difference_line(found: "Difference") -> str:
    place = f"{found.component} {found.path}"
    if found.kind == "changed":
        delta = f"  ({found.delta:+})" if found.delta is not None else ""
        return f"{place}: {_short(found.old)} -> {_short(found.new)}{delta}"
    return f"{place}: {found.kind} {_short(found.new if found.kind == 'added' else found.old)}"


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _short(value: Any) -> str:
    import json

    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


async def _verify(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    report = await inspector.store.verify()
    lines: Sequence[str] = report.problems or ["everything can be read"]
    return 0 if report.ok else FAILED, {"ok": report.ok, "problems": report.problems}, list(lines)


async def _restore(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    from genesis_trio.persistence.inspection import describe

    before, _ = await inspector.show(arguments.checkpoint)
    info = await inspector.store.rewind(before.id, only=arguments.only)
    lines = [f"{info.id} is the newest now: {', '.join(info.components)} as in {before.id}"]
    return 0, {"from": before.id, "checkpoint": describe(info)}, lines


async def _release(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    info, components = await inspector.release(arguments.checkpoint, component=arguments.component)
    lines = [f"{', '.join(components)} in {info.id} may be taken by a restart again"]
    if not components:
        lines = [f"nothing in {info.id} is in quarantine"]
    return 0, {"checkpoint": info.id, "released": list(components)}, lines


async def _prune(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    removed = await inspector.store.prune(keep=arguments.keep)
    records = await inspector.store.shorten_journal() if arguments.journal else 0
    lines = [f"{_many(removed, 'saved checkpoint')} and {_many(records, 'record')} were removed"]
    return 0, {"checkpoints": removed, "records": records}, lines


async def _export(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    import json

    document = await inspector.export(arguments.checkpoint)
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if arguments.output is None:
        return 0, document, [text]
    write_new(arguments.output, text + "\n")
    lines = [f"{document['checkpoint']['id']} was written to {arguments.output}"]
    return 0, {"checkpoint": document["checkpoint"]["id"], "output": arguments.output}, lines


def write_new(path: str, text: str) -> None:
    import os

    from genesis_trio.errors import StoreError

    try:
        # As private as the store: it holds the same.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)  # what is dropped next is nowhere else
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}") from error


async def _tail(inspector: "Inspector", arguments: argparse.Namespace) -> Answer:
    import json
    from datetime import UTC, datetime

    import attrs

    found = await inspector.tail(arguments.component, count=arguments.count)
    lines = []
    for each in found:
        when = datetime.fromtimestamp(each.at, UTC).isoformat(sep=" ", timespec="milliseconds")
        key = f"  key {each.key}" if each.key is not None else ""
        lines.append(
            f"{each.component} {each.sequence}  {when}  {each.tag}  {json.dumps(each.event, ensure_ascii=False)}{key}"
        )
    return 0, [attrs.asdict(each) for each in found], lines or ["nothing is recorded"]


_ORDERS = {
    ("checkpoints", "list"): _list,
    ("checkpoints", "show"): _show,
    ("checkpoints", "diff"): _diff,
    ("checkpoints", "verify"): _verify,
    ("checkpoints", "restore"): _restore,
    ("checkpoints", "release"): _release,
    ("checkpoints", "prune"): _prune,
    ("checkpoints", "export"): _export,
    ("journal", "tail"): _tail,
}
