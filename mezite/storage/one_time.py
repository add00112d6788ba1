# SPDX-License-Identifier: Apache-2.0
"""Things that can be used once: consumed by one conditional UPDATE, never by read-then-write (threat E10)."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import select, update

from mezite.storage.rows import require_token_hash

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Table

__all__ = ["ConsumeFailure", "consume_once"]


class ConsumeFailure(enum.Enum):
    """Why a one-time token was not consumed."""

    UNKNOWN = "unknown"
    USED = "used"
    EXPIRED = "expired"


def consume_once(
    conn: Connection, table: Table, token_hash: str, *, now: int, **changes: object
) -> Row[Any] | ConsumeFailure:
    """Set `used_at` and `changes` if the token is unused and `now` is before `expires_at`.

    Of any number of concurrent calls exactly one gets the row. The reason for a refusal is read afterwards
    and is for messages only. A token that is both used and expired is USED.
    """
    require_token_hash(token_hash)
    statement = (
        update(table)
        .where(table.c.token_hash == token_hash, table.c.used_at.is_(None), table.c.expires_at > now)
        .values(used_at=now, **changes)
        .returning(*table.c)
    )
    consumed = conn.execute(statement).first()
    if consumed is not None:
        return consumed
    found = conn.execute(select(table.c.used_at).where(table.c.token_hash == token_hash)).first()
    if found is None:
        return ConsumeFailure.UNKNOWN
    return ConsumeFailure.EXPIRED if found.used_at is None else ConsumeFailure.USED
