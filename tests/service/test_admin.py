"""The admin socket itself: whose file it is, and what a rude client gets."""

import contextlib
import json
import os
import stat

import pytest
import trio

from genesis_trio import ChildSpec, ConfigError, Service, run_service
from genesis_trio.service.admin import MAX_LINE, ask, open_admin
from service.parts import worker


@contextlib.asynccontextmanager
async def served(path):
    async with trio.open_nursery() as nursery:
        service = Service("desk", [ChildSpec(worker, name="a")], store="memory:", admin=path)
        yield await nursery.start(run_service, service)
        nursery.cancel_scope.cancel()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "desk.sock")


async def test_open_admin_never_removes_the_socket_of_a_newer_service(path):
    """What was moved away and bound again by another one belongs to that one."""
    async with open_admin(path):
        os.unlink(path)
        async with open_admin(path) as newer:
            await trio.lowlevel.checkpoint()
            kept = newer.inode
            os.rename(path, path + ".kept")
            os.rename(path + ".kept", path)
            assert os.stat(path).st_ino == kept[1]
    assert not os.path.exists(path)


async def test_open_admin_older_service_leaves_the_newer_ones_file(path):
    """The older one closes first, and the newer one still answers."""
    async with contextlib.AsyncExitStack() as newer:
        async with open_admin(path):
            os.unlink(path)
            await newer.enter_async_context(open_admin(path))
        async with await trio.open_unix_socket(path):
            pass
    assert not os.path.exists(path)


async def test_open_admin_mode_does_not_change_the_mask_of_the_process(path):
    """The file is its owner's alone from its first moment; other files are made as before."""
    before = os.umask(0o022)
    try:
        async with open_admin(path):
            assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
            assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


async def test_open_admin_a_file_that_is_no_socket_is_left_alone(path, tmp_path):
    """A path by mistake costs nobody a file."""
    (tmp_path / "desk.sock").write_text("precious")

    with pytest.raises(ConfigError, match=r"cannot be opened: Address already in use; give another path"):
        async with open_admin(path):
            pass

    assert (tmp_path / "desk.sock").read_text() == "precious"


async def test_open_admin_path_that_is_too_long_is_told(tmp_path):
    """The kernel takes about a hundred bytes."""
    with pytest.raises(ConfigError, match="AF_UNIX path too long"):
        async with open_admin(str(tmp_path / ("x" * 120))):
            pass


async def test_open_admin_service_with_a_full_backlog_counts_as_answering(path, autojump_clock):
    """One whose loop stands still is not taken for one that was killed."""
    import socket

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(0)
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
                waiting.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    waiting.connect(path)
            with pytest.raises(ConfigError, match="answers on the admin socket"):
                async with open_admin(path):
                    pass


async def converse(path, sent):
    async with await trio.open_unix_socket(path) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(sent)
            await stream.send_eof()
        received = b""
        with contextlib.suppress(trio.BrokenResourceError):
            async for chunk in stream:
                received += chunk
    return [json.loads(line) for line in received.splitlines()]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        (b"hello\n", "an order is a JSON object"),
        (b"\xff\xfe\n", "an order is a JSON object"),
        (b"[1]\n", "there is no order None; there are: status, why"),
        (b'{"do": 3}\n', "there is no order 3"),
        (b'{"do": "__init__"}\n', "there is no order '__init__'"),
        (b'{"do": "_stop"}\n', "there is no order '_stop'"),
        (b'{"do": "why"}\n', "order 'why': missing a required argument: 'path'"),
        (b'{"do": "status", "x": "y"}\n', "order 'status': got an unexpected keyword argument 'x'"),
        (b'{"do": "status", "self": "y"}\n', "order 'status': "),
        (b'{"do": "why", "path": ["a"]}\n', "order 'why': path is a text, got ['a']"),
        (b'{"do": "hold", "path": "desk", "mode": 2, "reason": "x"}\n', "order 'hold': mode is a text, got 2"),
        (b"x" * (MAX_LINE + 1), "an order has at most 65536 bytes"),
        (b"[" * 10_000 + b"\n", "an order is a JSON object"),
    ],
)
async def test_admin_nonsense_is_refused_and_the_service_goes_on(path, sent, message):
    """Whatever arrives, the answer says what is wrong, and the next client is served."""
    async with served(path):
        answers = await converse(path, sent)
        assert (await ask(path, "status"))["name"] == "desk"

    assert [answer["kind"] for answer in answers] == ["refused"]
    assert message in answers[0]["error"]


async def test_admin_client_that_hangs_up_disturbs_nobody(path):
    """Neither before its order is whole, nor before it has read the answer."""
    async with served(path):
        assert await converse(path, b'{"do": "sta') == []
        async with await trio.open_unix_socket(path) as stream:
            await stream.send_all(b'{"do": "metrics"}\n' * 100)
        assert (await ask(path, "status"))["name"] == "desk"


async def test_admin_several_orders_in_one_piece_are_answered_in_order(path):
    """One connection may give many."""
    async with served(path):
        answers = await converse(path, b'{"do": "status"}\n{"do": "dance"}\n{"do": "why", "path": "desk"}\n')

    assert [sorted(answer) for answer in answers] == [["ok"], ["error", "kind"], ["ok"]]


async def test_admin_answers_while_the_service_starts(path):
    """A start that hangs is when an operator wants to ask why."""

    async def never_ready(ctx):
        await ctx.wait_stopping()

    async with trio.open_nursery() as nursery:
        service = Service("desk", [ChildSpec(never_ready, name="a")], store="memory:", admin=path)
        nursery.start_soon(run_service, service)
        while not os.path.exists(path):
            await trio.lowlevel.checkpoint()
        assert (await ask(path, "status"))["phase"] == "starting"
        assert "has not called ctx.ready()" in await ask(path, "why", path="desk/a")
        assert "stopping" in await ask(path, "stop")
