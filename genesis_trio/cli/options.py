"""What can be written after ``genesis``: one table of orders, and the parser."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from genesis_trio.cli.checkpoints import add_checkpoints, add_journal
from genesis_trio.cli.messages import add_messages

__all__ = ["DEFAULT_FILE", "LEVELS", "ORDERS", "parse"]

DEFAULT_FILE = "service.toml"

LEVELS = ("info", "warning", "error")

EXIT_STATUS = """\
exit status:
  0    all is well; for run: the children are done, or SIGTERM or `genesis stop` stopped the service
  1    the service, the order or the demonstration failed
  2    wrong input: options, service.toml, components, a store, port or socket in use; stderr says what, a line each
  70   run was asked to stop and did not end; the report says what kept it
  130  Ctrl-C: the service was stopped in order (a second Ctrl-C hurries)
"""

# Order, what it does, what it needs.
ORDERS: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = (
    ("status", "what a running service does", ()),
    ("why", "why a child or a scope is as it is", (("path", "of a child or a scope, as in desk/ledger"),)),
    (
        "hold",
        "hold a mode, latched: also after a restart, until it is cleared",
        (("path", "of a scope, as in desk"), ("mode", "normal, safe or emergency"), ("reason", "in your words")),
    ),
    (
        "clear",
        "clear a cause",
        (("path", "of its scope"), ("owner", "who holds it, as status shows"), ("reason", "as status shows it")),
    ),
    ("restart", "restart a child now, also a parked or a stopped one", (("path", "of the child"),)),
    ("stop", "stop the service in order", ()),
    ("trip", "open a circuit breaker", (("breaker", "its name"),)),
    ("reset", "close a circuit breaker", (("breaker", "its name"),)),
    ("checkpoint", "save a checkpoint now", ()),
    ("metrics", "what is counted, in the text format of Prometheus", ()),
)


class _ShowVersion(argparse.Action):
    """Print what a report of a bug begins with, looked up only when asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import platform
        from importlib.metadata import version

        print(f"genesis_trio {version('genesis_trio')}, Trio {version('trio')}, Python {platform.python_version()}")
        parser.exit()


def _positive(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number of seconds")
    return seconds


def _lazily(module: str, function: str) -> Callable[[argparse.Namespace], int]:
    """The function that carries a command out; its module is imported only when that command is given."""

    def carry_out(arguments: argparse.Namespace) -> int:
        import importlib

        return int(getattr(importlib.import_module(f"genesis_trio.cli.{module}"), function)(arguments))

    return carry_out


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; wrong use ends the process with status 2, as `argparse` does."""
    shared = {"formatter_class": argparse.RawDescriptionHelpFormatter, "epilog": EXIT_STATUS}
    parser = argparse.ArgumentParser(prog="genesis", description="Trading services that keep running.", **shared)  # type: ignore[arg-type]
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    parser.add_argument("--version", action=_ShowVersion, nargs=0, help="show the versions of this, Trio and Python")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, help_: str, module: str, function: str, **more: Any) -> argparse.ArgumentParser:
        described = f"{help_[0].upper()}{help_[1:]}."
        sub = commands.add_parser(name, help=help_, description=described, **shared, **more)  # type: ignore[arg-type]
        # Here too, since it is asked for when a command has failed; without a default, which would undo the one before.
        sub.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
        sub.set_defaults(carry_out=_lazily(module, function))
        return sub

    run = command("run", "run a service until it is stopped", "serve", "run")
    run.add_argument("file", nargs="?", default=DEFAULT_FILE, help=f"the file of the service (default: {DEFAULT_FILE})")
    level = run.add_mutually_exclusive_group()
    level.add_argument(
        "--log-level", choices=LEVELS, default="info", help="events from this severity on (default: info)"
    )
    level.add_argument("--quiet", action="store_const", dest="log_level", const="error", help="errors only")
    check = command("check", "read a service.toml and load its components, without running it", "serve", "check")
    check.add_argument(
        "file", nargs="?", default=DEFAULT_FILE, help=f"the file of the service (default: {DEFAULT_FILE})"
    )
    check.add_argument("--limits", action="store_true", help="also what its settings amount to: restarts, stops")
    for name, help_, needed in ORDERS:
        sub = command(name, help_, "operate", "give_order")
        sub.add_argument("file", nargs="?", help="service.toml, which names the socket (default: the one right here)")
        sub.add_argument("--socket", help="the admin socket of the service, instead of a file that names it")
        sub.add_argument("--json", action="store_true", help="the answer as JSON, for machines")
        sub.add_argument("--timeout", type=_positive, default=60.0, help="seconds to wait for the answer (default: 60)")
        for argument, meaning in needed:
            sub.add_argument(argument, help=meaning)
        if name in ("hold", "clear"):
            sub.add_argument("--by", default="operator", help="who does it (default: operator)")
        if name == "checkpoint":
            sub.add_argument("--label", help="a name by which it is kept, and can be restored")
    add_checkpoints(command("checkpoints", "look at a store that no service holds", "checkpoints", "carry_out"))
    add_journal(command("journal", "look at the journal of a store that no service holds", "checkpoints", "carry_out"))
    add_messages(
        command("messages", "look at the messages that wait in a store that no service holds", "messages", "carry_out")
    )
    command("demo", "run the demonstration", "serve", "demo", add_help=False)
    # The demonstration has options of its own.  Not as REMAINDER, before which an option is taken for an unknown one.
    arguments, rest = parser.parse_known_args(argv)
    if arguments.command == "demo":
        arguments.arguments = rest
    elif rest:
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    return arguments
