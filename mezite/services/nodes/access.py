# SPDX-License-Identifier: Apache-2.0
"""From a user and the name of a node to a channel into that node's agent."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.names import InvalidNameError, check_node_name
from mezite.core.rbac.locks import NO_LOCKS
from mezite.core.rbac.role_options import SessionMfa
from mezite.core.timestamps import format_timestamp
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import ChannelRejectedError, TunnelClosedError
from mezite.services.access.authorization import AccessContext, Decision, Resource, authorize
from mezite.services.access.live_access import LiveAccess, LiveEntry, LiveKind
from mezite.services.access.lock_feed import LockFeed
from mezite.services.audit_log import AuditLog
from mezite.services.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.identity.identities import UserIdentity
from mezite.services.nodes.live_connections import LiveConnection, LiveConnections
from mezite.services.nodes.tunnel_registry import Tunnel, TunnelRegistry
from mezite.services.proofs.session_proof import SessionProofs
from mezite.services.sources import Sources
from mezite.storage import agents
from mezite.storage.agents import AgentRow
from mezite.storage.database import Database

__all__ = ["NodeAccess"]

DIAL_SECONDS = 15
"""What a user waits at most; the tunnel's own liveness check takes as long to find a dead agent."""

MAX_NAME = 253
"""What is kept and repeated of a name that a user has made up; the longest that a node can have."""

EVERY_LOGIN = "*"
"""In place of the logins that need a second factor, when all do; no login is called so."""

MAX_LOGINS_BYTES = 2048
"""The header of a channel has 4 KiB for everything."""


class NodeAccess:
    """Authorises and opens connections to nodes."""

    def __init__(
        self,
        *,
        database: Database,
        registry: TunnelRegistry,
        connections: LiveConnections,
        audit: AuditLog,
        sources: Sources,
        locks: LockFeed,
        live: LiveAccess,
        proofs: SessionProofs,
    ) -> None:
        self._database = database
        self._registry = registry
        self._locks = locks
        self._live = live
        self._proofs = proofs
        self._connections = connections
        self._audit = audit
        self._sources = sources

    @asynccontextmanager
    async def connect(
        self, identity: UserIdentity, node_name: str, *, login: str | None, client_address: str
    ) -> AsyncIterator[MuxChannel]:
        """Open a channel to the SSH server of a node, for the duration of the block.

        The channel is closed when the block ends, and what the agent has not reported as ended is ended (H4). When the
        connection is cut because the user may not go on, the channel is reset with the reason on both sides (E14); if
        the block does not end by that, it is cancelled soon after. Where roles ask for a second factor that was not
        shown ahead, the agent is told to ask for it before it lets anybody in (E8).

        :raises UnauthenticatedError: the credential has expired meanwhile.
        :raises NotFoundError: there is no such node, or none that this user may know of; audited.
        :raises AccessDeniedError: the user may reach the node but not with this login, or there is a lock; audited.
        :raises UnavailableError: its agent is offline, locked or does not answer.
        """
        if identity.expires_at <= self._sources.now():
            raise UnauthenticatedError("your credential has expired: log in again")
        agent = await self._find(node_name)
        context = AccessContext(
            client_address=client_address,
            decision_id=self._sources.new_id(),
            login=login or None,
            locks=self._locks.current,
            agent_id="" if agent is None else agent.agent_id,
            asks_proof=True,
        )
        decision = await self._decide(identity, node_name, agent, context)
        if agent is None:
            raise AssertionError("an unknown node was allowed")
        tunnel = self._tunnel_of(agent)
        if decision.needs_mfa is not SessionMfa.NONE:
            context = await self._with_proof(identity, node_name, decision, context)
            decision = await self._decide(identity, node_name, agent, context)
        entry = LiveEntry(
            kind=LiveKind.SSH,
            identity=identity,
            verb="nodes.connect",
            resource=Resource(kind="node", name=node_name, labels=agent.labels),
            context=context,
            name=self._sources.new_id(),
            ends_at=identity.expires_at,
        )
        connection = _connection_of(identity, agent, decision, entry)
        header = _header(connection, decision, identity, login)
        async with self._place(connection, decision, context):
            channel = await self._open(tunnel, header, agent)
            entry.say_why = partial(channel.cut, ErrorCode.REFUSED)
            try:
                with self._live.hold(entry):
                    yield channel
            finally:
                try:
                    await trio.aclose_forcefully(channel)
                finally:
                    # When this task is being cancelled, closing raises that at once.
                    await self._connections.finish(connection)

    @asynccontextmanager
    async def _place(
        self, connection: LiveConnection, decision: Decision, context: AccessContext
    ) -> AsyncIterator[None]:
        """Let agents report about the connection, and count it where the user may have so many only."""
        if decision.max_connections and not await self._connections.take_place(
            connection.connection_id, connection.user_name, limit=decision.max_connections
        ):
            reason = f"you may have {decision.max_connections} connections at a time, and have them"
            event_id = await self._audit_denial(connection, reason, context)
            raise AccessDeniedError(f"{reason}: end one first (event {event_id})", event_id=event_id)
        try:
            with self._connections.track(connection):
                yield
        finally:
            if decision.max_connections:
                await self._connections.give_place_back(connection.connection_id)

    async def _audit_denial(self, connection: LiveConnection, reason: str, context: AccessContext) -> str:
        return await self._audit.emit(
            EventType.ACCESS_DENIED,
            **connection.audit_fields(),
            success=False,
            error_message=reason,
            login=(context.login or "")[:MAX_NAME],
        )

    async def _with_proof(
        self, identity: UserIdentity, node_name: str, decision: Decision, context: AccessContext
    ) -> AccessContext:
        """The circumstances with what the user has shown ahead, if anything."""
        proof = await self._proofs.take_for_node(identity, node_name, decision.unproven, decision.needs_mfa)
        return attrs.evolve(context, proof=proof)

    async def _find(self, node_name: str) -> AgentRow | None:
        try:
            check_node_name(node_name)
        except InvalidNameError:
            return None
        return await self._database.read(agents.get_by_name, node_name=node_name)

    async def _decide(
        self,
        identity: UserIdentity,
        node_name: str,
        agent: AgentRow | None,
        context: AccessContext,
    ) -> Decision:
        labels = {} if agent is None else agent.labels
        resource = Resource(kind="node", name=node_name, labels=labels)
        if agent is None:
            decision = Decision(
                allowed=False, reason="there is no such node", decision_id=context.decision_id
            )
        else:
            decision = authorize(identity, "nodes.connect", resource, context)
        if decision.allowed:
            return decision
        event_id = await self._audit.emit(
            EventType.ACCESS_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type="node",
            resource_name=node_name[:MAX_NAME],
            resource_labels=labels,
            client_ip=context.client_address,
            success=False,
            error_message=decision.reason,
            decision_id=decision.decision_id,
            login=(context.login or "")[:MAX_NAME],
        )
        if agent is not None and decision.lock_id:
            without = authorize(identity, "nodes.connect", resource, attrs.evolve(context, locks=NO_LOCKS))
            if without.allowed:
                raise AccessDeniedError(f"{decision.reason} (event {event_id})", event_id=event_id)
        if agent is None or not decision.logins:
            # One text for "is not there" and "is not yours", or names could be guessed.
            raise NotFoundError(
                f"node {node_name[:MAX_NAME]}: not found, or you have no login there; "
                f"`msh ls` shows your nodes (event {event_id})",
                event_id=event_id,
            )
        raise AccessDeniedError(
            f"login {context.login} on node {node_name} is not allowed: {decision.reason}; "
            f"you may log in as {', '.join(decision.logins)} (event {event_id})",
            event_id=event_id,
        )

    def _tunnel_of(self, agent: AgentRow) -> Tunnel:
        if agent.locked_at is not None:
            raise UnavailableError(
                f"node {agent.node_name} is locked: {agent.lock_reason}; tell an administrator"
            )
        tunnel = self._registry.find(agent.agent_id)
        if tunnel is None:
            since = "it was created" if agent.last_seen is None else format_timestamp(agent.last_seen)
            raise UnavailableError(
                f"node {agent.node_name} is offline since {since}: check that mezd runs there and reaches this hub"
            )
        return tunnel

    async def _open(self, tunnel: Tunnel, header: ChannelHeader, agent: AgentRow) -> MuxChannel:
        try:
            return await tunnel.session.open_channel(header, deadline_seconds=DIAL_SECONDS)
        except ChannelRejectedError as rejected:
            if rejected.code is ErrorCode.DEADLINE:
                raise UnavailableError(
                    f"node {agent.node_name} does not answer within {DIAL_SECONDS} s: "
                    "its machine or network may be down"
                ) from None
            raise UnavailableError(f"node {agent.node_name} refused the connection: {rejected}") from None
        except TunnelClosedError:
            last_seen = format_timestamp(self._sources.now())
            raise UnavailableError(
                f"node {agent.node_name} is offline since {last_seen}: its tunnel just broke; try again shortly"
            ) from None


def _connection_of(
    identity: UserIdentity, agent: AgentRow, decision: Decision, entry: LiveEntry
) -> LiveConnection:
    return LiveConnection(
        entry=entry,
        connection_id=entry.name,
        agent_id=agent.agent_id,
        node_name=agent.node_name,
        labels=agent.labels,
        user_name=identity.name,
        user_roles=identity.roles,
        client_address=entry.context.client_address,
        decision_id=decision.decision_id,
    )


def _header(
    connection: LiveConnection, decision: Decision, identity: UserIdentity, login: str | None
) -> ChannelHeader:
    logins, unproven = login or ",".join(decision.logins), ",".join(decision.unproven)
    if unproven and (login is not None or decision.unproven == decision.logins):
        unproven = EVERY_LOGIN
    if len(logins) + len(unproven) > MAX_LOGINS_BYTES:
        raise InvalidRequestError(
            "you have too many logins on this node to connect without naming one: use USER@NODE"
        )
    attributes = {
        "idle_timeout": str(decision.idle_timeout),
        "logins": logins,
        "permissions": ",".join(decision.permissions),
        "decision_id": decision.decision_id,
    }
    if unproven:
        # An agent that does not know of it is refused when it reports the session.
        attributes["unproven"] = unproven
    return ChannelHeader(
        kind="ssh",
        target=connection.node_name,
        user=connection.user_name,
        client_address=connection.client_address,
        trace_id=connection.connection_id,
        deadline_ms=DIAL_SECONDS * 1000,
        attributes=attributes,
    )
