# SPDX-License-Identifier: Apache-2.0
"""Recovery codes: hashed, each good once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from mezite.storage.rows import require_token_hash
from mezite.storage.schema import recovery_codes as codes

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["consume", "count_unused", "count_unused_by_user", "delete_of_user", "replace"]


def replace(conn: Connection, *, user_name: str, hashes: Iterable[str], now: int) -> None:
    """Store new codes; those from before, used or not, are gone."""
    delete_of_user(conn, user_name=user_name)
    rows = [
        {"token_hash": require_token_hash(each), "user_name": user_name, "created_at": now} for each in hashes
    ]
    conn.execute(insert(codes), rows)


def consume(conn: Connection, *, user_name: str, token_hash: str, now: int) -> bool:
    """Use one up: of any number of concurrent calls exactly one gets True (threat E10)."""
    statement = update(codes).where(
        codes.c.token_hash == require_token_hash(token_hash),
        codes.c.user_name == user_name,
        codes.c.used_at.is_(None),
    )
    return conn.execute(statement.values(used_at=now)).rowcount == 1


def count_unused(conn: Connection, *, user_name: str) -> int:
    """How many the user has left."""
    return count_unused_by_user(conn, user_name=user_name).get(user_name, 0)


def count_unused_by_user(conn: Connection, *, user_name: str | None = None) -> Mapping[str, int]:
    """How many each user, or that one, has left; who has none is missing."""
    statement = select(codes.c.user_name, func.count()).where(codes.c.used_at.is_(None))
    if user_name is not None:
        statement = statement.where(codes.c.user_name == user_name)
    rows = conn.execute(statement.group_by(codes.c.user_name))
    return {row[0]: row[1] for row in rows}


def delete_of_user(conn: Connection, *, user_name: str) -> int:
    """Delete all of the user's; how many there were."""
    return conn.execute(delete(codes).where(codes.c.user_name == user_name)).rowcount
