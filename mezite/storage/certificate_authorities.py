# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities: one active key for each purpose, on which hubs that start at once must agree.

`private` is opaque here: PEM, encrypted when the operator has set a passphrase.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import select, update

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import AuthorityState
from mezite.storage.schema import certificate_authorities as authorities

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "AuthorityState",
    "CertificateAuthorityRow",
    "get",
    "get_active",
    "insert",
    "insert_active_if_absent",
    "list_all",
    "promote_next",
    "replace_private",
]


@attrs.frozen(kw_only=True)
class CertificateAuthorityRow:
    """One key of one purpose (`user-ssh`, `host-ssh`, `host-tls`, `user-tls`, `app-jwt`, ...).

    Times in ms.
    """

    id: str
    purpose: str
    public: bytes
    private: bytes = attrs.field(repr=False)
    certificate: str | None
    state: AuthorityState
    created_at: int
    updated_at: int


def insert_active_if_absent(conn: Connection, *, row: CertificateAuthorityRow) -> CertificateAuthorityRow:
    """The active authority of `row.purpose`: `row` if there was none, else the one that is there.

    Several hubs may call this at once with different keys: all get the same row back (a unique index
    decides). ValueError unless `row` is active; AlreadyExistsError when its id is taken.
    """
    if row.state is not AuthorityState.ACTIVE:
        raise ValueError("an authority that is not active cannot be made the active one")
    insert_if_absent(conn, authorities, attrs.asdict(row))
    active = get_active(conn, purpose=row.purpose)
    if active is None:
        raise AlreadyExistsError("certificate authority", row.id)
    return active


def insert(conn: Connection, *, row: CertificateAuthorityRow) -> CertificateAuthorityRow:
    """Insert.

    AlreadyExistsError when the id is taken, or the purpose has a key in this state (active, next).
    """
    stored = insert_if_absent(conn, authorities, attrs.asdict(row))
    if stored is None:
        raise AlreadyExistsError("certificate authority", f"{row.purpose}/{row.state}")
    return CertificateAuthorityRow(**stored._mapping)


def get(conn: Connection, *, authority_id: str) -> CertificateAuthorityRow | None:
    """By id, or None."""
    statement = select(authorities).where(authorities.c.id == authority_id)
    return first_row(CertificateAuthorityRow, conn.execute(statement))


def get_active(conn: Connection, *, purpose: str) -> CertificateAuthorityRow | None:
    """The one that signs for this purpose, or None before the first start."""
    statement = select(authorities).where(
        authorities.c.purpose == purpose, authorities.c.state == AuthorityState.ACTIVE
    )
    return first_row(CertificateAuthorityRow, conn.execute(statement))


def list_all(
    conn: Connection,
    *,
    purpose: str | None = None,
    states: Collection[AuthorityState] = tuple(AuthorityState),
) -> list[CertificateAuthorityRow]:
    """Authorities in any of `states`, of one purpose or all, oldest first. Trusted are all of them."""
    statement = select(authorities).where(authorities.c.state.in_(states))
    if purpose is not None:
        statement = statement.where(authorities.c.purpose == purpose)
    statement = statement.order_by(authorities.c.purpose, authorities.c.created_at, authorities.c.id)
    return all_rows(CertificateAuthorityRow, conn.execute(statement))


def promote_next(conn: Connection, *, purpose: str, now: int) -> CertificateAuthorityRow | None:
    """Retire the active one and make the next one active; None, and no change, when there is no next one."""
    of_purpose = authorities.c.purpose == purpose
    upcoming = conn.execute(
        select(authorities.c.id).where(of_purpose, authorities.c.state == AuthorityState.NEXT)
    ).scalar()
    if upcoming is None:
        return None
    conn.execute(
        update(authorities)
        .where(of_purpose, authorities.c.state == AuthorityState.ACTIVE)
        .values(state=AuthorityState.RETIRED, updated_at=now)
    )
    promoted = (
        update(authorities)
        .where(authorities.c.id == upcoming, authorities.c.state == AuthorityState.NEXT)
        .values(state=AuthorityState.ACTIVE, updated_at=now)
        .returning(*authorities.c)
    )
    return first_row(CertificateAuthorityRow, conn.execute(promoted))


def replace_private(
    conn: Connection, *, authority_id: str, expected: bytes, private: bytes, now: int
) -> bool:
    """Swap the stored private key (a new passphrase) if it still is `expected`; False otherwise."""
    statement = (
        update(authorities)
        .where(authorities.c.id == authority_id, authorities.c.private == expected)
        .values(private=private, updated_at=now)
    )
    return conn.execute(statement).rowcount == 1
