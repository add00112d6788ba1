# SPDX-License-Identifier: Apache-2.0
"""Users as administrators manage them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.names import InvalidNameError, check_login, check_trait_name, check_user_name
from mezite.core.rbac.roles import BUILT_IN_ROLES
from mezite.core.secret import Secret
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.identity import UserIdentity
from mezite.services.login import LoginService, WeakPasswordError, check_password_strength, token_hash
from mezite.services.sources import Sources
from mezite.storage import invites, users
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.invites import InviteRow
from mezite.storage.password_hasher import PasswordHasher
from mezite.storage.users import NewUser, UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Accounts", "CreatedUser"]

INVITE_MS = 24 * 3600 * 1000
"""A day: long enough to reach a colleague, short enough that a forgotten mail is harmless."""

MAX_TRAIT_VALUES = 256
MAX_TRAIT_VALUE = 256
"""What fits a certificate (core/certificates/identity.py); refused here so that logging in cannot fail later."""


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
        _check_roles(roles)
        _check_traits(traits)
        hashed = await self._hash(password)
        now = self._sources.now()
        token = "" if password else self._sources.new_secret()

        def store(conn: Connection) -> UserRow:
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
        return await self._database.read(users.list_all)

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
        _check_roles(roles or ())
        _check_traits(traits or {})
        if password:
            await self._set_password(name, password)
        now = self._sources.now()
        row = await self._database.write(users.update, name=name, roles=roles, traits=traits, now=now)
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


def check_user(name: str) -> None:
    """:raises InvalidRequestError: the name breaks the grammar of user names."""
    try:
        check_user_name(name)
    except InvalidNameError as error:
        raise InvalidRequestError(str(error)) from None


def _check_roles(roles: tuple[str, ...]) -> None:
    for role in roles:
        if role not in BUILT_IN_ROLES:
            known = ", ".join(sorted(BUILT_IN_ROLES))
            raise InvalidRequestError(f"role {role!r} does not exist: there are {known}")


def _check_traits(traits: Mapping[str, tuple[str, ...]]) -> None:
    if sum(len(values) for values in traits.values()) > MAX_TRAIT_VALUES:
        raise InvalidRequestError(f"traits have more than {MAX_TRAIT_VALUES} values: use a role instead")
    try:
        for name, values in traits.items():
            check_trait_name(name)
            for value in values:
                if name == "logins":
                    check_login(value)
                elif len(value) > MAX_TRAIT_VALUE:
                    raise InvalidRequestError(
                        f"a value of trait {name} is longer than {MAX_TRAIT_VALUE} characters"
                    )
    except InvalidNameError as error:
        raise InvalidRequestError(str(error)) from None
