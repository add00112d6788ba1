# SPDX-License-Identifier: Apache-2.0
"""From an application to a stream that its server has accepted, through one of the agents that reach it.

Candidates are the agents bound to the application whose tunnel is on this hub. The least busy one is tried first; one
that has failed lately is tried after the others; when a dial fails the next one is tried. Nothing is sent before a dial
has succeeded, so trying again repeats nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.dial_order import Candidate, Outliers, dial_order
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import ChannelHeader
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import ChannelRejectedError, TunnelClosedError
from mezite.services.apps.health import HealthBoard
from mezite.services.errors import UnavailableError
from mezite.services.nodes.tunnel_registry import Tunnel, TunnelRegistry
from mezite.storage import agents
from mezite.storage.database import Database

__all__ = [
    "AllDialsFailedError",
    "AppConnection",
    "AppDialer",
    "AppUnreachableError",
    "DialAttempt",
    "NoAgentsBoundError",
    "NoAgentsConnectedError",
]

DIAL_SECONDS = 5
"""What an agent gets to reach the application: a lost SYN is repeated after one and after three seconds."""

ANSWER_SECONDS = DIAL_SECONDS + 2
"""What the hub waits for the agent's answer: its own reason is better than its silence."""

MAX_ATTEMPTS = 4
"""Agents tried for one connection. More would keep a user waiting for half a minute to be told the same."""

_BUSY = frozenset({ErrorCode.DRAINING, ErrorCode.BACKLOG_FULL, ErrorCode.TOO_MANY_CHANNELS})
"""Says something about the tunnel at this moment, and nothing about the way from the agent to the application."""


@attrs.frozen(kw_only=True)
class AppConnection:
    """An open connection to an application."""

    stream: MuxChannel
    """Belongs to the caller. Half-closes; resets carry a reason."""
    agent_id: str
    agent: str
    """The name of the node whose agent has dialled."""


@attrs.frozen(kw_only=True)
class DialAttempt:
    """One agent that was tried in vain."""

    agent: str
    why: str
    """`cannot connect to 10.0.3.12:3000: connection refused`; from the agent, or why it has not answered."""
    about_tunnel: bool = False
    """The tunnel broke or was too busy, which says nothing about the way from the agent to the application."""


class AppUnreachableError(UnavailableError):
    """An application that cannot be reached now; one of the three below."""

    def __init__(self, app: str, why: str) -> None:
        super().__init__(f"application {app} cannot be reached: {why}")
        self.app = app


class NoAgentsBoundError(AppUnreachableError):
    """It has no agents."""

    def __init__(self, app: str) -> None:
        super().__init__(
            app,
            "it has no agents; an administrator binds one with "
            f"`mezctl apps add-agent {app} --agent-hostname=HOST`",
        )


class NoAgentsConnectedError(AppUnreachableError):
    """None of its agents has a tunnel to this hub."""

    def __init__(self, app: str, names: tuple[str, ...]) -> None:
        shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        super().__init__(
            app, f"its agent is offline ({shown})" if len(names) == 1 else f"its agents are offline ({shown})"
        )
        self.names = names


class AllDialsFailedError(AppUnreachableError):
    """Agents are connected, and none of them reaches it."""

    def __init__(self, app: str, attempts: tuple[DialAttempt, ...]) -> None:
        super().__init__(app, "; ".join(f"agent {each.agent}: {each.why}" for each in attempts))
        self.attempts = attempts


class AppDialer:
    """Opens connections to applications; knows which agents have failed lately."""

    def __init__(self, *, database: Database, registry: TunnelRegistry) -> None:
        self._database = database
        self._registry = registry
        self.health = HealthBoard()
        """What health checks write and the order of agents goes by."""
        self._outliers = Outliers()
        self._turn = 0

    async def open(
        self, app: App, *, user: str = "", client_address: str = "", trace_id: str = ""
    ) -> AppConnection:
        """Connect to the application's server; at most four agents are tried, 7 s each.

        Who may use it, and whether it is enabled, was decided before. `user`, `client_address` and `trace_id` are told
        to the agent, for its log. Cancelling withdraws the dial.

        :raises NoAgentsBoundError: no agent is bound to it.
        :raises NoAgentsConnectedError: none of them is connected to this hub.
        :raises AllDialsFailedError: those that are could not reach it.
        """
        if not app.agent_hostnames:
            raise NoAgentsBoundError(app.name)
        tunnels = await self._tunnels(app)
        if not tunnels:
            raise NoAgentsConnectedError(app.name, app.agent_hostnames)
        header = attrs.evolve(header_of(app), user=user, client_address=client_address, trace_id=trace_id)
        attempts: list[DialAttempt] = []
        for agent_id in self._order(app, tunnels)[:MAX_ATTEMPTS]:
            result = await self._attempt(tunnels[agent_id], header)
            if isinstance(result, AppConnection):
                return result
            attempts.append(result)
        raise AllDialsFailedError(app.name, tuple(attempts))

    async def open_through(self, app: App, tunnel: Tunnel) -> AppConnection | DialAttempt:
        """Connect through this very agent, or return why that has failed. What comes of it counts as of any dial."""
        return await self._attempt(tunnel, header_of(app))

    async def _tunnels(self, app: App) -> Mapping[str, Tunnel]:
        rows = await self._database.read(agents.get_by_names, node_names=app.agent_hostnames)
        free = [row.agent_id for row in rows if row.locked_at is None]
        found = {agent_id: self._registry.find(agent_id) for agent_id in free}
        return {agent_id: tunnel for agent_id, tunnel in found.items() if tunnel is not None}

    def _order(self, app: App, tunnels: Mapping[str, Tunnel]) -> list[str]:
        self._turn += 1
        target = app.upstream.target
        candidates = [
            Candidate(
                agent_id,
                load=tunnel.session.statistics().mux.channels_ours,
                avoided_until=self._outliers.avoided_until((target, agent_id)),
                unhealthy=self.health.is_unhealthy(app, tunnel.node_name),
            )
            for agent_id, tunnel in tunnels.items()
        ]
        return dial_order(candidates, now=trio.current_time(), turn=self._turn)

    async def _attempt(self, tunnel: Tunnel, header: ChannelHeader) -> AppConnection | DialAttempt:
        """Return a connection, or why there is none."""
        key = (header.target, tunnel.agent_id)
        began = trio.current_time()
        self._outliers.trying(key, now=began, seconds=ANSWER_SECONDS)
        try:
            channel = await tunnel.session.open_channel(header, deadline_seconds=ANSWER_SECONDS)
        except ChannelRejectedError as rejected:
            is_busy = rejected.code in _BUSY
            if not is_busy:
                self._outliers.failed(key, began=began, now=trio.current_time())
            why = rejected.text or rejected.code.name.lower()
            if rejected.code is ErrorCode.DEADLINE:
                why = f"no answer within {ANSWER_SECONDS} s: its machine or network may be down"
            return DialAttempt(agent=tunnel.node_name, why=why, about_tunnel=is_busy)
        except TunnelClosedError:
            return DialAttempt(agent=tunnel.node_name, why="its tunnel just broke", about_tunnel=True)
        self._outliers.worked(key)
        return AppConnection(stream=channel, agent_id=tunnel.agent_id, agent=tunnel.node_name)


def header_of(app: App) -> ChannelHeader:
    """What an agent is asked for."""
    return ChannelHeader(
        kind="app",
        target=app.upstream.target,
        deadline_ms=DIAL_SECONDS * 1000,
        attributes={"app": app.name},
    )
