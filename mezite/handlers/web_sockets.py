# SPDX-License-Identifier: Apache-2.0
"""The WebSockets of the hub's own host: by path, each a door with a verb, in front of the web application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.cookies import read_session
from mezite.net.addresses import join_host_port
from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import ASGIApp, Receive, Scope, Send
from mezite.net.http1_websocket import ACCEPT, Accept
from mezite.services.access.authorization import Resource, authorize
from mezite.services.access.live_access import LiveAccess, LiveEntry, LiveKind
from mezite.services.access.verb_registry import Door, DoorKind, VerbRegistry
from mezite.services.audit_log import AuditLog, AuditUnavailableError
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.errors import RefusedError, UnauthenticatedError
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage.web_sessions import WebSessionKind

__all__ = ["ServeWebSocket", "WebSocketPeer", "WebSockets", "session_token"]

ONLY_WEB_SOCKETS = (
    "only WebSockets are served at this path: if this was a request for one, let the balancer in front speak HTTP/1.1 "
    "to the hub and pass on the headers Upgrade and Connection"
)


@attrs.frozen(kw_only=True)
class WebSocketPeer:
    """Who asks for a WebSocket."""

    client_address: str
    """``ip:port``, of the client itself where a trusted balancer names it."""
    local_address: str
    identity: UserIdentity | None = None
    """None at public doors."""


ServeWebSocket = Callable[[Accept, WebSocketPeer], Awaitable[None]]
"""Accepts and serves one WebSocket to its end. That the peer goes away is an ordinary end: it may be raised."""


@attrs.define(eq=False)
class WebSockets:
    """An ASGI application: the doors that were added, and ``behind`` for everything that is no WebSocket."""

    behind: ASGIApp
    verbs: VerbRegistry
    authenticator: Authenticator
    audit: AuditLog
    sources: Sources
    refusals: CredentialRefusals
    live: LiveAccess
    _doors: dict[str, tuple[Door, ServeWebSocket]] = attrs.field(factory=dict, init=False)

    def add(
        self, path: str, serve: ServeWebSocket, *, verb: str, resource: str, public: bool = False
    ) -> None:
        """Open a door at ``path``. At a public one ``serve`` has to find out for itself who comes."""
        door = Door(kind=DoorKind.WEBSOCKET, name=path, verb=verb, resource=resource, public=public)
        self._doors[path] = self.verbs.register(door), serve

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "websocket":
            if scope["type"] == "http" and scope["path"] in self._doors:
                await answer(scope, send, 426, "A WebSocket is served here", ONLY_WEB_SOCKETS)
            else:
                await self.behind(scope, receive, send)
            return
        found = self._doors.get(scope["path"])
        if found is None:
            await answer(scope, send, 404, "Not found", "there is no WebSocket at this path")
            return
        door, serve = found
        try:
            peer = await self._admit(door, scope)
        except UnauthenticatedError as refused:
            await answer(scope, send, 401, "Log in first", str(refused))
            return
        except RefusedError as refused:
            await answer(scope, send, 403, "Not allowed", str(refused))
            return
        except AuditUnavailableError:
            await answer(
                scope, send, 503, "Try again later", "the audit log cannot be written: try again later"
            )
            return
        try:
            await self._serve(serve, scope, peer, door)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _serve(self, serve: ServeWebSocket, scope: Scope, peer: WebSocketPeer, door: Door) -> None:
        """Serve until the end, or until the user may not go on (threat E14)."""
        accept = scope["extensions"][ACCEPT]
        if peer.identity is None:
            await serve(accept, peer)
            return
        entry = LiveEntry(
            kind=LiveKind.WEBSOCKET,
            identity=peer.identity,
            verb=door.verb,
            resource=Resource(kind=door.resource),
            context=self.authenticator.context(peer.client_address),
            ends_at=peer.identity.expires_at,
        )
        with self.live.hold(entry):
            await serve(accept, peer)

    async def _admit(self, door: Door, scope: Scope) -> WebSocketPeer:
        peer = WebSocketPeer(
            client_address=join_host_port(*scope["client"]), local_address=join_host_port(*scope["server"])
        )
        if door.public:
            return peer
        token, kind = session_token(scope)
        async with self.refusals.recorded(peer.client_address, "websocket"):
            identity = await self.authenticator.by_session(token, kind)
        context = self.authenticator.context(peer.client_address)
        decision = authorize(identity, door.verb, Resource(kind=door.resource), context)
        if not decision.allowed:
            event_id = await self.audit.emit(
                EventType.AUTHZ_DENIED,
                user_name=identity.name,
                user_roles=identity.roles,
                resource_type=door.resource,
                client_ip=peer.client_address,
                success=False,
                error_message=decision.reason,
                decision_id=decision.decision_id,
                verb=door.verb,
            )
            raise RefusedError(f"{door.verb} is not allowed: {decision.reason} (event {event_id})")
        return attrs.evolve(peer, identity=identity)


def session_token(scope: Scope) -> tuple[str, WebSessionKind]:
    """Return the session that a request for a WebSocket carries, and of what kind it has to be.

    Programs send `Authorization: Bearer`. Browsers cannot, and send the cookie: it counts only when the page is one of
    this very host, since another site's page could open a WebSocket with it as well (threat D11).

    :raises UnauthenticatedError: there is none that counts.
    """
    fields: dict[bytes, list[bytes]] = {}
    for name, value in scope["headers"]:
        fields.setdefault(name, []).append(value)
    scheme, _, token = _text(fields.get(b"authorization", [b""])[0]).partition(" ")
    if scheme.lower() == "bearer" and token:
        return token, WebSessionKind.API
    secret = read_session(fields.get(b"cookie", []), from_browser=b"sec-fetch-site" in fields)
    if secret is None:
        raise UnauthenticatedError("this needs a session: log in and send it as Authorization: Bearer")
    if fields.get(b"origin") != [own_origin(scope, fields)]:
        raise UnauthenticatedError(
            "the page that asks is not one of this host, so its cookie does not count here"
        )
    return secret, WebSessionKind.WEB


def own_origin(scope: Scope, fields: dict[bytes, list[bytes]]) -> bytes:
    """The origin of pages of the host that was asked (RFC 6454).

    Whatever scheme this connection has, browsers came by HTTPS: in front of a cleartext port is a balancer.
    """
    return b"https://" + fields.get(b"host", [b""])[0].lower()


def _text(value: bytes) -> str:
    return value.decode("latin-1")
