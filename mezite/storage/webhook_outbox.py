# SPDX-License-Identifier: Apache-2.0
"""Notifications that wait to be delivered. A hub that takes one has it until its next attempt is due; another hub takes
it then, so that one that dies loses nothing and two never send the same attempt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update

from mezite.storage.rows import first_row, insert_if_absent
from mezite.storage.schema import webhook_outbox

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["DeliveryRow", "add", "remove", "take"]


@attrs.frozen(kw_only=True)
class DeliveryRow:
    """One notification. Times in ms."""

    delivery_id: str
    body: str
    """JSON."""
    created_at: int
    attempts: int = 0
    """Those that were begun."""
    next_attempt_at: int


def add(conn: Connection, *, delivery: DeliveryRow, limit: int) -> bool:
    """Add; False when `limit` are waiting already."""
    waiting = conn.execute(select(func.count()).select_from(webhook_outbox)).scalar_one()
    if waiting >= limit:
        return False
    return insert_if_absent(conn, webhook_outbox, attrs.asdict(delivery)) is not None


def take(conn: Connection, *, now: int, waits_ms: tuple[int, ...]) -> DeliveryRow | None:
    """Take the one that has been due for longest, and note its next attempt; None when none is due.

    `waits_ms` has the wait after each attempt; after the last one it repeats. Of several hubs one gets it.
    """
    box = webhook_outbox
    due = (
        select(box.c.delivery_id, box.c.attempts)
        .where(box.c.next_attempt_at <= now)
        .order_by(box.c.next_attempt_at, box.c.delivery_id)
    )
    for delivery_id, attempts in conn.execute(due.limit(8)).all():
        wait = waits_ms[min(attempts, len(waits_ms) - 1)]
        statement = (
            update(box)
            .where(box.c.delivery_id == delivery_id, box.c.attempts == attempts, box.c.next_attempt_at <= now)
            .values(attempts=attempts + 1, next_attempt_at=now + wait)
            .returning(*box.c)
        )
        taken = first_row(DeliveryRow, conn.execute(statement))
        if taken is not None:
            return taken
    return None


def remove(conn: Connection, *, delivery_id: str) -> None:
    """Forget one: it was delivered, or given up."""
    conn.execute(delete_from(webhook_outbox).where(webhook_outbox.c.delivery_id == delivery_id))
