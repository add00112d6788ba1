# SPDX-License-Identifier: Apache-2.0
"""A browser's way to an application: out to the hub with a key, back to the application with a code, each good once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete, func, select

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.one_time import ConsumeFailure, consume_once
from mezite.storage.rows import first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import app_codes as codes
from mezite.storage.schema import app_logins as logins

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "AppCodeRow",
    "AppLoginRow",
    "consume",
    "consume_code",
    "count_live",
    "delete_oldest",
    "delete_stale",
    "get_live",
    "insert",
    "insert_code",
]


@attrs.frozen(kw_only=True)
class AppLoginRow:
    """A browser that was sent to the hub; times in ms. It holds what belongs to `browser_hash` in a cookie."""

    token_hash: str
    browser_hash: str
    host: str
    """The application's."""
    target: str
    """The URL that the browser asked for: where it goes at the end."""
    client_ip: str
    created_at: int
    expires_at: int
    used_at: int | None = None


@attrs.frozen(kw_only=True)
class AppCodeRow:
    """A browser on its way back; times in ms."""

    token_hash: str
    browser_hash: str
    host: str
    target: str
    web_session: str
    """The hash of the session of whoever comes back."""
    factor: str
    idle_ms: int
    ends_at: int
    created_at: int
    expires_at: int
    used_at: int | None = None


def insert(conn: Connection, *, login: AppLoginRow) -> None:
    """Insert. AlreadyExistsError when the hash is known."""
    require_token_hash(login.token_hash)
    if insert_if_absent(conn, logins, attrs.asdict(login)) is None:
        raise AlreadyExistsError("login to an application", login.token_hash[:8])


def get_live(conn: Connection, *, token_hash: str, now: int) -> AppLoginRow | None:
    """The login, if it is neither used nor expired."""
    columns = logins.c
    wanted = (columns.token_hash == token_hash, columns.used_at.is_(None), columns.expires_at > now)
    return first_row(AppLoginRow, conn.execute(select(logins).where(*wanted)))


def consume(conn: Connection, *, token_hash: str, now: int) -> AppLoginRow | ConsumeFailure:
    """Use the login up. Of any number of callers one gets it."""
    row = consume_once(conn, logins, token_hash, now=now)
    return row if isinstance(row, ConsumeFailure) else AppLoginRow(**row._mapping)


def insert_code(conn: Connection, *, code: AppCodeRow) -> None:
    """Insert.

    AlreadyExistsError when the hash is known, ConstraintError (at the transaction) without such a web session.
    """
    require_token_hash(code.token_hash)
    if insert_if_absent(conn, codes, attrs.asdict(code)) is None:
        raise AlreadyExistsError("hand-over code", code.token_hash[:8])


def consume_code(conn: Connection, *, token_hash: str, now: int) -> AppCodeRow | ConsumeFailure:
    """Use the code up, whoever shows it. Of any number of callers one gets it."""
    row = consume_once(conn, codes, token_hash, now=now)
    return row if isinstance(row, ConsumeFailure) else AppCodeRow(**row._mapping)


def count_live(conn: Connection, *, now: int) -> int:
    """How many logins are under way, used ones included."""
    return conn.execute(
        select(func.count()).select_from(logins).where(logins.c.expires_at > now)
    ).scalar_one()


def delete_oldest(conn: Connection, *, count: int) -> None:
    """Delete so many logins, those that expire first."""
    oldest = select(logins.c.token_hash).order_by(logins.c.expires_at, logins.c.token_hash).limit(count)
    conn.execute(delete(logins).where(logins.c.token_hash.in_(oldest)))


def delete_stale(conn: Connection, *, before: int) -> None:
    """Delete what expired before that time."""
    conn.execute(delete(logins).where(logins.c.expires_at < before))
    conn.execute(delete(codes).where(codes.c.expires_at < before))
