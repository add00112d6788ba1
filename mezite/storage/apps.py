# SPDX-License-Identifier: Apache-2.0
"""Applications. Every change counts up a number that all hubs look at, and gives the row a new revision."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete as delete_from
from sqlalchemy import func, select
from sqlalchemy import update as update_table

from mezite.core.apps.app import App
from mezite.core.apps.options_document import options_document, parse_options
from mezite.storage import access_changes, app_health
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.json_columns import stable_json
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import apps

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AppRow", "count", "delete", "get", "get_by_address", "get_many", "insert", "replace", "revisions"]

# One variable for each name: under SQLite's 32,766 and PostgreSQL's 65,535 in one statement.
NAMES_PER_STATEMENT = 1000


@attrs.frozen(kw_only=True)
class AppRow:
    """One application. Times in ms."""

    name: str
    uri: str
    public_addr: str | None
    labels: Mapping[str, str]
    protocol: str
    agent_hostnames: tuple[str, ...]
    options: str
    """JSON in one stable spelling."""
    revision: str
    """Different after each change, also when an application was removed and made again."""
    created_at: int
    updated_at: int
    disabled_at: int | None

    def app(self) -> App:
        """Return the application. :raises ValueError: this version cannot read it; a newer one has stored it."""
        return App(
            name=self.name,
            uri=self.uri,
            public_addr=self.public_addr or "",
            labels=self.labels,
            protocol=self.protocol,
            agent_hostnames=self.agent_hostnames,
            enabled=self.disabled_at is None,
            options=parse_options(json.loads(self.options)),
        )


def _columns(app: App, revision: str, now: int) -> dict[str, object]:
    return {
        "uri": app.uri,
        "public_addr": app.public_addr or None,
        "labels": app.labels,
        "protocol": app.protocol.value,
        "agent_hostnames": app.agent_hostnames,
        "options": stable_json(options_document(app.options)),
        "revision": revision,
        "updated_at": now,
        "disabled_at": None if app.enabled else now,
    }


def insert(conn: Connection, *, app: App, revision: str, now: int) -> AppRow:
    """Insert. AlreadyExistsError: its name or its public address is taken."""
    values = _columns(app, revision, now) | {"name": app.name, "created_at": now}
    access_changes.note(conn, AccessChange.APPS)
    row = insert_if_absent(conn, apps, values)
    if row is None:
        raise AlreadyExistsError("application", app.name)
    return AppRow(**row._mapping)


def replace(conn: Connection, *, app: App, revision: str, now: int) -> AppRow | None:
    """Replace the one of this name; the new row, or None when there is none. The time it was disabled stays.

    AlreadyExistsError: its public address is another's.
    """
    before = get(conn, name=app.name, for_update=True)
    if before is None:
        return None
    # Whoever counts a change waits for all others who do: from here on nobody else takes the address.
    access_changes.note(conn, AccessChange.APPS)
    holder = get_by_address(conn, public_addr=app.public_addr) if app.public_addr else None
    if holder is not None and holder.name != app.name:
        raise AlreadyExistsError("application with public address", app.public_addr)
    values = _columns(app, revision, now)
    if not app.enabled and before.disabled_at is not None:
        values["disabled_at"] = before.disabled_at
    app_health.forget(conn, app=app.name, kept_agents=app.agent_hostnames)
    statement = update_table(apps).where(apps.c.name == app.name).values(values).returning(*apps.c)
    return AppRow(**conn.execute(statement).one()._mapping)


def get(conn: Connection, *, name: str, for_update: bool = False) -> AppRow | None:
    """The application, or None; with `for_update` nobody else changes it before this transaction ends."""
    statement = select(apps).where(apps.c.name == name)
    return first_row(AppRow, conn.execute(statement.with_for_update() if for_update else statement))


def get_by_address(conn: Connection, *, public_addr: str) -> AppRow | None:
    """The application at this host name, or None."""
    return first_row(AppRow, conn.execute(select(apps).where(apps.c.public_addr == public_addr)))


def count(conn: Connection) -> int:
    """How many there are."""
    return conn.execute(select(func.count()).select_from(apps)).scalar_one()


def revisions(conn: Connection) -> dict[str, str]:
    """The revision of every application, by name: enough to know which have changed."""
    return {row.name: row.revision for row in conn.execute(select(apps.c.name, apps.c.revision))}


def get_many(conn: Connection, *, names: Collection[str]) -> list[AppRow]:
    """Those of the named applications that there are, in no particular order."""
    wanted = sorted(names)
    rows: list[AppRow] = []
    for start in range(0, len(wanted), NAMES_PER_STATEMENT):
        part = wanted[start : start + NAMES_PER_STATEMENT]
        rows += all_rows(AppRow, conn.execute(select(apps).where(apps.c.name.in_(part))))
    return rows


def delete(conn: Connection, *, name: str) -> bool:
    """Delete the application; False when there is none of that name."""
    deleted = conn.execute(delete_from(apps).where(apps.c.name == name)).rowcount == 1
    access_changes.note(conn, AccessChange.APPS)
    app_health.forget(conn, app=name)
    return deleted
