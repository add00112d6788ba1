# SPDX-License-Identifier: Apache-2.0
"""Locks as administrators make and lift them (threat E14)."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.durations import MAX_DURATION_SECONDS
from mezite.core.names import (
    InvalidNameError,
    check_agent_id,
    check_login,
    check_node_name,
    check_role_name,
    check_user_name,
)
from mezite.core.rbac.locks import LockSet, LockTarget
from mezite.core.rbac.roles import BUILT_IN_ROLES
from mezite.services.access.authorization import holder_subjects
from mezite.services.audit_log import AuditLog
from mezite.services.authorities.rotation import HUB_ONLINE_MS
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.locks.access_watch import AccessWatch
from mezite.services.sources import Sources
from mezite.storage import agents, roles, trust, users
from mezite.storage import locks as rows
from mezite.storage.database import Database
from mezite.storage.errors import StorageError
from mezite.storage.locks import LockEffect, LockRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["KnownLock", "Locks"]

MAX_MESSAGE = 160
"""Characters: with the id and the name it has to fit the 256 that a rejected channel can say."""

MAX_LOCKS = 1000
"""In force at a time: every hub keeps all of them in memory and reads them at each change."""

REPORT_SECONDS = 2.5
"""Two seconds for the other hubs, and time to write down what they did."""

REPORT_LOOK_SECONDS = 0.1

MAX_COMPARED = 5000
"""Names that an unknown one is compared with, a quarter of a second's work: somebody waits, perhaps in an emergency."""

MAX_SERIAL_DIGITS = 20
"""SSH serials have 64 bits."""


@attrs.frozen(kw_only=True)
class KnownLock:
    """A lock and what it has cut so far, on all hubs together."""

    row: LockRow
    effect: LockEffect
    warning: str = ""
    """Of one that was just made: nothing of that name is there now."""


class Locks:
    """Make, list and lift locks."""

    def __init__(self, *, database: Database, audit: AuditLog, sources: Sources, watch: AccessWatch) -> None:
        self._database = database
        self._audit = audit
        self._sources = sources
        self._watch = watch

    async def create(
        self,
        target: LockTarget,
        name: str,
        *,
        message: str,
        ttl_seconds: int = 0,
        by: UserIdentity,
        client_address: str,
    ) -> KnownLock:
        """Make a lock, which holds for `ttl_seconds` (0: until it is lifted).

        When this returns it is in force on this hub, and what it has cut here is over. Other hubs follow within 2 s,
        and their reports are waited for that long.
        What is locked need not exist: a user may be about to be created, an agent's name may come back.

        :raises InvalidRequestError: the name, message or time cannot be, or the lock would be on the caller.
        :raises ConflictError: there are too many locks.
        """
        _check(target, name, message, ttl_seconds)
        now = self._sources.now()
        row = LockRow(
            id=self._sources.new_id(),
            target=target,
            name=name,
            message=message,
            created_by=by.name,
            created_at=now,
            expires_at=now + ttl_seconds * 1000 if ttl_seconds else None,
        )
        if LockSet([row.lock()]).find(holder_subjects(by)) is not None:
            raise InvalidRequestError(
                f"the lock on {target.value} {name} would lock you out yourself: let another administrator make it"
            )
        stored = await self._database.write(_insert, row, now)
        if not stored:
            raise ConflictError(
                f"there are {MAX_LOCKS} locks already: lift some that are not needed, or lock a role"
            )
        # Not after the record of it: a lock that nobody could write about still has to hold.
        await self._watch.look()
        effect = await self._everywhere(row, await self._watch.effect_of(row.id))
        await self._record(EventType.LOCK_CREATED, row, by, client_address, effect)
        warning = ""
        with suppress(StorageError):  # the lock is in force, whatever cannot be read now
            warning = await self._database.read(_warning, row)
        return KnownLock(row=row, effect=effect, warning=warning)

    async def _everywhere(self, row: LockRow, here: LockEffect) -> LockEffect:
        """What the lock has cut on all hubs that say so in time; here, if this is the only one."""
        since = self._sources.now() - HUB_ONLINE_MS
        hubs = set(await self._database.read(trust.hubs_heard, since=since)) | {self._watch.hub_id}
        if len(hubs) == 1:
            return here
        with trio.move_on_after(REPORT_SECONDS):
            answered: set[str] = set()
            while not hubs <= answered:
                await trio.sleep(REPORT_LOOK_SECONDS)
                answered = await self._database.read(rows.answered, lock_id=row.id)
        effect = (await self._database.read(rows.effects)).get(row.id, here)
        # This hub's own row may be late; what it has cut is known all the same.
        return effect if effect.sessions >= here.sessions else here

    async def list_locks(self) -> list[KnownLock]:
        """Return the locks in force, the oldest first."""
        now = self._sources.now()

        def read(conn: Connection) -> list[KnownLock]:
            effects = rows.effects(conn)
            return [
                KnownLock(row=row, effect=effects.get(row.id, LockEffect()))
                for row in rows.list_in_force(conn, now=now)
            ]

        return await self._database.read(read)

    async def delete(self, lock_id: str, *, by: UserIdentity, client_address: str) -> None:
        """Lift a lock.

        :raises NotFoundError: there is none of that id.
        """
        row = await self._database.read(rows.get, lock_id=lock_id[:64])
        if row is None or not await self._database.write(rows.delete, lock_id=row.id):
            raise NotFoundError(f"lock {lock_id[:64]} does not exist: `mezctl locks ls` shows the locks")
        await self._watch.look()
        await self._record(EventType.LOCK_DELETED, row, by, client_address)

    async def _record(
        self,
        event_type: EventType,
        row: LockRow,
        by: UserIdentity,
        client_address: str,
        effect: LockEffect | None = None,
    ) -> None:
        cut = {} if effect is None else {"sessions_cut": effect.sessions, "slowest_ms": effect.slowest_ms}
        await self._audit.emit(
            event_type,
            user_name=by.name,
            user_roles=by.roles,
            resource_type=row.target.value,
            resource_name=row.name,
            client_ip=client_address,
            lock_id=row.id,
            reason=row.message,
            expires_at=row.expires_at or 0,
            **cut,
        )


def _insert(conn: Connection, row: LockRow, now: int) -> bool:
    if rows.count_in_force(conn, now=now) >= MAX_LOCKS:
        return False
    rows.insert(conn, row=row)
    return True


def _warning(conn: Connection, row: LockRow) -> str:
    """What to tell somebody who may have mistyped a name while a person or a machine has to be stopped."""
    if _exists(conn, row.target, row.name):
        return ""
    near = difflib.get_close_matches(row.name, _known_names(conn, row.target) or (), n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"there is no {row.target.value} {row.name}: {hint}The lock holds for one that comes"


def _known_names(conn: Connection, target: LockTarget) -> list[str] | None:
    """The names that a new one is compared with; None for what is not listed anywhere."""
    if target is LockTarget.USER:
        return [user.name for user in users.list_all(conn, limit=MAX_COMPARED)]
    if target is LockTarget.ROLE:
        return [*BUILT_IN_ROLES, *(role.name for role in roles.list_all(conn, limit=MAX_COMPARED))]
    if target is LockTarget.NODE:
        return [agent.node_name for agent in agents.list_all(conn, limit=MAX_COMPARED)]
    return None


def _exists(conn: Connection, target: LockTarget, name: str) -> bool:
    """Whether there is such a thing now; true for logins and serials, of which nobody has a list."""
    if target is LockTarget.USER:
        return users.get(conn, name=name) is not None
    if target is LockTarget.ROLE:
        return name in BUILT_IN_ROLES or roles.get(conn, name=name) is not None
    if target is LockTarget.NODE:
        return agents.get_by_name(conn, node_name=name) is not None
    return target is not LockTarget.AGENT or agents.get(conn, agent_id=name) is not None


def _check_serial(text: str) -> str:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_SERIAL_DIGITS) or text.startswith("0"):
        raise InvalidNameError(
            f"{text[:64]!r} is not a certificate's serial: `mezctl audit ls --type=user.cert.issued` shows them"
        )
    return text


_CHECKS: dict[LockTarget, Callable[[str], str]] = {
    LockTarget.USER: check_user_name,
    LockTarget.ROLE: check_role_name,
    LockTarget.NODE: check_node_name,
    LockTarget.LOGIN: check_login,
    LockTarget.AGENT: check_agent_id,
    LockTarget.SERIAL: _check_serial,
}


def _check(target: LockTarget, name: str, message: str, ttl_seconds: int) -> None:
    try:
        _CHECKS[target](name)
    except InvalidNameError as error:
        raise InvalidRequestError(str(error)) from None
    if not message.strip() or len(message) > MAX_MESSAGE or not message.isprintable():
        raise InvalidRequestError(
            f"the message is one line of at most {MAX_MESSAGE} characters: it tells those who are locked out why"
        )
    if not 0 <= ttl_seconds <= MAX_DURATION_SECONDS:
        raise InvalidRequestError("the time to live of a lock is positive and at most a century")
