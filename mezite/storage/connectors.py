# SPDX-License-Identifier: Apache-2.0
"""Connectors to identity providers, as documents; the client secret stands beside, sealed by whoever stores it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy import update as update_table

from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import connectors

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ConnectorRow", "count", "delete", "get", "list_all", "put"]


@attrs.frozen(kw_only=True)
class ConnectorRow:
    """One connector. Times in ms."""

    name: str
    kind: str
    document: str
    """JSON in one stable spelling, without the client secret."""
    secret: str = attrs.field(repr=False)
    """The client secret, sealed; see `mezite.core.sealing`."""
    created_at: int
    updated_at: int


def put(conn: Connection, *, connector: ConnectorRow) -> tuple[ConnectorRow, bool]:
    """Insert or replace by name; return the row, and whether it is new. `created_at` of a replaced one stays.

    `updated_at` always grows, so that it tells two versions of a connector apart.
    """
    values = attrs.asdict(connector)
    inserted = insert_if_absent(conn, connectors, values)
    if inserted is not None:
        return ConnectorRow(**inserted._mapping), True
    del values["name"], values["created_at"]
    version = select(connectors.c.updated_at).where(connectors.c.name == connector.name)
    values["updated_at"] = max(connector.updated_at, conn.execute(version).scalar_one() + 1)
    statement = update_table(connectors).where(connectors.c.name == connector.name).values(values)
    return ConnectorRow(**conn.execute(statement.returning(*connectors.c)).one()._mapping), False


def get(conn: Connection, *, name: str) -> ConnectorRow | None:
    """The connector, or None."""
    return first_row(ConnectorRow, conn.execute(select(connectors).where(connectors.c.name == name)))


def list_all(conn: Connection) -> list[ConnectorRow]:
    """All connectors by name; services allow few of them."""
    return all_rows(ConnectorRow, conn.execute(select(connectors).order_by(connectors.c.name)))


def count(conn: Connection) -> int:
    """How many there are."""
    return conn.execute(select(func.count()).select_from(connectors)).scalar_one()


def delete(conn: Connection, *, name: str) -> bool:
    """Delete the connector; False when there is none of that name. Users who came through it stay."""
    return conn.execute(delete_from(connectors).where(connectors.c.name == name)).rowcount == 1
