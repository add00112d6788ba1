# SPDX-License-Identifier: Apache-2.0
"""Users that are programs: a one-time token first, then certificates that are renewed with the last ones.

A machine identity is a user without a password, so roles, locks, `access explain` and the audit log know it like
anybody. What is its own is the line of its certificates: a copy of one that was left behind is found at the next
renewal, and the user is locked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.join_token import format_join_token
from mezite.core.rbac.locks import LockTarget
from mezite.core.rbac.roles import Role
from mezite.core.secret import Secret, token_hash
from mezite.services.access.authorization import holder_subjects
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authentication.source_limit import SecretGuesses
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.errors import (
    ConflictError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    UnauthenticatedError,
)
from mezite.services.identity.identities import CredentialKind, UserIdentity, user_of_machine
from mezite.services.identity.role_definitions import definitions
from mezite.services.locks.access_watch import AccessWatch
from mezite.services.login.certificates import MAX_TTL_S, IssuedToUser, UserCertificateService
from mezite.services.nodes.enrollment import MAX_TOKEN_TTL_MS, secret_part
from mezite.services.nodes.peer_clock import check_clock
from mezite.services.sources import Sources
from mezite.services.users.accounts import check_roles, check_traits, check_user
from mezite.storage import locks, machine_identities, users
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.locks import LockRow
from mezite.storage.machine_identities import MachineRow
from mezite.storage.users import NewUser, UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CreatedMachine", "KnownMachine", "MachineIdentities", "MachineKeys", "NewMachine"]

MIN_TTL_S = 5 * 60
"""A third of it has to be enough for a hub that restarts."""

HUB_ITSELF = "mezhub"
"""Who has made a lock that nobody asked for."""

COPIED = (
    "its certificates are in use in two places (copied, or restored from a backup): "
    "`mezctl identities token` and start afresh in one"
)

_ANOTHER = "make a new one with `mezctl identities token NAME`"


@attrs.frozen(kw_only=True)
class NewMachine:
    """What an administrator says of a machine identity."""

    name: str
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    max_ttl_seconds: int
    token_ttl_seconds: int


@attrs.frozen(kw_only=True)
class KnownMachine:
    """A machine identity and the user that it is."""

    machine: MachineRow
    user: UserRow


@attrs.frozen(kw_only=True)
class CreatedMachine:
    """A machine identity with a fresh token, whose text is shown once and never stored."""

    token: Secret
    known: KnownMachine


@attrs.frozen(kw_only=True)
class MachineKeys:
    """What is to be certified, and for whom."""

    ssh_public_key: str
    tls_public_key_pem: bytes
    client_time: int
    """The machine's clock, milliseconds since 1970."""
    client_address: str


@attrs.frozen(kw_only=True)
class MachineIdentities:
    """Make them, let them in, renew them."""

    database: Database
    authorities: CertificateAuthorities
    certificates: UserCertificateService
    audit: AuditLog
    sources: Sources
    watch: AccessWatch
    guesses: SecretGuesses

    @classmethod
    def limits(cls, refusals: RefusalLog) -> SecretGuesses:
        """Return the limit on tokens that are none, for `guesses`."""
        return SecretGuesses("wrong tokens of machine identities", EventType.ACCESS_DENIED, refusals)

    # ---- for administrators

    async def create(self, new: NewMachine, *, by: str, client_address: str) -> CreatedMachine:
        """Make an identity and its first token.

        :raises InvalidRequestError: bad name, unknown role, bad trait, a time that cannot be.
        :raises ConflictError: a user has that name.
        """
        check_user(new.name)
        check_traits(new.traits)
        if not MIN_TTL_S <= new.max_ttl_seconds <= MAX_TTL_S:
            raise InvalidRequestError(
                "the certificates of a machine identity live at least 5m and at most 24h"
            )
        token, expires_at = self._fresh_token(new.token_ttl_seconds)
        now = self.sources.now()

        def store(conn: Connection) -> KnownMachine:
            check_roles(conn, new.roles)
            user = users.insert(
                conn, user=NewUser(name=new.name, roles=new.roles, traits=new.traits), now=now
            )
            machine = MachineRow(
                name=new.name,
                max_ttl_seconds=new.max_ttl_seconds,
                token_hash=_hash(token),
                token_expires_at=expires_at,
                created_by=by,
                created_at=now,
            )
            return KnownMachine(machine=machine_identities.insert(conn, machine=machine), user=user)

        try:
            known = await self.database.write(store)
        except AlreadyExistsError:
            raise ConflictError(f"user {new.name} exists already: choose another name") from None
        await self._record(EventType.USER_CREATED, new.name, by, client_address, roles=list(new.roles))
        await self._record(EventType.TOKEN_CREATED, new.name, by, client_address)
        return CreatedMachine(token=token, known=known)

    async def replace_token(
        self, name: str, *, ttl_seconds: int, by: str, client_address: str
    ) -> CreatedMachine:
        """Make another token for an identity; one that was not used yet is good no more.

        :raises InvalidRequestError: a time that cannot be. :raises NotFoundError: there is no such identity.
        """
        token, expires_at = self._fresh_token(ttl_seconds)

        def store(conn: Connection) -> KnownMachine | None:
            machine = machine_identities.set_token(
                conn, name=name, token_hash=_hash(token), expires_at=expires_at
            )
            return None if machine is None else _with_user(conn, machine)

        known = await self.database.write(store)
        if known is None:
            raise _unknown(name)
        await self._record(EventType.TOKEN_CREATED, name, by, client_address)
        return CreatedMachine(token=token, known=known)

    async def list_machines(self) -> list[KnownMachine]:
        """Return all by name."""
        return await self.database.read(_all)

    async def delete(self, name: str, *, by: str, client_address: str) -> None:
        """Delete the identity and the user that it is. :raises NotFoundError: there is no such identity."""

        def remove(conn: Connection) -> bool:
            return machine_identities.get(conn, name=name) is not None and users.delete(conn, name=name)

        if not await self.database.write(remove):
            raise _unknown(name)
        await self._record(EventType.USER_DELETED, name, by, client_address)

    # ---- for machines

    async def begin(self, secret: str, keys: MachineKeys) -> IssuedToUser:
        """Use a token up and issue the first certificates.

        :raises ClockSkewError: the machine's clock is off by more than five minutes.
        :raises UnauthenticatedError: unknown, used or expired token, or a disabled user.
        :raises LockedError: there is a lock on the identity or a role of it; the token stays good.
        :raises TooManyRequestsError: this client has sent too many wrong tokens.
        :raises InvalidRequestError: a key of an unsupported kind.
        """
        now = self.sources.now()
        check_clock(keys.client_time, now)
        self.guesses.count(keys.client_address)
        hashed = token_hash(secret)
        found = await self.database.read(_by_token, hashed)
        if found is None:
            raise await self._token_refused("is not known here, or has been used already", "", keys)
        identity = self._checked(found, now)
        used = await self.database.write(machine_identities.use_token, token_hash=hashed, now=now)
        if used is None:
            raise await self._token_refused("has expired or has been used", identity.name, keys)
        self.guesses.was_right(keys.client_address)
        await self._record(EventType.TOKEN_USED, used.name, used.name, keys.client_address)
        return await self._issue(used, identity, None, keys)

    async def renew(self, caller: UserIdentity, keys: MachineKeys) -> IssuedToUser:
        """Issue the next certificates to whoever calls with genuine ones.

        :raises ClockSkewError: the machine's clock is off by more than five minutes.
        :raises InvalidRequestError: the caller is no machine identity, or called without its certificate; a bad key.
        :raises LockedError: its certificate was left behind: it is a copy, and the identity is locked now.
        :raises ConflictError: somebody with the same certificate was quicker.
        """
        now = self.sources.now()
        check_clock(keys.client_time, now)
        if caller.credential is not CredentialKind.TLS_CERTIFICATE:
            raise InvalidRequestError(
                "a machine identity is renewed with its certificate, not with a session"
            )
        lock_id = self.sources.new_id()
        found = await self.database.write(self._show, caller, lock_id, now)
        if found is None:
            raise InvalidRequestError(
                f"{caller.name} is not a machine identity: `mezctl identities ls` shows them"
            )
        if isinstance(found, LockRow):
            raise await self._copied(found, keys.client_address)
        identity = self._checked(found, now, pinned_to=caller.pinned_to)
        return await self._issue(found[0], identity, caller.serial, keys)

    def _show(
        self, conn: Connection, caller: UserIdentity, lock_id: str, now: int
    ) -> tuple[MachineRow, UserRow, tuple[Role, ...]] | LockRow | None:
        """The identity as it is now; the lock that was made because the certificate is a copy; None for no machine."""
        user = users.get(conn, name=caller.name)
        if user is None or machine_identities.get(conn, name=caller.name) is None:
            return None
        machine = machine_identities.show(conn, name=caller.name, serial=caller.serial)
        if machine is not None:
            return machine, user, definitions(conn, user.roles)
        lock = LockRow(
            id=lock_id,
            target=LockTarget.USER,
            name=caller.name,
            message=COPIED,
            created_by=HUB_ITSELF,
            created_at=now,
        )
        return locks.insert(conn, row=lock)

    async def _copied(self, lock: LockRow, client_address: str) -> LockedError:
        await self.watch.look()
        event_id = await self.audit.emit(
            EventType.LOCK_CREATED,
            user_name=HUB_ITSELF,
            resource_type=lock.target.value,
            resource_name=lock.name,
            client_ip=client_address,
            lock_id=lock.id,
            reason=lock.message,
        )
        return LockedError(f"machine identity {lock.name} is locked: {lock.message}", event_id=event_id)

    def _checked(
        self, found: tuple[MachineRow, UserRow, tuple[Role, ...]], now: int, pinned_to: str = ""
    ) -> UserIdentity:
        machine, user, roles = found
        identity = user_of_machine(machine, user, roles, now=now, pinned_to=pinned_to)
        lock = self.watch.feed.current.find(holder_subjects(identity))
        if lock is not None:
            raise LockedError(lock.reason)
        if user.disabled_at is not None:
            raise UnauthenticatedError(f"user {user.name} is disabled: ask an administrator")
        return identity

    async def _issue(
        self, machine: MachineRow, identity: UserIdentity, shown: str | None, keys: MachineKeys
    ) -> IssuedToUser:
        issued = await self.certificates.issue(
            identity,
            ssh_public_key=keys.ssh_public_key,
            tls_public_key_pem=keys.tls_public_key_pem,
            ttl_seconds=machine.max_ttl_seconds,
            client_address=keys.client_address,
        )
        noted = await self.database.write(
            machine_identities.note_issued,
            name=machine.name,
            shown=shown,
            serial=str(issued.certificates.serial),
            address=keys.client_address,
            now=self.sources.now(),
        )
        if noted is None:
            raise ConflictError(f"machine identity {machine.name} was renewed elsewhere meanwhile: try again")
        return issued

    async def _token_refused(self, why: str, name: str, keys: MachineKeys) -> UnauthenticatedError:
        event_id = await self.guesses.was_wrong(
            keys.client_address,
            resource_type="token",
            resource_name=name,
            error_message=f"the token of a machine identity {why}",
        )
        return UnauthenticatedError(f"the token {why}: {_ANOTHER}", event_id=event_id)

    def _fresh_token(self, ttl_seconds: int) -> tuple[Secret, int]:
        if not 0 < ttl_seconds * 1000 <= MAX_TOKEN_TTL_MS:
            raise InvalidRequestError("the time to live of a token is more than 0 and at most 168h")
        text = format_join_token(self.sources.token_bytes(32), self.authorities.host_pin)
        return Secret(text), self.sources.now() + ttl_seconds * 1000

    async def _record(
        self, event_type: EventType, name: str, by: str, client_address: str, **details: object
    ) -> None:
        await self.audit.emit(
            event_type,
            user_name=by,
            resource_type="machine_identity",
            resource_name=name,
            client_ip=client_address,
            **details,
        )


def _hash(token: Secret) -> str:
    return token_hash(secret_part(token.reveal()))


def _by_token(conn: Connection, hashed: str) -> tuple[MachineRow, UserRow, tuple[Role, ...]] | None:
    machine = machine_identities.find_by_token(conn, token_hash=hashed)
    if machine is None:
        return None
    known = _with_user(conn, machine)
    return machine, known.user, definitions(conn, known.user.roles)


def _all(conn: Connection) -> list[KnownMachine]:
    rows: list[MachineRow] = []
    while page := machine_identities.list_all(conn, after=rows[-1].name if rows else ""):
        rows += page
    return [_with_user(conn, row) for row in rows]


def _with_user(conn: Connection, machine: MachineRow) -> KnownMachine:
    user = users.get(conn, name=machine.name)
    assert user is not None, "the row is deleted with its user, and this is one transaction"
    return KnownMachine(machine=machine, user=user)


def _unknown(name: str) -> NotFoundError:
    return NotFoundError(
        f"machine identity {name[:64]} does not exist: `mezctl identities ls` shows which do"
    )
