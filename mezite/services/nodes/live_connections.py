# SPDX-License-Identifier: Apache-2.0
"""The SSH connections that this hub routes now, and the sessions that agents report inside them.

An agent may report only sessions of connections that this hub gave to that very agent (threat G5); what it does not
report as ended, because it crashed or its tunnel broke, is ended when the connection goes away (threat H4).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NoReturn

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.services.access.live_access import LiveAccess, LiveEntry
from mezite.services.audit_log import AuditLog
from mezite.services.errors import AccessDeniedError, InvalidRequestError, NotFoundError
from mezite.services.identity.identities import AgentIdentity
from mezite.services.sources import Sources
from mezite.storage import live_connections as places
from mezite.storage import node_sessions
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError, StorageError
from mezite.storage.node_sessions import NewNodeSession, NodeSessionKind, NodeSessionOutcome, NodeSessionRow

__all__ = ["LiveConnection", "LiveConnections", "SessionReport"]

_log = logging.getLogger("mezite.connections")

FINISH_SECONDS = 10
"""How long ending the sessions of a broken connection may take when the hub itself is being cancelled."""

REPORT_SECONDS = 1
"""An agent that ends a connection says why in a report, which comes by another way a moment later."""

PLACES_SECONDS = 15
"""Three times within a lease, as for tunnels."""

MAX_COMMAND = 4096
FORWARDING = frozenset({"direct-tcpip", "tcpip-forward"})
MAX_SESSION_ID = 64
MAX_SERIAL = 20
MAX_LOGIN = 64
"""As core/names.py; what a hostile agent says must not fill the database."""


@attrs.frozen(kw_only=True)
class LiveConnection:
    """One SSH connection of a user to a node."""

    connection_id: str
    agent_id: str
    node_name: str
    labels: Mapping[str, str]
    user_name: str
    user_roles: tuple[str, ...]
    client_address: str
    decision_id: str
    entry: LiveEntry
    """By which it is cut; the login that it turns out to be for is noted there."""
    sessions: set[str] = attrs.field(factory=set)
    """Those that the agent has reported as begun, and not as ended."""
    all_ended: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def audit_fields(self) -> dict[str, object]:
        """What every event about this connection says."""
        return {
            "user_name": self.user_name,
            "user_roles": self.user_roles,
            "resource_type": "node",
            "resource_name": self.node_name,
            "resource_labels": self.labels,
            "server_hostname": self.node_name,
            "client_ip": self.client_address,
            "decision_id": self.decision_id,
        }


@attrs.frozen(kw_only=True)
class SessionReport:
    """What an agent says about a session that starts."""

    connection_id: str
    session_id: str
    login: str
    kind: str
    command: str
    pty: bool
    certificate_serial: str = ""
    """Of the SSH certificate, in decimal; empty from agents that do not say."""


class LiveConnections:
    """The connections of one hub process."""

    def __init__(
        self, *, database: Database, audit: AuditLog, sources: Sources, hub_id: str, live: LiveAccess
    ) -> None:
        self._live = live
        self._database = database
        self._audit = audit
        self._sources = sources
        self._hub_id = hub_id
        self._connections: dict[str, LiveConnection] = {}
        self._places = 0

    @contextmanager
    def track(self, connection: LiveConnection) -> Iterator[None]:
        """Accept reports about `connection` for the duration of the block."""
        self._connections[connection.connection_id] = connection
        try:
            yield
        finally:
            del self._connections[connection.connection_id]

    async def take_place(self, connection_id: str, user_name: str, *, limit: int) -> bool:
        """Count a connection among those of its user on all hubs; False when there are `limit` already."""
        taken = await self._database.write(
            places.take,
            connection_id=connection_id,
            user_name=user_name,
            hub_id=self._hub_id,
            limit=limit,
        )
        self._places += taken
        return taken

    async def give_place_back(self, connection_id: str) -> None:
        """Count it no more. Runs to its end even while the hub shuts down."""
        self._places -= 1
        with trio.move_on_after(FINISH_SECONDS, shield=True):
            await self._database.write(places.release, connection_id=connection_id)

    async def keep_places(self) -> NoReturn:
        """Say every 15 s, for ever, that the places of this hub are still taken, as long as there are any."""
        while True:
            await trio.sleep(PLACES_SECONDS)
            if self._places:
                try:
                    await self._database.write(places.extend, hub_id=self._hub_id)
                except StorageError as error:
                    _log.warning("cannot extend the places of connections", extra={"reason": str(error)})

    async def session_started(self, agent: AgentIdentity, report: SessionReport) -> None:
        """Record the start of a session.

        :raises NotFoundError: this hub gave no such connection to this agent.
        :raises InvalidRequestError: an unknown kind, or a session id that is too long or was reported before.
        :raises AccessDeniedError: the user may not, as things are now, with the login or the certificate that the
            agent has found; the whole connection is cut.
        """
        connection = self.of_agent(agent, report.connection_id)
        if report.kind in FORWARDING:
            await self._check_login(connection, report)
            await self._emit_forward(connection, report)
            return
        if not 0 < len(report.session_id) <= MAX_SESSION_ID:
            raise InvalidRequestError("the session id is empty or too long")
        if "\0" in report.session_id + report.login or len(report.login) > MAX_LOGIN:
            raise InvalidRequestError("the session id or the login cannot be stored")
        try:
            kind = NodeSessionKind(report.kind)
        except ValueError:
            raise InvalidRequestError(
                f"a session is a shell, exec or subsystem, not {report.kind!r}"
            ) from None
        await self._check_login(connection, report)
        session = NewNodeSession(
            session_id=report.session_id,
            connection_id=connection.connection_id,
            hub_id=self._hub_id,
            agent_id=agent.agent_id,
            node_name=connection.node_name,
            user_name=connection.user_name,
            login=report.login,
            kind=kind,
            client_ip=connection.client_address,
        )
        now = self._sources.now()
        try:
            await self._database.write(node_sessions.start, session=session, now=now)
        except AlreadyExistsError:
            raise InvalidRequestError(f"session {report.session_id} was reported before") from None
        connection.sessions.add(report.session_id)
        await self._audit.emit(
            EventType.SESSION_START,
            **connection.audit_fields(),
            session_id=report.session_id,
            login=report.login,
            kind=report.kind,
            command=report.command[:MAX_COMMAND],
            pty=report.pty,
        )

    async def _check_login(self, connection: LiveConnection, report: SessionReport) -> None:
        """Ask again now that the login is known: stock clients name it to the agent only.

        What had to be shown was shown by now, or the agent is too old to have asked for it (threat E8).
        """
        entry = connection.entry
        entry.context = attrs.evolve(
            entry.context,
            login=report.login[:MAX_LOGIN],
            serial=report.certificate_serial[:MAX_SERIAL],
            asks_proof=False,
        )
        if not self._live.ask(entry):
            await self._emit_denial(connection, report.login, entry.reason)
            raise AccessDeniedError(entry.reason)

    async def session_ended(
        self,
        agent: AgentIdentity,
        session_id: str,
        outcome: NodeSessionOutcome,
        *,
        exit_signal: str = "",
        reason: str = "",
    ) -> None:
        """Record the end of a session; a second report changes nothing.

        :raises NotFoundError: the session is not this agent's.
        """
        row = await self._database.read(node_sessions.get, session_id=session_id)
        if row is None or row.agent_id != agent.agent_id:
            raise NotFoundError(f"session {session_id} is not one of this agent's")
        now = self._sources.now()
        ended = await self._database.write(node_sessions.end, session_id=session_id, outcome=outcome, now=now)
        if ended is not None:
            connection = self._connections.get(ended.connection_id)
            cut = ""
            if connection is not None:
                cut = connection.entry.reason
                connection.sessions.discard(session_id)
                connection.all_ended.unpark_all()
            await self._emit_end(ended, exit_signal=exit_signal, reason=cut or reason)

    async def refused(self, agent: AgentIdentity, connection_id: str, *, login: str, reason: str) -> str:
        """Record that the agent refused a login; return the event's id. :raises NotFoundError: as above."""
        return await self._emit_denial(self.of_agent(agent, connection_id), login, reason)

    async def finish(self, connection: LiveConnection) -> None:
        """End what the agent has not reported as ended. Runs to its end even while the hub shuts down."""
        if not connection.entry.reason:
            with trio.move_on_after(REPORT_SECONDS, shield=True):
                while connection.sessions:
                    await connection.all_ended.park()
        with trio.move_on_after(FINISH_SECONDS, shield=True):
            now = self._sources.now()
            rows = await self._database.write(
                node_sessions.end_all_of_connection, connection_id=connection.connection_id, now=now
            )
            for row in rows:
                await self._emit_end(row, reason=connection.entry.reason or "the connection ended")

    async def end_leftovers(self) -> int:
        """End what a crash of this hub has left behind, at start; return how many sessions there were."""
        now = self._sources.now()
        await self._database.write(places.release_hub, hub_id=self._hub_id)
        rows = await self._database.write(node_sessions.end_all_of_hub, hub_id=self._hub_id, now=now)
        for row in rows:
            await self._emit_end(row, reason="the hub was restarted")
        return len(rows)

    def of_agent(self, agent: AgentIdentity, connection_id: str) -> LiveConnection:
        """Return a connection that this hub gave to this agent. :raises NotFoundError: there is none."""
        connection = self._connections.get(connection_id)
        if connection is None or connection.agent_id != agent.agent_id:
            raise NotFoundError(f"connection {connection_id} is not one of this agent's")
        return connection

    async def _emit_denial(self, connection: LiveConnection, login: str, reason: str) -> str:
        return await self._audit.emit(
            EventType.ACCESS_DENIED,
            **connection.audit_fields(),
            success=False,
            error_message=reason[:512],
            login=login[:MAX_LOGIN],
        )

    async def _emit_forward(self, connection: LiveConnection, report: SessionReport) -> None:
        await self._audit.emit(
            EventType.PORT_FORWARD,
            **connection.audit_fields(),
            session_id=report.session_id[:MAX_SESSION_ID],
            login=report.login[:MAX_LOGIN],
            kind=report.kind,
            target=report.command[:MAX_COMMAND],
        )

    async def _emit_end(self, row: NodeSessionRow, *, exit_signal: str = "", reason: str = "") -> None:
        await self._audit.emit(
            EventType.SESSION_END,
            user_name=row.user_name,
            resource_type="node",
            resource_name=row.node_name,
            server_hostname=row.node_name,
            client_ip=row.client_ip,
            session_id=row.session_id,
            login=row.login,
            kind=row.kind.value,
            duration_ms=(row.ended_at or row.started_at) - row.started_at,
            exit_status=row.exit_status,
            exit_signal=exit_signal,
            bytes_from_user=row.bytes_from_user,
            bytes_to_user=row.bytes_to_user,
            reason=reason,
        )
