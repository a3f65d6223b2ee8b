"""Events as calls of `structlog <https://www.structlog.org>`_, with their fields as keys."""

from genesis_trio.events import Event

try:
    import structlog
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "events go to structlog only where it is installed: pip install 'genesis_trio[structlog]'", name="structlog"
    ) from error

__all__ = ["log_event"]

logger = structlog.get_logger("genesis_trio")


def log_event(event: Event) -> None:
    """A hook for `observe`: the event's name at its severity, and its fields as keys.

    Trio's time is left out, since it means nothing outside of the process; structlog stamps lines with the wall clock.
    """
    fields = dict(event.as_dict())
    for key in ("event", "severity", "time"):
        del fields[key]
    logger.log(event.severity, event.name, **fields)
