"""What the tests of modes share."""

from supervision.bounded import pytest_itemcollected as pytest_itemcollected
