# SPDX-License-Identifier: Apache-2.0
"""Counters that grow whenever somebody may have less than before: hubs look at them instead of at everything.

Whatever takes something away calls `note` in the same transaction. Writers of one row wait for each other, so a counter
grows in the order of commits, and a hub that has seen a value has seen all that came before.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING

from sqlalchemy import select, update

from mezite.storage.rows import insert_if_absent
from mezite.storage.schema import access_changes as changes

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AccessChange", "counts", "note"]


class AccessChange(enum.StrEnum):
    """What has changed; a counter for each, since it is not the same work to follow."""

    RIGHTS = "rights"
    """A lock, a user or a role: everything that is live is asked about again."""
    SESSIONS = "sessions"
    """A web or API session was ended: what runs on sessions is looked at."""
    ORDERS = "orders"
    """An order to end a session on a node was given."""
    APPS = "apps"
    """An application was registered, changed or removed."""


def note(conn: Connection, change: AccessChange) -> None:
    """Count one change; it shows when the transaction commits."""
    counted = update(changes).where(changes.c.name == change.value).values(version=changes.c.version + 1)
    if not conn.execute(counted).rowcount:
        insert_if_absent(conn, changes, {"name": change.value, "version": 1})


def counts(conn: Connection) -> Mapping[AccessChange, int]:
    """How many changes of each kind there were."""
    found = {row.name: row.version for row in conn.execute(select(changes))}
    return {change: found.get(change.value, 0) for change in AccessChange}
