# SPDX-License-Identifier: Apache-2.0
"""Whether applications can be reached: whether some agent of theirs is connected, and what health checks have shown."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.apps.app import App
from mezite.core.apps.health import AgentHealth, AppHealth, HealthState, health_key, overall
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.sources import Sources
from mezite.storage import agents, app_health
from mezite.storage.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AgentState", "AppState", "AppStatus", "AppView", "state_of"]

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
    """At least one agent is connected; whether the application itself answers is its health."""
    OFFLINE = "offline"
    DISABLED = "disabled"
    NO_AGENTS = "no_agents"


@attrs.frozen(kw_only=True)
class AppView:
    """One application with what is known of its agents."""

    app: App
    state: AppState
    agents: Mapping[str, AgentState]
    """By the name of its node, in the application's order."""
    health: Mapping[str, AgentHealth]
    """The same; empty where health is not checked."""

    @property
    def overall_health(self) -> AppHealth | None:
        """None where health is not checked."""
        if not self.app.options.health_seconds:
            return None
        return overall([each.state for each in self.health.values()])


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

    async def views(self, apps: Iterable[App]) -> list[AppView]:
        """Return these applications with their agents and their health, as all hubs have found it."""
        wanted = list(apps)
        states = await self.agents_of(wanted)
        checked = {app.name: app for app in wanted if app.options.health_seconds}
        rows = await self.database.read(app_health.of_apps, names=checked) if checked else []
        found = {
            (row.app, row.agent): AgentHealth(
                state=HealthState(row.state), since=row.since, reason=row.reason
            )
            for row in rows
            if row.checked == health_key(checked[row.app])
        }
        return [_view(app, states, found) for app in wanted]


def _view(
    app: App, states: Mapping[str, AgentState], found: Mapping[tuple[str, str], AgentHealth]
) -> AppView:
    """What was found through an agent that is offline now, or of an application that is disabled, is not known any
    more.
    """
    agents_of_it = {name: states[name] for name in app.agent_hostnames}
    health = {}
    if app.options.health_seconds:
        for name, state in agents_of_it.items():
            is_known = app.enabled and state is AgentState.ONLINE
            health[name] = found.get((app.name, name), AgentHealth()) if is_known else AgentHealth()
    return AppView(app=app, state=state_of(app, states), agents=agents_of_it, health=health)


def state_of(app: App, states: Mapping[str, AgentState]) -> AppState:
    """Return the state of an application whose agents are in `states`."""
    if not app.enabled:
        return AppState.DISABLED
    if not app.agent_hostnames:
        return AppState.NO_AGENTS
    online = any(states.get(name) is AgentState.ONLINE for name in app.agent_hostnames)
    return AppState.ONLINE if online else AppState.OFFLINE
