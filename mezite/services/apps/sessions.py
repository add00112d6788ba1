# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers at applications: begun by a hand-over code, renewed while they are used, ended with the login.

Each is for one host and comes from one web session: without that it is good for nothing, whatever is stored of it. It
is not kept for a working day, as that one is, but for a quarter of an hour from its last use: the cookie is where an
application's own pages run, and a browser whose web session lives gets another one without anybody noticing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.secret import Secret, token_hash
from mezite.services.audit_log import AuditLog
from mezite.services.errors import NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage import app_sessions, web_sessions
from mezite.storage.app_logins import AppCodeRow
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["IDLE_MS", "AppSessions", "StartedAppSession"]

IDLE_MS = 15 * 60 * 1000
"""From the last use. Longer than most people read one page; for whoever copied a cookie, and did not use it at once, it
is worth nothing after lunch. OWASP's advice for applications of value is 2 to 30 minutes."""

RENEW_SECONDS = 5
"""Half of ten seconds, the shortest `idle_timeout` that makes sense."""

KEPT_MS = 24 * 3600 * 1000
"""How long those that are over stay in the database, for looking at."""


@attrs.frozen(kw_only=True)
class StartedAppSession:
    """A fresh one."""

    token: Secret
    """256 bits; only its hash is stored (threat E11)."""
    row: AppSessionRow


@attrs.define(eq=False, kw_only=True)
class AppSessions:
    """The sessions, and those of them that something on this hub runs on."""

    database: Database
    audit: AuditLog
    sources: Sources
    _held: Counter[str] = attrs.field(factory=Counter, init=False)
    """By id; as many as requests and WebSockets are in flight."""
    _rows: dict[str, AppSessionRow] = attrs.field(factory=dict, init=False)
    """Those in `_held`, as they were stored last."""
    ended: int = attrs.field(default=0, init=False)
    """How many have been ended here: whoever remembers one looks whether that has changed."""

    async def start(
        self, code: AppCodeRow, *, instead_of: str | None, client_address: str
    ) -> StartedAppSession | None:
        """Begin a session for the browser that has shown `code`, in place of the one whose secret it had before.

        None: the web session that the code came from is over.
        """
        now, token = self.sources.now(), self.sources.new_secret()
        before = None if instead_of is None else token_hash(instead_of)

        def store(conn: Connection) -> AppSessionRow | None:
            origin = web_sessions.get_live(conn, token_hash=code.web_session, now=now)
            if origin is None:
                return None
            ends_at = min(code.ends_at, origin.expires_at)
            row = AppSessionRow(
                id=session_id,
                token_hash=token_hash(token),
                host=code.host,
                user_name=origin.user_name,
                web_session=code.web_session,
                factor=code.factor,
                client_ip=client_address,
                created_at=now,
                expires_at=min(now + code.idle_ms, ends_at),
                idle_ms=code.idle_ms,
                ends_at=ends_at,
            )
            app_sessions.delete_stale(conn, before=now - KEPT_MS)
            if before is not None:
                old = app_sessions.get_live(conn, token_hash=before, host=code.host, now=now)
                if old is not None:
                    app_sessions.revoke(conn, id=old.id, now=now)
            app_sessions.insert(conn, session=row)
            return row

        session_id = self.sources.new_id()
        row = await self.database.write(store)
        self.ended += before is not None
        return None if row is None else StartedAppSession(token=Secret(token), row=row)

    @contextmanager
    def held(self, session: AppSessionRow) -> Iterator[None]:
        """Keep the session alive for the length of the block, as long as `run` runs and the web session lives."""
        self._held[session.id] += 1
        self._rows.setdefault(session.id, session)
        try:
            yield
        finally:
            self._held[session.id] -= 1
            if not self._held[session.id]:
                del self._held[session.id], self._rows[session.id]

    async def renew(self, session: AppSessionRow) -> None:
        """Note that it is used now. Written down when half of its time is over, not at every request."""
        now = self.sources.now()
        if self._is_due(session, now):
            await self.database.write(app_sessions.renew, ids=[session.id], now=now)

    async def run(self) -> NoReturn:
        """Renew, for ever, what is held. A database that is away is asked again."""
        while True:
            await trio.sleep(RENEW_SECONDS)
            await self.renew_held()

    async def renew_held(self) -> None:
        """Renew what is held and has less than half of its time left."""
        now = self.sources.now()
        due = {id: row for id, row in self._rows.items() if self._is_due(row, now)}
        if not due:
            return
        try:
            await self.database.write(app_sessions.renew, ids=list(due), now=now)
        except StorageError:
            return
        for id, row in due.items():
            if id in self._rows:
                self._rows[id] = attrs.evolve(row, expires_at=min(now + row.idle_ms, row.ends_at))

    async def listed(self, user_name: str | None = None) -> list[AppSessionRow]:
        """Return those of one user or of all that can be used now, newest first."""
        return await self.database.read(app_sessions.list_live, user_name=user_name, now=self.sources.now())

    async def end(self, session_id: str, *, by: UserIdentity, client_address: str) -> AppSessionRow:
        """End one; what runs on it is cut within a second. :raises NotFoundError: there is no live one of that id."""
        end = partial(app_sessions.revoke, id=session_id[:64], now=self.sources.now())
        row = await self.database.write(end)
        self.ended += 1
        if row is None:
            raise NotFoundError(f"there is no live session {session_id[:64]} at an application")
        await self.audit.emit(
            EventType.APP_LOGOUT,
            user_name=row.user_name,
            resource_type="app",
            resource_name=row.host,
            client_ip=client_address,
            session_id=row.id,
            by=by.name,
        )
        return row

    @staticmethod
    def _is_due(session: AppSessionRow, now: int) -> bool:
        return session.expires_at - now < session.idle_ms // 2 and session.expires_at < session.ends_at
