# SPDX-License-Identifier: Apache-2.0
"""Audit events: appended, never changed. Each hub counts its own events from 1 and chains their hashes.

The hub gives `id`, `seq` and the hashes before the row is sent, so appending the same rows again after an
unknown commit outcome changes nothing (threat I3), and a gap or a fork of the chain cannot enter unnoticed:
the pair (`hub_id`, `seq`) is unique, and a different event under a taken `seq` is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import select, tuple_

from mezite.storage.rows import all_rows, first_row, insert_ignoring
from mezite.storage.schema import audit_events as events

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "AuditEventRow",
    "AuditPosition",
    "AuditQuery",
    "ChainHead",
    "append_many",
    "get",
    "iterate",
    "last",
    "list_hubs",
    "page_of_hub",
    "query",
]


@attrs.frozen(kw_only=True)
class AuditEventRow:
    """One event. `timestamp` in ms.

    `json` is the whole event as it was hashed, the other fields are for searching.
    """

    id: str
    hub_id: str
    seq: int
    event_type: str
    timestamp: int
    json: str
    prev_hash: str
    hash: str
    user_name: str | None = None
    resource_type: str | None = None
    resource_name: str | None = None
    session_id: str | None = None
    success: bool = True


@attrs.frozen
class ChainHead:
    """The last event of a hub's chain: the next one has `seq + 1` and `prev_hash` = `hash`."""

    seq: int
    hash: str


@attrs.frozen
class AuditPosition:
    """Where the next page of a query goes on: strictly older than this event."""

    timestamp: int
    id: str


@attrs.frozen(kw_only=True)
class AuditQuery:
    """What to look for; an empty or None field matches everything. Times in ms."""

    event_types: tuple[str, ...] = ()
    user_name: str | None = None
    resource_name: str | None = None
    session_id: str | None = None
    since: int | None = None
    """Inclusive."""
    until: int | None = None
    """Exclusive."""
    before: AuditPosition | None = None
    limit: int = 100


def append_many(conn: Connection, *, rows: Sequence[AuditEventRow]) -> int:
    """Append in one transaction; how many were new. Rows whose id is stored already are ignored.

    A `seq` taken by another id raises ConstraintError (at the transaction) and appends nothing.
    """
    if not rows:
        return 0
    statement = insert_ignoring(conn, events, conflict=("id",))
    values = [attrs.asdict(row) for row in rows]
    return conn.execute(statement, values, execution_options={"preserve_rowcount": True}).rowcount


def last(conn: Connection, *, hub_id: str) -> ChainHead | None:
    """The head of the hub's chain, or None when it has no events."""
    statement = select(events.c.seq, events.c.hash).where(events.c.hub_id == hub_id)
    return first_row(ChainHead, conn.execute(statement.order_by(events.c.seq.desc()).limit(1)))


def get(conn: Connection, *, event_id: str) -> AuditEventRow | None:
    """By id, or None."""
    return first_row(AuditEventRow, conn.execute(select(events).where(events.c.id == event_id)))


def query(conn: Connection, *, wanted: AuditQuery) -> list[AuditEventRow]:
    """Up to `wanted.limit` matching events, newest first (equal times: by id)."""
    statement = select(events)
    if wanted.event_types:
        statement = statement.where(events.c.event_type.in_(wanted.event_types))
    for column in ("user_name", "resource_name", "session_id"):
        value = getattr(wanted, column)
        if value is not None:
            statement = statement.where(events.c[column] == value)
    if wanted.since is not None:
        statement = statement.where(events.c.timestamp >= wanted.since)
    if wanted.until is not None:
        statement = statement.where(events.c.timestamp < wanted.until)
    if wanted.before is not None:
        position = tuple_(events.c.timestamp, events.c.id)
        statement = statement.where(position < (wanted.before.timestamp, wanted.before.id))
    statement = statement.order_by(events.c.timestamp.desc(), events.c.id.desc()).limit(wanted.limit)
    return all_rows(AuditEventRow, conn.execute(statement))


def list_hubs(conn: Connection) -> list[str]:
    """Every hub that has ever appended an event."""
    return list(conn.execute(select(events.c.hub_id).distinct().order_by(events.c.hub_id)).scalars())


def page_of_hub(
    conn: Connection, *, hub_id: str, after_seq: int = 0, limit: int = 500
) -> list[AuditEventRow]:
    """Up to `limit` events of the hub in the order of its chain, from the first above `after_seq`.

    Safe to poll (threat I4): a hub appends its events in order, each transaction after the one before has
    ended, so nothing ever appears below a `seq` that was seen.
    """
    statement = select(events).where(events.c.hub_id == hub_id, events.c.seq > after_seq)
    return all_rows(AuditEventRow, conn.execute(statement.order_by(events.c.seq).limit(limit)))


def iterate(conn: Connection, *, hub_id: str, after_seq: int = 0, page: int = 500) -> Iterator[AuditEventRow]:
    """Every event of the hub in the order of its chain, `page` rows in memory at a time.

    Only inside the function that read() runs: the generator must not outlive its transaction.
    """
    while rows := page_of_hub(conn, hub_id=hub_id, after_seq=after_seq, limit=page):
        yield from rows
        after_seq = rows[-1].seq
