"""The wrapping of bytes: every change is seen."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from genesis_trio.errors import CorruptError, StoreError
from genesis_trio.persistence import _envelope
from genesis_trio.persistence._envelope import START, Entry, Head, Lineage, Root, seal, unpack_entry, unseal

names = st.text(st.characters(codec="utf-8"), max_size=12)


@given(kind=names, component=names, key=names, body=st.binary(max_size=50), data=st.data())
def test_row_flipped_bit_is_seen(kind, component, key, body, data):
    """A sealed row comes back as it was, and not at all when a bit of it is another."""
    sealed = seal(kind, component, key, body)
    assert unseal(kind, component, key, sealed) == body

    damaged = bytearray(sealed)
    position = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[position // 8] ^= 1 << position % 8
    with pytest.raises(CorruptError):
        unseal(kind, component, key, bytes(damaged))


@given(a=st.tuples(names, names, names), b=st.tuples(names, names, names))
def test_row_moved_to_another_address_is_seen(a, b):
    """A row is valid at its own address only, however the names are split."""
    sealed = seal(*a, b"body")
    if a == b:
        assert unseal(*b, sealed) == b"body"
    else:
        with pytest.raises(CorruptError, match="is damaged"):
            unseal(*b, sealed)


@pytest.mark.parametrize("length", range(19))
def test_row_cut_off_is_seen(length):
    """A row that is too short to be one is damaged."""
    with pytest.raises(CorruptError):
        unseal("kind", "a", "key", seal("kind", "a", "key", b"")[:length])


entries = st.builds(
    Entry,
    sequence=st.integers(1, 2**40),
    tag=names,
    key=st.none() | names,
    at=st.floats(0, 2e9),
    body=st.binary(max_size=50),
)


@given(entry=entries, component=names, previous=st.binary(min_size=16, max_size=16), data=st.data())
def test_entry_flipped_bit_is_seen(entry, component, previous, data):
    """A record comes back as it was, and not at all when a bit of it, its place or the record before is another."""
    packed, chain = entry.pack(component, previous)
    assert unpack_entry(component, entry.sequence, packed, previous) == (entry, chain)
    assert _envelope.chain_of(packed) == chain

    damaged = bytearray(packed)
    position = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[position // 8] ^= 1 << position % 8
    other = bytes([previous[0] ^ 1]) + previous[1:]
    for arguments in (
        (component, entry.sequence, bytes(damaged), previous),
        (component, entry.sequence + 1, packed, previous),
        (component + "x", entry.sequence, packed, previous),
        (component, entry.sequence, packed, other),
        (component, entry.sequence, packed[:20], previous),
    ):
        with pytest.raises(CorruptError, match="is damaged"):
            unpack_entry(*arguments)


def test_entry_zero_filled_is_no_entry():
    """A tail of zeros does not decode as endless empty records."""
    for length in (0, 1, 40, 4096):
        with pytest.raises(CorruptError):
            unpack_entry("a", 1, bytes(length), START)


lineages = st.lists(
    st.builds(Lineage, *[st.integers(0, 2**60)] * 4, st.binary(min_size=16, max_size=16)), max_size=3
).map(tuple)
sums = st.integers(0, 2**128 - 1)


@given(
    head=st.builds(
        Head,
        last=st.integers(0, 2**60),
        chain=st.binary(min_size=16, max_size=16),
        keys=st.integers(0, 2**60),
        keys_sum=sums,
        effects_sum=sums,
        lineage=lineages,
    )
)
def test_head_comes_back_as_it_was(head):
    """Packing and unpacking a head changes nothing."""
    assert Head.unpack(head.pack()) == head


@given(root=st.builds(Root, *[st.integers(0, 2**60)] * 4, sums), data=st.data())
def test_root_flipped_bit_is_seen(root, data):
    """The root comes back as it was, or not at all."""
    packed = root.pack()
    assert Root.unpack(packed) == root

    damaged = bytearray(packed)
    position = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[position // 8] ^= 1 << position % 8
    with pytest.raises(CorruptError):
        Root.unpack(bytes(damaged))
    with pytest.raises(CorruptError):
        Root.unpack(packed[:-1])


@given(digests=st.lists(sums, max_size=6))
def test_sum_does_not_depend_on_order(digests):
    """What is added can be taken away in any order."""
    total = 0
    for digest in digests:
        total = _envelope.add(total, digest)
    for digest in sorted(digests):
        total = _envelope.subtract(total, digest)

    assert total == 0


def test_newer_format_is_refused_by_name(monkeypatch):
    """What a newer version wrote is no damage: the message says to run the newer code."""
    monkeypatch.setattr(_envelope, "FORMAT", 9)
    sealed = seal("kind", "a", "key", b"body")
    packed, _ = Entry(1, "tag", None, 0.0, b"body").pack("a", START)
    root = Root(1, 2, 3, 4, 5).pack()
    monkeypatch.setattr(_envelope, "FORMAT", 1)

    for read in (
        lambda: unseal("kind", "a", "key", sealed),
        lambda: unpack_entry("a", 1, packed, START),
        lambda: Root.unpack(root),
    ):
        with pytest.raises(StoreError, match=r"format 9, newer than this code \(1\)") as caught:
            read()
        assert not isinstance(caught.value, CorruptError)
