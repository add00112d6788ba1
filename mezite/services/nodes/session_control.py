# SPDX-License-Identifier: Apache-2.0
"""SSH sessions on nodes as administrators see and end them, on whatever hub they are."""

from __future__ import annotations

from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.locks.access_watch import AccessWatch
from mezite.storage import node_sessions
from mezite.storage.database import Database
from mezite.storage.node_sessions import NodeSessionRow

__all__ = ["NodeSessionControl"]

MAX_REASON = 160
"""Characters, as of the message of a lock: it has to fit the end of a channel."""


class NodeSessionControl:
    """Lists sessions and ends them."""

    def __init__(self, *, database: Database, audit: AuditLog, watch: AccessWatch) -> None:
        self._database = database
        self._audit = audit
        self._watch = watch

    async def list_live(self) -> list[NodeSessionRow]:
        """Return the sessions that have not ended, on all hubs, newest first."""
        return await self._database.read(node_sessions.list_live)

    async def get(self, session_id: str) -> NodeSessionRow:
        """Return a session, live or over. :raises NotFoundError: there is none of that id."""
        row = await self._database.read(node_sessions.get, session_id=session_id[:64])
        if row is None:
            raise NotFoundError(
                f"session {session_id[:64]} does not exist: `mezctl sessions ls` shows the live ones"
            )
        return row

    async def kill(
        self, session_id: str, *, reason: str, by: UserIdentity, client_address: str
    ) -> NodeSessionRow:
        """Order that a session end, and with it the SSH connection that it is part of.

        The hub that has it ends it within 2 s; this one at once. The user sees `reason` and who gave the order.

        :raises InvalidRequestError: the reason is too long or not one line.
        :raises NotFoundError: there is no such session.
        :raises ConflictError: it has ended already.
        """
        if len(reason) > MAX_REASON or not reason.isprintable():
            raise InvalidRequestError(f"the reason is one line of at most {MAX_REASON} characters")
        row = await self.get(session_id)
        ordered = await self._database.write(
            node_sessions.order_end, session_id=row.session_id, by=by.name, reason=reason
        )
        if ordered is None:
            raise ConflictError(f"session {row.session_id} has ended already")
        await self._watch.look()
        await self._audit.emit(
            EventType.SESSION_KILLED,
            user_name=by.name,
            user_roles=by.roles,
            resource_type="session",
            resource_name=row.session_id,
            server_hostname=row.node_name,
            client_ip=client_address,
            session_id=row.session_id,
            login=row.login,
            session_user=row.user_name,
            reason=reason,
        )
        return ordered
