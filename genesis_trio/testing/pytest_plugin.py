"""What pytest finds by itself where genesis_trio is installed: fixtures for tests of services.

========================  ===========================================================================
fixture ``simulation``    `simulate`, with the seed of this test: ``simulation(main)``.
                          ``--genesis-seeds 20`` runs each test that takes it with 20 seeds; the seed
                          stands in the name of the test, and so says how to run that one again.
fixture ``memory_store``  The URL of a store in memory that is this test's alone, and outlives the
                          block in which it is open: so a restart can be played.
========================  ===========================================================================

``-p no:genesis_trio`` leaves it out.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

__all__ = ["Simulation"]

T = TypeVar("T")

pytest.register_assert_rewrite("genesis_trio.testing.engines")


class Simulation:
    """`simulate` with a seed.

    Attributes:
        seed: That of this test.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def __call__(self, main: Callable[..., Awaitable[T]], *args: Any, **options: Any) -> T:
        """Run ``main(*args)`` with this test's seed; else as `simulate`, whose other keywords are *options*."""
        from genesis_trio.testing import simulate

        return simulate(main, *args, seed=self.seed, **options)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("genesis_trio").addoption(
        "--genesis-seeds",
        type=int,
        default=1,
        metavar="N",
        help="run each test that takes the fixture `simulation` with N seeds (default: 1)",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "simulation" in metafunc.fixturenames:
        count = int(metafunc.config.getoption("genesis_seeds") or 0)
        if count < 1:
            raise pytest.UsageError(f"--genesis-seeds is a number from 1 on, got {count}")
        seeds = range(count)
        metafunc.parametrize("simulation", seeds, indirect=True, ids=[f"seed-{seed}" for seed in seeds])


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Simulation:
    """`simulate`, with the seed of this test."""
    return Simulation(request.param)


@pytest.fixture
def memory_store(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a store in memory that is this test's alone."""
    from genesis_trio.persistence.engines.memory import MemoryEngine

    name = request.node.nodeid
    yield f"memory:{name}"
    MemoryEngine.forget(name)
