# SPDX-License-Identifier: Apache-2.0
"""Web and API sessions: 256-bit secrets in the user's hands, SHA-256 of them here (threat E11)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete, select, update

from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import WebSessionKind
from mezite.storage.schema import web_sessions as sessions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "WebSessionKind",
    "WebSessionRow",
    "delete_stale",
    "get",
    "get_live",
    "get_live_by_prefix",
    "insert",
    "list_live",
    "note_factor",
    "revoke",
    "revoke_of_user",
]


MAX_LIVE = 1000
"""Of one user. A script that logs in every minute has 720 at a time, for each lasts twelve hours; more are made by one
that has gone mad, or by somebody who fills the table."""


@attrs.frozen(kw_only=True)
class WebSessionRow:
    """One session; `token_hash` is SHA-256 in hex, times in ms."""

    token_hash: str
    user_name: str
    kind: WebSessionKind
    created_at: int
    expires_at: int
    client_ip: str
    revoked_at: int | None = None
    factor_at: int | None = None
    """When a second factor was last shown in it."""


def insert(conn: Connection, *, session: WebSessionRow) -> WebSessionRow:
    """Insert; the user's oldest sessions make room where there are too many.

    AlreadyExistsError when the hash is known, ConstraintError (at the transaction) without such a user.
    """
    require_token_hash(session.token_hash)
    live = list_live(conn, user_name=session.user_name, now=session.created_at, skip=MAX_LIVE - 1)
    for old in live:
        revoke(conn, token_hash=old.token_hash, now=session.created_at)
    row = insert_if_absent(conn, sessions, attrs.asdict(session))
    if row is None:
        raise AlreadyExistsError("session", session.token_hash[:8])
    return WebSessionRow(**row._mapping)


def get(conn: Connection, *, token_hash: str) -> WebSessionRow | None:
    """The session in any state, or None."""
    return first_row(WebSessionRow, conn.execute(select(sessions).where(sessions.c.token_hash == token_hash)))


def get_live(conn: Connection, *, token_hash: str, now: int) -> WebSessionRow | None:
    """The session if it is neither revoked nor expired at `now`, else None."""
    statement = select(sessions).where(sessions.c.token_hash == token_hash, *_live(now))
    return first_row(WebSessionRow, conn.execute(statement))


def get_live_by_prefix(conn: Connection, *, prefix: str, now: int) -> WebSessionRow | None:
    """The live session whose stored hash begins so; None also when there are several."""
    statement = select(sessions).where(sessions.c.token_hash.startswith(prefix, autoescape=True), *_live(now))
    found = all_rows(WebSessionRow, conn.execute(statement.limit(2)))
    return found[0] if len(found) == 1 else None


def list_live(
    conn: Connection, *, user_name: str | None = None, now: int, skip: int = 0
) -> list[WebSessionRow]:
    """Sessions of one user or of all that are neither revoked nor expired, newest first, without the first `skip`."""
    statement = select(sessions).where(*_live(now))
    if user_name is not None:
        statement = statement.where(sessions.c.user_name == user_name)
    statement = statement.order_by(sessions.c.created_at.desc(), sessions.c.token_hash).offset(skip)
    return all_rows(WebSessionRow, conn.execute(statement))


def note_factor(conn: Connection, *, token_hash: str, now: int) -> bool:
    """Remember that a second factor was shown in it now; False when unknown."""
    statement = update(sessions).where(sessions.c.token_hash == token_hash).values(factor_at=now)
    return conn.execute(statement).rowcount == 1


def revoke(conn: Connection, *, token_hash: str, now: int) -> bool:
    """Revoke; False when unknown or revoked before."""
    statement = update(sessions).where(sessions.c.token_hash == token_hash, sessions.c.revoked_at.is_(None))
    revoked = conn.execute(statement.values(revoked_at=now)).rowcount == 1
    if revoked:
        access_changes.note(conn, AccessChange.SESSIONS)
    return revoked


def revoke_of_user(conn: Connection, *, user_name: str, now: int, keep: str = "") -> int:
    """Revoke every session of the user but the one with the hash `keep`; how many were not revoked before."""
    statement = update(sessions).where(
        sessions.c.user_name == user_name, sessions.c.revoked_at.is_(None), sessions.c.token_hash != keep
    )
    revoked = conn.execute(statement.values(revoked_at=now)).rowcount
    if revoked:
        access_changes.note(conn, AccessChange.SESSIONS)
    return revoked


def delete_stale(conn: Connection, *, before: int) -> int:
    """Delete sessions that expired before that time; how many."""
    return conn.execute(delete(sessions).where(sessions.c.expires_at < before)).rowcount


def _live(now: int) -> tuple[ColumnElement[bool], ...]:
    return (sessions.c.revoked_at.is_(None), sessions.c.expires_at > now)
