"""Looking at a store without the code of its states: as JSON, exactly, and what is damaged is never left out."""

import datetime
from decimal import Decimal

import attrs
import pytest

from genesis_trio import open_store, schema
from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence.inspection import MOST_DIGITS, Inspector, open_inspector
from persistence.damage import damage_newest, rewrite_record
from persistence.desk import Fill, Ledger, Note, book

A = "desk/ledger"


@schema("test.account")
@attrs.define
class Account:
    """All kinds of numbers."""

    cash: Decimal = Decimal("10.50")
    large: int = 10**30
    ratio: float = 0.5
    is_open: bool = True
    name: str = "desk"
    limits: dict[str, Decimal] = attrs.Factory(lambda: {"EUR": Decimal("1.5"), "a b": Decimal(1)})
    orders: list[int] = attrs.Factory(lambda: [1, 2])


async def test_inspection_shows_states_as_json(url):
    """Numbers are exact, the schema is told in words, and the newest, a label, an id or a time name a checkpoint."""
    ledger = Ledger()
    async with open_store(url) as store:
        await book(store, ledger, 7)
        await store.create_checkpoint({A: ledger, "desk/account": Account()}, label="noon")
        await store.create_checkpoint({A: Ledger()})
        inspector = Inspector(store)

        info, (account, shown) = await inspector.show("noon")
        assert (info.id, info.label) == ("cp-000001", "noon")
        assert account.schema == ("test.account", 1)
        assert account.state["cash"] == "10.50" and account.state["large"] == 10**30
        assert "cash: Decimal = default" in account.fields
        assert (shown.component, shown.journal, shown.inbox) == (A, 1, None)
        assert shown.state == {"total": 7, "entries": [7]}
        assert (await inspector.show("newest"))[0].id == "cp-000002"
        assert (await inspector.show("cp-000002"))[0].id == "cp-000002"
        soon = info.created_at + datetime.timedelta(hours=1)
        assert (await inspector.show(soon.isoformat()))[0].id == "cp-000002"
        for unknown in ("evening", "1999-01-01T00:00:00+00:00"):
            with pytest.raises(StoreError, match="no saved checkpoint"):
                await inspector.show(unknown)


async def test_inspection_of_an_empty_store_names_nothing(url):
    """Without a checkpoint there is no newest one."""
    async with open_store(url) as store:
        with pytest.raises(StoreError, match="no saved checkpoint 'newest'; there are none"):
            await Inspector(store).show("newest")


async def test_inspection_differences_are_by_path_and_exact(url):
    """Changed, added and removed values have their JSON path; numbers, also as text, what they changed by."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Account(), "gone": Note("x"), "same": Note("y")})
        changed = Account(
            cash=Decimal("10.495"),
            large=10**30 + 1,
            ratio=0.75,
            is_open=False,
            name="12x",
            limits={"a b": Decimal("1.0"), "USD": Decimal(3)},
            orders=[1, 5, 9],
        )
        await store.create_checkpoint({"a": changed, "came": Note("z"), "same": Note("y")})
        found = await Inspector(store).diff("cp-000001", "newest")

        assert [(each.component, each.path, each.kind, each.delta) for each in found] == [
            ("a", "$.cash", "changed", Decimal("-0.005")),
            ("a", "$.large", "changed", 1),
            ("a", "$.ratio", "changed", Decimal("0.25")),
            ("a", "$.is_open", "changed", None),
            ("a", "$.name", "changed", None),
            ("a", "$.limits.EUR", "removed", None),
            ("a", '$.limits["a b"]', "changed", Decimal("0.0")),
            ("a", "$.limits.USD", "added", None),
            ("a", "$.orders[1]", "changed", 3),
            ("a", "$.orders[2]", "added", None),
            ("came", "$", "added", None),
            ("gone", "$", "removed", None),
        ]
        assert (found[0].old, found[0].new) == ("10.50", "10.495")
        assert await Inspector(store).diff("newest", "newest") == []
        assert [each.path for each in await Inspector(store).diff("cp-000001", "newest", component="came")] == ["$"]
        with pytest.raises(StoreError, match="no component 'other'"):
            await Inspector(store).diff("cp-000001", "newest", component="other")


@pytest.mark.parametrize(
    ("old", "new", "delta"),
    [
        ("0.1", "0.2", "0.1"),
        ("1E+3", "1000", "0"),
        ("-0.000000000000000000000000000000000001", "1", "1.000000000000000000000000000000000001"),
        (f"1E+{MOST_DIGITS}", "1", None),
        ("1E+999999999999999999", "1", None),
        ("NaN", "1", None),
    ],
)
async def test_inspection_delta_is_exact_or_left_out(old, new, delta):
    """No digit is lost, and no number makes it calculate for ever."""
    async with open_store("memory:") as store:
        await store.create_checkpoint({"a": Note(old)})
        await store.create_checkpoint({"a": Note(new)})
        (found,) = await Inspector(store).diff("cp-000001", "cp-000002")

    assert found.delta == (Decimal(delta) if delta is not None else None)


async def test_inspection_tail_is_the_end_of_the_journal(url):
    """The last records that count, oldest first, of one component or of each."""
    ledger = Ledger()
    async with open_store(url) as store:
        for number in range(1, 6):
            await book(store, ledger, number, key=f"trade {number}")
        await store.append("other", [Fill(9)])
        inspector = Inspector(store)

        last = await inspector.tail(A, count=2)
        assert [(each.sequence, each.tag, each.key, each.event) for each in last] == [
            (4, "test.fill@1", "trade 4", {"quantity": 4}),
            (5, "test.fill@1", "trade 5", {"quantity": 5}),
        ]
        assert [(each.component, each.sequence) for each in await inspector.tail(count=1)] == [(A, 5), ("other", 1)]
        with pytest.raises(StoreError, match="no component 'none' in .*; there are desk/ledger, other"):
            await inspector.tail("none")
        rewrite_record(store, A, 3)
        with pytest.raises(CorruptError, match="record 3 .* the records up to 2 are good"):
            await inspector.tail(A)


async def test_inspection_damaged_state_is_an_error(url):
    """A damaged part is not left out of what is shown or exported."""
    async with open_store(url) as store:
        await store.create_checkpoint({"a": Note("x")})
        damage_newest(store, "a")
        for ask in (Inspector(store).show, Inspector(store).export):
            with pytest.raises(CorruptError, match="is damaged"):
                await ask("newest")


async def test_inspection_export_is_one_json_document(url):
    """Everything in it, with its metadata, can be written as JSON."""
    import json

    async with open_store(url) as store:
        await store.create_checkpoint({"a": Account()}, label="noon")
        document = json.loads(json.dumps(await Inspector(store).export("noon")))

    assert document["format"] == 1
    assert document["checkpoint"]["label"] == "noon"
    assert document["components"]["a"]["state"]["cash"] == "10.50"
    assert document["components"]["a"]["schema"] == ["test.account", 1]


async def test_inspection_of_a_store_that_is_not_there_makes_none(tmp_path):
    """Looking at a store does not make it."""
    with pytest.raises(StoreError, match="there is no store .*; looking at one does not make it"):
        async with open_inspector(f"sqlite:{tmp_path / 'desk.db'}"):
            pass
    assert list(tmp_path.iterdir()) == []
