"""Events as lines of the log."""

import pytest
import trio

from genesis_trio._runtime import Tree
from genesis_trio.events import ChildCrashed, ChildReady, RestartScheduled, emit
from genesis_trio.instrumentation.logs import log_event


@pytest.mark.parametrize(
    ("error", "written"),
    [
        ("OSError", "OSError"),
        ("OSError: no venue", '"OSError: no venue"'),
        ("", '""'),
        ('say "no"', '"say \\"no\\""'),
        ("a\nERROR child_parked tree=desk", '"a\\nERROR child_parked tree=desk"'),
        ("a\x1b[2Jb\u2028c", '"a\\u001b[2Jb\\u2028c"'),
        ("precio más alto", '"precio más alto"'),
    ],
)
async def test_log_event_is_one_line_whatever_the_text(caplog, error, written):
    """A text with spaces stands in quotes, and none can begin a line of its own or move the cursor."""
    tree = Tree("desk")
    tree.add_hook(log_event)
    with caplog.at_level("INFO"):
        emit(tree, ChildCrashed, child="desk/a", generation=1, error=error)

    (record,) = caplog.records
    assert record.getMessage() == f"child_crashed tree=desk child=desk/a generation=1 error={written}"
    assert record.levelname == "WARNING"
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("delay", "written"),
    [
        (0.04167100348748442, "0.04167"),
        (30.129788171866323, "30.13"),
        (1.9417988369241357e-05, "1.942e-05"),
        (12345.678912345, "12345.679"),
        (2.0, "2"),
        (float("inf"), "inf"),
    ],
)
async def test_log_event_rounds_what_a_person_reads(caplog, delay, written):
    """Sixteen digits of a second hide how many seconds there are."""
    tree = Tree("desk")
    tree.add_hook(log_event)
    with caplog.at_level("INFO"):
        emit(tree, RestartScheduled, child="desk/a", delay=delay, reason="x")

    assert caplog.records[0].getMessage() == f"restart_scheduled tree=desk child=desk/a delay={written} reason=x"
    await trio.lowlevel.checkpoint()


async def test_log_event_below_the_level_builds_nothing(caplog):
    """What is not logged costs no text."""
    tree = Tree("desk")
    tree.add_hook(log_event)
    with caplog.at_level("WARNING"):
        emit(tree, ChildReady, child="desk/a", generation=1)

    assert caplog.records == []
    await trio.lowlevel.checkpoint()
