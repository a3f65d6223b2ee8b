"""The suite for engines is worth what it catches: engines that are broken in one way each."""

import itertools

import pytest

from genesis_trio.persistence.engine import Batch
from genesis_trio.persistence.engines.memory import MemoryEngine
from genesis_trio.testing.engines import EngineConformance

RULES = [name for name in vars(EngineConformance) if name.startswith("test_")]
PLACES = itertools.count()


class NotFenced(MemoryEngine):
    """Takes the writes of whoever was taken over."""

    newest = 0

    def acquire(self, scope, holder):
        self.newest = super().acquire(scope, holder)
        return self.newest

    def append(self, scope, token, batch):
        return super().append(scope, self.newest, batch)


class LosesTheLast(MemoryEngine):
    """Acknowledges a write and carries it out with the next one, which never comes."""

    late = None

    def commit_cut(self, scope, token, parts, batch):
        self.renew(scope, token)
        before, self.late = self.late, (scope, token, parts, batch)
        return super().commit_cut(*before) if before is not None else 0


class NotAtomic(MemoryEngine):
    """Writes the records one by one, each at once."""

    def append(self, scope, token, batch):
        for record in batch.records:
            super().append(scope, token, Batch(batch.head, [record]))
        return super().append(scope, token, Batch(batch.head, (), batch.rows))


def broken_rules(engine):
    """The rules that *engine* breaks."""
    broken = set()
    for rule in RULES:
        suite = EngineConformance()
        place = f"conformance-{next(PLACES)}"
        suite.open = lambda place=place: engine.open(place)
        try:
            getattr(suite, rule)()
        except Exception:
            broken.add(rule.removeprefix("test_engine_"))
        finally:
            MemoryEngine.forget(place)
    return broken


@pytest.mark.parametrize(
    ("engine", "rule"),
    [
        (NotFenced, "old_token_is_fenced_and_writes_nothing"),
        (LosesTheLast, "what_was_written_is_there_after_reopening"),
        (NotAtomic, "write_that_fails_halfway_leaves_nothing"),
    ],
)
def test_conformance_catches_an_engine_that_breaks_one_rule(engine, rule):
    """The rule that it breaks is named by the test that fails."""
    assert rule in broken_rules(engine)


def test_conformance_passes_a_good_engine():
    """What the others are made of breaks none."""
    assert broken_rules(MemoryEngine) == set()
