# SPDX-License-Identifier: Apache-2.0
"""Telling agents that whom they trust has changed: a word through each tunnel, and they come and ask."""

from __future__ import annotations

import logging

import trio

from mezite.core.mux.header import ChannelHeader
from mezite.net.mux_session import ChannelRejectedError, TunnelClosedError
from mezite.services.nodes.tunnel_registry import Tunnel, TunnelRegistry

__all__ = ["tell_agents"]

_log = logging.getLogger("mezite.tunnel")

AT_ONCE = 64
"""Agents told at the same time: as many heartbeats as share one transaction."""

PATIENCE_SECONDS = 15
"""An agent that does not answer hears it at its next heartbeat."""


async def tell_agents(registry: TunnelRegistry) -> int:
    """Tell every agent of this hub; return how many have heard it."""
    limiter, heard = trio.CapacityLimiter(AT_ONCE), 0

    async def tell(tunnel: Tunnel) -> None:
        nonlocal heard
        async with limiter:
            try:
                channel = await tunnel.session.open_channel(
                    ChannelHeader(kind="trust"), deadline_seconds=PATIENCE_SECONDS
                )
            except (ChannelRejectedError, TunnelClosedError, trio.BrokenResourceError) as error:
                _log.debug("an agent was not told", extra={"node": tunnel.node_name, "reason": str(error)})
                return
            heard += 1
            await trio.aclose_forcefully(channel)

    async with trio.open_nursery() as nursery:
        for tunnel in registry.tunnels():
            nursery.start_soon(tell, tunnel)
    return heard
