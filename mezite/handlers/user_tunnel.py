# SPDX-License-Identifier: Apache-2.0
"""msh dialled in over `mezite-connect/1`: SSH to nodes, TCP applications and the API, as channels of one connection.

The SSH bytes are passed on as they are: this hub holds no key for them (the agent is the SSH server).
"""

from __future__ import annotations

import logging
from functools import partial

import attrs
import trio

from mezite.core.mux.connection import Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import GrowthPool
from mezite.handlers.app_tcp import AppTcpHandler, register_app_channel
from mezite.handlers.session_life import ServeApi, dismiss, guarded, new_window_pool, running, say_goodbye
from mezite.net.byte_streams import relay
from mezite.net.mux_session import MuxSession, PendingChannel
from mezite.net.tls_stream import TlsStream
from mezite.services.access.authorization import Resource
from mezite.services.access.live_access import LiveAccess, LiveEntry, LiveKind
from mezite.services.access.verb_registry import Door, DoorKind, UnregisteredDoorError, VerbRegistry
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.errors import (
    NotFoundError,
    RefusedError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.identity.identities import UserIdentity
from mezite.services.nodes.access import NodeAccess

__all__ = ["UserTunnelHandler", "register_channels"]

_log = logging.getLogger("mezite.connect")

MAX_TEXT = 256
"""What a REJECT frame can carry."""

_CODES: dict[type[RefusedError], ErrorCode] = {
    NotFoundError: ErrorCode.NOT_FOUND,
    UnavailableError: ErrorCode.UNREACHABLE,
}
"""Everything else is REFUSED."""


def register_channels(registry: VerbRegistry) -> None:
    """Declare the kinds of channel that users may open, with their verbs."""
    registry.register(Door(kind=DoorKind.CHANNEL, name="ssh", verb="nodes.connect", resource="node"))
    registry.register(Door(kind=DoorKind.CHANNEL, name="api", verb="self.api", resource="account"))
    register_app_channel(registry)


@attrs.frozen
class _Peer:
    address: str
    certificate: bytes


@attrs.define(eq=False, kw_only=True)
class UserTunnelHandler:
    """Serves the users of one listener."""

    authenticator: Authenticator
    access: NodeAccess
    apps: AppTcpHandler
    refusals: CredentialRefusals
    live: LiveAccess
    serve_api: ServeApi
    verbs: VerbRegistry
    windows: GrowthPool = attrs.field(factory=new_window_pool)
    """Shared by all sessions of the hub."""

    async def serve(self, stream: TlsStream, client_address: str) -> None:
        """Run one user's connection until either side ends it. Cancelling closes it at once."""
        certificate = stream.peer_certificate()
        if certificate is None:
            raise AssertionError("the listener demands a certificate in the handshake")
        peer = _Peer(client_address, certificate)
        session = MuxSession(stream, Side.ACCEPTER, pool=self.windows)
        try:
            identity = await self._identify(peer)
        except RefusedError as refused:
            _log.warning("user refused", extra={"client": client_address, "reason": str(refused)})
            await say_goodbye(session, ErrorCode.REFUSED, str(refused)[:MAX_TEXT])
            return
        entry = LiveEntry(
            kind=LiveKind.USER_TUNNEL,
            identity=identity,
            verb="self.api",
            resource=Resource(kind="account"),
            context=self.authenticator.context(client_address),
            ends_at=identity.expires_at,
        )
        async with running(session) as nursery:
            with self.live.hold(entry):
                await self._accept_channels(session, peer, nursery)
            # The connections to nodes are cut by themselves, each with its reason.
            await dismiss(session, ErrorCode.REFUSED, entry.reason[:MAX_TEXT])

    async def _accept_channels(self, session: MuxSession, peer: _Peer, nursery: trio.Nursery) -> None:
        while True:
            pending = await session.accept_channel()
            nursery.start_soon(guarded, partial(self._serve_channel, peer), pending)

    async def _serve_channel(self, peer: _Peer, pending: PendingChannel) -> None:
        kind = pending.header.kind
        try:
            self.verbs.door(DoorKind.CHANNEL, kind)
        except UnregisteredDoorError:
            pending.reject(ErrorCode.REFUSED, f"there is no channel of kind {kind[:32]}")
            return
        if kind == "api":
            await self.serve_api(await pending.accept(), peer.address, peer.certificate)
            return
        try:
            identity = await self._identify(peer)
            if kind == "app":
                await self.apps.serve(pending, identity, peer.address)
            else:
                await self._serve_ssh(pending, identity, peer)
        except RefusedError as refused:
            pending.reject(_code_of(refused), str(refused)[:MAX_TEXT])

    async def _identify(self, peer: _Peer) -> UserIdentity:
        """As the user is now: a connection may be older than a change of roles, or a lock (threats E6, E14)."""
        async with self.refusals.recorded(peer.address, "connect"):
            identity = await self.authenticator.by_tls_certificate(peer.certificate, peer.address)
            if not isinstance(identity, UserIdentity):
                raise UnauthenticatedError("this port is for users: agents connect to the tunnel port")
        return identity

    async def _serve_ssh(self, pending: PendingChannel, identity: UserIdentity, peer: _Peer) -> None:
        """:raises RefusedError: the channel was not accepted; the text is for the user."""
        header = pending.header
        async with self.access.connect(
            identity,
            header.target,
            login=header.attributes.get("login") or None,
            client_address=peer.address,
        ) as channel:
            try:
                await relay(await pending.accept(), channel)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as broken:
                # Either end went away in the middle: the other one has been told by a reset.
                _log.debug("relay ended early", extra={"reason": repr(broken)})


def _code_of(refused: RefusedError) -> ErrorCode:
    codes = (code for kind, code in _CODES.items() if isinstance(refused, kind))
    return next(codes, ErrorCode.REFUSED)
