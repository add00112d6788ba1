# SPDX-License-Identifier: Apache-2.0
"""Connections of users whose number is limited, on all hubs together; each hub vouches for its own for a while."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select, update

from mezite.storage import database_clock
from mezite.storage.rows import insert_if_absent
from mezite.storage.schema import live_connections as connections
from mezite.storage.schema import users

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LEASE_MS", "delete_stale", "extend", "release", "release_hub", "take"]

LEASE_MS = 45_000
"""What a hub that died holds on to its users' places; it extends them every 15 s while it lives."""


def take(conn: Connection, *, connection_id: str, user_name: str, hub_id: str, limit: int) -> bool:
    """Take one of `limit` places of this user; False when all are taken.

    Of any number of calls at once no more get a place than there are (threat E10): they wait for each other at the
    user's row.
    """
    conn.execute(select(users.c.name).where(users.c.name == user_name).with_for_update())
    now = database_clock.now(conn)
    live = (connections.c.user_name == user_name, connections.c.lease_until > now)
    if conn.execute(select(func.count()).select_from(connections).where(*live)).scalar_one() >= limit:
        return False
    values = {"user_name": user_name, "hub_id": hub_id, "lease_until": now + LEASE_MS}
    insert_if_absent(conn, connections, {"connection_id": connection_id} | values)
    return True


def release(conn: Connection, *, connection_id: str) -> None:
    """Give a place back."""
    conn.execute(delete(connections).where(connections.c.connection_id == connection_id))


def release_hub(conn: Connection, *, hub_id: str) -> None:
    """Give back all places of a hub, at its start: what a crash has left behind."""
    conn.execute(delete(connections).where(connections.c.hub_id == hub_id))


def delete_stale(conn: Connection) -> int:
    """Delete places whose hub is gone for good and has another id since; how many."""
    return conn.execute(
        delete(connections).where(connections.c.lease_until <= database_clock.now(conn))
    ).rowcount


def extend(conn: Connection, *, hub_id: str) -> None:
    """The hub is alive: its places stay taken."""
    until = database_clock.now(conn) + LEASE_MS
    conn.execute(update(connections).where(connections.c.hub_id == hub_id).values(lease_until=until))
