# SPDX-License-Identifier: Apache-2.0
"""SSH sessions on nodes: who ran what where, and when it ended. A session ends once.

Later ends change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import func, select, update

from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import NodeSessionKind
from mezite.storage.schema import node_sessions as sessions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

__all__ = [
    "NewNodeSession",
    "NodeSessionKind",
    "NodeSessionOutcome",
    "NodeSessionRow",
    "end",
    "end_all_of_connection",
    "end_all_of_hub",
    "get",
    "list_live",
    "list_ordered",
    "list_recent",
    "order_end",
    "start",
]


@attrs.frozen(kw_only=True)
class NewNodeSession:
    """A session that starts. `connection_id` is shared by the sessions of one SSH connection."""

    session_id: str
    connection_id: str
    hub_id: str
    agent_id: str
    node_name: str
    user_name: str
    login: str
    kind: NodeSessionKind
    client_ip: str


@attrs.frozen(kw_only=True)
class NodeSessionRow(NewNodeSession):
    """One session. Times in ms.

    `exit_status` is None when the command did not report one (killed, cut off).
    """

    started_at: int
    ended_at: int | None
    exit_status: int | None
    bytes_from_user: int
    bytes_to_user: int
    kill_by: str | None = None
    """Who has ordered that it end; None: nobody."""
    kill_reason: str | None = None


@attrs.frozen(kw_only=True)
class NodeSessionOutcome:
    """How a session ended."""

    exit_status: int | None = None
    bytes_from_user: int = 0
    bytes_to_user: int = 0


def start(conn: Connection, *, session: NewNodeSession, now: int) -> NodeSessionRow:
    """Insert; AlreadyExistsError when the id is taken."""
    row = insert_if_absent(conn, sessions, attrs.asdict(session) | {"started_at": now})
    if row is None:
        raise AlreadyExistsError("session", session.session_id)
    return NodeSessionRow(**row._mapping)


def end(conn: Connection, *, session_id: str, outcome: NodeSessionOutcome, now: int) -> NodeSessionRow | None:
    """End it; the row, or None when it is unknown or has ended before."""
    statement = (
        update(sessions)
        .where(sessions.c.session_id == session_id, sessions.c.ended_at.is_(None))
        .values(ended_at=now, **attrs.asdict(outcome))
        .returning(*sessions.c)
    )
    return first_row(NodeSessionRow, conn.execute(statement))


def end_all_of_connection(conn: Connection, *, connection_id: str, now: int) -> list[NodeSessionRow]:
    """End what is live on this connection, without exit status; the rows that this call has ended."""
    return _end_where(conn, sessions.c.connection_id == connection_id, now)


def end_all_of_hub(conn: Connection, *, hub_id: str, now: int) -> list[NodeSessionRow]:
    """End what is live on this hub, at its start: what a crash has left behind.

    The rows that this call has ended.
    """
    return _end_where(conn, sessions.c.hub_id == hub_id, now)


def get(conn: Connection, *, session_id: str) -> NodeSessionRow | None:
    """The session, or None."""
    return first_row(
        NodeSessionRow, conn.execute(select(sessions).where(sessions.c.session_id == session_id))
    )


def order_end(conn: Connection, *, session_id: str, by: str, reason: str) -> NodeSessionRow | None:
    """Order that a live session be ended by the hub that has it, and let every hub know.

    The row, or None when it is unknown or has ended. A second order changes nothing.
    """
    first = func.coalesce(sessions.c.kill_reason, reason)
    statement = (
        update(sessions)
        .where(sessions.c.session_id == session_id, sessions.c.ended_at.is_(None))
        .values(kill_by=func.coalesce(sessions.c.kill_by, by), kill_reason=first)
        .returning(*sessions.c)
    )
    ordered = first_row(NodeSessionRow, conn.execute(statement))
    if ordered is not None:
        access_changes.note(conn, AccessChange.ORDERS)
    return ordered


def list_ordered(conn: Connection, *, hub_id: str) -> list[NodeSessionRow]:
    """Live sessions of this hub that somebody has ordered to end."""
    statement = select(sessions).where(
        sessions.c.hub_id == hub_id, sessions.c.ended_at.is_(None), sessions.c.kill_by.is_not(None)
    )
    return all_rows(NodeSessionRow, conn.execute(statement))


def list_live(conn: Connection) -> list[NodeSessionRow]:
    """Sessions that have not ended, newest first."""
    statement = select(sessions).where(sessions.c.ended_at.is_(None))
    return all_rows(NodeSessionRow, conn.execute(_newest_first(statement)))


def list_recent(conn: Connection, *, limit: int = 100) -> list[NodeSessionRow]:
    """The last `limit` sessions, live or ended, newest first."""
    return all_rows(NodeSessionRow, conn.execute(_newest_first(select(sessions)).limit(limit)))


def _newest_first(statement: Select[tuple[object, ...]]) -> Select[tuple[object, ...]]:
    return statement.order_by(sessions.c.started_at.desc(), sessions.c.session_id.desc())


def _end_where(conn: Connection, which: ColumnElement[bool], now: int) -> list[NodeSessionRow]:
    statement = (
        update(sessions)
        .where(which, sessions.c.ended_at.is_(None))
        .values(ended_at=now)
        .returning(*sessions.c)
    )
    return all_rows(NodeSessionRow, conn.execute(statement))
