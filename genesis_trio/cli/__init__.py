"""The command ``genesis``: parse, call a public function, print.

Exit status: 0 well, 1 the service or the demonstration failed, 2 wrong input, 130 Ctrl-C.
"""

import argparse
import importlib
import json
import logging
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import trio

from genesis_trio.errors import ConfigError, GenesisError

__all__ = ["main"]

BAD_INPUT = 2
INTERRUPTED = 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="genesis", description="Trading services that keep running.")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help_, description=help_)

    command("run", "run a service until it is stopped").add_argument("file", help="service.toml")
    command("check", "read a service.toml and load its components, without running it").add_argument("file")
    for name, help_, arguments in (
        ("status", "what a running service does", ()),
        ("why", "why a child or a scope is as it is", ("path",)),
        ("hold", "hold a mode, latched", ("path", "mode", "reason")),
        ("clear", "clear a cause", ("path", "owner", "reason")),
        ("restart", "restart a child now", ("path",)),
        ("stop", "stop the service in order", ()),
        ("trip", "open a circuit breaker", ("breaker",)),
        ("reset", "close a circuit breaker", ("breaker",)),
        ("checkpoint", "save a checkpoint now", ()),
        ("metrics", "what is counted, in the text format of Prometheus", ()),
    ):
        sub = command(name, help_)
        sub.add_argument("--socket", required=True, help="the admin socket of the service")
        sub.add_argument("--json", action="store_true", help="for machines")
        for argument in arguments:
            sub.add_argument(argument)
    demo = command("demo", "run the demonstration")
    demo.add_argument("arguments", nargs=argparse.REMAINDER)
    return parser


def _run(file: str) -> int:
    from genesis_trio.events import observe
    from genesis_trio.instrumentation.logs import log_event
    from genesis_trio.service.running import Service, run_service

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    service = Service.from_toml(file)

    async def serve() -> None:
        with observe(log_event):
            await run_service(service)

    trio.run(serve)
    return 0


def _ask(arguments: argparse.Namespace) -> int:
    from genesis_trio.service.admin import ask

    given = vars(arguments)
    fields = {key: given[key] for key in ("path", "mode", "owner", "reason", "breaker") if key in given}
    answer = trio.run(partial(ask, arguments.socket, arguments.command, **fields))
    if arguments.json or not isinstance(answer, (str, dict)):
        print(json.dumps(answer, indent=2))
    elif isinstance(answer, str):
        print(answer)
    else:
        print("\n".join(_status_lines(answer)))
    return 0


def _status_lines(status: dict[str, Any]) -> list[str]:
    lines = [f"{status['name']}: {status['mode']}"]
    lines += [f"  {cause['mode']} held by {cause['owner']}: {cause['reason']}" for cause in status["causes"]]
    width = max((len(path) for path in status["children"]), default=0)
    for path, child in status["children"].items():
        error = f"  {child['last_error']}" if child["last_error"] else ""
        lines.append(f"  {path:<{width}}  {child['status']:<9}  restarts {child['restarts']}{error}")
    saved = status["checkpoint"]
    lines.append(f"  saved checkpoint: {saved['id']} at {saved['at']}" if saved else "  saved checkpoint: none yet")
    return lines


def _carry_out(arguments: argparse.Namespace) -> int:
    if arguments.command == "run":
        return _run(arguments.file)
    if arguments.command == "check":
        from genesis_trio.service.running import Service

        service = Service.from_toml(arguments.file)
        print(f"{arguments.file}: {service.name} with {len(service.children)} children is well described")
        return 0
    if arguments.command == "demo":
        return int(importlib.import_module("genesis_trio.demo.__main__").main(arguments.arguments))
    return _ask(arguments)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _parser().parse_args(argv)
    try:
        return _carry_out(arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseExceptionGroup as group:
        if arguments.debug:
            raise
        if group.subgroup(KeyboardInterrupt) is not None:
            return INTERRUPTED
        print(f"genesis: {_first(group)}", file=sys.stderr)
        return BAD_INPUT
    except (GenesisError, LookupError) as error:
        if arguments.debug:
            raise
        print(f"genesis: {error.args[0] if error.args else error}", file=sys.stderr)
        return BAD_INPUT if isinstance(error, (ConfigError, LookupError, GenesisError)) else 1


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
