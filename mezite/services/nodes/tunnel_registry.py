# SPDX-License-Identifier: Apache-2.0
"""Which agent is reachable over which live tunnel of this hub.

Entries are keyed by the agent id in the agent's certificate, never by a name the peer claims (threat B1), and are
entered for exactly as long as the tunnel lives: there is no `unregister` to forget (threat B4). Nothing here awaits,
so nothing can interleave and no lock is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import attrs
import trio

from mezite.core.mux.header import ChannelHeader
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import MuxSessionStatistics

__all__ = ["RegistryStatistics", "StaleEpochError", "Tunnel", "TunnelRegistry", "TunnelSession"]


class TunnelSession(Protocol):
    """The part of a mux session that routing needs."""

    async def open_channel(self, header: ChannelHeader, *, deadline_seconds: float = 15) -> MuxChannel:
        """Open a channel to the agent; see `mezite.net.mux_session.MuxSession.open_channel`."""
        ...

    def statistics(self) -> MuxSessionStatistics:
        """Return counters of this moment."""
        ...


class StaleEpochError(Exception):
    """A tunnel was claimed with an epoch that is not higher than the one already there.

    Happens when two connections of one agent cross on the way: the later one has won already.
    """


@attrs.define(eq=False, kw_only=True)
class Tunnel:
    """One live tunnel."""

    agent_id: str
    """From the certificate."""
    node_name: str
    epoch: int
    """Fencing number from the database, higher for each connection of the agent."""
    session: TunnelSession
    close: Callable[[], None]
    """Ends the tunnel at once; called when a newer tunnel of the same agent takes its place."""


@attrs.frozen
class RegistryStatistics:
    """A snapshot."""

    tunnels: int


class TunnelRegistry:
    """The tunnels of one hub process."""

    def __init__(self) -> None:
        self._tunnels: dict[str, Tunnel] = {}
        self._claimed = trio.lowlevel.ParkingLot()
        self.draining = trio.Event()
        """Set when the hub goes away: every tunnel, also one that comes up later, sends its agent elsewhere."""

    @contextmanager
    def claim(self, tunnel: Tunnel) -> Iterator[None]:
        """Make `tunnel` the way to its agent for the duration of the block.

        An older tunnel of the same agent is replaced and told to close.

        :raises StaleEpochError: a tunnel with the same or a higher epoch is there already (threat B1).
        """
        current = self._tunnels.get(tunnel.agent_id)
        if current is not None:
            if current.epoch >= tunnel.epoch:
                raise StaleEpochError(f"agent {tunnel.agent_id} is connected with epoch {current.epoch}")
            current.close()
        self._tunnels[tunnel.agent_id] = tunnel
        self._claimed.unpark_all()
        try:
            yield
        finally:
            if self._tunnels.get(tunnel.agent_id) is tunnel:
                del self._tunnels[tunnel.agent_id]

    def find(self, agent_id: str) -> Tunnel | None:
        """Return the live tunnel of an agent, or None when it has none on this hub."""
        return self._tunnels.get(agent_id)

    async def wait_tunnel(self) -> Tunnel:
        """Wait until some tunnel is live and return the oldest."""
        while not self._tunnels:
            await self._claimed.park()
        return next(iter(self._tunnels.values()))

    def tunnels(self) -> list[Tunnel]:
        """Return all live tunnels, in the order in which they were claimed."""
        return list(self._tunnels.values())

    def statistics(self) -> RegistryStatistics:
        """Return how many tunnels are live."""
        return RegistryStatistics(tunnels=len(self._tunnels))
