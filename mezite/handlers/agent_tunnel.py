# SPDX-License-Identifier: Apache-2.0
"""An agent dialled in: prove who it is, put its tunnel into the registry, keep it until it ends."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio

from mezite.core.mux.connection import Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import GrowthPool
from mezite.handlers.session_life import dismiss, guarded, new_window_pool, running, say_goodbye
from mezite.net.mux_session import MuxSession, PendingChannel
from mezite.net.tls_stream import TlsStream
from mezite.services.access.authorization import Resource
from mezite.services.access.live_access import LiveAccess, LiveEntry, LiveKind
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.errors import RefusedError, UnauthenticatedError
from mezite.services.identity.identities import AgentIdentity
from mezite.services.nodes.tunnel_leases import TunnelLeases
from mezite.services.nodes.tunnel_registry import StaleEpochError, Tunnel, TunnelRegistry

__all__ = ["AgentTunnelHandler"]

_log = logging.getLogger("mezite.tunnel")

HANDOVER_SECONDS = 3
"""What agents get to connect to another hub before an idle tunnel is ended: a dial and a TLS handshake, twice."""

GOING_AWAY = "the hub is shutting down"

PROOF_SECONDS = 10
"""A tunnel counts only once a round trip through it has come back; a healthy one takes milliseconds."""


ServeAgentApi = Callable[[trio.abc.Stream, str, AgentIdentity], Awaitable[None]]
"""Serves the gRPC API on a stream of a tunnel: `(stream, client address, agent)`."""


@attrs.frozen
class _Peer:
    address: str
    agent: AgentIdentity


@attrs.define(eq=False, kw_only=True)
class AgentTunnelHandler:
    """Serves one listener's agents."""

    authenticator: Authenticator
    registry: TunnelRegistry
    leases: TunnelLeases
    refusals: CredentialRefusals
    live: LiveAccess
    serve_api: ServeAgentApi
    windows: GrowthPool = attrs.field(factory=new_window_pool)
    """Shared by all sessions of the hub."""

    async def serve(self, stream: TlsStream, client_address: str) -> None:
        """Run one tunnel until either side ends it. Cancelling closes it at once."""
        certificate = stream.peer_certificate()
        if certificate is None:
            raise AssertionError("the tunnel listener demands a certificate in the handshake")
        session = MuxSession(stream, Side.ACCEPTER, pool=self.windows)
        try:
            agent = await self._identify(certificate, client_address)
        except RefusedError as refused:
            _log.warning("agent refused", extra={"client": client_address, "reason": str(refused)})
            await say_goodbye(session, ErrorCode.REFUSED, str(refused))
            return
        async with running(session):
            await self._serve_session(session, agent, _Peer(client_address, agent))

    async def _identify(self, certificate: bytes, client_address: str) -> AgentIdentity:
        async with self.refusals.recorded(client_address, "tunnel"):
            identity = await self.authenticator.by_tls_certificate(certificate, client_address)
            if not isinstance(identity, AgentIdentity):
                raise UnauthenticatedError("this port is for agents: users connect to the SSH port with msh")
        return await self.leases.check_generation(identity, client_address)

    async def _serve_session(self, session: MuxSession, agent: AgentIdentity, peer: _Peer) -> None:
        with trio.move_on_after(PROOF_SECONDS) as proof:
            await session.wait_round_trip()
        if proof.cancelled_caught:
            _log.info("no round trip within %d s", PROOF_SECONDS, extra={"client": peer.address})
            return
        try:
            epoch = await self.leases.begin(agent, peer.address)
        except RefusedError as refused:
            await dismiss(session, ErrorCode.REFUSED, str(refused))
            return
        details = {
            "agent_id": agent.agent_id,
            "node": agent.node_name,
            "client": peer.address,
            "epoch": epoch,
        }
        try:
            await self._hold_until_cut(session, agent, epoch, peer)
        finally:
            _log.info("tunnel down", extra=details)
            await self.leases.end(agent, epoch)

    async def _hold_until_cut(
        self, session: MuxSession, agent: AgentIdentity, epoch: int, peer: _Peer
    ) -> None:
        entry = LiveEntry(
            kind=LiveKind.AGENT_TUNNEL,
            identity=agent,
            verb="agent.heartbeat",
            resource=Resource(kind="agent"),
            context=self.authenticator.context(peer.address),
        )
        with self.live.hold(entry):
            await self._hold_tunnel(session, agent, epoch, peer)
        if entry.reason:
            await dismiss(session, ErrorCode.REFUSED, entry.reason)

    async def _hold_tunnel(self, session: MuxSession, agent: AgentIdentity, epoch: int, peer: _Peer) -> None:
        """Be the way to the agent until the session ends or a newer tunnel takes over."""
        scope = trio.CancelScope()
        tunnel = Tunnel(
            agent_id=agent.agent_id,
            node_name=agent.node_name,
            epoch=epoch,
            session=session,
            close=scope.cancel,
        )
        try:
            with self.registry.claim(tunnel):
                _log.info(
                    "tunnel up",
                    extra={
                        "agent_id": agent.agent_id,
                        "node": agent.node_name,
                        "epoch": epoch,
                        "client": peer.address,
                    },
                )
                with scope:
                    await self._serve_channels(session, peer)
        except StaleEpochError:
            await dismiss(session, ErrorCode.REPLACED, "a newer connection of this agent is there already")

    async def _serve_channels(self, session: MuxSession, peer: _Peer) -> None:
        """Serve what the agent opens, until the session ends."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain_when_told, session)
            while True:
                pending = await session.accept_channel()
                nursery.start_soon(guarded, partial(self._serve_channel, peer), pending)

    async def _drain_when_told(self, session: MuxSession) -> None:
        await self.registry.draining.wait()
        session.send_goaway(text=GOING_AWAY)
        with trio.move_on_after(HANDOVER_SECONDS):
            # An agent that finds another hub lets go by itself; until then dials still go through this tunnel.
            await session.wait_closed()
        await session.drain(text=GOING_AWAY)

    async def _serve_channel(self, peer: _Peer, pending: PendingChannel) -> None:
        if pending.header.kind != "api":
            pending.reject(ErrorCode.REFUSED, f"a hub serves no {pending.header.kind} channels to agents")
            return
        await self.serve_api(await pending.accept(), peer.address, peer.agent)
