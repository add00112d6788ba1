# SPDX-License-Identifier: Apache-2.0
"""Challenges: each for one user, one credential of theirs and one action, good once and for minutes (threat E7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import ColumnElement, delete, or_, select, update

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import ChallengeAction
from mezite.storage.schema import mfa_challenges as challenges

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ChallengeAction", "ChallengeRow", "consume", "delete_of_user", "find", "insert"]

MAX_LIVE = 10
"""Of one user: as many tabs and retries as a person has open; the oldest make room."""


@attrs.frozen(kw_only=True)
class ChallengeRow:
    """One challenge; `token_hash` is SHA-256 in hex of its id, times in ms."""

    token_hash: str
    user_name: str
    bound_to: str
    """The hash of the session it was asked for with, or a word for what has none."""
    action: ChallengeAction
    payload: bytes = attrs.field(repr=False)
    created_at: int
    expires_at: int
    used_at: int | None = None


def insert(conn: Connection, *, challenge: ChallengeRow) -> None:
    """Insert, and clear away what has ended and what is too many.

    AlreadyExistsError when the hash is known, ConstraintError (at the transaction) without such a user.
    """
    require_token_hash(challenge.token_hash)
    ended = or_(challenges.c.expires_at <= challenge.created_at, challenges.c.used_at.is_not(None))
    conn.execute(delete(challenges).where(ended))
    newest = (
        select(challenges.c.token_hash)
        .where(challenges.c.user_name == challenge.user_name)
        .order_by(challenges.c.created_at.desc(), challenges.c.token_hash)
        .limit(MAX_LIVE - 1)
    )
    conn.execute(
        delete(challenges).where(
            challenges.c.user_name == challenge.user_name, challenges.c.token_hash.not_in(newest)
        )
    )
    if insert_if_absent(conn, challenges, attrs.asdict(challenge)) is None:
        raise AlreadyExistsError("challenge", challenge.token_hash[:8])


def find(
    conn: Connection,
    *,
    token_hash: str,
    action: ChallengeAction,
    bound_to: str,
    user_name: str | None,
    now: int,
) -> ChallengeRow | None:
    """The challenge if it may be answered so; looking does not use it up. `user_name` None: anybody's."""
    statement = select(challenges).where(*_good(token_hash, action, bound_to, user_name), *_live(now))
    return first_row(ChallengeRow, conn.execute(statement))


def consume(
    conn: Connection,
    *,
    token_hash: str,
    action: ChallengeAction,
    bound_to: str,
    user_name: str | None,
    now: int,
) -> ChallengeRow | None:
    """Use it up: of any number of concurrent calls exactly one gets the row (threat E10).

    None for one that is unknown, used, expired, another user's, another session's or for another action; what is
    somebody else's stays unused.
    """
    statement = (
        update(challenges)
        .where(*_good(token_hash, action, bound_to, user_name), *_live(now))
        .values(used_at=now)
        .returning(*challenges.c)
    )
    return first_row(ChallengeRow, conn.execute(statement))


def delete_of_user(conn: Connection, *, user_name: str) -> int:
    """Delete all of the user's; how many there were."""
    return conn.execute(delete(challenges).where(challenges.c.user_name == user_name)).rowcount


def _good(
    token_hash: str, action: ChallengeAction, bound_to: str, user_name: str | None
) -> list[ColumnElement[bool]]:
    conditions = [
        challenges.c.token_hash == require_token_hash(token_hash),
        challenges.c.action == action,
        challenges.c.bound_to == bound_to,
    ]
    return conditions if user_name is None else [*conditions, challenges.c.user_name == user_name]


def _live(now: int) -> tuple[ColumnElement[bool], ...]:
    return (challenges.c.used_at.is_(None), challenges.c.expires_at > now)
