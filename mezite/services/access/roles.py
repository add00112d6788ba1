# SPDX-License-Identifier: Apache-2.0
"""Roles as administrators manage them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.rbac.role_document import RoleProblems, parse_role, role_document
from mezite.core.rbac.roles import BUILT_IN_ROLES, Role
from mezite.services.access.authorization import unenforced
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.identity.role_definitions import stored_role
from mezite.services.sources import Sources
from mezite.storage import roles, users
from mezite.storage.database import Database
from mezite.storage.json_columns import stable_json
from mezite.storage.users import UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["KnownRole", "RoleCatalog", "all_users", "checked_role"]

MAX_DOCUMENT = 64 * 1024
"""Bytes; 256 logins of 64 characters and two selectors of 64 keys fit with room to spare."""

MAX_NAMED_USERS = 10
"""Users that are named when a role cannot be deleted."""


@attrs.frozen(kw_only=True)
class KnownRole:
    """A role that users can have."""

    role: Role
    built_in: bool
    created_at: int = 0
    """Milliseconds; 0 for a built-in role."""
    updated_at: int = 0

    @property
    def document(self) -> str:
        """The role as JSON."""
        return stable_json(role_document(self.role))


class RoleCatalog:
    """Create, list, change and delete roles. A change counts from the next decision on."""

    def __init__(self, *, database: Database, audit: AuditLog, sources: Sources) -> None:
        self._database = database
        self._audit = audit
        self._sources = sources

    async def list_roles(self) -> list[KnownRole]:
        """Return all roles, built-in ones first, each kind by name."""
        stored = await self._database.read(_all_roles)
        built_in = [KnownRole(role=BUILT_IN_ROLES[name], built_in=True) for name in sorted(BUILT_IN_ROLES)]
        return built_in + [_known(row) for row in stored]

    async def get(self, name: str) -> KnownRole:
        """Return a role. :raises NotFoundError: there is none of that name."""
        if name in BUILT_IN_ROLES:
            return KnownRole(role=BUILT_IN_ROLES[name], built_in=True)
        row = await self._database.read(roles.get, name=name)
        if row is None:
            raise _no_such_role(name)
        return _known(row)

    async def put(self, document: str, *, by: str, client_address: str) -> tuple[KnownRole, bool]:
        """Create the role of a JSON document or replace it; return it, and whether it is new.

        :raises InvalidRequestError: the document is no role, or asks for what this version cannot enforce.
        :raises ConflictError: it has the name of a built-in role.
        """
        role = checked_role(document)
        stored, created = await self._database.write(
            roles.put, name=role.name, document=stable_json(role_document(role)), now=self._sources.now()
        )
        event = EventType.ROLE_CREATED if created else EventType.ROLE_UPDATED
        await self._record(event, role.name, by, client_address)
        return _known(stored), created

    async def delete(self, name: str, *, by: str, client_address: str) -> None:
        """Delete a role.

        :raises NotFoundError: there is none of that name.
        :raises ConflictError: it is built in, or users have it; the message names them.
        """
        if name in BUILT_IN_ROLES:
            raise ConflictError(
                f"role {name} is built in: it cannot be deleted; take it from its users instead"
            )

        def remove(conn: Connection) -> tuple[bool, list[str]]:
            holders = [user.name for user in all_users(conn) if name in user.roles]
            return not holders and roles.delete(conn, name=name), holders

        deleted, holders = await self._database.write(remove)
        if holders:
            names = ", ".join(holders[:MAX_NAMED_USERS])
            more = f" and {len(holders) - MAX_NAMED_USERS} more" if len(holders) > MAX_NAMED_USERS else ""
            raise ConflictError(
                f"role {name} cannot be deleted: {names}{more} have it; take it from them with "
                "`mezctl users update NAME --roles=…`"
            )
        if not deleted:
            raise _no_such_role(name)
        await self._record(EventType.ROLE_DELETED, name, by, client_address)

    async def _record(self, event_type: EventType, name: str, by: str, client_address: str) -> None:
        await self._audit.emit(
            event_type, user_name=by, resource_type="role", resource_name=name, client_ip=client_address
        )


def _no_such_role(name: str) -> NotFoundError:
    return NotFoundError(f"role {name[:64]} does not exist: `mezctl roles ls` shows the roles there are")


def _known(row: roles.RoleRow) -> KnownRole:
    return KnownRole(
        role=stored_role(row.name, row.document),
        built_in=False,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def checked_role(document: str) -> Role:
    """Return the role of a JSON document that may be stored.

    :raises InvalidRequestError: the document is no role, or asks for what this version cannot enforce.
    :raises ConflictError: it has the name of a built-in role.
    """
    if len(document) > MAX_DOCUMENT:
        raise InvalidRequestError(f"the role is larger than {MAX_DOCUMENT // 1024} KiB")
    try:
        role = parse_role(json.loads(document))
    except RoleProblems as problems:
        raise InvalidRequestError(str(problems).replace("\n", " | ")) from None
    except (ValueError, RecursionError):
        raise InvalidRequestError("the role is not JSON") from None
    if role.name in BUILT_IN_ROLES:
        raise ConflictError(f"role {role.name} is built in: choose another name")
    pending = unenforced(role.options)
    if pending:
        raise InvalidRequestError(
            f"spec.options.{pending[0]}: this version does not enforce it yet; leave it out or use its default"
        )
    return role


def _all_roles(conn: Connection) -> list[roles.RoleRow]:
    rows: list[roles.RoleRow] = []
    while page := roles.list_all(conn, after=rows[-1].name if rows else ""):
        rows += page
    return rows


def all_users(conn: Connection) -> list[UserRow]:
    """Every user, by name."""
    rows: list[UserRow] = []
    while page := users.list_all(conn, after=rows[-1].name if rows else ""):
        rows += page
    return rows
