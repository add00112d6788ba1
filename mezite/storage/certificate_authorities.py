# SPDX-License-Identifier: Apache-2.0
"""Certificate authorities: one active key for each purpose, on which hubs that start at once must agree.

`private` is opaque here: PEM, encrypted when the operator has set a passphrase.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete, select, update

from mezite.storage.errors import AlreadyExistsError, StaleStateError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import AuthorityState
from mezite.storage.schema import certificate_authorities as authorities

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "AuthorityState",
    "CertificateAuthorityRow",
    "StateChange",
    "change",
    "get",
    "get_active",
    "insert",
    "insert_active_if_absent",
    "insert_if_absent_in_state",
    "list_all",
    "replace_private",
]


_FREEING = (None, AuthorityState.RETIRED, AuthorityState.ACTIVE, AuthorityState.NEXT)


@attrs.frozen(kw_only=True)
class StateChange:
    """What is to happen to one key."""

    authority_id: str
    was: AuthorityState
    becomes: AuthorityState | None
    """None: the key is deleted."""
    requested_at: int | None = None
    retired_at: int | None = None


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
    requested_at: int | None = None
    """When it was asked for that a next one becomes active."""
    retired_at: int | None = None


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


def insert_if_absent_in_state(conn: Connection, *, row: CertificateAuthorityRow) -> bool:
    """Insert unless the purpose has a key in this state (active, next); whether it was inserted."""
    return insert_if_absent(conn, authorities, attrs.asdict(row)) is not None


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


def change(conn: Connection, *, changes: Collection[StateChange], now: int) -> None:
    """Do all of `changes`, or none. StaleStateError when a key is not in the state it was thought to be in."""
    # At no moment two keys of a purpose in one state: a unique index would see it.
    for one in sorted(changes, key=lambda one: _FREEING.index(one.becomes)):
        where = (authorities.c.id == one.authority_id, authorities.c.state == one.was)
        if one.becomes is None:
            done = conn.execute(delete(authorities).where(*where))
        else:
            values = {"requested_at": one.requested_at, "retired_at": one.retired_at, "updated_at": now}
            done = conn.execute(update(authorities).where(*where).values(state=one.becomes, **values))
        if done.rowcount != 1:
            raise StaleStateError(one.authority_id)


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
