# SPDX-License-Identifier: Apache-2.0
"""What the database knows about tunnels: who holds them, under which epoch, and until when that is believed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditLog
from mezite.services.errors import LockedError, UnauthenticatedError
from mezite.services.identity.identities import AgentIdentity
from mezite.services.nodes.enrollment import clone_message
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.sources import Sources
from mezite.storage import agents
from mezite.storage.agents import CLONE_LOCK_REASON, RenewalRefusal, TunnelLease
from mezite.storage.database import Database
from mezite.storage.errors import NotFoundError, StorageError
from mezite.storage.shared_writes import SharedWrites

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["TunnelLeases"]

_log = logging.getLogger("mezite.tunnel")

LEASE_MS = 45_000
HEARTBEAT_SECONDS = 15
"""Three heartbeats to a lease, so that one slow write does not turn the whole fleet offline (threat B4)."""

END_SECONDS = 5
"""How long writing "disconnected" may take while the hub shuts down; the lease runs out by itself otherwise."""


@attrs.define(eq=False, kw_only=True)
class TunnelLeases:
    """The rows about the tunnels of one hub."""

    database: Database
    registry: TunnelRegistry
    audit: AuditLog
    sources: Sources
    hub_id: str
    _writes: SharedWrites = attrs.field(
        init=False, default=attrs.Factory(lambda self: SharedWrites(self.database), takes_self=True)
    )

    async def check_generation(self, agent: AgentIdentity, client_address: str) -> AgentIdentity:
        """Return `agent` unless its certificate is of a generation that was left behind.

        :raises LockedError: the identity is in use in two places; it is locked from now on, and audited.
        """
        if await self.database.read(_nothing_new, agent):
            return agent  # nearly always: no reconnect pays for a commit to note what is known (threat B6)
        now = self.sources.now()
        refusal = await self._writes.write(
            agents.confirm_generation, agent_id=agent.agent_id, presented=agent.generation, now=now
        )
        if refusal is None:
            return agent
        if refusal is not RenewalRefusal.CLONE_DETECTED:
            raise LockedError(f"agent {agent.agent_id} is {refusal.value}: join again with a new token")
        event_id = await self.audit.emit(
            EventType.LOCK_CREATED,
            resource_type="agent",
            resource_name=agent.agent_id,
            server_hostname=agent.node_name,
            client_ip=client_address,
            reason=CLONE_LOCK_REASON,
        )
        raise LockedError(clone_message(agent.agent_id), event_id=event_id)

    async def begin(self, agent: AgentIdentity, address: str) -> int:
        """Start a tunnel and return its epoch, in one transaction, which a herd shares (threat B6).

        :raises UnauthenticatedError: the agent was removed meanwhile.
        """
        now = self.sources.now()

        def connect(conn: Connection) -> int:
            epoch = agents.next_epoch(conn, agent_id=agent.agent_id, hub_id=self.hub_id, now=now)
            lease = TunnelLease(
                agent_id=agent.agent_id, epoch=epoch, lease_until=now + LEASE_MS, address=address
            )
            agents.mark_connected(conn, lease=lease, now=now)
            return epoch

        try:
            return await self._writes.write(connect)
        except NotFoundError:
            raise UnauthenticatedError(
                f"agent {agent.agent_id} was removed: join again with a new token"
            ) from None

    async def end(self, agent: AgentIdentity, epoch: int) -> None:
        """Say that a tunnel is gone; also while being cancelled."""
        now = self.sources.now()
        with trio.move_on_after(END_SECONDS, shield=True):
            await self._writes.write(agents.mark_disconnected, agent_id=agent.agent_id, epoch=epoch, now=now)

    async def run(self) -> NoReturn:
        """Extend the leases of all live tunnels together, for ever; cut those that another hub has taken over.

        A database that is away for a while costs heartbeats, not the hub: tunnels go on carrying traffic.
        """
        while True:
            await trio.sleep(HEARTBEAT_SECONDS)
            try:
                await self.extend()
            except StorageError as error:
                _log.warning("cannot extend the leases of tunnels", extra={"reason": str(error)})

    async def extend(self) -> None:
        """Extend the leases once.

        A tunnel whose epoch is not the newest any more is closed (threat B8), and that of a locked agent (E14).
        """
        live = {(tunnel.agent_id, tunnel.epoch): tunnel for tunnel in self.registry.tunnels()}
        if not live:
            return
        now = self.sources.now()
        fenced = await self.database.write(
            agents.heartbeat_many, tunnels=live, lease_until=now + LEASE_MS, now=now
        )
        for key in fenced:
            live[key].close()


def _nothing_new(conn: Connection, agent: AgentIdentity) -> bool:
    """Whether this generation is the one that was seen last, and the agent may be here."""
    row = agents.get(conn, agent_id=agent.agent_id)
    return (
        row is not None
        and row.removed_at is None
        and row.locked_at is None
        and row.generation_seen == agent.generation
    )
