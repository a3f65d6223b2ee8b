"""What pytest finds by itself where genesis_trio is installed, seen by a pytest of its own."""

import subprocess
import sys

import pytest

TESTS = """
import trio
from genesis_trio import open_store, schema
import attrs

@schema("mine")
@attrs.define
class Mine:
    number: int = 0

seen = set()

def test_one(simulation):
    async def main():
        await trio.sleep(3600)
        return trio.current_time()
    assert simulation(main) == 3600.0
    seen.add(simulation.seed)

def test_seeds():
    assert seen == set(range(len(seen)))

def test_store(simulation, memory_store):
    async def main(first):
        async with open_store(memory_store) as store:
            found = await store.restore_latest("a", Mine)
            assert (found is None) == first
            await store.create_checkpoint({"a": Mine(1)})
    simulation(main, True)
    simulation(main, False)

def test_store_of_another_test(simulation, memory_store):
    test_store(simulation, memory_store)
"""


@pytest.fixture
def run(tmp_path):
    """Run pytest on a file of its own; its status and what it printed."""
    (tmp_path / "test_mine.py").write_text(TESTS)

    def start(*arguments):
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    return start


def test_plugin_fixtures_are_there_without_anything_being_said(run):
    """A simulation with a seed, and a store that outlives its block and is another one for each test."""
    status, out = run()

    assert status == 0, out
    assert "4 passed" in out


def test_plugin_option_multiplies_what_is_simulated(run):
    """Each test that takes a simulation, with the seed in its name; the others once."""
    status, out = run("--genesis-seeds", "3", "-vv")

    assert status == 0, out
    assert "10 passed" in out
    assert "test_one[seed-2] PASSED" in out


def test_plugin_option_that_makes_no_sense_is_refused(run):
    """In a line, as pytest does it."""
    status, out = run("--genesis-seeds", "0")

    assert status != 0
    assert "--genesis-seeds is a number from 1 on, got 0" in out


def test_plugin_loads_nothing_of_ours_that_is_not_used(tmp_path):
    """Where it is only installed, a run of pytest pays for neither Trio nor the rest."""
    (tmp_path / "test_other.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    heavy = ('trio', 'attrs', 'cattrs', 'genesis_trio.persistence', 'genesis_trio.testing._simulate')\n"
        "    assert [name for name in heavy if name in sys.modules] == []\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # Other plugins that are installed here load Trio themselves.
    command += [
        "-p",
        "no:pytest_trio",
        "-p",
        "no:pytest-trio",
        "-p",
        "no:trio",
        "-p",
        "no:hypothesispytest",
        "-p",
        "no:anyio",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
