"""What several files of this room share."""

import pytest

from supervision.bounded import pytest_itemcollected as pytest_itemcollected
from supervision.ladder import World


@pytest.fixture
def url(tmp_path):
    """A store on disk."""
    return f"sqlite:{tmp_path / 'desk.db'}"


@pytest.fixture(params=["memory:", "sqlite"])
def each_url(request, tmp_path):
    """A store of each of the two engines, which keeps what it holds when it is opened again."""
    return f"memory:{tmp_path.name}" if request.param == "memory:" else f"sqlite:{tmp_path / 'desk.db'}"


@pytest.fixture
def world(each_url):
    """A desk whose state can be spoilt, over each of the two engines."""
    return World(each_url)
