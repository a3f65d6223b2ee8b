"""What the tests of saved state share."""

import pytest

pytest.register_assert_rewrite("genesis_trio.testing.engines")
