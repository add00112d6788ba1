# SPDX-License-Identifier: Apache-2.0
"""Devices of users: enrolled with a proof of their key, trusted once an administrator has approved them.

A login that proves the key of a trusted device gets certificates that name it. Whether it is still trusted is asked at
each use (`trusted_device`), in the transaction that reads the user.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.certificates.keys import InvalidKeyError, PublicKey
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.device_proof import DevicePurpose, device_key, proof_is_valid
from mezite.core.secret import token_hash
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.audit_log import AuditLog
from mezite.services.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
)
from mezite.services.identity.identities import UserIdentity, with_device
from mezite.services.sources import Sources
from mezite.storage import devices, mfa_challenges
from mezite.storage.database import Database
from mezite.storage.devices import DeviceRow
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.mfa_challenges import ChallengeAction, ChallengeRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["DeviceProof", "Devices"]

CHALLENGE_MS = 5 * 60 * 1000
"""A program answers within a second; the rest is for a slow network."""

MAX_DEVICES = 16
"""Of one user, those that wait for approval included."""

MAX_NAME = 64
MAX_PROOF = 1024
"""Base64 of an ECDSA P-521 signature has some 200 characters."""

_NOWHERE = AccessContext(client_address="none", decision_id="")


@attrs.frozen(kw_only=True)
class DeviceProof:
    """What a client shows at a login."""

    device_id: str
    challenge: str
    signature: str
    """Base64 of the signature blob."""


class Devices:
    """Enrol, approve, list, remove; and check proofs."""

    def __init__(self, *, database: Database, audit: AuditLog, sources: Sources, cluster: str) -> None:
        self._database = database
        self._audit = audit
        self._sources = sources
        self._cluster = cluster

    async def begin(self, identity: UserIdentity) -> str:
        """Return a challenge for a device of this user, good once, for minutes, and with this credential only."""
        challenge, now = self._sources.new_secret(), self._sources.now()
        row = ChallengeRow(
            token_hash=token_hash(challenge),
            user_name=identity.name,
            bound_to=_credential(identity),
            action=ChallengeAction.DEVICE,
            payload=b"",
            created_at=now,
            expires_at=now + CHALLENGE_MS,
        )
        await self._database.write(mfa_challenges.insert, challenge=row)
        return challenge

    async def enroll(
        self, identity: UserIdentity, name: str, public_key: str, proof: DeviceProof, *, client_address: str
    ) -> DeviceRow:
        """Add a device, which an administrator has yet to approve.

        :raises InvalidRequestError: a bad name or key.
        :raises AccessDeniedError: the proof is not of this key, or not for this challenge; audited.
        :raises ConflictError: the key is a device already.
        :raises TooManyRequestsError: the user has too many devices.
        """
        if not 0 < len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidRequestError(f"a device has a name of at most {MAX_NAME} printable characters")
        try:
            key = device_key(public_key)
        except InvalidKeyError as error:
            raise InvalidRequestError(str(error)) from None
        now = self._sources.now()
        device = DeviceRow(
            device_id=self._sources.new_id(),
            user_name=identity.name,
            name=name,
            public_key=authorized_key_line(public_key_blob(key)),
            created_at=now,
        )

        def store(conn: Connection) -> DeviceRow:
            self._check(conn, identity, key, proof, DevicePurpose.ENROLL, name)
            if devices.count(conn, user_name=identity.name) >= MAX_DEVICES:
                raise TooManyRequestsError(f"you have {MAX_DEVICES} devices: remove one of them first")
            return devices.insert(conn, device=device)

        try:
            row = await self._database.write(store)
        except AlreadyExistsError:
            raise ConflictError("this key is a device already: remove it, or make a new key") from None
        except AccessDeniedError as error:
            raise await self._recorded(error, identity, "", client_address) from None
        await self._tell(EventType.DEVICE_ENROLLED, row, identity.name, client_address)
        return row

    async def list_devices(self, identity: UserIdentity) -> list[DeviceRow]:
        """Return the user's own devices, or all for those who may list them; newest first."""
        everybody = authorize(identity, "devices.list", Resource(kind="device"), _NOWHERE).allowed
        return await self._database.read(devices.list_all, user_name="" if everybody else identity.name)

    async def approve(self, identity: UserIdentity, device_id: str, *, client_address: str) -> DeviceRow:
        """Trust a device. :raises NotFoundError: none of that id waits for approval."""
        now = self._sources.now()
        row = await self._database.write(devices.approve, device_id=device_id[:64], by=identity.name, now=now)
        if row is None:
            raise NotFoundError(
                f"no device {device_id[:64]} waits for approval: `mezctl devices ls` shows them"
            )
        await self._tell(EventType.DEVICE_APPROVED, row, identity.name, client_address)
        return row

    async def remove(self, identity: UserIdentity, device_id: str, *, client_address: str) -> None:
        """Forget a device: certificates that name it are none of a trusted device from now on.

        :raises NotFoundError: there is no such device, or it is another user's and this one may not remove it.
        """
        row = await self._database.read(devices.get, device_id=device_id[:64])
        anyones = authorize(identity, "devices.remove", Resource(kind="device"), _NOWHERE).allowed
        if row is None or not (anyones or row.user_name == identity.name):
            raise _no_such_device(device_id)
        if not await self._database.write(devices.remove, device_id=row.device_id):
            raise _no_such_device(device_id)
        await self._tell(EventType.DEVICE_REMOVED, row, identity.name, client_address)

    async def prove(
        self, identity: UserIdentity, proof: DeviceProof | None, keys: str, *, client_address: str
    ) -> UserIdentity:
        """Return the user at the device that `proof` is of; as they are when nothing is proven, the device waits for
        approval, or was removed.

        `keys` is `certified_keys` of what is to be certified.

        :raises AccessDeniedError: the proof is wrong; audited.
        """
        if proof is None:
            return identity
        now = self._sources.now()

        def check(conn: Connection) -> DeviceRow | None:
            row = devices.get(conn, device_id=proof.device_id[:64])
            if row is None or row.user_name != identity.name:
                return None
            self._check(conn, identity, device_key(row.public_key), proof, DevicePurpose.LOGIN, keys)
            devices.mark_used(conn, device_id=row.device_id, now=now)
            return row

        try:
            row = await self._database.write(check)
        except AccessDeniedError as error:
            raise await self._recorded(error, identity, proof.device_id[:64], client_address) from None
        return with_device(identity, row) if row is not None and row.approved_at is not None else identity

    def _check(
        self,
        conn: Connection,
        identity: UserIdentity,
        key: PublicKey,
        proof: DeviceProof,
        purpose: DevicePurpose,
        about: str,
    ) -> None:
        """Use the challenge up and verify the signature. A wrong signature rolls back, and costs no challenge."""
        used = mfa_challenges.consume(
            conn,
            token_hash=token_hash(proof.challenge),
            action=ChallengeAction.DEVICE,
            bound_to=_credential(identity),
            user_name=identity.name,
            now=self._sources.now(),
        )
        signature = _decoded(proof.signature)
        parts = (self._cluster, identity.name, proof.challenge, about)
        if used is None or signature is None or not proof_is_valid(key, signature, purpose, *parts):
            raise AccessDeniedError(
                "the device did not prove its key: the challenge is used or old, or the key is another; try again"
            )

    async def _recorded(
        self, error: AccessDeniedError, identity: UserIdentity, device_id: str, client_address: str
    ) -> AccessDeniedError:
        """The same refusal, with the audit event about it."""
        event_id = await self._audit.emit(
            EventType.AUTHZ_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type="device",
            resource_name=device_id,
            client_ip=client_address,
            success=False,
            error_message=str(error).partition(":")[0],
            verb="self.devices.prove",
        )
        return AccessDeniedError(f"{error} (event {event_id})", event_id=event_id)

    async def _tell(self, event: EventType, row: DeviceRow, by: str, client_address: str) -> None:
        await self._audit.emit(
            event,
            user_name=by,
            resource_type="device",
            resource_name=row.device_id,
            client_ip=client_address,
            device_name=row.name,
            owner=row.user_name,
        )


def _no_such_device(device_id: str) -> NotFoundError:
    return NotFoundError(f"device {device_id[:64]}: not found; `msh device ls` shows yours")


def _credential(identity: UserIdentity) -> str:
    return identity.session_hash or f"certificate {identity.serial}"


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if len(text) <= MAX_PROOF else None
    except (binascii.Error, ValueError):
        return None
