# SPDX-License-Identifier: Apache-2.0
"""Whether applications can be reached: whether some agent of theirs is connected."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.apps.app import App
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.sources import Sources
from mezite.storage import agents
from mezite.storage.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AgentState", "AppState", "AppStatus", "state_of"]

NAMES_AT_ONCE = 500
"""Names in one statement."""


class AgentState(enum.StrEnum):
    """What is known of an agent that an application is bound to."""

    ONLINE = "online"
    OFFLINE = "offline"
    UNKNOWN = "unknown"
    """No node has this name."""


class AppState(enum.StrEnum):
    """Whether an application can be reached."""

    ONLINE = "online"
    """At least one agent is connected; whether the application itself answers is not asked."""
    OFFLINE = "offline"
    DISABLED = "disabled"
    NO_AGENTS = "no_agents"


@attrs.frozen(kw_only=True)
class AppStatus:
    """Looks at agents."""

    database: Database
    registry: TunnelRegistry
    sources: Sources

    async def agents_of(self, apps: Iterable[App]) -> Mapping[str, AgentState]:
        """Return the state of every agent of these applications, by the name of its node."""
        names = sorted({name for app in apps for name in app.agent_hostnames})
        now = self.sources.now()

        def look(conn: Connection) -> dict[str, AgentState]:
            found = {}
            for start in range(0, len(names), NAMES_AT_ONCE):
                for row in agents.get_by_names(conn, node_names=names[start : start + NAMES_AT_ONCE]):
                    is_here = self.registry.find(row.agent_id) is not None
                    online = row.locked_at is None and (is_here or row.is_connected(now))
                    found[row.node_name] = AgentState.ONLINE if online else AgentState.OFFLINE
            return found

        known = await self.database.read(look) if names else {}
        return {name: known.get(name, AgentState.UNKNOWN) for name in names}


def state_of(app: App, states: Mapping[str, AgentState]) -> AppState:
    """Return the state of an application whose agents are in `states`."""
    if not app.enabled:
        return AppState.DISABLED
    if not app.agent_hostnames:
        return AppState.NO_AGENTS
    online = any(states.get(name) is AgentState.ONLINE for name in app.agent_hostnames)
    return AppState.ONLINE if online else AppState.OFFLINE
