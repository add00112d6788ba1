# SPDX-License-Identifier: Apache-2.0
import hashlib

import attrs
import pytest
import trio

from mezite.storage import audit_events
from mezite.storage.audit_events import AuditEventRow, AuditPosition, AuditQuery, ChainHead
from mezite.storage.database import Database
from mezite.storage.errors import ConstraintError

NOW = 1_790_000_000_000


def event(seq, hub_id="hub-1", **changes):
    row = AuditEventRow(
        id=f"{hub_id}-{seq:06}",
        hub_id=hub_id,
        seq=seq,
        event_type="user.login",
        timestamp=NOW + seq,
        json=f'{{"seq":{seq},"text":"ü\\u0000"}}',
        prev_hash=hashlib.sha256(b"%d" % (seq - 1)).hexdigest(),
        hash=hashlib.sha256(b"%d" % seq).hexdigest(),
        user_name="alice",
        resource_type="node",
        resource_name="web-1",
        session_id=None,
        success=True,
    )
    return attrs.evolve(row, **changes)


def chain(first, last, hub_id="hub-1"):
    return [event(seq, hub_id) for seq in range(first, last + 1)]


async def ids(db, **wanted):
    return [row.id for row in await db.read(audit_events.query, wanted=AuditQuery(**wanted))]


async def test_appended_events_are_read_back_as_they_were(db):
    assert await db.write(audit_events.append_many, rows=chain(1, 3)) == 3
    assert await db.read(audit_events.page_of_hub, hub_id="hub-1") == chain(1, 3)
    assert await db.read(audit_events.get, event_id="hub-1-000002") == event(2)
    assert await db.read(audit_events.get, event_id="nothing") is None
    assert await db.write(audit_events.append_many, rows=[]) == 0


async def test_the_head_of_each_hubs_chain(db):
    assert await db.read(audit_events.last, hub_id="hub-1") is None
    await db.write(audit_events.append_many, rows=chain(1, 12))
    await db.write(audit_events.append_many, rows=chain(1, 2, "hub-2"))
    assert await db.read(audit_events.last, hub_id="hub-1") == ChainHead(12, event(12).hash)
    assert await db.read(audit_events.last, hub_id="hub-2") == ChainHead(2, event(2).hash)
    assert await db.read(audit_events.list_hubs) == ["hub-1", "hub-2"]


async def test_appending_again_after_an_unknown_outcome_changes_nothing_i3(db):
    await db.write(audit_events.append_many, rows=chain(1, 3))
    assert await db.write(audit_events.append_many, rows=chain(1, 5)) == 2
    assert await db.write(audit_events.append_many, rows=chain(1, 5)) == 0
    assert await db.read(audit_events.page_of_hub, hub_id="hub-1") == chain(1, 5)


async def test_a_fork_of_the_chain_is_refused_whole_h5(db):
    await db.write(audit_events.append_many, rows=chain(1, 3))
    with pytest.raises(ConstraintError):
        await db.write(audit_events.append_many, rows=[event(4), event(3, id="forged")])
    assert await db.read(audit_events.page_of_hub, hub_id="hub-1") == chain(1, 3)


async def test_two_hubs_that_use_one_id_by_mistake_cannot_both_append_h5(db, database_url):
    outcomes = []

    async def append(number):
        try:
            async with await Database.open(database_url) as hub:
                await hub.write(audit_events.append_many, rows=[event(1, id=f"e-{number}")])
            outcomes.append("stored")
        except ConstraintError:
            outcomes.append("refused")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(append, 1)
        nursery.start_soon(append, 2)
    assert sorted(outcomes) == ["refused", "stored"]


async def test_a_query_is_newest_first_and_pages(db):
    rows = [*chain(1, 5), event(6, timestamp=NOW + 5), event(7, timestamp=NOW + 5)]
    await db.write(audit_events.append_many, rows=rows)
    everything = await ids(db)
    assert everything == [f"hub-1-{seq:06}" for seq in (7, 6, 5, 4, 3, 2, 1)]
    paged, position = [], None
    while page := await db.read(audit_events.query, wanted=AuditQuery(before=position, limit=2)):
        paged.extend(row.id for row in page)
        position = AuditPosition(page[-1].timestamp, page[-1].id)
    assert paged == everything


async def test_a_query_by_each_field(db):
    rows = [
        event(1),
        event(2, user_name="bob"),
        event(3, event_type="session.start", session_id="s-1"),
        event(4, event_type="session.end", session_id="s-1", resource_name="db-1"),
        event(5, user_name=None, resource_name=None, success=False),
    ]
    await db.write(audit_events.append_many, rows=rows)
    names = {row.id: row.seq for row in rows}

    async def found(**wanted):
        return {names[one] for one in await ids(db, **wanted)}

    assert await found(event_types=("session.start", "session.end")) == {3, 4}
    assert await found(user_name="bob") == {2}
    assert await found(resource_name="db-1") == {4}
    assert await found(session_id="s-1") == {3, 4}
    assert await found(since=NOW + 2, until=NOW + 4) == {2, 3}
    assert await found(user_name="alice", event_types=("user.login",)) == {1}
    assert await found(user_name="' OR 1=1 --") == set()


async def test_polling_by_position_sees_each_event_once_i4(db):
    """A reader that polls while the hub appends skips and repeats nothing."""
    seen, total = [], 60

    async def hub():
        for first in range(1, total, 6):
            await db.write(audit_events.append_many, rows=chain(first, first + 5))

    async def poll():
        position = 0
        while position < total:
            page = await db.read(audit_events.page_of_hub, hub_id="hub-1", after_seq=position, limit=7)
            seen.extend(row.seq for row in page)
            position = seen[-1] if seen else 0

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub)
        nursery.start_soon(poll)
    assert seen == list(range(1, total + 1))


async def test_iterating_in_small_pages(db):
    await db.write(audit_events.append_many, rows=chain(1, 10))
    await db.write(audit_events.append_many, rows=chain(1, 2, "hub-2"))

    def collect(conn, after_seq):
        return [row.seq for row in audit_events.iterate(conn, hub_id="hub-1", after_seq=after_seq, page=3)]

    assert await db.read(collect, 0) == list(range(1, 11))
    assert await db.read(collect, 8) == [9, 10]
    assert await db.read(collect, 10) == []
