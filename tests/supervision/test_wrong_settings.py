"""What a supervisor or a child cannot be given: named with its value, before anything is opened or started."""

import attrs
import pytest

from genesis_trio import ChildSpec, Component, ConfigError, Service, open_store, open_supervisor
from supervision.desk import forever


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("backoff", "a Backoff"),
        ("mode_policy", "a ModePolicy"),
        ("rng", "a Random"),
        ("store", "a Store"),
        ("checkpoint", "a CheckpointPolicy"),
    ],
)
async def test_supervisor_setting_of_another_kind_is_named(setting, kind):
    """It would fail somewhere inside, in the words of Python, and in a group."""
    with pytest.raises(TypeError, match=rf"^{setting} is {kind}, or None, got 3$"):
        async with open_supervisor("desk", **{setting: 3}):
            pass


async def test_supervisor_address_in_place_of_a_store_says_how_to_open_it():
    """A service takes the address, a supervisor the open store."""
    with pytest.raises(TypeError, match=r"async with open_store\('memory:'\)"):
        async with open_supervisor("desk", store="memory:"):
            pass


async def test_supervisor_only_without_restore_is_refused():
    """Whoever names components to restore expects them to be restored."""
    async with open_store("memory:") as store:
        with pytest.raises(ConfigError, match=r"only=\('desk/a',\) and no restore="):
            async with open_supervisor("desk", store=store, only=("desk/a",)):
                pass


@pytest.mark.parametrize("setting", ["requires", "checkpoint", "options"])
def test_child_setting_of_another_kind_is_named(setting):
    """At construction, and not when it is started."""
    with pytest.raises(TypeError, match=rf"^{setting} of child 'a' is .*, got [(]?3"):
        ChildSpec(forever, name="a", **{setting: [3] if setting == "requires" else 3})


@pytest.mark.parametrize("name", [5, None, b"desk"])
async def test_name_that_is_no_text_is_a_wrong_type(name):
    """As of a guard, a topic or a breaker; a text that cannot be a name is a wrong value."""
    with pytest.raises(TypeError, match=rf"the name of a child is a text, got {name!r}"):
        ChildSpec(forever, name=name)
    with pytest.raises(TypeError, match=rf"the name of a supervisor is a text, got {name!r}"):
        Service(name)
    with pytest.raises(TypeError, match=rf"the name of a supervisor is a text, got {name!r}"):
        async with open_supervisor(name):
            pass


async def test_start_all_of_what_is_no_spec_says_what_to_write(autojump_clock):
    """Nothing was started."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(TypeError, match=r"write ChildSpec\(component, name=…\)"):
            await desk.start_all([forever])
        assert not desk.children


async def test_child_waited_for_by_a_text_is_refused(autojump_clock):
    """No status is equal to it, so whoever gave it would wait for ever."""
    async with open_supervisor("desk") as desk:
        child = await desk.start(forever, name="a")
        with pytest.raises(TypeError, match=r"status is a Lifecycle, got 'ready'; write Lifecycle\.READY"):
            await child.wait("ready")
        await desk.stop()


async def test_options_are_structured_strictly(autojump_clock):
    """A wrong option names its path and what is allowed."""

    @attrs.frozen
    class Options:
        symbol: str
        depth: int = 10

    class Feed(Component[None]):
        options_type = Options

        async def run(self, ctx):
            ctx.ready(ctx.options)
            await ctx.wait_stopping()

    async with open_supervisor("desk") as desk:
        child = await desk.start(Feed, name="feed", options={"symbol": "btc"})
        assert child.options == Options("btc")
        with pytest.raises(ConfigError, match="depth"):
            await desk.start(Feed, name="feed2", options={"symbol": "btc", "depth": "ten"})
        with pytest.raises(ConfigError, match="plain values"):
            await desk.start(Feed, name="feed3", options={"symbol": object()})
        await desk.stop()
