"""The file that remembers how far a log had come."""

import pytest

from genesis_trio.persistence._head import ROOM, HeadFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "desk.db.head"


def written(path, *heads):
    file = HeadFile(str(path))
    for head in heads:
        file.write(head)
    file.sync()
    file.close()
    return path.read_bytes()


def read(path):
    file = HeadFile(str(path))
    try:
        return file.read(), file.was_damaged
    finally:
        file.close()


def test_head_new_file_remembers_nothing(path):
    """A file that was not there is made, and says so."""
    file = HeadFile(str(path))

    assert (file.read(), file.was_missing, file.was_damaged) == (None, True, False)
    file.close()
    file.close()


@pytest.mark.parametrize("heads", [[b"1"], [b"1", b"2"], [b"1", b"2", b"3"], [b"", bytes(ROOM)]])
def test_head_newest_is_read_again(path, heads):
    """Whatever slot it is in, the newest head comes back."""
    written(path, *heads)

    assert read(path) == (heads[-1], False)


def test_head_goes_on_after_reopening(path):
    """The turn goes on, so that the newest is never the one that is overwritten."""
    for head in (b"1", b"2", b"3", b"4"):
        written(path, head)
        assert read(path) == (head, False)


def test_head_torn_write_leaves_the_one_before(path):
    """A write that is torn at any byte leaves the head before it."""
    before = written(path, b"first head", b"second head")
    after = written(path, b"third head!")
    (begin,) = [offset for offset in (0, 4096) if before[offset:][:4096] != after[offset:][:4096]]

    for cut in range(1, 32):
        path.write_bytes(before[:begin] + after[begin:][:cut] + before[begin + cut :])
        assert read(path)[0] in (b"second head", b"third head!")
    assert read(path)[0] == b"third head!"


def test_head_every_flipped_bit_is_noticed_or_harmless(path):
    """A flipped bit in a slot makes that slot invalid; the other one is read."""
    data = written(path, b"old", b"new")

    for offset in [*range(30), *range(4096, 4096 + 30)]:
        for bit in range(8):
            damaged = bytearray(data)
            damaged[offset] ^= 1 << bit
            path.write_bytes(damaged)
            head, was_damaged = read(path)
            assert (head, was_damaged) in ((b"new", False), (b"new", True), (b"old", True))


def test_head_with_both_slots_damaged_remembers_nothing(path):
    """With nothing left to believe, None is read, and the damage is told."""
    written(path, b"old", b"new")
    path.write_bytes(b"\xff" * 8192)

    assert read(path) == (None, True)


def test_head_that_was_cut_off_remembers_nothing(path):
    """A file that is too short is made anew, and counts as damaged."""
    data = written(path, b"head")
    path.write_bytes(data[:100])

    assert read(path) == (None, True)


def test_head_short_write_is_an_error(path, monkeypatch):
    """A medium that takes only a part of the bytes has not taken the head."""
    file = HeadFile(str(path))
    monkeypatch.setattr("os.pwrite", lambda fd, data, offset: len(data) - 1)

    with pytest.raises(OSError, match="bytes of the head were written"):
        file.write(b"head")

    assert file.read() is None
    file.close()


def test_head_that_is_a_directory_leaves_nothing_open(path):
    """When it cannot be opened, the error comes through."""
    path.mkdir()

    with pytest.raises(OSError):
        HeadFile(str(path))
