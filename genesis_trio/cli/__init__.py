"""The command ``genesis``: parse, call a public function, print.

Nothing heavy is imported up here, so that Ctrl-C while the rest is loaded ends like Ctrl-C at any other time.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence

from genesis_trio.cli._loading import INTERRUPTED, ended_by
from genesis_trio.errors import GenesisError

__all__ = ["command", "main"]

FAILED = 1
BAD_INPUT = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0: all is well.  1: the service, the order or the demonstration failed.  2: wrong input, with one line on stderr
    for each thing that is wrong.  70: a service did not stop, and its process exits.  130: Ctrl-C.  A traceback is shown only with ``--debug``.
    """
    debug = False
    try:
        from genesis_trio.cli.options import parse

        arguments = parse(argv)
        debug = arguments.debug
        status: int = arguments.carry_out(arguments)
        print(end="", flush=True)  # does nothing where stdout was closed, and is None
        return status
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has seen enough.  Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is not None:
            return INTERRUPTED
        if debug or group.subgroup(SystemExit) is not None:
            raise
        return _explain(*_leaves(group))
    except Exception as error:
        if debug:
            raise
        return _explain(error)


def command() -> None:
    """`main` as a whole process: while Python takes itself down there is nothing left that Ctrl-C could interrupt."""
    # A name or a state may hold what the terminal cannot show; that is no reason to show nothing.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    with ended_by(signal.SIGINT):
        from genesis_trio.cli import options  # noqa: F401 - what `main` is about to import
    status = main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _explain(*errors: BaseException) -> int:
    """One line for each thing that is wrong, and the status that belongs to it."""
    ours = all(isinstance(error, (GenesisError, LookupError)) for error in errors)
    for error in errors:
        # A KeyError would put its text in quotes.
        text = str(error.args[0] if error.args and isinstance(error, LookupError) else error)
        if not isinstance(error, (GenesisError, LookupError)):
            text = f"failed: {type(error).__name__}: {text} (genesis --debug shows where)"
        for line in text.splitlines():
            print(f"genesis: {line}", file=sys.stderr)
    failed = not ours or any(getattr(error, "failed", False) for error in errors)
    return FAILED if failed else BAD_INPUT
