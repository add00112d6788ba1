# SPDX-License-Identifier: Apache-2.0
"""Proofs of a second factor for single sessions. Each step is one conditional UPDATE, so that of any number of hubs
that take it exactly one does (threat E10).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import and_, delete, or_, select, update

from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import session_proofs as proofs

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SessionProofRow", "delete_of_user", "get", "insert", "list_good", "prove", "refuse", "use"]

MAX_PENDING = 10
"""Of one user: as many terminals as somebody answers within three minutes; the oldest make room."""

MAX_GOOD = 100
"""What is looked through for one connection: a person shows a factor some ten times within an hour."""


@attrs.frozen(kw_only=True)
class SessionProofRow:
    """One proof; `token_hash` is SHA-256 in hex of its id, times in ms."""

    token_hash: str
    user_name: str
    kind: ProvenFor
    targets: tuple[str, ...]
    needs: str
    serial: str
    bound_to: str
    client_ip: str
    window_ms: int
    created_at: int
    expires_at: int
    """When it is too late to show the factor."""
    refused_at: int | None = None
    factor: ProvenFactor | None = None
    proven_at: int | None = None
    good_until: int | None = None
    used_at: int | None = None


def insert(conn: Connection, *, proof: SessionProofRow) -> None:
    """Insert, and clear away what is over and what is too many.

    AlreadyExistsError when the hash is known, ConstraintError (at the transaction) without such a user.
    """
    require_token_hash(proof.token_hash)
    now = proof.created_at
    unproven = proofs.c.proven_at.is_(None)
    over = or_(and_(unproven, proofs.c.expires_at <= now), proofs.c.good_until <= now)
    conn.execute(delete(proofs).where(over))
    newest = (
        select(proofs.c.token_hash)
        .where(proofs.c.user_name == proof.user_name, unproven)
        .order_by(proofs.c.created_at.desc(), proofs.c.token_hash)
        .limit(MAX_PENDING - 1)
    )
    conn.execute(
        delete(proofs).where(
            proofs.c.user_name == proof.user_name, unproven, proofs.c.token_hash.not_in(newest)
        )
    )
    if insert_if_absent(conn, proofs, attrs.asdict(proof)) is None:
        raise AlreadyExistsError("session proof", proof.token_hash[:8])


def get(conn: Connection, *, token_hash: str) -> SessionProofRow | None:
    """The row, whatever became of it; None when it is unknown or cleared away."""
    statement = select(proofs).where(proofs.c.token_hash == require_token_hash(token_hash))
    return first_row(SessionProofRow, conn.execute(statement))


def prove(
    conn: Connection, *, token_hash: str, user_name: str, factor: ProvenFactor, good_ms: int, now: int
) -> SessionProofRow | None:
    """Note that its user has shown a factor; once. None: it is unknown, another user's, too late or decided."""
    statement = (
        update(proofs)
        .where(
            proofs.c.token_hash == require_token_hash(token_hash),
            proofs.c.user_name == user_name,
            proofs.c.proven_at.is_(None),
            proofs.c.refused_at.is_(None),
            proofs.c.expires_at > now,
        )
        .values(factor=factor, proven_at=now, good_until=now + good_ms)
        .returning(*proofs.c)
    )
    return first_row(SessionProofRow, conn.execute(statement))


def refuse(conn: Connection, *, token_hash: str, user_name: str, now: int) -> SessionProofRow | None:
    """Note that its user does not want it. None as in `prove`."""
    statement = (
        update(proofs)
        .where(
            proofs.c.token_hash == require_token_hash(token_hash),
            proofs.c.user_name == user_name,
            proofs.c.proven_at.is_(None),
            proofs.c.refused_at.is_(None),
            proofs.c.expires_at > now,
        )
        .values(refused_at=now)
        .returning(*proofs.c)
    )
    return first_row(SessionProofRow, conn.execute(statement))


def list_good(
    conn: Connection, *, user_name: str, kind: ProvenFor, serial: str, bound_to: str, now: int
) -> list[SessionProofRow]:
    """What was shown with this certificate, connection or session and can be used now, newest first."""
    statement = (
        select(proofs)
        .where(
            proofs.c.user_name == user_name,
            proofs.c.kind == kind,
            proofs.c.serial == serial,
            proofs.c.bound_to == bound_to,
            proofs.c.good_until > now,
            or_(proofs.c.used_at.is_(None), proofs.c.window_ms > 0),
        )
        .order_by(proofs.c.proven_at.desc(), proofs.c.token_hash)
        .limit(MAX_GOOD)
    )
    return all_rows(SessionProofRow, conn.execute(statement))


def use(conn: Connection, *, token_hash: str, bound_to: str, now: int) -> SessionProofRow | None:
    """Use it; None: it was not shown, not for this, is used up or too old.

    One with a window can be used until that ends.
    """
    statement = (
        update(proofs)
        .where(
            proofs.c.token_hash == require_token_hash(token_hash),
            proofs.c.bound_to == bound_to,
            proofs.c.good_until > now,
            or_(proofs.c.used_at.is_(None), proofs.c.window_ms > 0),
        )
        .values(used_at=now)
        .returning(*proofs.c)
    )
    return first_row(SessionProofRow, conn.execute(statement))


def delete_of_user(conn: Connection, *, user_name: str) -> int:
    """Delete all of the user's; how many there were."""
    return conn.execute(delete(proofs).where(proofs.c.user_name == user_name)).rowcount
