"""What the tests of saved state share."""

import pytest

pytest.register_assert_rewrite("genesis_trio.testing.engines")


@pytest.fixture(params=["memory", "sqlite"])
def url(request, tmp_path):
    """A store of each kind, which keeps what it holds when it is opened again."""
    if request.param == "sqlite":
        yield f"sqlite:{tmp_path / 'desk.db'}"
    else:
        yield "memory:tests"
        from genesis_trio.persistence.engines.memory import MemoryEngine

        MemoryEngine.forget("tests")


@pytest.fixture
async def events():
    """Every event of the run, in order."""
    from genesis_trio import observe

    seen = []
    with observe(seen.append):
        yield seen
