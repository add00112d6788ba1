# SPDX-License-Identifier: Apache-2.0
"""Which nodes there are, for those who may know of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.access.lock_feed import LockFeed
from mezite.services.audit_log import AuditLog
from mezite.services.errors import NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.sources import Sources
from mezite.storage import agents
from mezite.storage.agents import AgentRow
from mezite.storage.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["NodeDirectory", "VisibleNode"]


@attrs.frozen(kw_only=True)
class VisibleNode:
    """A node as one user sees it."""

    agent: AgentRow
    online: bool
    """A tunnel to it is live, here or on another hub."""
    logins: tuple[str, ...]
    """The accounts that this user may use there."""


class NodeDirectory:
    """Lists and removes nodes."""

    def __init__(
        self,
        *,
        database: Database,
        registry: TunnelRegistry,
        audit: AuditLog,
        sources: Sources,
        locks: LockFeed,
    ) -> None:
        self._database = database
        self._registry = registry
        self._locks = locks
        self._audit = audit
        self._sources = sources

    async def list_nodes(
        self, identity: UserIdentity, *, labels: Mapping[str, str], search: str, client_address: str
    ) -> list[VisibleNode]:
        """Return the nodes that the user may reach or administer, by name.

        `labels` must all be there with these values; `search` must occur in the name or in a label's value.
        """
        rows = await self._database.read(_all_agents)
        view = self._view_of(identity, client_address)
        seen = (view(row) for row in rows if _matches(row, labels, search))
        return [node for node in seen if node is not None]

    async def get(self, identity: UserIdentity, name: str, *, client_address: str) -> VisibleNode:
        """Return one node. :raises NotFoundError: there is none, or none that this user may know of."""
        row = await self._database.read(agents.get_by_name, node_name=name)
        node = None if row is None else self._view_of(identity, client_address)(row)
        if node is None:
            raise NotFoundError(f"node {name}: not found; `mezctl nodes ls` shows the nodes you may see")
        return node

    async def remove(self, identity: UserIdentity, name: str, *, client_address: str) -> None:
        """Forget a node: its name is free, its agent must join again, its tunnel is cut.

        :raises NotFoundError: there is no such node.
        """
        now = self._sources.now()
        row = await self._database.read(agents.get_by_name, node_name=name)
        if row is not None:
            found = row
            row = await self._database.write(agents.remove, agent_id=found.agent_id, now=now)
        if row is None:
            raise NotFoundError(f"node {name}: not found; `mezctl nodes ls` shows the nodes there are")
        tunnel = self._registry.find(row.agent_id)
        if tunnel is not None:
            tunnel.close()
        await self._audit.emit(
            EventType.NODE_LEFT,
            user_name=identity.name,
            resource_type="node",
            resource_name=name,
            resource_labels=row.labels,
            server_hostname=name,
            client_ip=client_address,
            agent_id=row.agent_id,
            reason="removed",
        )

    def _view_of(
        self, identity: UserIdentity, client_address: str
    ) -> Callable[[AgentRow], VisibleNode | None]:
        """How this user sees a node, if at all; whether they administer nodes is asked once."""
        context = AccessContext(client_address=client_address, decision_id="", locks=self._locks.current)
        administers = authorize(identity, "nodes.list", Resource(kind="node"), context).allowed
        now = self._sources.now()

        def view(row: AgentRow) -> VisibleNode | None:
            resource = Resource(kind="node", name=row.node_name, labels=row.labels)
            through = attrs.evolve(context, agent_id=row.agent_id) if context.locks else context
            decision = authorize(identity, "nodes.connect", resource, through)
            if not decision.logins and not administers:
                return None
            live_here = self._registry.find(row.agent_id) is not None
            return VisibleNode(agent=row, online=live_here or row.is_connected(now), logins=decision.logins)

        return view


def _all_agents(conn: Connection) -> list[AgentRow]:
    rows: list[AgentRow] = []
    while page := agents.list_all(conn, after=rows[-1].node_name if rows else ""):
        rows += page
    return rows


def _matches(row: AgentRow, labels: Mapping[str, str], search: str) -> bool:
    if any(row.labels.get(key) != value for key, value in labels.items()):
        return False
    return not search or search in row.node_name or any(search in value for value in row.labels.values())
