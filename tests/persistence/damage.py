"""Ways to damage a store behind its back."""

import attrs

from genesis_trio.persistence._envelope import name_second_copy
from genesis_trio.persistence.engine import Batch
from genesis_trio.persistence.engines.sqlite import SqliteEngine

SCOPE = "main"


def flip(data):
    """*data* with a bit in its middle flipped."""
    damaged = bytearray(data)
    damaged[len(damaged) // 2] ^= 1
    return bytes(damaged)


def damage_part(store, digest):
    """Flip a bit of one copy of a part."""
    engine = store._ledger.engine
    parts = {digest: flip(engine.read_part(SCOPE, digest))}
    engine.commit_cut(SCOPE, store._ledger.token, parts, Batch(engine.read_head(SCOPE)))
    store._ledger.good_parts.clear()  # as another process would find it


def damage_newest(store, component, count=1):
    """Flip a bit in each copy of the newest parts of *component*."""
    digests = {store._ledger.cuts[number].parts[component].digest for number in sorted(store._ledger.cuts)[-count:]}
    for digest in digests:
        for name in {digest, name_second_copy(digest)} & set(store._ledger.engine.list_parts(SCOPE)):
            damage_part(store, name)


def rewrite_row(store, kind, component, key, change=flip):
    """Replace the bytes of a row; remove it when *change* gives None."""
    engine = store._ledger.engine
    row = next(row for row in engine.read_rows(SCOPE, kind, component) if row.key == key)
    row = attrs.evolve(row, body=change(row.body))
    engine.append(SCOPE, store._ledger.token, Batch(engine.read_head(SCOPE), rows=[row]))


def rewrite_record(store, component, sequence, change=flip):
    """Replace the bytes of a record; remove it when *change* gives None."""
    engine = store._ledger.engine
    (found,) = [record for _, record in engine.read_records(SCOPE, component) if record.sequence == sequence]
    body = change(found.body)
    if isinstance(engine, SqliteEngine):
        where = "component = ? and sequence = ?"
        if body is None:
            engine._db.execute(f"delete from journal where {where}", (component, sequence))
        else:
            engine._db.execute(f"update journal set body = ? where {where}", (body, component, sequence))
    else:
        journal = engine._scope(SCOPE).journal[component]
        (index,) = [index for index, (_, record) in enumerate(journal) if record.sequence == sequence]
        if body is None:
            del journal[index]
        else:
            journal[index] = (journal[index][0], attrs.evolve(found, body=body))


def remove(body):
    """A *change* that takes the thing away."""
    return
