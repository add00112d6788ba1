# SPDX-License-Identifier: Apache-2.0
"""Roles that administrators made, as documents. Built-in ones are not stored."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete as delete_from
from sqlalchemy import select
from sqlalchemy import update as update_table

from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import roles

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["RoleRow", "delete", "get", "get_many", "list_all", "put"]


@attrs.frozen(kw_only=True)
class RoleRow:
    """One role. Times in ms."""

    name: str
    document: str
    """JSON in one stable spelling."""
    created_at: int
    updated_at: int


def put(conn: Connection, *, name: str, document: str, now: int) -> tuple[RoleRow, bool]:
    """Insert or replace; return the row, and whether it is new."""
    values = {"name": name, "document": document, "created_at": now, "updated_at": now}
    inserted = insert_if_absent(conn, roles, values)
    if inserted is not None:
        return RoleRow(**inserted._mapping), True
    access_changes.note(conn, AccessChange.RIGHTS)
    statement = (
        update_table(roles)
        .where(roles.c.name == name)
        .values(document=document, updated_at=now)
        .returning(*roles.c)
    )
    return RoleRow(**conn.execute(statement).one()._mapping), False


def get(conn: Connection, *, name: str) -> RoleRow | None:
    """The role, or None."""
    return first_row(RoleRow, conn.execute(select(roles).where(roles.c.name == name)))


def get_many(conn: Connection, *, names: Collection[str]) -> list[RoleRow]:
    """Those of the named roles that are stored, by name; no question to the database when there are no names."""
    if not names:
        return []
    statement = select(roles).where(roles.c.name.in_(sorted(names))).order_by(roles.c.name)
    return all_rows(RoleRow, conn.execute(statement))


def list_all(conn: Connection, *, after: str = "", limit: int = 1000) -> list[RoleRow]:
    """Up to `limit` roles by name, from the first name above `after`."""
    statement = select(roles).where(roles.c.name > after).order_by(roles.c.name).limit(limit)
    return all_rows(RoleRow, conn.execute(statement))


def delete(conn: Connection, *, name: str) -> bool:
    """Delete the role; False when there is none of that name."""
    access_changes.note(conn, AccessChange.RIGHTS)
    return conn.execute(delete_from(roles).where(roles.c.name == name)).rowcount == 1
