# SPDX-License-Identifier: Apache-2.0
"""Locks, and what each of them has cut on each hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import case, func, or_, select, update
from sqlalchemy import delete as delete_from

from mezite.core.rbac.locks import Lock, LockTarget
from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import lock_effects, locks

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "LockEffect",
    "LockRow",
    "add_effect",
    "answered",
    "count_in_force",
    "delete",
    "delete_stale",
    "effects",
    "get",
    "insert",
    "list_in_force",
]


@attrs.frozen(kw_only=True)
class LockRow:
    """One lock; times in ms, `expires_at` None: until it is lifted."""

    id: str
    target: LockTarget
    name: str
    message: str
    created_by: str
    created_at: int
    expires_at: int | None = None

    def lock(self) -> Lock:
        """What decisions need of it."""
        return Lock(id=self.id, target=self.target, name=self.name, message=self.message)


@attrs.frozen(kw_only=True)
class LockEffect:
    """What a lock has cut."""

    sessions: int = 0
    connections: int = 0
    slowest_ms: int = 0
    """From the making of the lock to the last end; for what it cut later, from when it was cut."""


def insert(conn: Connection, *, row: LockRow) -> LockRow:
    """Insert, and let every hub know; AlreadyExistsError when the id is taken."""
    stored = insert_if_absent(conn, locks, attrs.asdict(row))
    if stored is None:
        raise AlreadyExistsError("lock", row.id)
    access_changes.note(conn, AccessChange.RIGHTS)
    return LockRow(**stored._mapping)


def get(conn: Connection, *, lock_id: str) -> LockRow | None:
    """The lock, also one whose time is over, or None."""
    return first_row(LockRow, conn.execute(select(locks).where(locks.c.id == lock_id)))


def list_in_force(conn: Connection, *, now: int) -> list[LockRow]:
    """Every lock that has not run out, the oldest first."""
    statement = select(locks).where(_in_force(now)).order_by(locks.c.created_at, locks.c.id)
    return all_rows(LockRow, conn.execute(statement))


def count_in_force(conn: Connection, *, now: int) -> int:
    """How many there are."""
    return conn.execute(select(func.count()).select_from(locks).where(_in_force(now))).scalar_one()


def delete(conn: Connection, *, lock_id: str) -> bool:
    """Lift it, and let every hub know; False when there is none."""
    lifted = conn.execute(delete_from(locks).where(locks.c.id == lock_id)).rowcount == 1
    if lifted:
        access_changes.note(conn, AccessChange.RIGHTS)
    return lifted


def delete_stale(conn: Connection, *, before: int) -> int:
    """Delete locks whose time was over before; how many there were. Nothing changes for anybody."""
    return conn.execute(delete_from(locks).where(locks.c.expires_at < before)).rowcount


def add_effect(conn: Connection, *, lock_id: str, hub_id: str, effect: LockEffect) -> bool:
    """Add what a hub has cut to what it had cut before; False when the lock was lifted meanwhile."""
    values = attrs.asdict(effect)
    added = (
        update(lock_effects)
        .where(lock_effects.c.lock_id == lock_id, lock_effects.c.hub_id == hub_id)
        .values(
            sessions=lock_effects.c.sessions + effect.sessions,
            connections=lock_effects.c.connections + effect.connections,
            slowest_ms=case(
                (lock_effects.c.slowest_ms < effect.slowest_ms, effect.slowest_ms),
                else_=lock_effects.c.slowest_ms,
            ),
        )
    )
    if conn.execute(added).rowcount:
        return True
    if get(conn, lock_id=lock_id) is None:
        return False
    return insert_if_absent(conn, lock_effects, {"lock_id": lock_id, "hub_id": hub_id} | values) is not None


def answered(conn: Connection, *, lock_id: str) -> set[str]:
    """The hubs that have said what the lock has cut there, if only nothing."""
    statement = select(lock_effects.c.hub_id).where(lock_effects.c.lock_id == lock_id)
    return set(conn.execute(statement).scalars())


def effects(conn: Connection) -> dict[str, LockEffect]:
    """What each lock has cut on all hubs together, by its id."""
    statement = select(
        lock_effects.c.lock_id,
        func.sum(lock_effects.c.sessions),
        func.sum(lock_effects.c.connections),
        func.max(lock_effects.c.slowest_ms),
    ).group_by(lock_effects.c.lock_id)
    return {
        lock_id: LockEffect(sessions=int(sessions), connections=int(connections), slowest_ms=int(slowest))
        for lock_id, sessions, connections, slowest in conn.execute(statement)
    }


def _in_force(now: int) -> ColumnElement[bool]:
    return or_(locks.c.expires_at.is_(None), locks.c.expires_at > now)
