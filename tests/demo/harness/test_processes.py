"""The processes of the demonstration."""

import sys

import pytest
import trio

from genesis_trio.demo.harness.processes import open_child


class Errors:
    """A file for the words of a child; it sees whether Ctrl-C may strike where it is opened."""

    def __init__(self, path):
        self._path = path
        self.protected = []

    def open(self, mode):
        self.protected.append(trio.lowlevel.currently_ki_protected())
        return self._path.open(mode)

    def stat(self):
        return self._path.stat()


async def test_child_ctrl_c_does_not_strike_between_the_process_and_the_block(tmp_path):
    """It would leave the process to nobody, and the interpreter to complain of a generator that was not closed."""
    errors = Errors(tmp_path / "errors")

    async with open_child([sys.executable, "-c", "input()"], errors=errors) as child:
        assert not trio.lowlevel.currently_ki_protected()
        assert child.pid

    assert errors.protected == [True]


async def test_child_is_killed_when_its_block_is_left_by_an_error(tmp_path):
    """Whatever the error is, it waits for the end of the process."""
    with pytest.raises(KeyError):
        async with open_child([sys.executable, "-c", "input()"], errors=tmp_path / "errors") as child:
            raise KeyError

    with pytest.raises(trio.ClosedResourceError):
        await child.listen(print)
