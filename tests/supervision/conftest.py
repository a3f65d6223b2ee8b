"""What several files of this room share."""

import pytest

from supervision.bounded import pytest_itemcollected as pytest_itemcollected
from supervision.ladder import World


@pytest.fixture(params=["memory:", "sqlite"])
def world(request, tmp_path):
    """A desk whose state can be spoilt, over each of the two engines."""
    return World(f"memory:{tmp_path.name}" if request.param == "memory:" else f"sqlite:{tmp_path / 'desk.db'}")
