"""What is counted, in the text format of Prometheus; no library is needed for that."""

from collections.abc import Iterator

from genesis_trio.instrumentation.families import Family, families
from genesis_trio.supervision.supervisor import Supervisor

__all__ = ["render"]


def render(supervisor: Supervisor) -> str:
    """Everything that is known about the tree of *supervisor*, and about guards and breakers, as text.

    Trio checkpoint: never.
    """
    return "\n".join(line for family in families(supervisor.tree) for line in _lines(family)) + "\n"


def _lines(family: Family) -> Iterator[str]:
    name = f"{family.name}_total" if family.kind == "counter" else family.name
    yield f"# HELP {name} {family.text}"
    yield f"# TYPE {name} {family.kind}"
    for labels, value in family.samples:
        inner = ",".join(f'{key}="{_escape(label)}"' for key, label in labels.items())
        yield f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}"


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    # Not :g, which keeps six digits: a Unix time would be off by an hour, and a counter would stand still.
    return str(int(value)) if isinstance(value, int) else repr(float(value))
