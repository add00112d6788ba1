# SPDX-License-Identifier: Apache-2.0
"""Agents: who owns which node name, which certificate generation is the genuine one, and which hub holds the
tunnel.

Three guards, each one conditional UPDATE:
- a node name belongs to one agent that is not removed (`register`, threat B1);
- a certificate generation that was left behind is never genuine again (`renew_generation`): a copied identity
  is found when both copies have been in use;
- what a hub says about a tunnel counts only under the tunnel's own epoch (`mark_connected`, `heartbeat`,
  `mark_disconnected`): an old tunnel cannot overwrite what is known of a newer one (threats B1, B8).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import and_, case, func, literal, or_, select, tuple_, update

from mezite.storage.errors import AlreadyExistsError, NameTakenError, NotFoundError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import agents

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "CLONE_LOCK_REASON",
    "AgentRow",
    "NewAgent",
    "RenewalRefusal",
    "RenewedGeneration",
    "TunnelLease",
    "confirm_generation",
    "count_connected",
    "get",
    "get_by_name",
    "get_by_names",
    "heartbeat",
    "heartbeat_many",
    "list_all",
    "lock",
    "mark_connected",
    "mark_disconnected",
    "next_epoch",
    "register",
    "release_hub",
    "remove",
    "renew_generation",
    "unlock",
    "update_details",
]

CLONE_LOCK_REASON = "certificate generation does not match: the identity was copied or restored from a backup"

# Two variables for each pair: well under SQLite's 32,766 and PostgreSQL's 65,535 in one statement.
_PAIRS_PER_STATEMENT = 500


@attrs.frozen(kw_only=True)
class NewAgent:
    """An agent to register, at generation 1 and epoch 0."""

    agent_id: str
    node_name: str
    labels: Mapping[str, str] = attrs.field(factory=dict)
    version: str = ""
    os_info: str = ""


@attrs.frozen(kw_only=True)
class AgentRow:
    """One agent. Times in ms; None is "never" or "not"."""

    agent_id: str
    node_name: str
    labels: Mapping[str, str]
    version: str
    os_info: str
    generation: int
    """The last one that was issued."""
    generation_seen: int
    """The newest one that was presented: an issued one may have been lost on its way."""
    generation_base: int
    """The last one that was issued before that was presented: those after it were issued to who holds it."""
    tunnel_epoch: int
    hub_id: str | None
    """The hub that holds, or held last, its tunnel."""
    lease_until: int | None
    """Until when the hub vouches for the tunnel without a further heartbeat; None: no tunnel."""
    last_seen: int | None
    last_address: str | None
    locked_at: int | None
    lock_reason: str | None
    created_at: int
    removed_at: int | None

    def is_connected(self, now: int) -> bool:
        """Whether some hub vouches for a tunnel at `now`.

        Read `now` from the database's clock (threat B8).
        """
        return self.lease_until is not None and now < self.lease_until

    def is_genuine(self, generation: int) -> bool:
        """Whether a certificate of that generation counts; see `renew_generation`."""
        if generation < 1:
            return False
        return generation == self.generation_seen or self.generation_base < generation <= self.generation


@attrs.frozen(kw_only=True)
class TunnelLease:
    """What a hub says about a tunnel: valid only while `epoch` is the agent's newest. Times in ms."""

    agent_id: str
    epoch: int
    lease_until: int
    address: str = ""


@attrs.frozen
class RenewedGeneration:
    """The generation of the certificate to issue now."""

    generation: int


class RenewalRefusal(enum.Enum):
    """Why no certificate may be issued."""

    UNKNOWN = "unknown"
    REMOVED = "removed"
    LOCKED = "locked"
    CLONE_DETECTED = "clone detected"


def register(conn: Connection, *, agent: NewAgent, now: int) -> AgentRow:
    """Insert.

    NameTakenError with the owner's id when the node name is taken, AlreadyExistsError for the agent id.
    """
    values = attrs.asdict(agent, recurse=False) | {
        "generation": 1,
        "generation_seen": 0,
        "generation_base": 0,
        "tunnel_epoch": 0,
        "created_at": now,
    }
    row = insert_if_absent(conn, agents, values)
    if row is not None:
        return AgentRow(**row._mapping)
    owner = get_by_name(conn, node_name=agent.node_name)
    if owner is None or owner.agent_id == agent.agent_id:
        raise AlreadyExistsError("agent", agent.agent_id)
    raise NameTakenError(agent.node_name, owner.agent_id)


def get(conn: Connection, *, agent_id: str) -> AgentRow | None:
    """By id, removed ones included, or None."""
    return first_row(AgentRow, conn.execute(select(agents).where(agents.c.agent_id == agent_id)))


def get_by_name(conn: Connection, *, node_name: str) -> AgentRow | None:
    """The agent that owns this node name now, or None."""
    statement = select(agents).where(agents.c.node_name == node_name, agents.c.removed_at.is_(None))
    return first_row(AgentRow, conn.execute(statement))


def get_by_names(conn: Connection, *, node_names: Iterable[str]) -> list[AgentRow]:
    """The agents that own these node names now, by name; names without one are left out."""
    statement = select(agents).where(agents.c.node_name.in_(list(node_names)), agents.c.removed_at.is_(None))
    return all_rows(AgentRow, conn.execute(statement.order_by(agents.c.node_name)))


def list_all(conn: Connection, *, after: str = "", limit: int = 1000) -> list[AgentRow]:
    """Up to `limit` agents that are not removed, by node name, from the first above `after`."""
    statement = select(agents).where(agents.c.removed_at.is_(None), agents.c.node_name > after)
    return all_rows(AgentRow, conn.execute(statement.order_by(agents.c.node_name).limit(limit)))


def update_details(
    conn: Connection,
    *,
    agent_id: str,
    labels: Mapping[str, str] | None = None,
    version: str | None = None,
    os_info: str | None = None,
) -> AgentRow | None:
    """Replace what the agent says about itself (None: leave).

    The new row, or None when unknown or removed.
    """
    said = {"labels": labels, "version": version, "os_info": os_info}
    values = {key: value for key, value in said.items() if value is not None}
    if not values:
        row = get(conn, agent_id=agent_id)
        return None if row is None or row.removed_at is not None else row
    statement = update(agents).where(*_present(agent_id)).values(values).returning(*agents.c)
    return first_row(AgentRow, conn.execute(statement))


def remove(conn: Connection, *, agent_id: str, now: int) -> AgentRow | None:
    """Give the name back and end the lease; the row, or None when unknown or removed before.

    The row stays, and so does its epoch's successor: a tunnel that is still up cannot renew its lease.
    """
    values = {"removed_at": now, "lease_until": None, "tunnel_epoch": agents.c.tunnel_epoch + 1}
    statement = update(agents).where(*_present(agent_id)).values(values).returning(*agents.c)
    return first_row(AgentRow, conn.execute(statement))


def lock(conn: Connection, *, agent_id: str, reason: str, now: int) -> bool:
    """Lock; False when unknown, removed or locked already (the first reason stays)."""
    statement = update(agents).where(*_present(agent_id), agents.c.locked_at.is_(None))
    return conn.execute(statement.values(locked_at=now, lock_reason=reason)).rowcount == 1


def unlock(conn: Connection, *, agent_id: str) -> bool:
    """Lift the lock; False when there was none. The generation stays, so a clone is locked again at once."""
    statement = update(agents).where(*_present(agent_id), agents.c.locked_at.is_not(None))
    return conn.execute(statement.values(locked_at=None, lock_reason=None)).rowcount == 1


def renew_generation(
    conn: Connection, *, agent_id: str, presented: int, now: int
) -> RenewedGeneration | RenewalRefusal:
    """Count the certificate generation up if the presented one is genuine, else lock the agent.

    Genuine is the newest one that was presented, and each that was issued since it was: answers get lost, more than
    one in a row, and then the agent asks again with what it has. Two holders of a copied identity cannot both stay
    genuine: once either has shown what it was issued, what the other one got before that counts no more, though it be
    a higher one; otherwise two who take turns would never be found (threat B1).

    The lock is part of this transaction, so the result is returned, not raised: an exception would roll it back.
    """
    renewed = conn.execute(
        update(agents)
        .where(*_present(agent_id), agents.c.locked_at.is_(None), _genuine(presented))
        .values(
            generation=agents.c.generation + 1,
            last_seen=now,
            **_seen(presented),
        )
        .returning(agents.c.generation)
    ).scalar()
    if renewed is not None:
        return RenewedGeneration(renewed)
    return _lock_clone(conn, agent_id, now)


def confirm_generation(conn: Connection, *, agent_id: str, presented: int, now: int) -> RenewalRefusal | None:
    """Note that a certificate of this generation is in use; None when it is genuine, else the agent is locked.

    See `renew_generation` for what is genuine.
    """
    confirmed = conn.execute(
        update(agents)
        .where(*_present(agent_id), agents.c.locked_at.is_(None), _genuine(presented))
        .values(last_seen=now, **_seen(presented))
    )
    return None if confirmed.rowcount else _lock_clone(conn, agent_id, now)


def _genuine(presented: int) -> ColumnElement[bool]:
    # The first generation is 1; 0 is what a fresh agent has seen.
    since = and_(agents.c.generation_base < presented, agents.c.generation >= presented)
    return and_(literal(presented) >= 1, or_(agents.c.generation_seen == presented, since))


def _seen(presented: int) -> dict[str, ColumnElement[int] | int]:
    base = case((agents.c.generation_seen == presented, agents.c.generation_base), else_=agents.c.generation)
    return {"generation_seen": presented, "generation_base": base}


def _lock_clone(conn: Connection, agent_id: str, now: int) -> RenewalRefusal:
    locked = conn.execute(
        update(agents)
        .where(*_present(agent_id), agents.c.locked_at.is_(None))
        .values(locked_at=now, lock_reason=CLONE_LOCK_REASON)
    )
    if locked.rowcount:
        return RenewalRefusal.CLONE_DETECTED
    row = get(conn, agent_id=agent_id)
    if row is None:
        return RenewalRefusal.UNKNOWN
    return RenewalRefusal.LOCKED if row.removed_at is None else RenewalRefusal.REMOVED


def next_epoch(conn: Connection, *, agent_id: str, hub_id: str, now: int) -> int:
    """Start a new tunnel on `hub_id`: its epoch, higher than all before. NotFoundError when unknown or
    removed.

    From here on nothing said under an older epoch counts; the lease of the older tunnel is over.
    """
    epoch = conn.execute(
        update(agents)
        .where(*_present(agent_id))
        .values(tunnel_epoch=agents.c.tunnel_epoch + 1, hub_id=hub_id, lease_until=None, last_seen=now)
        .returning(agents.c.tunnel_epoch)
    ).scalar()
    if epoch is None:
        raise NotFoundError("agent", agent_id)
    return int(epoch)


def mark_connected(conn: Connection, *, lease: TunnelLease, now: int) -> bool:
    """The tunnel of this epoch carries traffic; False, and no change, when the epoch is not the newest."""
    values = {"lease_until": lease.lease_until, "last_seen": now, "last_address": lease.address}
    statement = update(agents).where(*_under_epoch(lease.agent_id, lease.epoch)).values(values)
    return conn.execute(statement).rowcount == 1


def heartbeat(conn: Connection, *, lease: TunnelLease, now: int) -> bool:
    """Extend the lease; False, and no change, when the epoch is not the newest.

    The caller's tunnel is fenced off.
    """
    values = {"lease_until": lease.lease_until, "last_seen": now}
    statement = update(agents).where(*_under_epoch(lease.agent_id, lease.epoch)).values(values)
    return conn.execute(statement).rowcount == 1


def heartbeat_many(
    conn: Connection, *, tunnels: Iterable[tuple[str, int]], lease_until: int, now: int
) -> set[tuple[str, int]]:
    """Extend the leases of (agent id, epoch) pairs together; the pairs that are fenced off, or locked."""
    fenced: set[tuple[str, int]] = set()
    remaining = iter(sorted(set(tunnels)))
    while pairs := list(islice(remaining, _PAIRS_PER_STATEMENT)):
        statement = (
            update(agents)
            .where(
                tuple_(agents.c.agent_id, agents.c.tunnel_epoch).in_(pairs),
                agents.c.removed_at.is_(None),
                agents.c.locked_at.is_(None),
            )
            .values(lease_until=lease_until, last_seen=now)
            .returning(agents.c.agent_id, agents.c.tunnel_epoch)
        )
        extended = {(row.agent_id, row.tunnel_epoch) for row in conn.execute(statement)}
        fenced.update(set(pairs) - extended)
    return fenced


def mark_disconnected(conn: Connection, *, agent_id: str, epoch: int, now: int) -> bool:
    """The tunnel of this epoch is gone; False, and no change, when the epoch is not the newest."""
    statement = update(agents).where(*_under_epoch(agent_id, epoch)).values(lease_until=None, last_seen=now)
    return conn.execute(statement).rowcount == 1


def release_hub(conn: Connection, *, hub_id: str) -> int:
    """End every lease of this hub, at its start: what a crash has left behind. How many there were."""
    statement = update(agents).where(agents.c.hub_id == hub_id, agents.c.lease_until.is_not(None))
    return conn.execute(statement.values(lease_until=None)).rowcount


def count_connected(conn: Connection, *, now: int) -> int:
    """How many agents have a valid lease at `now`."""
    live = (agents.c.removed_at.is_(None), agents.c.lease_until > now)
    return conn.execute(select(func.count()).select_from(agents).where(*live)).scalar_one()


def _present(agent_id: str) -> tuple[ColumnElement[bool], ...]:
    return (agents.c.agent_id == agent_id, agents.c.removed_at.is_(None))


def _under_epoch(agent_id: str, epoch: int) -> tuple[ColumnElement[bool], ...]:
    return (*_present(agent_id), agents.c.tunnel_epoch == epoch)
