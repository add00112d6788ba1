# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers at applications: each for one host, and no longer than the web session it came from."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import case, delete, select, update

from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import app_codes as codes
from mezite.storage.schema import app_sessions as sessions
from mezite.storage.schema import web_sessions

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Select

__all__ = [
    "AppSessionRow",
    "delete_stale",
    "get_live",
    "insert",
    "is_revoked",
    "list_live",
    "renew",
    "revoke",
    "revoke_at",
]


@attrs.frozen(kw_only=True)
class AppSessionRow:
    """One session; times in ms. `token_hash` is SHA-256 in hex of its secret, and `id` has nothing to do with that."""

    id: str
    token_hash: str
    host: str
    user_name: str
    web_session: str
    """The hash of the web session it came from."""
    factor: str
    """The second factor that was shown for it; empty for none."""
    client_ip: str
    created_at: int
    expires_at: int
    """Unless it is renewed before."""
    idle_ms: int
    """By how much a renewal moves `expires_at` from then on."""
    ends_at: int
    """No renewal goes beyond."""
    revoked_at: int | None = None


def insert(conn: Connection, *, session: AppSessionRow) -> None:
    """Insert.

    AlreadyExistsError when the id or the hash is known, ConstraintError (at the transaction) without such a user or
    web session.
    """
    require_token_hash(session.token_hash)
    if insert_if_absent(conn, sessions, attrs.asdict(session)) is None:
        raise AlreadyExistsError("app session", session.id)


def get_live(conn: Connection, *, token_hash: str, host: str, now: int) -> AppSessionRow | None:
    """The session with that secret at that host, if it and its web session are neither revoked nor expired."""
    wanted = (sessions.c.token_hash == token_hash, sessions.c.host == host)
    return first_row(AppSessionRow, conn.execute(_select_live(now).where(*wanted)))


def list_live(conn: Connection, *, user_name: str | None = None, now: int) -> list[AppSessionRow]:
    """Sessions of one user or of all that can be used now, newest first."""
    statement = _select_live(now)
    if user_name is not None:
        statement = statement.where(sessions.c.user_name == user_name)
    statement = statement.order_by(sessions.c.created_at.desc(), sessions.c.id)
    return all_rows(AppSessionRow, conn.execute(statement))


def is_revoked(conn: Connection, *, id: str) -> bool:
    """Whether it was revoked or is not there any more; one that has merely expired was not."""
    found = conn.execute(select(sessions.c.revoked_at).where(sessions.c.id == id)).first()
    return found is None or found.revoked_at is not None


def renew(conn: Connection, *, ids: Collection[str], now: int) -> None:
    """Let those that are not revoked live on from now."""
    later = sessions.c.idle_ms + now
    until = case((later < sessions.c.ends_at, later), else_=sessions.c.ends_at)
    wanted = (sessions.c.id.in_(ids), sessions.c.revoked_at.is_(None), sessions.c.ends_at > now)
    conn.execute(update(sessions).where(*wanted).values(expires_at=until))


def revoke(conn: Connection, *, id: str, now: int) -> AppSessionRow | None:
    """Revoke and return it; None when unknown or revoked before."""
    statement = (
        update(sessions)
        .where(sessions.c.id == id, sessions.c.revoked_at.is_(None))
        .values(revoked_at=now)
        .returning(*sessions.c)
    )
    row = first_row(AppSessionRow, conn.execute(statement))
    if row is not None:
        access_changes.note(conn, AccessChange.SESSIONS)
    return row


def revoke_at(conn: Connection, *, host: str, now: int) -> int:
    """Revoke all at that host, and delete codes for new ones; return how many sessions there were."""
    conn.execute(delete(codes).where(codes.c.host == host))
    wanted = (sessions.c.host == host, sessions.c.revoked_at.is_(None))
    revoked = conn.execute(update(sessions).where(*wanted).values(revoked_at=now)).rowcount
    if revoked:
        access_changes.note(conn, AccessChange.SESSIONS)
    return revoked


def delete_stale(conn: Connection, *, before: int) -> None:
    """Delete those that can be used no more since before that time. An expired one may still be renewed by what runs
    on it, so only the end of all renewals counts.
    """
    conn.execute(delete(sessions).where(sessions.c.ends_at < before))


def _select_live(now: int) -> Select[Any]:
    origin = web_sessions.c
    live: tuple[ColumnElement[bool], ...] = (
        sessions.c.revoked_at.is_(None),
        sessions.c.expires_at > now,
        sessions.c.ends_at > now,
        origin.revoked_at.is_(None),
        origin.expires_at > now,
    )
    joined = sessions.join(web_sessions, origin.token_hash == sessions.c.web_session)
    return select(sessions).select_from(joined).where(*live)
