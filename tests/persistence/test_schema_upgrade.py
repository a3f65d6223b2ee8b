"""From what was saved to the class of today: fingerprints, migrations, and refusals that say what to do."""

import enum
from decimal import Decimal
from typing import Any, Literal

import attrs
import pytest

from genesis_trio import migrates, schema
from genesis_trio.errors import SchemaError
from genesis_trio.persistence.codec import SchemaInfo, changes, decode, describe, encode, upgrade


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


def _make(name: str = "State", /, **fields: Any) -> type:
    return attrs.make_class(name, {key: attrs.field(type=tp) for key, tp in fields.items()})


@attrs.define
class _HasSide:
    side: Side


@schema("account")
@attrs.define
class AccountV1:
    currency: str
    max_qty: int


@schema("account", version=2)
@attrs.define
class AccountV2:
    ccy: str
    max_qty: int


@attrs.define
class Limits:
    max: int
    soft: int = 0


@schema("account", version=3)
@attrs.define
class Account:
    ccy: str
    limits: Limits


@migrates("account", 1)
def rename_currency(fields):
    fields["ccy"] = fields.pop("currency")
    return fields


@migrates("account", 2)
def nest_limits(fields):
    return {"ccy": fields["ccy"], "limits": {"max": fields["max_qty"] + 1}}


def test_describe_text_has_one_line_a_field():
    """The description is for people, and complete without the code."""

    @attrs.define
    class Leg:
        side: Side
        ratio: Decimal = Decimal(1)

    @schema("upgrade-test.spread", version=2)
    @attrs.define
    class Spread:
        name: str
        legs: list[Leg]
        by_id: dict[int, Leg | None]
        kind: Literal["x", 1]
        pair: tuple[Leg, int]
        next: "Spread | None" = None

    info = describe(Spread)

    assert (info.name, info.version, len(info.fingerprint)) == ("upgrade-test.spread", 2, 16)
    assert info.text.splitlines() == [
        "by_id: dict[int, None | {}]",
        "by_id{}.ratio: Decimal = default",
        'by_id{}.side: enum["buy", "sell"]',
        'kind: one of ["x", 1]',
        "legs: list[{}]",
        "legs[].ratio: Decimal = default",
        'legs[].side: enum["buy", "sell"]',
        "name: str",
        "next: None | {as $} = default",
        "pair: tuple[{}, int]",
        "pair[0].ratio: Decimal = default",
        'pair[0].side: enum["buy", "sell"]',
    ]


def test_describe_union_shows_the_tags():
    """A tag is written with the value, so it is part of the form."""
    text = describe(_make(event=AccountV1 | Limits | None)).text

    assert text.splitlines()[0] == "event: Limits{} | None | account{}"
    assert "event<account>.currency: str" in text


def test_describe_other_types_are_named_by_what_they_are():
    """A type that is no class is described as well."""
    assert describe(list[int]) == SchemaInfo("list[int]", 1, describe(list[int]).fingerprint, "$: list[int]")


def test_fingerprint_ignores_order_and_class_names():
    """Fields may be moved and classes renamed without a new version."""
    one = _make("One", a=int, b=list[_make("Inner", x=int, y=str)])
    two = _make("Two", b=list[_make("Renamed", y=str, x=int)], a=int)

    assert describe(one).fingerprint == describe(two).fingerprint


@pytest.mark.parametrize(
    "fields",
    [
        {"a": str, "b": Side},
        {"a": int},
        {"a": int, "b": Side, "c": int},
        {"a": int, "c": Side},
        {"a": int | None, "b": Side},
        {"a": int, "b": enum.Enum("Side", {"BUY": "buy"})},
        {"a": int, "b": enum.Enum("Side", {"BUY": "buy", "SELL": "short"})},
    ],
)
def test_fingerprint_sees_names_types_and_enum_values(fields):
    """Whatever changes what is written changes the fingerprint."""
    assert describe(_make(**fields)).fingerprint != describe(_make(a=int, b=Side)).fingerprint


def test_fingerprint_sees_the_presence_of_a_default_and_nested_changes():
    """A default decides whether a field may be missing; a change deep inside is a change."""
    with_default = attrs.make_class("State", {"a": attrs.field(type=int, default=1)})
    other_default = attrs.make_class("State", {"a": attrs.field(type=int, default=2)})

    assert describe(with_default).fingerprint != describe(_make(a=int)).fingerprint
    assert describe(with_default).fingerprint == describe(other_default).fingerprint
    assert describe(_make(a=_make(x=int))).fingerprint != describe(_make(a=_make(x=str))).fingerprint


def test_changes_tells_added_removed_and_changed_fields():
    """What is inside of a field that came or went is not told again."""
    before = _make(cash=int, gone=_make(x=int), kept=_make(y=int, z=int), note=str)
    after = _make(cash=Decimal, new=_make(x=int), newer=int, kept=_make(y=str, z=int), note=str)

    assert changes(describe(before).text, describe(after).text) == [
        "cash changed from int to Decimal",
        "gone removed ({})",
        "kept.y changed from int to str",
        "new added ({})",
        "newer added (int)",
    ]


def test_upgrade_same_version_and_fingerprint_is_decoded():
    """Nothing to do is nothing done."""
    account = Account("EUR", Limits(5))

    assert upgrade(encode(account, Account), describe(Account), Account) == account


def test_upgrade_same_version_with_other_fields_names_them():
    """A change without a new version is refused, with the lines to write."""
    before = schema("upgrade-test.ledger", version=2)(_make(cash=int, note=str))
    after = schema("upgrade-test.ledger", version=2)(_make(cash=Decimal, fees=dict[str, Decimal]))

    with pytest.raises(SchemaError) as caught:
        upgrade(encode(before(1, ""), before), describe(before), after)

    assert str(caught.value) == (
        "the fields of upgrade-test.ledger changed and its version did not, it is still 2: "
        "cash changed from int to Decimal; fees added (dict[str, Decimal]); note removed (str); "
        "raise it with @schema('upgrade-test.ledger', version=3) and write @migrates('upgrade-test.ledger', 2), or undo the change"
    )


def test_upgrade_changed_class_without_a_schema_names_the_one_to_write():
    """A class that never had a name is told how to get one that fits what is saved."""
    before, after = _make("Ledger", cash=int), _make("Ledger", cash=int, note=str)

    with pytest.raises(
        SchemaError,
        match=r"note added \(str\); raise it with @schema\('Ledger', version=2\) and write @migrates\('Ledg",
    ):
        upgrade(encode(before(1), before), describe(before), after)


def test_upgrade_changed_class_whose_description_is_lost_says_so():
    """The refusal does not depend on the description."""
    stored = attrs.evolve(describe(AccountV2), fingerprint="0" * 16, text=describe(AccountV2).text)
    lost = attrs.evolve(stored, text="")

    with pytest.raises(SchemaError, match="it is still 2: its description was not kept; raise it"):
        upgrade(b"{}", stored, AccountV2)
    with pytest.raises(SchemaError, match=r"it is still 2: ccy added"):
        upgrade(b"{}", lost, AccountV2)


@pytest.mark.parametrize("old", [AccountV1("EUR", 2**70), AccountV2("EUR", 2**70)])
def test_upgrade_older_versions_run_the_steps_in_order(old):
    """Each step sees plain fields, and ints of any size as ints."""
    back = upgrade(encode(old, type(old)), describe(type(old)), Account)

    assert back == Account("EUR", Limits(2**70 + 1))


def test_upgrade_newer_than_the_code_is_refused():
    """Old code does not touch what new code wrote."""
    with pytest.raises(SchemaError) as caught:
        upgrade(b"{}", describe(Account), AccountV1)

    assert str(caught.value) == (
        "the saved form is account 3, newer than the code, which has account 1; "
        "run the code that wrote it, or restore a checkpoint from before"
    )


def test_upgrade_missing_step_is_named_before_any_runs():
    """A path with a hole is not begun."""
    ran = []
    old = schema("upgrade-test.hole")(_make(a=int))
    new = schema("upgrade-test.hole", version=4)(_make(a=int))

    @migrates("upgrade-test.hole", 1)
    def first(fields):
        ran.append(fields)
        return fields

    with pytest.raises(SchemaError) as caught:
        upgrade(encode(old(1), old), describe(old), new)

    assert str(caught.value) == (
        "no migration from upgrade-test.hole 2 to 4; write @migrates('upgrade-test.hole', 2) "
        "(after upgrade-test.hole 1 -> upgrade-test.hole 2)"
    )
    assert ran == []


def test_upgrade_failing_step_is_named_with_its_cause():
    """What a migration raised is the cause of the refusal."""
    old = schema("upgrade-test.fail")(_make(a=int))
    new = schema("upgrade-test.fail", version=2)(_make(b=int))

    @migrates("upgrade-test.fail", 1)
    def step(fields):
        return {"b": fields["zzz"]}

    with pytest.raises(
        SchemaError, match="the migration upgrade-test.fail 1 -> upgrade-test.fail 2 failed: KeyError: 'zzz'"
    ) as caught:
        upgrade(encode(old(1), old), describe(old), new)

    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("result", "reason"),
    [
        (None, r"the migration .* returned NoneType; it must return the dict of fields"),
        (
            {"b": "1"},
            r"what the migration upgrade-test.bad 1 -> upgrade-test.bad 2 returned cannot be restored as State: .* @ \$\.b",
        ),
        ({"b": 1, "a": 1}, r"unknown field 'a' @ \$"),
    ],
)
def test_upgrade_step_with_an_unfit_result_is_refused(result, reason):
    """What a migration returns is read as strictly as what was saved."""
    old = schema("upgrade-test.bad")(_make(a=int))
    new = schema("upgrade-test.bad", version=2)(_make(b=int))

    @migrates("upgrade-test.bad", 1)
    def step(fields):
        return result

    with pytest.raises(SchemaError, match=reason):
        upgrade(encode(old(1), old), describe(old), new)


def test_upgrade_other_name_is_refused():
    """State is never adopted by guess."""
    with pytest.raises(SchemaError) as caught:
        upgrade(b"{}", SchemaInfo("stranger", 1, "", ""), Account)

    assert str(caught.value) == (
        "the saved form is stranger 1, the code has account 3; restore it as the class that wrote it, or, if only the name "
        "changed, give the class @schema('stranger', ...) or write @migrates('stranger', 1, to=('account', 3))"
    )


def test_upgrade_renamed_schema_follows_its_migration():
    """A name may change where a migration says so, and the path goes on from there."""

    @migrates("book", 1, to=("account", 2))
    def adopt(fields):
        return {"ccy": fields["money"], "max_qty": 1}

    assert upgrade(b'{"money":"EUR"}', SchemaInfo("book", 1, "", ""), Account) == Account("EUR", Limits(2))


def test_upgrade_migrations_in_a_circle_are_refused():
    """A path that comes back to where it was leads nowhere."""
    migrates("upgrade-test.a", 1, to=("upgrade-test.b", 1))(lambda fields: fields)
    migrates("upgrade-test.b", 1, to=("upgrade-test.a", 1))(lambda fields: fields)

    with pytest.raises(SchemaError, match="the saved form is upgrade-test.a 1, the code has account 3"):
        upgrade(b"{}", SchemaInfo("upgrade-test.a", 1, "", ""), Account)


def test_upgrade_truncated_bytes_are_refused():
    """Damage is told as damage, whatever the version."""
    for stored in (describe(Account), describe(AccountV1)):
        with pytest.raises(SchemaError, match="is not whole JSON"):
            upgrade(b'{"ccy":', stored, Account)


def test_enum_member_removed_since_is_named():
    """A value that the code no longer knows is refused with those that it knows."""
    narrow = enum.Enum("Side", {"BUY": "buy"})

    with pytest.raises(SchemaError, match=r"expected Side \(one of 'buy'\), got str 'sell' @ \$\.side"):
        decode(encode(_HasSide(Side.SELL), _HasSide), _make(side=narrow))


def test_renamed_class_in_a_union_changes_the_fingerprint():
    """Where the name of a class is written as a tag, it is part of the form."""
    one = _make(event=_make("Fill", a=int) | _make("Cancel", a=int))
    two = _make(event=_make("Filled", a=int) | _make("Cancel", a=int))

    assert describe(one).fingerprint != describe(two).fingerprint
