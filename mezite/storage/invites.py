# SPDX-License-Identifier: Apache-2.0
"""Invites: one-time links with which a new user sets the first password."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete, or_, select

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.one_time import ConsumeFailure, consume_once
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import invites

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["InviteRow", "consume", "delete_of_user", "delete_stale", "get", "insert", "list_of_user"]


@attrs.frozen(kw_only=True)
class InviteRow:
    """One invite; `token_hash` is SHA-256 in hex, times in ms."""

    token_hash: str
    user_name: str
    created_at: int
    expires_at: int
    used_at: int | None = None


def insert(conn: Connection, *, invite: InviteRow) -> InviteRow:
    """Insert.

    AlreadyExistsError when the hash is known, ConstraintError (at the transaction) without such a user.
    """
    require_token_hash(invite.token_hash)
    row = insert_if_absent(conn, invites, attrs.asdict(invite))
    if row is None:
        raise AlreadyExistsError("invite", invite.token_hash[:8])
    return InviteRow(**row._mapping)


def get(conn: Connection, *, token_hash: str) -> InviteRow | None:
    """The invite, used or not, or None. Looking does not consume it."""
    return first_row(InviteRow, conn.execute(select(invites).where(invites.c.token_hash == token_hash)))


def consume(conn: Connection, *, token_hash: str, now: int) -> InviteRow | ConsumeFailure:
    """Use it up: exactly one of any number of concurrent calls gets the row (threat E10)."""
    row = consume_once(conn, invites, token_hash, now=now)
    return row if isinstance(row, ConsumeFailure) else InviteRow(**row._mapping)


def list_of_user(conn: Connection, *, user_name: str) -> list[InviteRow]:
    """Every invite of the user, newest first."""
    statement = select(invites).where(invites.c.user_name == user_name)
    return all_rows(InviteRow, conn.execute(statement.order_by(invites.c.created_at.desc())))


def delete_of_user(conn: Connection, *, user_name: str) -> int:
    """Delete every invite of the user, so that only the newest link works; how many there were."""
    return conn.execute(delete(invites).where(invites.c.user_name == user_name)).rowcount


def delete_stale(conn: Connection, *, before: int) -> int:
    """Delete invites used or expired before that time; how many."""
    stale = or_(invites.c.used_at < before, invites.c.expires_at < before)
    return conn.execute(delete(invites).where(stale)).rowcount
