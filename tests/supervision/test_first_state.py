"""A component's first state: made by calling its class, which has to be one that can be saved."""

import attrs
import pytest

from genesis_trio import ChildSpec, Component, Lifecycle, SchemaError, open_store, open_supervisor


@attrs.define
class Unfinished:
    position: int
    symbol: str = "BTC/USD"
    fee: float = attrs.field(kw_only=True)


@attrs.define
class Broken:
    size: int = 0

    def __attrs_post_init__(self):
        raise TypeError("mine")


class Plain:
    pass


def component_of(cls):
    class Stateful(Component[cls]):
        state_type = cls

        async def run(self, ctx):
            ctx.ready()
            await ctx.wait_stopping()

    return Stateful


@pytest.mark.parametrize("with_store", [True, False])
async def test_first_state_field_without_default_is_named(with_store, autojump_clock):
    """Class and fields are named when the child is started, with and without a store."""
    async with open_store("memory:") as store, open_supervisor("desk", store=store if with_store else None) as desk:
        with pytest.raises(
            SchemaError, match=r"no first Unfinished can be made, as position, fee of it has no default"
        ):
            await desk.start(component_of(Unfinished), name="a")
        (child,) = await desk.start_all([component_spec(Unfinished)])
        await child.wait(Lifecycle.PARKED)  # another run would meet the same
        await desk.stop()


def component_spec(cls):
    return ChildSpec(component_of(cls), name="b")


async def test_first_state_own_error_passes(autojump_clock):
    """What the class itself raises is no matter of defaults."""
    async with open_supervisor("desk") as desk:
        with pytest.raises(TypeError, match="mine"):
            await desk.start(component_of(Broken), name="a")


@pytest.mark.parametrize(("cls", "name"), [(int, "int"), (dict, "dict"), (Plain, "Plain")])
async def test_state_that_is_no_attrs_class_is_refused(cls, name, autojump_clock):
    """At the start of the child, and by the store itself; both say what to write."""
    async with open_store("memory:") as store:
        async with open_supervisor("desk", store=store) as desk:
            with pytest.raises(SchemaError, match=rf"{name} cannot be saved as a state, as it is no attrs class"):
                await desk.start(component_of(cls), name="a")
            await desk.stop()
        with pytest.raises(
            SchemaError, match=rf"the state of 'a': .*{name} cannot be saved as a state, as it is no attrs class"
        ):
            await store.create_checkpoint({"a": cls()})
        assert not any(info.components for info in await store.list_checkpoints())
