"""How bytes are wrapped before an engine gets them, so that damage is seen and not believed.

- A *row* carries the digest of its address and its body: it can be neither changed nor moved unnoticed.
- An *entry* of a journal carries a digest that covers the one before it: a chain for each component.
- A component's `Head` says where its chain ends, and the sum over its keys and effects: a row that vanishes is missed.
- The `Root` does the same for the whole store: the sum over all other rows, and how many commits there were.
  It is written with every commit, and a second time outside of the database.
- A *part* is addressed by the digest of its content.

Sums of digests are modulo 2**128: a row is added or taken away without reading the others.  They are against
accidents, not against an adversary who can write to the files.
"""

import hashlib
import struct
from collections.abc import Iterator

import attrs

from genesis_trio.errors import CorruptError, StoreError

__all__ = [
    "FORMAT",
    "Entry",
    "Head",
    "Lineage",
    "Root",
    "add",
    "digest_part",
    "name_second_copy",
    "seal",
    "seal_digest",
    "subtract",
    "unseal",
]

FORMAT = 1
_MAGIC = b"GT"
_SEAL = struct.Struct("<2sB16s")
_ADDRESS = struct.Struct("<BHHI")
_MODULUS = 1 << 128


def digest_part(body: bytes) -> bytes:
    """The digest by which a part is found."""
    return hashlib.blake2b(body, digest_size=32).digest()


def name_second_copy(digest: bytes) -> bytes:
    """Under what an engine keeps the second copy of that part; no part has it for its digest."""
    return digest_part(b"second copy of " + digest)


def _digest_row(kind: str, component: str, key: str, format: int, body: bytes) -> bytes:
    where, of, which = kind.encode(), component.encode(), key.encode()
    lengths = _ADDRESS.pack(format, len(where), len(of), len(which))
    return hashlib.blake2b(b"".join((lengths, where, of, which, body)), digest_size=16).digest()


def seal(kind: str, component: str, key: str, body: bytes) -> bytes:
    """Wrap the body of the row at that address."""
    return _SEAL.pack(_MAGIC, FORMAT, _digest_row(kind, component, key, FORMAT, body)) + body


def unseal(kind: str, component: str, key: str, sealed: bytes) -> bytes:
    """The body of a row; CorruptError when it is not what was written there, StoreError when it is too new."""
    where = "/".join(filter(None, (kind, component, key)))
    if len(sealed) < _SEAL.size or sealed[:2] != _MAGIC:
        raise CorruptError(f"the row {where!r} is damaged: it does not begin as a row does")
    _, format, digest = _SEAL.unpack_from(sealed)
    body = sealed[_SEAL.size :]
    if digest != _digest_row(kind, component, key, format, body):
        raise CorruptError(f"the row {where!r} is damaged: its digest does not match")
    if format > FORMAT:
        raise StoreError(
            f"the row {where!r} has format {format}, newer than this code ({FORMAT}); run the newer genesis_trio"
        )
    return body


def seal_digest(sealed: bytes) -> int:
    """The digest in a sealed row, as a number that can be summed."""
    return int.from_bytes(sealed[3:19], "little")


def add(total: int, digest: int) -> int:
    return (total + digest) % _MODULUS


def subtract(total: int, digest: int) -> int:
    return (total - digest) % _MODULUS


# ---------------------------------------------------------------- the journal

_ENTRY = struct.Struct("<2sBB16sdHI")  # magic, format, flags, chain, wall time, length of tag, length of key
_HAS_KEY = 1
_KEY_PASSES = 2
_LINK = struct.Struct("<QH")


@attrs.define(slots=True, eq=True)
class Entry:
    """One event in a journal.  Never changed; not frozen, because a million of them are made by a replay.

    Attributes:
        tag: Which class it is, as the codec says.
        key: What makes it unique; None means that it may come again.
        at: Seconds since 1970 when it was recorded.
        key_passes: Its key has no row: it is known from here, until a saved checkpoint holds it beside its message.
    """

    sequence: int
    tag: str
    key: str | None
    at: float
    body: bytes
    key_passes: bool = False

    def pack(self, component: str, previous: bytes) -> tuple[bytes, bytes]:
        """The bytes for the engine and the digest that the next entry builds upon."""
        tag = self.tag.encode()
        key = b"" if self.key is None else self.key.encode()
        header = struct.pack("<dHI", self.at, len(tag), len(key))
        content = b"".join((header, tag, key, self.body))
        flags = (0 if self.key is None else _HAS_KEY) | (_KEY_PASSES if self.key_passes else 0)
        chain = _link(previous, component, self.sequence, FORMAT, flags, content)
        return b"".join((_MAGIC, bytes((FORMAT, flags)), chain, content)), chain


def _link(previous: bytes, component: str, sequence: int, format: int, flags: int, content: bytes) -> bytes:
    name = component.encode()
    linked = b"".join((previous, _LINK.pack(sequence, len(name)), name, bytes((format, flags)), content))
    return hashlib.blake2b(linked, digest_size=16).digest()


def chain_of(data: bytes) -> bytes:
    """The digest in a packed entry, unchecked."""
    return data[4:20]


def unpack_entry(component: str, sequence: int, data: bytes, previous: bytes) -> tuple[Entry, bytes]:
    """The entry in *data* and its digest; CorruptError when it does not continue *previous*."""
    if len(data) < _ENTRY.size or data[:2] != _MAGIC:
        raise CorruptError(f"record {sequence} of {component!r} is damaged: it does not begin as a record does")
    _, format, flags, chain, at, tag_size, key_size = _ENTRY.unpack_from(data)
    if chain != _link(previous, component, sequence, format, flags, data[20:]):
        raise CorruptError(f"record {sequence} of {component!r} is damaged: its digest does not match")
    if format > FORMAT:
        raise StoreError(
            f"record {sequence} of {component!r} has format {format}, newer than this code ({FORMAT}); "
            f"run the newer genesis_trio"
        )
    tag_end = _ENTRY.size + tag_size
    key_end = tag_end + key_size
    key = data[tag_end:key_end].decode() if flags & _HAS_KEY else None
    passes = bool(flags & _KEY_PASSES)
    return Entry(sequence, data[_ENTRY.size : tag_end].decode(), key, at, data[key_end:], passes), chain


# ---------------------------------------------------------------- heads

_HEAD = struct.Struct("<QQ16s16sQ16sQ16sI")
_LINEAGE = struct.Struct("<QQQQ16s")


@attrs.frozen(slots=True)
class Lineage:
    """What was made void: records in ``(after, upto]``, saved checkpoints in ``(cut_after, cut_upto)``.

    By a rewind, or because the records are damaged and were given up: then *cut_upto* is 0, and 1 once somebody has
    looked at it.  *chain* is the digest of record *upto*,
    so that a reader can go on behind it without reading what is void.
    """

    after: int
    upto: int
    cut_after: int
    cut_upto: int
    chain: bytes

    @property
    def is_given_up(self) -> bool:
        return self.cut_upto == 0

    def accepted(self) -> "Lineage":
        """The same, as seen by somebody who has looked at it."""
        return attrs.evolve(self, cut_after=1, cut_upto=1) if self.is_given_up else self

    def voids_record(self, sequence: int) -> bool:
        return self.after < sequence <= self.upto

    def voids_cut(self, number: int) -> bool:
        return self.cut_after < number < self.cut_upto


def _pack_sum(total: int) -> bytes:
    return total.to_bytes(16, "little")


def _unpack_sum(data: bytes) -> int:
    return int.from_bytes(data, "little")


START = bytes(16)  # what the first entry of a chain builds upon


@attrs.define(slots=True)
class Head:
    """Where one component stands.

    Attributes:
        last: The highest sequence that was ever given out.
        chain: The digest of that record.
        base: Records up to this one were pruned.
        base_chain: The digest that the first one kept builds upon.
        keys, effects: How many rows there are, and the sum of their digests.
        lineage: What was made void.
    """

    last: int = 0
    chain: bytes = START
    base: int = 0
    base_chain: bytes = START
    keys: int = 0
    keys_sum: int = 0
    effects: int = 0
    effects_sum: int = 0
    lineage: tuple[Lineage, ...] = ()

    def copy(self) -> "Head":
        """Another one with the same values; `attrs.evolve` takes ten times as long, for each component of each commit."""
        return Head(
            self.last,
            self.chain,
            self.base,
            self.base_chain,
            self.keys,
            self.keys_sum,
            self.effects,
            self.effects_sum,
            self.lineage,
        )

    def pack(self) -> bytes:
        fixed = _HEAD.pack(
            self.last,
            self.base,
            self.chain,
            self.base_chain,
            self.keys,
            _pack_sum(self.keys_sum),
            self.effects,
            _pack_sum(self.effects_sum),
            len(self.lineage),
        )
        return fixed + pack_lineage(self.lineage) if self.lineage else fixed

    @classmethod
    def unpack(cls, data: bytes) -> "Head":
        last, base, chain, base_chain, keys, keys_sum, effects, effects_sum, voids = _HEAD.unpack_from(data)
        lineage = tuple(unpack_lineage(data[_HEAD.size : _HEAD.size + voids * _LINEAGE.size]))
        return cls(
            last, chain, base, base_chain, keys, _unpack_sum(keys_sum), effects, _unpack_sum(effects_sum), lineage
        )


def pack_lineage(lineage: tuple[Lineage, ...]) -> bytes:
    return b"".join(_LINEAGE.pack(void.after, void.upto, void.cut_after, void.cut_upto, void.chain) for void in lineage)


def unpack_lineage(data: bytes) -> Iterator[Lineage]:
    return (Lineage(*fields) for fields in _LINEAGE.iter_unpack(data))


_ROOT = struct.Struct("<2sB16sQQQQ16s")


@attrs.define(slots=True)
class Root:
    """Where the whole store stands.

    Attributes:
        commit: How many commits there were.
        records: How many records were ever written.
        position: The engine's position of the last record.
        cut: The number of the newest saved checkpoint.
        rows_sum: The sum over the digests of all rows that no component's head sums up.
    """

    commit: int = 0
    records: int = 0
    position: int = 0
    cut: int = 0
    rows_sum: int = 0

    def copy(self) -> "Root":
        return Root(self.commit, self.records, self.position, self.cut, self.rows_sum)

    def pack(self) -> bytes:
        content = struct.pack("<QQQQ16s", self.commit, self.records, self.position, self.cut, _pack_sum(self.rows_sum))
        digest = hashlib.blake2b(bytes((FORMAT,)) + content, digest_size=16).digest()
        return _MAGIC + bytes((FORMAT,)) + digest + content

    @classmethod
    def unpack(cls, data: bytes) -> "Root":
        if len(data) != _ROOT.size or data[:2] != _MAGIC:
            raise CorruptError("the head of the store is damaged: it does not begin as a head does")
        _, format, digest, commit, records, position, cut, rows_sum = _ROOT.unpack(data)
        if digest != hashlib.blake2b(bytes((format,)) + data[19:], digest_size=16).digest():
            raise CorruptError("the head of the store is damaged: its digest does not match")
        if format > FORMAT:
            raise StoreError(
                f"the store has format {format}, newer than this code ({FORMAT}); run the newer genesis_trio"
            )
        return cls(commit, records, position, cut, _unpack_sum(rows_sum))
