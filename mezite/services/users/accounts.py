# SPDX-License-Identifier: Apache-2.0
"""Users as administrators manage them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.certificates.identity import IdentityError, encode_traits
from mezite.core.names import InvalidNameError, check_login, check_user_name
from mezite.core.rbac.roles import BUILT_IN_ROLES
from mezite.core.secret import Secret, token_hash
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.identity.role_definitions import definitions
from mezite.services.login.password_login import LoginService
from mezite.services.login.password_rules import WeakPasswordError, check_password_strength
from mezite.services.sources import Sources
from mezite.storage import invites, users
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.invites import InviteRow
from mezite.storage.password_hasher import PasswordHasher
from mezite.storage.users import NewUser, UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Accounts", "CreatedUser", "check_roles", "check_traits", "check_user"]

INVITE_MS = 24 * 3600 * 1000
"""A day: long enough to reach a colleague, short enough that a forgotten mail is harmless."""

MAX_TRAITS_BYTES = 6 * 1024
"""As JSON. A certificate has 16 KiB in all and holds logins twice, as a trait and as principals; refused here so that
logging in cannot fail later."""


@attrs.frozen(kw_only=True)
class CreatedUser:
    """A user just created."""

    user: UserRow
    invite_token: Secret | None
    """None when a password was given. The URL is built by whoever knows the public address."""
    invite_expires_at: int


class Accounts:
    """Create, list, change and delete local users."""

    def __init__(
        self,
        *,
        database: Database,
        login: LoginService,
        passwords: PasswordHasher,
        audit: AuditLog,
        sources: Sources,
    ) -> None:
        self._database = database
        self._login = login
        self._passwords = passwords
        self._audit = audit
        self._sources = sources

    async def create(
        self,
        name: str,
        *,
        roles: tuple[str, ...],
        traits: Mapping[str, tuple[str, ...]],
        password: str = "",
        by: str,
        client_address: str = "",
    ) -> CreatedUser:
        """Create a user with a password, or with an invite when `password` is empty.

        :raises InvalidRequestError: bad name, unknown role, bad trait, weak password.
        :raises ConflictError: the name is taken.
        """
        check_user(name)
        check_traits(traits)
        hashed = await self._hash(password)
        now = self._sources.now()
        token = "" if password else self._sources.new_secret()

        def store(conn: Connection) -> UserRow:
            check_roles(conn, roles)
            row = users.insert(
                conn, user=NewUser(name=name, password_hash=hashed, roles=roles, traits=traits), now=now
            )
            if token:
                invites.insert(
                    conn,
                    invite=InviteRow(
                        token_hash=token_hash(token),
                        user_name=name,
                        created_at=now,
                        expires_at=now + INVITE_MS,
                    ),
                )
            return row

        try:
            row = await self._database.write(store)
        except AlreadyExistsError:
            raise ConflictError(
                f"user {name} exists already: choose another name or update that user"
            ) from None
        await self._record(EventType.USER_CREATED, name, by, client_address, roles=list(roles))
        return CreatedUser(
            user=row,
            invite_token=Secret(token) if token else None,
            invite_expires_at=now + INVITE_MS if token else 0,
        )

    async def list_users(self) -> list[UserRow]:
        """Return all users by name."""
        return await self._database.read(_all_users)

    async def get(self, name: str) -> UserRow:
        """Return a user. :raises NotFoundError: there is none of that name."""
        row = await self._database.read(users.get, name=name)
        if row is None:
            raise NotFoundError(f"user {name} does not exist: `mezctl users ls` shows who does")
        return row

    async def update(
        self,
        name: str,
        *,
        roles: tuple[str, ...] | None,
        traits: Mapping[str, tuple[str, ...]] | None,
        password: str = "",
        by: str,
        client_address: str = "",
    ) -> UserRow:
        """Replace roles, traits or the password; what is None or empty stays.

        :raises InvalidRequestError: unknown role, bad trait, weak password.
        :raises NotFoundError: there is no such user.
        """
        check_traits(traits or {})
        await self._database.read(check_roles, roles or ())
        if password:
            await self._set_password(name, password)
        now = self._sources.now()

        def store(conn: Connection) -> UserRow | None:
            check_roles(conn, roles or ())
            return users.update(conn, name=name, roles=roles, traits=traits, now=now)

        row = await self._database.write(store)
        if row is None:
            raise NotFoundError(f"user {name} does not exist: `mezctl users ls` shows who does")
        await self._record(EventType.USER_UPDATED, name, by, client_address, roles=list(row.roles))
        return row

    async def delete(self, name: str, *, by: UserIdentity, client_address: str) -> None:
        """Delete a user with all sessions and invites.

        :raises NotFoundError: there is no such user.
        :raises InvalidRequestError: it is the caller: nobody may saw off the branch they sit on.
        """
        if name == by.name:
            raise InvalidRequestError("you cannot delete yourself: ask another administrator")
        if not await self._database.write(users.delete, name=name):
            raise NotFoundError(f"user {name} does not exist: `mezctl users ls` shows who does")
        await self._record(EventType.USER_DELETED, name, by.name, client_address)

    async def _hash(self, password: str) -> str | None:
        if not password:
            return None
        try:
            return await self._passwords.hash(check_password_strength(password))
        except WeakPasswordError as weak:
            raise InvalidRequestError(str(weak)) from None

    async def _set_password(self, name: str, password: str) -> None:
        try:
            await self._login.set_password(name, password)
        except WeakPasswordError as weak:
            raise InvalidRequestError(str(weak)) from None

    async def _record(
        self, event_type: EventType, name: str, by: str, client_address: str, **details: object
    ) -> None:
        await self._audit.emit(
            event_type,
            user_name=by,
            resource_type="user",
            resource_name=name,
            client_ip=client_address,
            **details,
        )


def _all_users(conn: Connection) -> list[UserRow]:
    rows: list[UserRow] = []
    while page := users.list_all(conn, after=rows[-1].name if rows else ""):
        rows += page
    return rows


def check_user(name: str) -> None:
    """:raises InvalidRequestError: the name breaks the grammar of user names."""
    try:
        check_user_name(name)
    except InvalidNameError as error:
        raise InvalidRequestError(str(error)) from None


def check_roles(conn: Connection, roles: tuple[str, ...]) -> None:
    """In the transaction that gives the roles, so that none is deleted meanwhile."""
    existing = {role.name for role in definitions(conn, roles)}
    for role in roles:
        if role not in existing:
            known = ", ".join(sorted(BUILT_IN_ROLES))
            raise InvalidRequestError(
                f"role {role[:64]!r} does not exist: there are {known} and those that `mezctl roles ls` shows"
            )
    if len(set(roles)) != len(roles):
        raise InvalidRequestError("a role is listed twice")


def check_traits(traits: Mapping[str, tuple[str, ...]]) -> None:
    try:
        encoded = encode_traits(traits)
        for login in traits.get("logins", ()):
            check_login(login)
    except (IdentityError, InvalidNameError) as error:
        raise InvalidRequestError(str(error)) from None
    if len(encoded) > MAX_TRAITS_BYTES:
        raise InvalidRequestError(
            f"the traits have {len(encoded)} bytes, more than the {MAX_TRAITS_BYTES} that fit a certificate: use a role"
        )
