# SPDX-License-Identifier: Apache-2.0
"""Tunnels of agents in memory: a real mux session on both sides, or none at all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from mezite.core.mux.error_codes import ErrorCode
from mezite.net.mux_session import PendingChannel, TunnelClosedError
from mezite.services.identity.identities import AgentIdentity
from mezite.services.nodes.tunnel_registry import Tunnel
from mezite.testing.mux_sessions import SessionPair
from tests.services.world import CLIENT, World


class NoSession:
    """The session of a tunnel that nobody opens channels in."""

    async def open_channel(self, header, *, deadline_seconds=15):
        raise AssertionError("nobody should come this far")

    async def drain(self, *, retry_after=0, code=ErrorCode.DRAINING, text=""):
        raise AssertionError("nobody should come this far")


@attrs.define(eq=False)
class Closings:
    """Tells which tunnels were told to close."""

    closed: list[tuple[str, int]] = attrs.field(factory=list)

    def tunnel(self, agent_id: str = "a-1", epoch: int = 1, session=None) -> Tunnel:
        return Tunnel(
            agent_id=agent_id,
            node_name="web-1",
            epoch=epoch,
            session=session or NoSession(),
            close=lambda: self.closed.append((agent_id, epoch)),
        )


@asynccontextmanager
async def connected(world: World, agent: AgentIdentity, serve) -> AsyncIterator[SessionPair]:
    """An agent's tunnel, claimed in the registry; `serve(pending)` answers the channels the hub opens."""
    async with trio.open_nursery() as nursery:
        pair = SessionPair()
        await pair.start(nursery)
        nursery.start_soon(answer, pair, serve)
        epoch = await world.leases.begin(agent, CLIENT)
        tunnel = Tunnel(
            agent_id=agent.agent_id,
            node_name=agent.node_name,
            epoch=epoch,
            session=pair.accepter,
            close=nursery.cancel_scope.cancel,
        )
        with world.registry.claim(tunnel):
            yield pair
        nursery.cancel_scope.cancel()


async def answer(pair: SessionPair, serve) -> None:
    async with trio.open_nursery() as nursery:
        while True:
            try:
                pending = await pair.dialer.accept_channel()
            except TunnelClosedError:
                return
            nursery.start_soon(serve, pending)


async def echo(pending: PendingChannel) -> None:
    """Send back what comes until the hub has nothing more to say."""
    channel = await pending.accept()
    while data := await channel.receive_some():
        await channel.send_all(data)
    await channel.send_eof()
