"""The conformance suite for storage engines: what a `StoreEngine` promises, as tests.

Subclass it in pytest, and say how an engine is opened::

    class TestMyEngine(EngineConformance):
        @pytest.fixture(autouse=True)
        def _place(self, tmp_path):
            self.path = tmp_path / "my.store"

        def open(self) -> StoreEngine:
            return MyEngine.open(str(self.path))

``open`` is called several times in a test, and always has to open the same place; each test needs a new one.
The suite imports nothing but the standard library; in pytest its failures are shown as those of a test's own asserts.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from genesis_trio.errors import FencedError, StoreError
from genesis_trio.persistence.engine import Batch, Record, Row, StoreEngine

__all__ = ["EngineConformance"]

SCOPE = "conformance"


@contextlib.contextmanager
def _raises(expected: type[Exception]) -> Iterator[list[Exception]]:
    caught: list[Exception] = []
    try:
        yield caught
    except expected as error:
        caught.append(error)
    else:
        raise AssertionError(f"{expected.__name__} was not raised")


def _records(component: str, *sequences: int) -> list[Record]:
    return [Record(component, sequence, b"%d of " % sequence + component.encode()) for sequence in sequences]


class _TornError(Exception):
    """What interrupts a write in its middle."""


class _Torn(Sequence[Any]):
    """Gives its items one by one, and raises where the next would be: a write that fails half-way."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def __len__(self) -> int:
        return len(self._items) + 1

    def __getitem__(self, index: Any) -> Any:
        if not isinstance(index, int) or not -len(self) < index < len(self._items):
            raise _TornError
        return self._items[index]


class EngineConformance:
    """What every engine has to do; one method is one rule."""

    def open(self) -> StoreEngine:
        """Open the engine at the place of this test."""
        raise AssertionError("say how an engine is opened: define open(self)")

    @contextlib.contextmanager
    def _opened(self, holder: str = "first") -> Iterator[tuple[StoreEngine, int]]:
        engine = self.open()
        try:
            yield engine, engine.acquire(SCOPE, holder)
        finally:
            engine.close()

    def test_engine_new_place_is_empty(self) -> None:
        """Where nothing was written, nothing is read."""
        with self._opened() as (engine, _):
            assert engine.read_head(SCOPE) is None
            assert list(engine.read_records(SCOPE, "a")) == []
            assert list(engine.read_rows(SCOPE, "kind")) == []
            assert engine.read_row(SCOPE, "kind", "a", "key") is None
            assert engine.read_part(SCOPE, b"digest") is None
            assert list(engine.list_parts(SCOPE)) == []
            assert list(engine.check()) == []

    def test_engine_token_grows_with_each_holder(self) -> None:
        """Each holder's token is greater than all before, also over closing."""
        tokens = []
        for holder in ("first", "second", "third"):
            with self._opened(holder) as (engine, token):
                tokens.append(token)
                engine.release(SCOPE, token)

        assert tokens == sorted(set(tokens))

    def test_engine_place_in_use_is_refused(self) -> None:
        """A second holder is refused while the first has the place open, and let in afterwards."""
        with self._opened() as (_, _):
            with _raises(StoreError) as caught:
                with self._opened("second"):
                    pass
            assert "first" in str(caught[0]), f"the message does not say who holds it: {caught[0]}"

        with self._opened("second"):
            pass

    def test_engine_what_was_written_is_there_after_reopening(self) -> None:
        """A write that returned is all there, in every kind, when the place is opened again."""
        rows = [Row("kind", "a", "key", b"row")]
        with self._opened() as (engine, token):
            engine.append(SCOPE, token, Batch(b"head 1", _records("a", 1, 2), rows))
            engine.commit_cut(SCOPE, token, {b"digest": b"part"}, Batch(b"head 2", _records("b", 1)))

        with self._opened("second") as (engine, _):
            assert engine.read_head(SCOPE) == b"head 2"
            assert [record for _, record in engine.read_records(SCOPE, "a")] == _records("a", 1, 2)
            assert [record for _, record in engine.read_records(SCOPE, "b")] == _records("b", 1)
            assert list(engine.read_rows(SCOPE, "kind")) == rows
            assert engine.read_part(SCOPE, b"digest") == b"part"

    def test_engine_old_token_is_fenced_and_writes_nothing(self) -> None:
        """Every write with an old token is refused, and leaves nothing behind."""
        with self._opened() as (engine, old):
            engine.append(SCOPE, old, Batch(b"head", _records("a", 1)))
            new = engine.acquire(SCOPE, "second")
            late = Batch(b"late", _records("a", 2), [Row("kind", "a", "key", b"late")])

            with _raises(FencedError):
                engine.append(SCOPE, old, late)
            with _raises(FencedError):
                engine.commit_cut(SCOPE, old, {b"digest": b"late"}, late)
            with _raises(FencedError):
                engine.remove(SCOPE, old, late, records={"a": 1})
            with _raises(FencedError):
                engine.renew(SCOPE, old)
            engine.release(SCOPE, old)

            assert engine.read_head(SCOPE) == b"head"
            assert [record for _, record in engine.read_records(SCOPE, "a")] == _records("a", 1)
            assert engine.read_row(SCOPE, "kind", "a", "key") is None
            assert engine.read_part(SCOPE, b"digest") is None
            engine.renew(SCOPE, new)
            engine.append(SCOPE, new, late)
            assert engine.read_head(SCOPE) == b"late"

    def test_engine_write_that_fails_halfway_leaves_nothing(self) -> None:
        """A write is one transaction: whatever raises in its middle, nothing of it is there, and the next one is whole."""
        row = Row("kind", "a", "key", b"row")
        with self._opened() as (engine, token):
            before = engine.append(SCOPE, token, Batch(b"head", _records("a", 1), [row]))
            with _raises(_TornError):
                engine.append(SCOPE, token, Batch(b"torn", _Torn(_records("a", 2, 3))))
            with _raises(_TornError):
                rows = _Torn([Row("kind", "a", "key", b"torn"), Row("kind", "a", "other", b"torn")])
                engine.commit_cut(SCOPE, token, {b"digest": b"torn"}, Batch(b"torn", _records("a", 2), rows))
            with _raises(_TornError):
                engine.remove(
                    SCOPE, token, Batch(b"torn", (), _Torn([Row("kind", "a", "key", None)])), records={"a": 1}
                )
            self._assert_only(engine, before, row)

        with self._opened("second") as (engine, token):
            self._assert_only(engine, before, row)
            assert engine.append(SCOPE, token, Batch(b"head", _records("a", 2))) == before + 1

    @staticmethod
    def _assert_only(engine: StoreEngine, position: int, row: Row) -> None:
        assert engine.read_head(SCOPE) == b"head"
        assert list(engine.read_records(SCOPE, "a")) == [(position, *_records("a", 1))]
        assert list(engine.read_rows(SCOPE, "kind")) == [row]
        assert list(engine.list_parts(SCOPE)) == []

    def test_engine_scopes_do_not_see_each_other(self) -> None:
        """Two scopes of one place share nothing but the place."""
        with self._opened() as (engine, token):
            other = engine.acquire("other", "first")
            engine.commit_cut(
                SCOPE, token, {b"digest": b"part"}, Batch(b"head", _records("a", 1), [Row("kind", "a", "key", b"row")])
            )

            assert engine.read_head("other") is None
            assert list(engine.read_records("other", "a")) == []
            assert list(engine.read_rows("other", "kind")) == []
            assert engine.read_part("other", b"digest") is None
            engine.append("other", other, Batch(b"other", _records("a", 1)))
            assert engine.read_head(SCOPE) == b"head"
            assert len(engine.read_records(SCOPE, "a")) == 1

    # -- records

    def test_engine_records_are_read_in_order_and_in_pages(self) -> None:
        """Records of one component come in order, from behind a sequence, at most as many as asked for."""
        with self._opened() as (engine, token):
            for sequence in range(1, 8):
                engine.append(SCOPE, token, Batch(b"head", _records("a", sequence) + _records("b", sequence)))

            first = engine.read_records(SCOPE, "a", after=2, limit=3)
            assert [record.sequence for _, record in first] == [3, 4, 5]
            start = first[-1][0] + 1
            rest = engine.read_records(SCOPE, "a", after=5, start=start, limit=100)
            assert [record.sequence for _, record in rest] == [6, 7]
            at_first = engine.read_records(SCOPE, "a", after=5, start=rest[0][0], limit=100)
            assert list(at_first) == list(rest), "start= is where the first record may lie: that one is not left out"
            assert list(engine.read_records(SCOPE, "a", after=7)) == []
            assert list(engine.read_records(SCOPE, "nobody")) == []

    def test_engine_positions_grow_by_one_and_are_never_used_again(self) -> None:
        """Positions count all records of all components, also over removal and reopening."""
        with self._opened() as (engine, token):
            assert engine.append(SCOPE, token, Batch(b"head", _records("a", 1) + _records("b", 1, 2))) == 3
            assert engine.append(SCOPE, token, Batch(b"head")) == 3
            engine.remove(SCOPE, token, Batch(b"head"), records={"a": 1, "b": 2})

        with self._opened("second") as (engine, token):
            assert engine.append(SCOPE, token, Batch(b"head", _records("a", 2))) == 4
            assert engine.read_records(SCOPE, "a") == [(4, _records("a", 2)[0])]

    def test_engine_removes_records_of_one_component_up_to_a_sequence(self) -> None:
        """Removing is by component, up to and with the sequence."""
        with self._opened() as (engine, token):
            engine.append(SCOPE, token, Batch(b"head", _records("a", 1, 2, 3) + _records("b", 1, 2)))

            engine.remove(SCOPE, token, Batch(b"after"), records={"a": 2})

            assert [record.sequence for _, record in engine.read_records(SCOPE, "a")] == [3]
            assert [record.sequence for _, record in engine.read_records(SCOPE, "b")] == [1, 2]
            assert engine.read_head(SCOPE) == b"after"

    # -- rows

    def test_engine_rows_of_a_removal_are_written_with_it(self) -> None:
        """They are replaced and taken away in the same write as what is removed."""
        with self._opened() as (engine, token):
            engine.append(
                SCOPE, token, Batch(b"head", rows=(Row("key", "a", "1", b"old"), Row("key", "a", "2", b"old")))
            )

            engine.remove(
                SCOPE, token, Batch(b"after", rows=(Row("key", "a", "1", None), Row("key", "a", "2", b"new")))
            )

            assert list(engine.read_rows(SCOPE, "key")) == [Row("key", "a", "2", b"new")]

    def test_engine_row_without_bytes_is_a_row(self) -> None:
        """No bytes are a body; None is none."""
        with self._opened() as (engine, token):
            engine.append(SCOPE, token, Batch(b"head", rows=(Row("key", "a", "1", b""),)))

            assert engine.read_row(SCOPE, "key", "a", "1") == b""
            assert list(engine.read_rows(SCOPE, "key", "a")) == [Row("key", "a", "1", b"")]

    def test_engine_rows_are_replaced_and_removed(self) -> None:
        """A row has one body, the last one; None takes it away, and does nothing where there is none."""
        with self._opened() as (engine, token):
            engine.append(SCOPE, token, Batch(b"head", rows=[Row("kind", "a", "x", b"1"), Row("kind", "a", "y", b"1")]))
            engine.append(SCOPE, token, Batch(b"head", rows=[Row("kind", "a", "x", b"2"), Row("kind", "a", "y", None)]))
            engine.append(SCOPE, token, Batch(b"head", rows=[Row("kind", "a", "z", None)]))

            assert list(engine.read_rows(SCOPE, "kind")) == [Row("kind", "a", "x", b"2")]
            assert engine.read_row(SCOPE, "kind", "a", "x") == b"2"
            assert engine.read_row(SCOPE, "kind", "a", "y") is None

    def test_engine_rows_come_in_the_order_of_their_bytes(self) -> None:
        """Rows are ordered by component and key, as UTF-8 bytes, and read in pages from behind an address."""
        names = ["", "A", "a", "a/b", "aa", "z", "é", "\uffee", "\U0001f600"]
        rows = [Row("kind", component, key, b"x") for component in ("a", "é") for key in names]
        with self._opened() as (engine, token):
            engine.append(SCOPE, token, Batch(b"head", rows=rows[::-1] + [Row("other", "a", "a", b"y")]))

            assert list(engine.read_rows(SCOPE, "kind")) == rows
            assert list(engine.read_rows(SCOPE, "kind", "é")) == rows[len(names) :]
            pages: list[Row] = []
            after: tuple[str, str] | None = None
            while page := engine.read_rows(SCOPE, "kind", after=after, limit=4):
                assert len(page) <= 4
                pages += page
                after = (page[-1].component, page[-1].key)
            assert pages == rows
            assert list(engine.read_rows(SCOPE, "kind", "a", after=("a", "z"))) == rows[6:9]

    # -- parts

    def test_engine_parts_keep_every_byte(self) -> None:
        """Parts of any size come back as they were, replaced as a whole."""
        parts = {b"empty": b"", b"small": b"\0" + bytes(range(256)) + b"\0", b"large": bytes(range(256)) * 4100}
        with self._opened() as (engine, token):
            engine.commit_cut(SCOPE, token, {**parts, b"small": b"before"}, Batch(b"head"))
            engine.commit_cut(SCOPE, token, {b"small": parts[b"small"]}, Batch(b"head"))

        with self._opened("second") as (engine, token):
            assert {digest: engine.read_part(SCOPE, digest) for digest in parts} == parts
            assert sorted(engine.list_parts(SCOPE)) == sorted(parts)
            engine.remove(SCOPE, token, Batch(b"head"), parts=[b"large", b"nobody"])
            assert engine.read_part(SCOPE, b"large") is None
            assert sorted(engine.list_parts(SCOPE)) == [b"empty", b"small"]

    # -- around it

    def test_engine_witness_is_the_last_head(self) -> None:
        """An engine that keeps a witness tells the head of the last write, also after reopening."""
        with self._opened() as (engine, token):
            for head in (b"head 1", b"head 2", b"head 3"):
                engine.append(SCOPE, token, Batch(head))
                assert engine.read_witness(SCOPE) == (head if engine.keeps_witness else None)

        with self._opened("second") as (engine, _):
            assert engine.read_witness(SCOPE) == (b"head 3" if engine.keeps_witness else None)

    def test_engine_housekeeping_changes_nothing(self) -> None:
        """Idle work, giving up the reserve and building it anew leave what is stored as it is."""
        with self._opened() as (engine, token):
            engine.commit_cut(SCOPE, token, {b"digest": b"part"}, Batch(b"head", _records("a", 1)))

            engine.idle()
            engine.relieve()
            assert not engine.relieve(), "a reserve can be given up once only"
            assert engine.recover_room(1000)
            assert isinstance(engine.quarantine(SCOPE, "a/b", b"damaged"), str)

            assert engine.read_part(SCOPE, b"digest") == b"part"
            assert engine.append(SCOPE, token, Batch(b"after", _records("a", 2))) == 2
            assert list(engine.check()) == []

    def test_engine_can_be_closed_twice(self) -> None:
        """Closing is idempotent."""
        engine = self.open()
        engine.close()
        engine.close()
