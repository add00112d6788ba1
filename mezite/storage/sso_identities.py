# SPDX-License-Identifier: Apache-2.0
"""Who a user is at an identity provider: issuer and subject, never a name or an address (threat E5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import select
from sqlalchemy import update as update_table

from mezite.storage.rows import first_row, insert_if_absent
from mezite.storage.schema import sso_identities as identities

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SsoIdentityRow", "get", "get_of_user", "insert", "note_login"]


@attrs.frozen(kw_only=True)
class SsoIdentityRow:
    """One identity. Times in ms."""

    issuer: str
    subject: str
    user_name: str
    connector: str
    """Through which the last login came."""
    created_at: int
    last_login_at: int


def insert(conn: Connection, *, identity: SsoIdentityRow) -> bool:
    """Insert; False when issuer and subject are known, or the user has an identity already."""
    return insert_if_absent(conn, identities, attrs.asdict(identity)) is not None


def get(conn: Connection, *, issuer: str, subject: str) -> SsoIdentityRow | None:
    """The identity, or None."""
    statement = select(identities).where(identities.c.issuer == issuer, identities.c.subject == subject)
    return first_row(SsoIdentityRow, conn.execute(statement))


def get_of_user(conn: Connection, *, user_name: str) -> SsoIdentityRow | None:
    """The identity behind a user, or None for a local one."""
    return first_row(
        SsoIdentityRow, conn.execute(select(identities).where(identities.c.user_name == user_name))
    )


def note_login(conn: Connection, *, identity: SsoIdentityRow, connector: str, now: int) -> None:
    """Remember when and through which connector the identity came last."""
    statement = update_table(identities).where(
        identities.c.issuer == identity.issuer, identities.c.subject == identity.subject
    )
    conn.execute(statement.values(connector=connector, last_login_at=now))
