# SPDX-License-Identifier: Apache-2.0
"""The web and API sessions of one user, and those at applications, as that user sees and ends them."""

from __future__ import annotations

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.secret import token_hash
from mezite.services.apps.sessions import AppSessions
from mezite.services.audit_log import AuditLog
from mezite.services.errors import NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage import web_sessions
from mezite.storage.database import Database
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

__all__ = ["APP", "ID_LENGTH", "OwnSession", "OwnSessions", "session_id"]

APP = "app"
"""The kind of a session at an application."""

ID_LENGTH = 32
"""Hex digits of a session's id: 128 bits of the stored hash, from which nobody gets back to the secret."""


@attrs.frozen(kw_only=True)
class OwnSession:
    """One live session."""

    id: str
    kind: str
    """`web` in a browser, `api` in a program, `app` of a browser at an application."""
    host: str
    """Of the application; empty for the others."""
    created_at: int
    expires_at: int
    client_address: str
    is_this: bool
    """It is the session that asks."""


@attrs.frozen(kw_only=True)
class OwnSessions:
    """Lists and ends sessions; all of them are stored, none lives in the process."""

    database: Database
    audit: AuditLog
    sources: Sources
    apps: AppSessions

    async def listed(self, identity: UserIdentity) -> list[OwnSession]:
        """Return the live sessions of the caller, newest first."""
        rows = await self.database.read(
            web_sessions.list_live, user_name=identity.name, now=self.sources.now()
        )
        found = [
            OwnSession(
                id=session_id(row),
                kind=row.kind.value,
                host="",
                created_at=row.created_at,
                expires_at=row.expires_at,
                client_address=row.client_ip,
                is_this=row.token_hash == identity.session_hash,
            )
            for row in rows
        ]
        found += [
            OwnSession(
                id=row.id,
                kind=APP,
                host=row.host,
                created_at=row.created_at,
                expires_at=row.expires_at,
                client_address=row.client_ip,
                is_this=False,
            )
            for row in await self.apps.listed(identity.name)
        ]
        return sorted(found, key=lambda session: session.created_at, reverse=True)

    async def end(self, identity: UserIdentity, wanted: str, *, client_address: str) -> None:
        """End one of the caller's sessions, which may be the one that asks; what runs on it is cut within a second.

        :raises NotFoundError: the caller has no live session of that id.
        """
        now = self.sources.now()
        rows = await self.database.read(web_sessions.list_live, user_name=identity.name, now=now)
        for row in rows:
            if session_id(row) == wanted and await self._revoke(row.token_hash):
                await self._audit(identity.name, identity.roles, client_address)
                return
        if any(row.id == wanted for row in await self.apps.listed(identity.name)):
            await self.apps.end(wanted, by=identity, client_address=client_address)
            return
        raise NotFoundError("that session has ended already: reload the list")

    async def replace(self, secret: str, *, client_address: str) -> None:
        """End the browser session that a fresh login in the same browser takes the place of (rotation).

        What is no live browser session is left alone.
        """
        hashed, now = token_hash(secret), self.sources.now()
        row = await self.database.read(web_sessions.get_live, token_hash=hashed, now=now)
        if row is not None and row.kind is WebSessionKind.WEB and await self._revoke(hashed):
            await self._audit(row.user_name, (), client_address)

    async def _revoke(self, hashed: str) -> bool:
        return await self.database.write(web_sessions.revoke, token_hash=hashed, now=self.sources.now())

    async def _audit(self, user_name: str, roles: tuple[str, ...], client_address: str) -> None:
        await self.audit.emit(
            EventType.USER_LOGOUT, user_name=user_name, user_roles=roles, client_ip=client_address
        )


def session_id(row: WebSessionRow) -> str:
    """Return by what people name it."""
    return row.token_hash[:ID_LENGTH]
