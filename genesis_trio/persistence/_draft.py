"""The next commit, while operations write into it."""

import json
from collections.abc import Mapping
from typing import Any

import attrs

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._envelope import (
    Entry,
    Head,
    add,
    chain_of,
    digest_part,
    name_second_copy,
    seal,
    seal_digest,
    subtract,
    unseal,
)
from genesis_trio.persistence._ledger import (
    CONTROL,
    CUT,
    EFFECT,
    HEAD,
    INCIDENT,
    KEY,
    ROOT_KINDS,
    Address,
    Incident,
    Ledger,
    RowState,
)
from genesis_trio.persistence.engine import Batch, Record, Row

__all__ = ["Draft"]


class Draft:
    """The next commit.

    An operation writes into it only once it can no longer fail, so that one which is refused leaves nothing behind.
    """

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.root = ledger.root.copy()
        self.heads: dict[str, Head] = {}
        self.records: list[Record] = []
        self.rows: dict[Address, bytes | None] = {}
        self.parts: dict[bytes, bytes] = {}
        self.cuts: dict[int, Cut | None] = {}
        self.control: dict[str, bytes | None] = {}
        self.incidents: dict[str, Incident | None] = {}
        self.repaired_keys: set[str] = set()
        self.accepted_effects: set[str] = set()
        self.removed_parts: set[bytes] = set()
        self.removed_records: dict[str, int] = {}
        self._is_removal = False

    # -- looking

    def head(self, component: str) -> Head:
        """The head of *component*, to read."""
        head = self.heads.get(component) or self.ledger.find_head(component)
        return head if head is not None else Head()

    def head_to_change(self, component: str) -> Head:
        if component not in self.heads:
            self.heads[component] = self.head(component).copy()
        return self.heads[component]

    def read_row(self, kind: str, component: str, key: str) -> bytes | None:
        """The body of a row as this commit will leave it."""
        address = (kind, component, key)
        sealed = self._sealed_row(address)
        return unseal(*address, sealed) if sealed is not None else None

    def _sealed_row(self, address: Address) -> bytes | None:
        if address in self.rows:
            return self.rows[address]
        return self.ledger.engine.read_row(self.ledger.scope, *address)

    def chain_at(self, component: str, sequence: int) -> tuple[bytes, int]:
        """The digest of that record, and a position which no later record of *component* lies before."""
        head = self.head(component)
        if sequence == head.last:
            return head.chain, self.root.position + 1
        if sequence == head.base:
            return head.base_chain, 0
        start = self.ledger.start_of(component, sequence - 1)
        for void in head.lineage:
            if void.upto == sequence:  # it may be one that was given up
                return void.chain, start
        found = next(self.ledger.raw_records(component, after=sequence - 1, start=start), None)
        if found is None or found[0] != sequence:
            raise CorruptError(f"record {sequence} of {component!r} is missing")
        return chain_of(found[1]), start

    # -- writing

    def add_entry(
        self, component: str, tag: str, key: str | None, at: float, body: bytes, *, key_passes: bool = False
    ) -> int:
        head = self.head_to_change(component)
        head.last += 1
        entry = Entry(head.last, tag, key, at, body, key_passes)
        packed, head.chain = entry.pack(component, head.chain)
        self.records.append(Record(component, head.last, packed))
        self.root.records += 1
        self.root.position += 1
        return head.last

    def set_row(self, kind: str, component: str, key: str, body: bytes | None, *, is_new: bool = False) -> None:
        """Replace or remove a row, and keep the sum that it is part of; *is_new* saves looking for an old one."""
        address = (kind, component, key)
        sealed = seal(*address, body) if body is not None else None
        if kind in ROOT_KINDS:
            old = self._old_digest(address)
            self.root.rows_sum = _exchange(self.root.rows_sum, old, sealed)
        else:
            head = self.head_to_change(component)
            before = None if is_new else self._sealed_row(address)
            old = seal_digest(before) if before is not None else None
            change = (sealed is not None) - (old is not None)
            if kind == KEY:
                head.keys, head.keys_sum = head.keys + change, _exchange(head.keys_sum, old, sealed)
            else:
                head.effects, head.effects_sum = head.effects + change, _exchange(head.effects_sum, old, sealed)
        self.rows[address] = sealed

    def _old_digest(self, address: Address) -> int | None:
        if address in self.rows:
            sealed = self.rows[address]
            return seal_digest(sealed) if sealed is not None else None
        return self.ledger.row_digests.get(address)

    def add_part(self, body: bytes) -> bytes:
        """Make sure that *body* is stored, and a second time once a commit before has stored it; its digest.

        However many saved checkpoints share a part, one damage does not spoil them all.
        """
        digest = digest_part(body)
        if digest in self.parts:
            return digest
        if not self._is_stored(digest):
            self.parts[digest] = body
        elif not self._is_stored(digest, second=True):
            self.parts[name_second_copy(digest)] = body
        return digest

    def share_part(self, digest: bytes) -> None:
        """The same for a part that is stored already; CorruptError if no copy of it is good."""
        if not (self._is_stored(digest) and self._is_stored(digest, second=True)):
            self.add_part(self.ledger.read_part(digest))

    def _is_stored(self, digest: bytes, *, second: bool = False) -> bool:
        """It may lie there damaged: only bytes that this process has seen whole count."""
        name = name_second_copy(digest) if second else digest
        if name in self.ledger.good_parts or name in self.parts:
            return True
        if name not in self.ledger.stored_parts():
            return False
        try:
            self.ledger.read_copy(digest, second=second)
        except CorruptError:
            return False
        return True

    def add_cut(self, cut: Cut) -> None:
        self.root.cut = cut.number
        self.cuts[cut.number] = cut
        self.set_row(CUT, "", f"{cut.number:012d}", cut.packed)

    def set_control(self, name: str, body: bytes | None) -> None:
        self.control[name] = body
        self.set_row(CONTROL, "", name, body)

    def note(self, incident: Incident) -> None:
        key = f"{self.root.commit + 1:012d}-{len(self.incidents)}"
        self.incidents[key] = incident
        self.set_row(INCIDENT, "", key, json.dumps(attrs.asdict(incident)).encode())

    def replace_keys(self, component: str, wanted: Mapping[str, int]) -> None:
        """Make the keys of *component* these, whatever was there."""
        for row in self.ledger.rows(KEY, component):
            self.rows[KEY, component, row.key] = None
        head = self.head_to_change(component)
        head.keys = head.keys_sum = 0
        for key, sequence in wanted.items():
            self.set_row(KEY, component, key, sequence.to_bytes(8, "little"), is_new=True)

    def accept_effects(self, component: str) -> None:
        """Take the effects that can be read for all there ever were; the others are put aside."""
        head = self.head_to_change(component)
        head.effects = head.effects_sum = 0
        for row in self.ledger.rows(EFFECT, component):
            assert row.body is not None
            try:
                unseal(EFFECT, component, row.key, row.body)
            except CorruptError:
                self.ledger.quarantine(f"{EFFECT}-{component}-{row.key}", row.body)
                self.rows[EFFECT, component, row.key] = None
            else:
                head.effects, head.effects_sum = head.effects + 1, add(head.effects_sum, seal_digest(row.body))

    def forget(self, key: str) -> None:
        """An incident is over."""
        self.incidents[key] = None
        if (INCIDENT, "", key) in self.ledger.row_digests:
            self.set_row(INCIDENT, "", key, None)

    def remove_cut(self, number: int) -> None:
        self._is_removal = True
        self.cuts[number] = None
        self.set_row(CUT, "", f"{number:012d}", None)

    def replace_cut(self, cut: Cut) -> None:
        self._is_removal = True
        self.cuts[cut.number] = cut
        self.set_row(CUT, "", f"{cut.number:012d}", cut.packed)

    def remove_parts(self, digests: set[bytes]) -> None:
        self._is_removal = True
        self.removed_parts |= digests

    def remove_records(self, component: str, upto: int, chain: bytes) -> None:
        self._is_removal = True
        head = self.head_to_change(component)
        head.base, head.base_chain = upto, chain
        self.removed_records[component] = upto

    # -- the end

    def commit(self) -> bool:
        """Write it down; only then is it true.  False when there was nothing to write."""
        if not (self.rows or self.heads or self.parts or self._is_removal):  # a record changes a head
            return False
        ledger = self.ledger
        for component, head in self.heads.items():
            self.set_row(HEAD, component, "", head.pack())
        self.root.commit += 1
        rows = [Row(*address, sealed) for address, sealed in self.rows.items()]
        batch = Batch(self.root.pack(), self.records, rows)
        if self._is_removal:
            ledger.engine.remove(
                ledger.scope, ledger.token, batch, parts=sorted(self.removed_parts), records=self.removed_records
            )
        elif self.parts:
            self.root.position = ledger.engine.commit_cut(ledger.scope, ledger.token, self.parts, batch)
        else:
            self.root.position = ledger.engine.append(ledger.scope, ledger.token, batch)
        self._become_true()
        return True

    def _become_true(self) -> None:
        ledger = self.ledger
        ledger.root = self.root
        ledger.heads.update(self.heads)
        for mine, theirs in (
            (self.cuts, ledger.cuts),
            (self.control, ledger.control),
            (self.incidents, ledger.incidents),
        ):
            _update(theirs, mine)
        for address, sealed in self.rows.items():
            if address[0] not in ROOT_KINDS:
                continue
            if sealed is None:
                ledger.row_digests.pop(address, None)
            else:
                ledger.row_digests[address] = seal_digest(sealed)
        for component in self.repaired_keys | self.accepted_effects:
            state = ledger.row_state(component)
            ledger.checked_rows[component] = RowState(
                state.keys or component in self.repaired_keys, state.effects or component in self.accepted_effects
            )
        ledger.good_parts.update(self.parts)
        ledger.good_parts -= self.removed_parts
        for digest in (*self.parts, *self.removed_parts):
            ledger.spoilt_parts.pop(digest, None)
        ledger.note_parts(self.parts, self.removed_parts)


def _update(target: dict[Any, Any], changes: Mapping[Any, Any]) -> None:
    for key, value in changes.items():
        if value is None:
            target.pop(key, None)
        else:
            target[key] = value


def _exchange(total: int, old: int | None, new: bytes | None) -> int:
    if old is not None:
        total = subtract(total, old)
    if new is not None:
        total = add(total, seal_digest(new))
    return total
