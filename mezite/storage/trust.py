# SPDX-License-Identifier: Apache-2.0
"""Who has said which signing keys they trust, and what former keys have signed about those that followed."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import attrs
from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite

from mezite.storage.rows import all_rows
from mezite.storage.schema import agents
from mezite.storage.schema.authorities import agent_trust, hub_trust, trust_continuations

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

__all__ = [
    "AgentTrust",
    "ContinuationRow",
    "HubTrust",
    "add_continuation",
    "agents_and_trust",
    "continuations",
    "forget_hubs",
    "hubs_and_trust",
    "hubs_heard",
    "note_agent",
    "note_hub",
]

MOST_CONTINUATIONS = 16
"""Everybody who asks for the CAs gets them all; a client that slept through more rotations needs the pin again."""


@attrs.frozen(kw_only=True)
class AgentTrust:
    """An agent that could come back, and the keys that it has stored. Times in ms."""

    agent_id: str
    node_name: str
    key_ids: tuple[str, ...]
    lease_until: int | None
    last_seen: int
    """Or when it joined."""


@attrs.frozen(kw_only=True)
class HubTrust:
    """A hub and the keys that it has loaded."""

    hub_id: str
    key_ids: tuple[str, ...]
    seen_at: int


@attrs.frozen(kw_only=True)
class ContinuationRow:
    """What a key that is gone has signed at last."""

    signer_key_id: str
    document: str
    signature: str
    created_at: int


def note_agent(conn: Connection, *, agent_id: str, key_ids: Collection[str], now: int) -> None:
    """Note what an agent has stored."""
    known = conn.execute(select(agent_trust.c.key_ids).where(agent_trust.c.agent_id == agent_id)).scalar()
    said = tuple(sorted(key_ids))
    if known is None or tuple(known) != said:
        _put(conn, agent_trust, {"agent_id": agent_id, "key_ids": said, "seen_at": now})


def note_hub(conn: Connection, *, hub_id: str, key_ids: Collection[str], now: int) -> None:
    """Note what a hub has loaded, and that it is alive."""
    _put(conn, hub_trust, {"hub_id": hub_id, "key_ids": tuple(sorted(key_ids)), "seen_at": now})


def forget_hubs(conn: Connection, *, before: int) -> int:
    """Forget hubs that have not been heard of since; how many there were."""
    return conn.execute(delete(hub_trust).where(hub_trust.c.seen_at < before)).rowcount


def agents_and_trust(conn: Connection) -> list[AgentTrust]:
    """Every agent that is neither removed nor locked, by name."""
    statement = (
        select(
            agents.c.agent_id,
            agents.c.node_name,
            agent_trust.c.key_ids,
            agents.c.lease_until,
            agents.c.last_seen,
            agents.c.created_at,
        )
        .outerjoin(agent_trust, agent_trust.c.agent_id == agents.c.agent_id)
        .where(agents.c.removed_at.is_(None), agents.c.locked_at.is_(None))
        .order_by(agents.c.node_name)
    )
    return [
        AgentTrust(
            agent_id=row.agent_id,
            node_name=row.node_name,
            key_ids=row.key_ids or (),
            lease_until=row.lease_until,
            last_seen=row.created_at if row.last_seen is None else row.last_seen,
        )
        for row in conn.execute(statement)
    ]


def hubs_heard(conn: Connection, *, since: int) -> list[str]:
    """The ids of hubs that have said since then that they are alive."""
    statement = select(hub_trust.c.hub_id).where(hub_trust.c.seen_at >= since).order_by(hub_trust.c.hub_id)
    return list(conn.execute(statement).scalars())


def hubs_and_trust(conn: Connection) -> list[HubTrust]:
    """Every hub that has ever been heard of and was not forgotten."""
    return all_rows(HubTrust, conn.execute(select(hub_trust).order_by(hub_trust.c.hub_id)))


def add_continuation(conn: Connection, *, row: ContinuationRow) -> None:
    """Keep what a key that goes has signed; the oldest beyond the limit are dropped."""
    _put(conn, trust_continuations, attrs.asdict(row))
    for old in continuations(conn)[MOST_CONTINUATIONS:]:
        conn.execute(
            delete(trust_continuations).where(trust_continuations.c.signer_key_id == old.signer_key_id)
        )


def continuations(conn: Connection) -> list[ContinuationRow]:
    """All of them, the latest first."""
    table = trust_continuations
    statement = select(table).order_by(table.c.created_at.desc(), table.c.signer_key_id)
    return all_rows(ContinuationRow, conn.execute(statement))


def _put(conn: Connection, table: Table, values: dict[str, object]) -> None:
    """Insert a row, or replace the one with its primary key."""
    insert: Any = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    key = [column.name for column in table.primary_key]
    statement = insert(table).values(values)
    replaced = {name: statement.excluded[name] for name in values if name not in key}
    conn.execute(statement.on_conflict_do_update(index_elements=key, set_=replaced))
