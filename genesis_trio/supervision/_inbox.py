"""A child's mailboxes as bytes: the part of a saved checkpoint that holds what was under way."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import Any

import attrs

from genesis_trio.errors import CorruptError, SchemaError
from genesis_trio.messaging.mailbox import Entry, Mailbox
from genesis_trio.messaging.topic import Topic
from genesis_trio.supervision._recorded import Recorded

__all__ = [
    "ProvedMessages",
    "SavedMailbox",
    "decode_entries",
    "decode_inbox",
    "encode_inbox",
    "merge_inboxes",
    "restore_mailbox",
    "without_message",
]


@attrs.frozen
class SavedMailbox:
    """One mailbox as it was saved; the messages stay encoded until somebody subscribes again."""

    settled: int
    next_position: int
    #: Of each message: position, topic, origin, the message as JSON text, and as what it was saved: the fields of a `SchemaInfo`.
    entries: list[list[Any]]
    #: By the origins of messages, what was recorded for them already, see `Recorded`.
    recorded: Mapping[str, Sequence[int]] = attrs.Factory(dict)

    def as_json(self) -> dict[str, Any]:
        """What it was saved as stands beside the messages, and in each of them only its place there."""
        places: dict[tuple[Any, ...], int] = {}
        entries = []
        last, place = None, 0
        for position, topic, origin, text, schema in self.entries:
            if schema is not last:
                last, place = schema, places.setdefault(schema, len(places))
            entries.append((position, topic, origin, text, place))
        box = {"settled": self.settled, "next": self.next_position, "entries": entries, "schemas": list(places)}
        if self.recorded:
            box["recorded"] = self.recorded
        return box

    @classmethod
    def from_json(cls, box: Mapping[str, Any]) -> "SavedMailbox":
        schemas = [tuple(schema) for schema in box["schemas"]]
        entries = [[*entry[:-1], schemas[entry[-1]]] for entry in box["entries"]]
        return cls(box["settled"], box["next"], entries, box.get("recorded", {}))

    def up_to(self, settled: int) -> "SavedMailbox":
        """The same for a state that includes the messages up to *settled*."""
        entries = [entry for entry in self.entries if entry[0] > settled]
        recorded = {entry[2]: self.recorded[entry[2]] for entry in entries if entry[2] in self.recorded}
        return SavedMailbox(settled, self.next_position, entries, recorded)

    def knowing(self, recorded: Recorded) -> "SavedMailbox":
        """The same with what was *recorded* by now."""
        found = {entry[2]: recorded.of(entry[2]) for entry in self.entries}
        return attrs.evolve(self, recorded={origin: sequences for origin, sequences in found.items() if sequences})

    def merged(self, newer: "SavedMailbox") -> "SavedMailbox":
        """For the state of this one: its own messages, and those that came after it, as far as *newer* has them."""
        entries = {entry[0]: entry for entry in (*self.entries, *newer.entries)}
        return SavedMailbox(
            self.settled,
            max(self.next_position, newer.next_position),
            [entries[position] for position in sorted(entries)],
            {
                origin: [max(pair) for pair in zip_longest(self.recorded.get(origin, ()), sequences, fillvalue=0)]
                for origin, sequences in {**self.recorded, **newer.recorded}.items()
            },
        )


class ProvedMessages:
    """What waited at the last cut, and so was structured back: by its bytes, since a message may be changed while it waits.

    What could not be saved of it was told then, and is not told again for as long as that is so.
    """

    __slots__ = ("_before", "_left_out", "_now", "_told")

    def __init__(self) -> None:
        # By themselves: so the bytes of the first cut are the ones that stay, and those of each later one are let go at once.
        self._before: dict[type, dict[bytes, tuple[bytes, SchemaError | None]]] = {}
        self._now: dict[type, dict[bytes, tuple[bytes, SchemaError | None]]] = {}
        self._told: set[tuple[str, str, str]] = set()
        self._left_out: set[tuple[str, str, str]] = set()

    def begin_cut(self) -> None:
        """What does not wait at this cut either is forgotten."""
        self._before, self._now = self._now, {}
        self._left_out = set()

    def end_cut(self) -> None:
        """It was taken, and all that it leaves out was told."""
        self._told = self._left_out

    def prove(self, body: bytes, message_type: type) -> None:
        """Make sure that *body* can be read back; SchemaError if not."""
        before = self._before.get(message_type)
        known = None if before is None else before.get(body)
        if known is None:
            from genesis_trio.persistence.codec import decode

            try:
                decode(body, message_type)
            except SchemaError as error:
                known = body, error
            else:
                known = body, None
        now = self._now.get(message_type)
        if now is None:
            now = self._now[message_type] = {}
        now[known[0]] = known
        if known[1] is not None:
            raise known[1].with_traceback(None)  # or each cut would add to it

    def leaves_out(self, mailbox: Mailbox, entry: Entry) -> bool:
        """*entry* is not in this cut; True if that is news."""
        message = mailbox.owner, mailbox.key, entry.origin
        self._left_out.add(message)
        return message not in self._told


def encode_inbox(
    mailboxes: Iterable[Mailbox],
    positions: Mapping[str, int],
    unopened: Mapping[str, SavedMailbox],
    recorded: Recorded | None,
    proved: ProvedMessages,
    left_out: Callable[[SchemaError, bool], None],
) -> bytes | None:
    """The mailboxes that keep everything, from the given *positions* on, and those nobody has opened yet.

    A message that cannot be saved, or not be read back, is left out: one price that is no number must not keep a whole tree
    from being saved.  *left_out* is called once per mailbox, with the reason and whether one was not told of before; it may raise it.
    """
    from genesis_trio.persistence.codec import describe, encode

    schemas: dict[type, tuple[Any, ...]] = {}
    found = {key: saved.up_to(positions.get(key, saved.settled)) for key, saved in unopened.items()}
    for mailbox in mailboxes:
        if mailbox.keeps_handled:
            settled = positions.get(mailbox.key, 0)
            entries: list[list[Any]] = []
            bad: list[tuple[Entry, SchemaError]] = []
            for entry in mailbox.entries_after(settled):
                message_type = entry.topic.message_type
                try:
                    schema = schemas.get(message_type)
                    if schema is None:
                        schema = schemas[message_type] = attrs.astuple(describe(message_type))
                    body = encode(entry.message, message_type)
                    proved.prove(body, message_type)
                except SchemaError as error:
                    bad.append((entry, error))
                else:
                    entries.append([entry.position, entry.topic.name, entry.origin, body.decode(), schema])
            if bad:
                news = [each for each in bad if proved.leaves_out(mailbox, each[0])]
                left_out(_why_left_out(mailbox, news or bad), bool(news))
            found[mailbox.key] = SavedMailbox(settled, mailbox.next_position, entries)
    if recorded:
        found = {key: box.knowing(recorded) for key, box in found.items()}
    return _pack(found) if found else None


def _pack(boxes: Mapping[str, SavedMailbox]) -> bytes:
    found = {key: box.as_json() for key, box in boxes.items()}
    return json.dumps(found, separators=(",", ":"), sort_keys=True).encode()


def without_message(body: bytes, key: str, position: int) -> bytes:
    """The mailboxes in *body* without one message of that with this *key*: it counts as one that was left out of the cut."""
    boxes = decode_inbox(body)
    entries = [entry for entry in boxes[key].entries if entry[0] != position]
    boxes[key] = attrs.evolve(boxes[key], entries=entries)
    return _pack(boxes)


def _why_left_out(mailbox: Mailbox, bad: list[tuple[Entry, SchemaError]]) -> SchemaError:
    entry, error = bad[0]
    more = f", and {len(bad) - 1} more" if len(bad) > 1 else ""
    return SchemaError(
        f"a message on topic {entry.topic.name!r} in the mailbox of {mailbox.owner!r}, sent as {entry.origin!r}{more}: {error}"
    )


def decode_inbox(body: bytes | None) -> dict[str, SavedMailbox]:
    """The mailboxes in *body* by their keys."""
    if body is None:
        return {}
    return {key: SavedMailbox.from_json(box) for key, box in json.loads(body).items()}


def merge_inboxes(
    older: Mapping[str, SavedMailbox], newer: Mapping[str, SavedMailbox]
) -> tuple[dict[str, SavedMailbox], int]:
    """The mailboxes for an older state, and how many messages that it does not include are in neither of them."""
    merged = {}
    gone = 0
    for key in sorted({*older, *newer}):
        mine = older.get(key, SavedMailbox(0, 0, []))
        merged[key] = mine.merged(newer[key]) if key in newer else mine
        if key in newer:
            there = sum(1 for entry in merged[key].entries if mine.settled < entry[0] <= newer[key].settled)
            gone += max(0, newer[key].settled - mine.settled) - there
    return merged, gone


def restore_mailbox(mailbox: Mailbox, saved: SavedMailbox) -> None:
    """Fill a new *mailbox* with what was saved of it."""
    mailbox.restore(decode_entries(mailbox, saved), settled=saved.settled, next_position=saved.next_position)


def decode_entries(mailbox: Mailbox, saved: SavedMailbox) -> list[Entry]:
    """The messages in *saved*, which is of *mailbox*, as states are: those of an older version of their class are migrated.

    Raises:
        SchemaError: one of them cannot be read by this code, which says where it waits and what to do.
    """
    from genesis_trio.persistence.codec import SchemaInfo, upgrading_reader

    readers: dict[tuple[str, Any], Callable[[bytes], Any]] = {}
    topics: dict[str, Topic[Any]] = {topic.name: topic for topic in mailbox.topics}
    entries = []
    for position, name, origin, text, schema in saved.entries:
        topic = topics.get(name)
        if topic is None:
            raise CorruptError(
                f"the saved mailbox {mailbox.key!r} of {mailbox.owner!r} holds a message of topic {name!r}, which is not its own"
            )
        try:
            reader = readers.get((name, schema))
            if reader is None:
                reader = readers[name, schema] = upgrading_reader(SchemaInfo(*schema), topic.message_type)
            message = reader(text.encode())
        except SchemaError as error:
            raise SchemaError(
                f"a saved message on topic {name!r} in the mailbox of {mailbox.owner!r}, sent as {origin!r}: {error}; it stays "
                f"saved: let its class read it again, give the class a new version and a migration, or take it out with `genesis messages drop`"
            ) from error
        entries.append(Entry(position, topic, message, origin, 0))
    return entries
