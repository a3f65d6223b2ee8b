"""Latched causes: tightened at once, loosened when the disk says so, back after a restart."""

import errno

import pytest
import trio

from genesis_trio import Capability, Mode, observe, open_store, open_supervisor
from genesis_trio.errors import StoreError
from genesis_trio.persistence.store import Store
from genesis_trio.testing import FaultyEngine, open_store_on
from supervision.desk import QUIET, Log, saved_desk


class Receipt:
    """What a disk that takes a second hands out."""

    def __init__(self, receipt):
        self.receipt = receipt
        self.due = trio.current_time() + 1

    async def wait(self):
        await trio.sleep_until(self.due)
        return await self.receipt.wait()


@pytest.fixture
def slow_disk(monkeypatch):
    put_control = Store.put_control
    monkeypatch.setattr(Store, "put_control", lambda store, *args: Receipt(put_control(store, *args)))


async def test_latch_lower_level_waits_for_the_disk(autojump_clock, slow_disk):
    """Holding a latched cause at a lower level loosens, so it takes effect once it is durable; raising it, at once."""
    async with saved_desk() as desk:
        hold = desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        await desk.scope.settled()
        assert trio.current_time() == 1

        assert desk.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True) is hold
        assert (desk.scope.mode, hold.mode) == (Mode.EMERGENCY, Mode.EMERGENCY)
        await desk.scope.wait_for(lambda mode: mode is Mode.SAFE)
        assert trio.current_time() == 2
        assert hold.mode is Mode.SAFE

        desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        assert desk.scope.mode is Mode.EMERGENCY


async def test_latch_loosened_and_tightened_before_the_write_stays_tight(autojump_clock, slow_disk):
    """The write that comes back late belongs to an older turn."""
    async with saved_desk() as desk:
        desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        desk.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True)
        desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        await trio.sleep(5)
        assert desk.scope.mode is Mode.EMERGENCY

        hold = desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        hold.release()
        assert not hold.is_held
        desk.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True)
        await trio.sleep(5)
        assert desk.scope.mode is Mode.SAFE
        assert len(desk.scope.causes) == 1


async def test_latch_held_anew_while_its_release_is_on_the_way_stands(autojump_clock, slow_disk):
    """The release that comes back from the disk was overtaken: nothing is loosened, not even for a moment."""
    async with saved_desk() as desk:
        hold = desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        await desk.scope.settled()
        epoch = desk.scope.epoch
        hold.release()
        await trio.sleep(0.5)
        assert desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True) is hold
        await desk.scope.settled()
        assert (desk.scope.mode, desk.scope.epoch, hold.is_held) == (Mode.EMERGENCY, epoch, True)


async def test_latch_wider_capabilities_wait_for_the_disk(autojump_clock, slow_disk):
    """What is left may grow only with the write; what shrinks, shrinks now."""
    read, reduce = Capability.READ, Capability.REDUCE
    async with saved_desk() as desk:
        desk.scope.hold(Mode.SAFE, owner="venue", reason="r", latched=True, capabilities=read)
        desk.scope.hold(Mode.SAFE, owner="venue", reason="r", latched=True, capabilities=reduce)
        assert desk.scope.capabilities == Capability(0)
        await desk.scope.settled()
        assert trio.current_time() == 1
        assert desk.scope.capabilities == reduce


async def test_latch_unlatched_by_its_owner_is_gone_from_the_disk(autojump_clock, tmp_path):
    """A cause that is held anew without the latch survives no restart."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    for expected in (Mode.NORMAL, Mode.NORMAL):
        async with saved_desk(url) as desk:
            assert desk.scope.mode is expected
            desk.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True)
            hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="r")
            assert hold.latched
            await desk.scope.settled()
            assert not hold.latched
            assert desk.scope.mode is Mode.SAFE
            await desk.stop()


async def test_latch_release_that_cannot_be_written_stays_held_and_can_be_repeated(autojump_clock, monkeypatch):
    """Loosening takes effect once durable; a failure leaves the cause where an operator finds it."""
    log, refuse = Log(), False
    put_control = Store.put_control

    class Refused:
        async def wait(self):
            await trio.lowlevel.checkpoint()
            raise StoreError("no room")

    monkeypatch.setattr(Store, "put_control", lambda store, *args: Refused() if refuse else put_control(store, *args))
    with observe(log):
        async with saved_desk() as desk:
            hold = desk.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True)
            await desk.scope.settled()
            refuse = True
            hold.release()
            with pytest.raises(StoreError, match="1 latched causes of 'desk'.*no room"):
                await desk.scope.settled()
            assert (desk.scope.mode, hold.is_held) == (Mode.SAFE, True)
            assert [event.reason for event in log.named("latch_not_written")] == ["r"]
            refuse = False
            desk.scope.clear("risk", "r", by="operator")
            await desk.scope.settled()
            assert (desk.scope.mode, hold.is_held) == (Mode.NORMAL, False)
            await desk.stop()


async def test_latch_takes_effect_on_a_dead_disk_in_the_step(autojump_clock, caplog):
    """A kill switch does not wait for a disk that is gone, and its release does not pretend."""
    engine = FaultyEngine()
    async with open_store_on(engine) as store, open_supervisor("desk", store=store, checkpoint=QUIET) as desk:
        engine.fail(OSError(errno.EIO, "the medium failed"))
        hold = desk.scope.hold(Mode.EMERGENCY, owner="risk", reason="r", latched=True)
        assert desk.scope.mode is Mode.EMERGENCY
        with pytest.raises(StoreError):
            await desk.scope.settled()
        hold.release()
        await trio.sleep(1)
        assert (desk.scope.mode, hold.is_held) == (Mode.EMERGENCY, True)
        await desk.stop()


async def test_latch_expiry_survives_the_restart(autojump_clock, tmp_path):
    """A latched cause ends at the wall time it was given, also when nobody ran in between."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    modes = []
    for pause in (2, 2, 2):
        async with saved_desk(url) as desk:
            if trio.current_time() == 0:
                desk.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True, expires=5)
            modes.append(desk.scope.mode)
            await trio.sleep(pause)
            modes.append(desk.scope.mode)
            await desk.stop()

    assert modes == [Mode.SAFE, Mode.SAFE, Mode.SAFE, Mode.SAFE, Mode.SAFE, Mode.NORMAL]


async def test_latch_on_a_nested_scope_comes_back_with_the_scope(autojump_clock, tmp_path):
    """A supervisor inside a component is restarted like its host, and a restart is no way around a latch."""
    url = f"sqlite:{tmp_path / 'desk.db'}"
    modes = []

    async def host(ctx):
        async with open_supervisor("inner") as inner:
            modes.append(inner.scope.mode)
            if len(modes) == 1:
                inner.scope.hold(Mode.SAFE, owner="risk", reason="r", latched=True)
                await inner.scope.settled()
            ctx.ready()
            if ctx.generation == 1:
                await trio.sleep(1)
                raise OSError("crashed")
            await ctx.wait_stopping()

    for _ in range(2):
        async with saved_desk(url) as desk:
            await desk.start(host, name="host")
            await trio.sleep(5)
            await desk.stop()

    # Two incarnations in the first process; generations go on in the second, so that the third does not crash.
    assert modes == [Mode.NORMAL, Mode.SAFE, Mode.SAFE]


async def test_latched_cause_in_words_has_the_command_that_clears_it(autojump_clock):
    """Whoever reads a refusal at three in the morning copies the line, quotes included."""
    async with open_store("memory:") as store, open_supervisor("desk", store=store) as desk:
        desk.scope.hold(Mode.SAFE, owner="ana", reason="books are compared", latched=True)

        assert "clears it with `genesis clear desk ana 'books are compared'`, or with clear(" in desk.scope.why()
        await desk.stop()
