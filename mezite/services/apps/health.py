# SPDX-License-Identifier: Apache-2.0
"""What this hub knows of the health of applications through its own agents: the order of agents is made by it."""

from __future__ import annotations

import attrs

from mezite.core.apps.app import App
from mezite.core.apps.health import AgentHealth, HealthState, health_key

__all__ = ["HealthBoard"]


@attrs.frozen
class _Entry:
    checked: str
    health: AgentHealth


@attrs.define(eq=False)
class HealthBoard:
    """Results of checks, by application and agent. It has as many entries as `AppHealthChecks` checks."""

    _entries: dict[tuple[str, str], _Entry] = attrs.field(factory=dict, init=False)

    def put(self, app: App, agent: str, health: AgentHealth) -> None:
        """Note what a check has shown."""
        self._entries[app.name, agent] = _Entry(health_key(app), health)

    def forget(self, app: str, agent: str) -> None:
        """Forget: it is not checked any more, or was changed."""
        self._entries.pop((app, agent), None)

    def get(self, app: App, agent: str) -> AgentHealth | None:
        """Return what the last check of this very application has shown; None when there was none."""
        entry = self._entries.get((app.name, agent))
        return None if entry is None or entry.checked != health_key(app) else entry.health

    def is_unhealthy(self, app: App, agent: str) -> bool:
        """Whether the last check through this agent has failed."""
        health = self.get(app, agent)
        return health is not None and health.state is HealthState.UNHEALTHY

    def shuns(self, app: App, agent: str) -> bool:
        """Whether this agent is unhealthy and another one of the application is known to be healthy."""
        return self.is_unhealthy(app, agent) and any(
            (health := self.get(app, other)) is not None and health.state is HealthState.HEALTHY
            for other in app.agent_hostnames
        )
