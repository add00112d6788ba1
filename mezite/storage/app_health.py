# SPDX-License-Identifier: Apache-2.0
"""How applications were when they were last checked through each agent; a row changes only when that does.

Written by the hub that has the agent's tunnel, read by all. No reference to the application's row: a check may end when
the application has just been removed, and what it leaves behind is about another `checked` when the name comes back.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete, select, update

from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import app_health as health

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AppHealthRow", "forget", "of_apps", "record"]

# One variable for each name: under SQLite's 32,766 and PostgreSQL's 65,535 in one statement.
NAMES_PER_STATEMENT = 1000


@attrs.frozen(kw_only=True)
class AppHealthRow:
    """One application through one agent."""

    app: str
    agent: str
    """The name of its node."""
    checked: str
    """What was checked, as `core.apps.health.health_key` says; a row with another key says nothing."""
    state: str
    since: int
    """When this state began, in ms."""
    reason: str


def record(conn: Connection, *, row: AppHealthRow) -> AppHealthRow | None:
    """Store what a check has shown; return what was there before, or None.

    While the state stays the same, so does `since`.
    """
    wanted = (health.c.app == row.app, health.c.agent == row.agent)
    before = first_row(AppHealthRow, conn.execute(select(health).where(*wanted)))
    if before is not None and (before.checked, before.state) == (row.checked, row.state):
        row = attrs.evolve(row, since=before.since)
    if row == before:
        return before
    changed = conn.execute(update(health).where(*wanted).values(attrs.asdict(row))).rowcount
    if not changed:
        insert_if_absent(conn, health, attrs.asdict(row))
    return before


def of_apps(conn: Connection, *, names: Collection[str]) -> list[AppHealthRow]:
    """What is known of these applications, in no particular order."""
    wanted = sorted(names)
    rows: list[AppHealthRow] = []
    for start in range(0, len(wanted), NAMES_PER_STATEMENT):
        part = wanted[start : start + NAMES_PER_STATEMENT]
        rows += all_rows(AppHealthRow, conn.execute(select(health).where(health.c.app.in_(part))))
    return rows


def forget(conn: Connection, *, app: str, kept_agents: Collection[str] = ()) -> None:
    """Delete what is known of an application, but for these agents."""
    wanted = (health.c.app == app, health.c.agent.not_in(sorted(kept_agents)))
    conn.execute(delete(health).where(*wanted))
