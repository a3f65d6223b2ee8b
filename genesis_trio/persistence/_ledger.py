"""What a store knows while it is open, and how one commit changes it.

`Ledger` is the picture in memory of everything small that is on disk: the root, the heads, the saved
checkpoints, the control state.  `_draft.Draft` is the next commit, which becomes the picture once it is durable.

All of this is synchronous and runs inside of one blocking call at a time.
"""

import errno
import json
from collections.abc import Iterable, Iterator

import attrs

from genesis_trio.errors import CorruptError
from genesis_trio.persistence._cut import Cut
from genesis_trio.persistence._envelope import (
    Head,
    Lineage,
    Root,
    add,
    chain_of,
    digest_part,
    name_second_copy,
    seal_digest,
    unseal,
)
from genesis_trio.persistence._quarantine import verdict_on
from genesis_trio.persistence.checkpoints import CheckpointInfo
from genesis_trio.persistence.engine import Row, StoreEngine

__all__ = ["CONTROL", "CUT", "EFFECT", "HEAD", "INCIDENT", "KEY", "SCHEMA", "Incident", "Ledger"]

CONTROL, CUT, EFFECT, HEAD, INCIDENT, KEY, SCHEMA = "control", "cut", "effect", "head", "incident", "key", "schema"
#: The rows that the root sums up; those of the other kinds are summed up in the head of their component.
ROOT_KINDS = (CONTROL, CUT, HEAD, INCIDENT, SCHEMA)
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
PAGE = 1024  # rows or records that are read at a time

Address = tuple[str, str, str]


@attrs.frozen(kw_only=True)
class Incident:
    """Something acknowledged that is gone, so that it is not forgotten at the next start.

    Attributes:
        commit: Saved checkpoints of later commits are not concerned.
        component: Whom it concerns; None means everybody.
        records: How many records are missing; None when that cannot be known.
        effects: True if rows about effects may be missing: what is absent is then not known to be new.
        text: In words.
    """

    commit: int
    component: str | None = None
    records: int | None = None
    effects: bool = False
    text: str

    def concerns(self, component: str) -> bool:
        return self.component is None or self.component == component


class Ledger:
    """The picture of one scope of an engine; see the module.

    Attributes:
        damage: What `open` found, in words.
        damaged_cuts: Numbers of saved checkpoints that cannot be read.
        good_parts: Digests of parts, and names of second copies, that this process has written or read and found whole.
        spoilt_parts: Digests of damaged parts whose second copy is good, with the words for it.
        untold: What was found damaged since somebody was told.
    """

    def __init__(self, engine: StoreEngine, scope: str, holder: str) -> None:
        self.engine = engine
        self.scope = scope
        self.holder = holder
        self.token = 0
        self.root = Root()
        self.heads: dict[str, Head] = {}
        self.cuts: dict[int, Cut] = {}
        self.control: dict[str, bytes] = {}
        self.incidents: dict[str, Incident] = {}
        self.row_digests: dict[Address, int] = {}
        self.damage: list[str] = []
        self.damaged_cuts: dict[int, str] = {}
        self.good_parts: set[bytes] = set()
        self.spoilt_parts: dict[bytes, str] = {}
        self.untold: list[str] = []
        self.checked_rows: dict[str, RowState] = {}
        self._stored_parts: set[bytes] | None = None

    # -- opening

    def open(self) -> list[Incident]:
        """Become the holder, read everything small, and notice what is missing: incidents, still to be written down."""
        try:
            self.token = self.engine.acquire(self.scope, self.holder)
        except OSError as error:
            # With a full disk a service has to come up all the same, to make itself safe.
            if error.errno not in NO_ROOM or not self.engine.relieve():
                raise
            self.token = self.engine.acquire(self.scope, self.holder)
        found = self._read_root()
        total = self._read_rows(found)
        if total != self.root.rows_sum and not found:
            found.append(
                Incident(
                    commit=self.root.commit,
                    effects=True,
                    text="rows are missing or were changed: their digests do not add up to what the head says",
                )
            )
        self.root.rows_sum = total
        self.damage.extend(incident.text for incident in found)
        return found

    def _read_root(self) -> list[Incident]:
        inside, outside = self.engine.read_head(self.scope), self.engine.read_witness(self.scope)
        found: list[Incident] = []
        try:
            self.root = Root.unpack(inside) if inside is not None else Root()
        except CorruptError as error:
            found.append(Incident(commit=0, effects=True, text=str(error)))
        witness = None
        try:
            if outside is not None:
                witness = Root.unpack(outside) if outside else Root()
        except CorruptError as error:
            self.damage.append(f"outside of the database: {error}")
        if witness is None:
            if self.engine.keeps_witness and self.root.commit:
                self.damage.append(
                    "nothing outside of the database says how far it had come, so a shortened log would not be noticed; "
                    "copy all files of a store, not the database alone"
                )
        elif self.root.commit < witness.commit or found:
            commits, records = witness.commit - self.root.commit, witness.records - self.root.records
            self.damaged_cuts.update((number, "it is missing") for number in range(self.root.cut + 1, witness.cut + 1))
            found = [
                Incident(
                    commit=witness.commit,
                    records=records if not found else None,
                    effects=True,
                    text=f"the end of the log is missing: {commits} commits with {records} records, "
                    f"and {witness.cut - self.root.cut} saved checkpoints that were acknowledged",
                )
            ]
            # Numbers go on behind the highest that was ever given out.
            self.root.commit, self.root.records, self.root.cut = witness.commit, witness.records, witness.cut
        elif outside and self.root.commit == witness.commit and inside != outside:
            found.append(Incident(commit=self.root.commit, effects=True, text="the two heads of the store differ"))
        return found

    def _read_rows(self, found: list[Incident]) -> int:
        total = 0
        headless: list[str] = []
        for kind in ROOT_KINDS:
            for row in self.rows(kind):
                assert row.body is not None
                digest = seal_digest(row.body)
                self.row_digests[kind, row.component, row.key] = digest
                total = add(total, digest)
                try:
                    self._take(row, unseal(kind, row.component, row.key, row.body))
                except CorruptError as error:
                    self._put_aside(row, error)
                    if kind == HEAD:
                        headless.append(row.component)
        # Last, when the saved checkpoints are known: they say where the journals go on.
        headless += {name for cut in self.cuts.values() for name in cut.parts} - set(self.heads)
        found.extend(self._rebuild_head(component) for component in sorted(set(headless)))
        return total

    def _take(self, row: Row, body: bytes) -> None:
        if row.kind == HEAD:
            self.heads[row.component] = Head.unpack(body)
        elif row.kind == CUT:
            self.cuts[int(row.key)] = Cut.unpack(body)
        elif row.kind == CONTROL:
            self.control[row.key] = body
        elif row.kind == INCIDENT:
            self.incidents[row.key] = Incident(**json.loads(body))

    def _put_aside(self, row: Row, error: CorruptError) -> None:
        assert row.body is not None
        name = "-".join(filter(None, (row.kind, row.component, row.key)))
        self.damage.append(f"{error}{self.quarantine(name, row.body)}")
        if row.kind == CUT and row.key.isdigit():
            self.damaged_cuts[int(row.key)] = str(error)

    def _rebuild_head(self, component: str) -> Incident:
        """A new head from what is still there: the newest saved checkpoint and the records behind it."""
        head = Head()
        start = 0
        for cut in reversed(self.cuts.values()):
            if (part := cut.parts.get(component)) is not None:
                head = Head(last=part.journal, chain=part.chain, lineage=part.lineage)
                head.base, head.base_chain, start = part.journal, part.chain, part.start
                break
        self.heads[component] = head
        for sequence, data in self.raw_records(component, after=head.last, start=start):
            head.last, head.chain = sequence, chain_of(data)
        head.keys, head.keys_sum = self.sum_rows(KEY, component)
        head.effects, head.effects_sum = self.sum_rows(EFFECT, component)
        return Incident(
            commit=self.root.commit,
            component=component,
            effects=True,
            text=f"the head of {component!r} was lost and made anew; records behind {head.last} would not be missed",
        )

    # -- reading

    def rows(self, kind: str, component: str | None = None) -> Iterator[Row]:
        """All rows of a kind, sealed, in order."""
        after: tuple[str, str] | None = None
        while True:
            page = self.engine.read_rows(self.scope, kind, component, after=after, limit=PAGE)
            yield from page
            if len(page) < PAGE:
                return
            after = (page[-1].component, page[-1].key)

    def sum_rows(self, kind: str, component: str) -> tuple[int, int]:
        count, total = 0, 0
        for row in self.rows(kind, component):
            assert row.body is not None
            count, total = count + 1, add(total, seal_digest(row.body))
        return count, total

    def raw_records(self, component: str, *, after: int, start: int) -> Iterator[tuple[int, bytes]]:
        """Sequences and packed entries behind *after*, unchecked."""
        while True:
            page = self.engine.read_records(self.scope, component, after=after, start=start, limit=PAGE)
            for position, record in page:
                yield record.sequence, record.body
                after, start = record.sequence, position + 1
            if len(page) < PAGE:
                return

    def start_of(self, component: str, sequence: int) -> int:
        """A position that no record of *component* behind *sequence* lies before."""
        starts = [
            part.start
            for cut in self.cuts.values()
            if (part := cut.parts.get(component)) is not None and part.journal <= sequence
        ]
        return max(starts, default=0)

    def read_part(self, digest: bytes) -> bytes:
        """A part that matches its digest: the first copy, or else the second; CorruptError when neither does."""
        try:
            return self.read_copy(digest)
        except CorruptError as error:
            try:
                body = self.read_copy(digest, second=True)
            except CorruptError:
                raise error from None
            if digest not in self.spoilt_parts:
                text = f"{error}; its second copy is good and was taken, and the next saved checkpoint with this state mends it"
                self.spoilt_parts[digest] = text
                self.untold.append(text)
            return body

    def read_copy(self, digest: bytes, *, second: bool = False) -> bytes:
        """One copy of a part; CorruptError when it is missing, or does not match *digest*."""
        name = name_second_copy(digest) if second else digest
        what = f"{'the second copy of ' if second else ''}part {digest.hex()[:16]}"
        body = self.engine.read_part(self.scope, name)
        if body is None:
            raise CorruptError(f"{what} is missing")
        if digest_part(body) != digest:
            self.good_parts.discard(name)
            where = self.quarantine(f"part-{name.hex()}", body)
            raise CorruptError(f"{what} is damaged: its digest does not match{where}")
        self.good_parts.add(name)
        return body

    def copies(self, digest: bytes) -> Iterator[bool]:
        """The copies that there should be of a part, as `read_copy` takes them for *second*."""
        yield False
        if name_second_copy(digest) in self.stored_parts():
            yield True

    def stored_parts(self) -> set[bytes]:
        """The digests of all parts, and the names of second copies, whole or not: one look instead of one for each part of each cut."""
        if self._stored_parts is None:
            self._stored_parts = set(self.engine.list_parts(self.scope))
        return self._stored_parts

    def note_parts(self, added: Iterable[bytes], removed: Iterable[bytes]) -> None:
        """They came and went.  Reads nothing: what was committed is not to fail any more."""
        if self._stored_parts is not None:
            self._stored_parts.update(added)
            self._stored_parts.difference_update(removed)

    def quarantine(self, name: str, body: bytes) -> str:
        """Put damaged bytes aside; where they are, to end a message with."""
        try:
            where = self.engine.quarantine(self.scope, name, body)
        except OSError as error:  # they stay where they are, and recovery goes on without a copy
            return f"; no copy could be made ({error})"
        return f"; a copy is in {where}" if where else ""

    def find_head(self, component: str) -> Head | None:
        """Where *component* stands; None when nothing of it was ever written.

        Raises:
            CorruptError: nothing is there, but something is missing that may have been it.
        """
        head = self.heads.get(component)
        if head is None and self.missing_from(component):
            raise CorruptError(
                f"nothing of {component!r} is in the store, but acknowledged data is missing from it: {self.missing_from(component)[0]}"
            )
        return head

    def missing_from(self, component: str, since: int = 0) -> list[str]:
        """What is missing and may concern *component*, of commits later than *since*."""
        return [
            incident.text
            for incident in self.incidents.values()
            if incident.concerns(component) and incident.commit >= since and incident.records != 0
        ]

    def usable_cuts(self, component: str, *, unfit: bool = False) -> Iterator[Cut]:
        """Saved checkpoints with a part of *component*, newest first, without those that a rewind made void.

        With *unfit* also those in which it violates an invariant, or is in quarantine.
        """
        head = self.heads.get(component)
        lineage = head.lineage if head is not None else ()
        for number in sorted(self.cuts, reverse=True):
            cut = self.cuts[number]
            if component not in cut.parts or any(void.voids_cut(number) for void in lineage):
                continue
            if unfit or self.unfitness(cut, component) is None:
                yield cut

    def unfitness(self, cut: Cut, component: str) -> str | None:
        """Why no restore takes *component* from *cut* unless it names it; None where it may be taken."""
        violation = cut.violations.get(component)
        if violation is not None:
            return f"it violates an invariant: {violation}"
        verdict = verdict_on(self.control, cut, component)
        return f"it is in quarantine: {verdict.why}" if verdict is not None else None

    def quarantined(self, cut: Cut) -> dict[str, str]:
        """The components whose state in *cut* is in quarantine, with the reason."""
        verdicts = ((component, verdict_on(self.control, cut, component)) for component in sorted(cut.parts))
        return {component: verdict.why for component, verdict in verdicts if verdict is not None}

    def info(self, cut: Cut) -> CheckpointInfo:
        """The public view of *cut*, with what is known about it now."""
        return attrs.evolve(cut.info(), quarantined=self.quarantined(cut))

    # -- keys and effects

    def check_rows(self, component: str) -> Iterator[None]:
        """Make sure, once, that no key and no effect of *component* is damaged or has vanished; a step for each page.

        What is absent decides what is done, and a database does not notice that a row is no longer found.
        """
        head = self.heads.get(component, Head())
        whole = []
        for kind, expected in ((KEY, (head.keys, head.keys_sum)), (EFFECT, (head.effects, head.effects_sum))):
            count = total = bad = 0
            for row in self.rows(kind, component):
                assert row.body is not None
                count, total = count + 1, add(total, seal_digest(row.body))
                try:
                    unseal(kind, component, row.key, row.body)
                except CorruptError:
                    bad += 1
                else:
                    # A damaged neighbour can lead a search astray that reading in order does not notice.
                    bad += self.engine.read_row(self.scope, kind, component, row.key) != row.body
                if count % PAGE == 0:
                    yield
            whole.append(not bad and (count, total) == expected)
            yield
        self.checked_rows[component] = state = RowState(*whole)
        if not state.keys:
            self.damage.append(f"keys of {component!r} are damaged or missing; they are made anew from its journal")
        if not state.effects:
            self.damage.append(
                f"effects of {component!r} are damaged or missing: one that is absent counts as begun and not confirmed"
            )

    def row_state(self, component: str) -> "RowState":
        """What `check_rows` found; all of it now, if it was not done before."""
        if component not in self.checked_rows:
            for _ in self.check_rows(component):
                pass
        return self.checked_rows[component]

    def doubts_effects(self, component: str) -> bool:
        """True if an effect that is absent may have been there."""
        lost = any(incident.effects and incident.concerns(component) for incident in self.incidents.values())
        return lost or not self.row_state(component).effects


@attrs.frozen
class RowState:
    """Whether the keys and the effects of a component are all there."""

    keys: bool = True
    effects: bool = True


def is_void(lineage: tuple[Lineage, ...], sequence: int) -> bool:
    """True if a rewind made that record void."""
    return any(void.voids_record(sequence) for void in lineage)
