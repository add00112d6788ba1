# SPDX-License-Identifier: Apache-2.0
"""From a user and the name of a TCP application to a connection with its server (threats A12, E8, E14, H4)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import attrs
import trio

from mezite.core.apps.app import App, AppProtocol
from mezite.core.audit.event_types import EventType
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.byte_streams import abort_stream
from mezite.net.mux_channel import MuxChannel
from mezite.services.access.authorization import AccessContext, Decision, Resource, authorize
from mezite.services.access.live_access import LiveAccess, LiveEntry, LiveKind
from mezite.services.access.lock_feed import LockFeed
from mezite.services.apps.dialing import AppConnection, AppDialer
from mezite.services.audit_log import AuditLog
from mezite.services.errors import (
    AccessDeniedError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.identity.identities import UserIdentity
from mezite.services.nodes.live_connections import LiveConnections
from mezite.services.sources import Sources

__all__ = ["AppAccess", "AppSession"]

MAX_NAME = 63
"""What is kept and repeated of a name that a user has made up; the longest that an application can have."""

FINISH_SECONDS = 10
"""How long recording the end of a connection may take when the hub itself is being cancelled."""


class AppsByName(Protocol):
    """The part of the catalogue that is needed here."""

    async def by_name(self, name: str) -> App:
        """:raises NotFoundError: there is none."""
        ...


@attrs.define(eq=False, kw_only=True)
class AppSession:
    """One TCP connection of a user to an application."""

    stream: MuxChannel
    """To the application's server."""
    idle_timeout: int
    """Seconds without a byte either way after which it ends; 0: never."""
    reason: str = ""
    """Why it ended, set before the block is left; empty for an ordinary end."""


@attrs.define(eq=False, kw_only=True)
class _Attempt:
    """Somebody wants to use an application."""

    identity: UserIdentity
    name: str
    app: App | None
    context: AccessContext
    decision: Decision

    @property
    def resource(self) -> Resource:
        return Resource(kind="app", name=self.name, labels={} if self.app is None else self.app.labels)

    def audit_fields(self) -> dict[str, object]:
        """What every event about it says."""
        return {
            "user_name": self.identity.name,
            "user_roles": self.identity.roles,
            "resource_type": "app",
            "resource_name": self.name,
            "resource_labels": self.resource.labels,
            "client_ip": self.context.client_address,
            "decision_id": self.decision.decision_id,
        }


@attrs.define(eq=False, kw_only=True)
class AppAccess:
    """Authorises, opens and records connections to TCP applications."""

    apps: AppsByName
    dialer: AppDialer
    connections: LiveConnections
    audit: AuditLog
    sources: Sources
    locks: LockFeed
    live: LiveAccess

    async def check(self, identity: UserIdentity, name: str, *, client_address: str) -> None:
        """Raise what `connect` would, as far as that is known without dialling."""
        await self._admit(identity, name, client_address)

    @asynccontextmanager
    async def connect(
        self, identity: UserIdentity, name: str, *, client_address: str
    ) -> AsyncIterator[AppSession]:
        """Connect to an application's server, for the duration of the block; start and end are recorded.

        When the connection is cut because the user may not go on, the stream is reset with the reason, and the block
        is cancelled soon after.

        :raises UnauthenticatedError: the credential has expired meanwhile.
        :raises NotFoundError: there is no such application, or none that this user may know of; audited.
        :raises AccessDeniedError: a lock, or an option of the roles that cannot be met over TCP; audited.
        :raises UnavailableError: it is not a TCP application, is disabled, or cannot be reached.
        """
        attempt = await self._admit(identity, name, client_address)
        connection_id = self.sources.new_id()
        limit = attempt.decision.max_connections
        if limit and not await self.connections.take_place(connection_id, identity.name, limit=limit):
            reason = f"you may have {limit} connections at a time, and have them"
            event_id = await self._audit_denial(attempt, reason)
            raise AccessDeniedError(f"{reason}: end one first (event {event_id})", event_id=event_id)
        try:
            dialled = await self.dialer.open(
                _app_of(attempt), user=identity.name, client_address=client_address, trace_id=connection_id
            )
            async with self._recorded(attempt, dialled, connection_id) as session:
                yield session
        finally:
            if limit:
                await self.connections.give_place_back(connection_id)

    @asynccontextmanager
    async def _recorded(
        self, attempt: _Attempt, dialled: AppConnection, connection_id: str
    ) -> AsyncIterator[AppSession]:
        """The start is on record before the first byte moves, the end however it comes."""
        stream = dialled.stream
        entry = LiveEntry(
            kind=LiveKind.APP,
            identity=attempt.identity,
            verb="apps.connect",
            resource=attempt.resource,
            context=attrs.evolve(attempt.context, agent_id=dialled.agent_id),
            name=connection_id,
            ends_at=attempt.identity.expires_at,
            say_why=partial(stream.cut, ErrorCode.REFUSED),
        )
        fields = {
            **attempt.audit_fields(),
            "session_id": connection_id,
            "server_hostname": dialled.agent,
            "protocol": "tcp",
        }
        try:
            await self.audit.emit(EventType.APP_SESSION_START, **fields)
        except BaseException:
            await abort_stream(stream, ErrorCode.CANCELLED, "not recorded")
            raise
        began = self.sources.now()
        session = AppSession(stream=stream, idle_timeout=attempt.decision.idle_timeout)
        try:
            with self.live.hold(entry):
                yield session
        finally:
            try:
                await trio.aclose_forcefully(stream)
            finally:
                # When this task is being cancelled, closing raises that at once.
                with trio.move_on_after(FINISH_SECONDS, shield=True):
                    moved = stream.statistics()
                    await self.audit.emit(
                        EventType.APP_SESSION_END,
                        **fields,
                        bytes_from_user=moved.sent,
                        bytes_to_user=moved.received,
                        duration_ms=max(0, self.sources.now() - began),
                        reason=entry.reason or session.reason,
                    )

    async def _admit(self, identity: UserIdentity, name: str, client_address: str) -> _Attempt:
        if identity.expires_at <= self.sources.now():
            raise UnauthenticatedError("your credential has expired: log in again")
        app = await self._find(name)
        context = AccessContext(
            client_address=client_address,
            decision_id=self.sources.new_id(),
            locks=self.locks.current,
            over_tcp=True,
        )
        shown = name[:MAX_NAME] if app is None else app.name
        if app is None:
            decision = Decision(
                allowed=False, reason="there is no such application", decision_id=context.decision_id
            )
        else:
            resource = Resource(kind="app", name=app.name, labels=app.labels)
            decision = authorize(identity, "apps.connect", resource, context)
        attempt = _Attempt(identity=identity, name=shown, app=app, context=context, decision=decision)
        if not decision.allowed:
            await self._deny(attempt)
        await self._check_usable(attempt)
        return attempt

    async def _find(self, name: str) -> App | None:
        try:
            return await self.apps.by_name(name)
        except NotFoundError:
            return None

    async def _deny(self, attempt: _Attempt) -> None:
        """One text for "is not there" and "is not yours", or names could be guessed."""
        reason = attempt.decision.reason
        event_id = await self._audit_denial(attempt, reason)
        if attempt.app is not None and attempt.identity.app_grants.decide(attempt.app.labels).allowed:
            raise AccessDeniedError(
                f"application {attempt.name}: {reason} (event {event_id})", event_id=event_id
            )
        raise NotFoundError(
            f"application {attempt.name}: not found, or you may not use it; "
            f"`msh app ls` shows yours (event {event_id})",
            event_id=event_id,
        )

    async def _check_usable(self, attempt: _Attempt) -> None:
        app = _app_of(attempt)
        if not app.enabled:
            reason = "an administrator has disabled it"
        elif app.protocol is not AppProtocol.TCP:
            reason = f"it is a web application: `msh app open {app.name}` opens it in a browser"
        else:
            return
        event_id = await self._audit_denial(attempt, reason)
        raise UnavailableError(f"application {app.name}: {reason}", event_id=event_id)

    async def _audit_denial(self, attempt: _Attempt, reason: str) -> str:
        return await self.audit.emit(
            EventType.ACCESS_DENIED, **attempt.audit_fields(), success=False, error_message=reason
        )


def _app_of(attempt: _Attempt) -> App:
    if attempt.app is None:
        raise AssertionError("an unknown application was allowed")
    return attempt.app
