# SPDX-License-Identifier: Apache-2.0
"""Sessions in browsers and programs, of everybody: as administrators see and end them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.services.apps.sessions import AppSessions
from mezite.services.audit_log import AuditLog
from mezite.services.errors import NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.locks.access_watch import AccessWatch
from mezite.services.sources import Sources
from mezite.services.users.own_sessions import APP, ID_LENGTH, session_id
from mezite.storage import app_sessions, web_sessions
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.database import Database
from mezite.storage.web_sessions import WebSessionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LoginSession", "LoginSessions"]

MAX_LISTED = 1000
"""Of each kind, the newest; who looks for one among more names the user."""

_WEB_ID = re.compile(rf"[0-9a-f]{{{ID_LENGTH}}}", re.ASCII)


@attrs.frozen(kw_only=True)
class LoginSession:
    """One live session. Times in ms."""

    id: str
    kind: str
    """`web` in a browser, `api` in a program, `app` of a browser at an application."""
    user_name: str
    host: str
    """Of the application; empty for the others."""
    client_address: str
    created_at: int
    expires_at: int


@attrs.frozen(kw_only=True)
class LoginSessions:
    """Lists and revokes; what runs on a session is cut within a second on every hub (threat E14)."""

    database: Database
    audit: AuditLog
    sources: Sources
    apps: AppSessions
    watch: AccessWatch

    async def listed(self, user_name: str = "") -> list[LoginSession]:
        """Return the live sessions of a user, or of all, newest first."""
        now = self.sources.now()

        def look_up(conn: Connection) -> list[LoginSession]:
            who = user_name or None
            web = web_sessions.list_live(conn, user_name=who, now=now)[:MAX_LISTED]
            apps = app_sessions.list_live(conn, user_name=who, now=now)[:MAX_LISTED]
            return [*map(_web, web), *map(_app, apps)]

        found = await self.database.read(look_up)
        return sorted(found, key=lambda session: session.created_at, reverse=True)

    async def revoke(self, id: str, *, by: UserIdentity, client_address: str) -> LoginSession:
        """End a session. With one of a browser go its sessions at applications; certificates stay good.

        :raises NotFoundError: there is no live one of that id.
        """
        if _WEB_ID.fullmatch(id) is None:
            session = _app(await self.apps.end(id, by=by, client_address=client_address))
        else:
            session = await self._revoke_web(id, by, client_address)
        await self.watch.look()
        return session

    async def _revoke_web(self, id: str, by: UserIdentity, client_address: str) -> LoginSession:
        now = self.sources.now()

        def end(conn: Connection) -> WebSessionRow | None:
            row = web_sessions.get_live_by_prefix(conn, prefix=id, now=now)
            if row is None or not web_sessions.revoke(conn, token_hash=row.token_hash, now=now):
                return None
            return row

        row = await self.database.write(end)
        if row is None:
            raise NotFoundError(
                f"session {id} does not live: `mezctl sessions ls --logins` shows those that do"
            )
        await self.audit.emit(
            EventType.USER_LOGOUT,
            user_name=row.user_name,
            resource_type="session",
            resource_name=id,
            client_ip=client_address,
            by=by.name,
        )
        return _web(row)


def _web(row: WebSessionRow) -> LoginSession:
    return LoginSession(
        id=session_id(row),
        kind=row.kind.value,
        user_name=row.user_name,
        host="",
        client_address=row.client_ip,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )


def _app(row: AppSessionRow) -> LoginSession:
    return LoginSession(
        id=row.id,
        kind=APP,
        user_name=row.user_name,
        host=row.host,
        client_address=row.client_ip,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
