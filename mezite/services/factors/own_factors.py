# SPDX-License-Identifier: Apache-2.0
"""A user's own second factors: enrol, list, remove, and the recovery codes that go with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.recovery_code import CODE_BYTES, CODE_COUNT, recovery_code, recovery_code_hash
from mezite.core.secret import Secret
from mezite.core.totp import SECRET_BYTES, matching_step, provisioning_uri, secret_text
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.factors.fresh_proof import FreshProof, Proof, binding_of
from mezite.services.factors.security_keys import AskedFor, KeyChallenge, SecurityKeys
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.codes import totp_context
from mezite.services.sources import Sources
from mezite.storage import factors, mfa_challenges, recovery_codes, session_proofs, users, web_sessions
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.factors import FactorKind, FactorRow
from mezite.storage.mfa_challenges import ChallengeAction
from mezite.storage.secret_box import SecretBox

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Enrolled", "OwnFactors", "TotpEnrolment"]

MAX_FACTORS = 10
"""Of one user: for each wrong code every sealed secret is opened, which takes tens of milliseconds each."""

MAX_NAME = 64
"""A label in a table."""


@attrs.frozen(kw_only=True)
class TotpEnrolment:
    """A secret that becomes a factor when a code of it is shown."""

    challenge_id: Secret
    secret: Secret
    """Base32."""
    uri: Secret
    """`otpauth://...`, for the QR code."""


@attrs.frozen(kw_only=True)
class Enrolled:
    """A new factor, and the codes for the day it is lost."""

    factor: FactorRow
    recovery_codes: tuple[Secret, ...]
    """With the first factor; empty when the user has unused ones already. Shown now and never again."""


class OwnFactors:
    """What users do with their own factors; each change needs a fresh proof and is audited."""

    def __init__(
        self,
        *,
        database: Database,
        box: SecretBox,
        keys: SecurityKeys,
        proof: FreshProof,
        audit: AuditLog,
        sources: Sources,
        cluster: str,
    ) -> None:
        self._database = database
        self._box = box
        self._keys = keys
        self._proof = proof
        self._audit = audit
        self._sources = sources
        self._cluster = cluster

    async def listed(self, identity: UserIdentity) -> list[FactorRow]:
        """Return the caller's factors, oldest first."""
        return await self._database.read(factors.list_of_user, user_name=identity.name)

    async def recovery_codes_left(self, identity: UserIdentity) -> int:
        """Return how many unused recovery codes the caller has."""
        return await self._database.read(recovery_codes.count_unused, user_name=identity.name)

    async def begin_totp(self, identity: UserIdentity, proof: Proof, *, client_address: str) -> TotpEnrolment:
        """Make a secret for an authenticator application.

        :raises ProofRequiredError: and UnauthenticatedError as `FreshProof.require`.
        :raises InvalidRequestError: there are too many factors.
        """
        await self._may_add(identity, proof, client_address)
        secret = self._sources.token_bytes(SECRET_BYTES)
        sealed = await self._box.seal(secret, context=totp_context(identity.name))
        return TotpEnrolment(
            challenge_id=await self._keys.store(_add_totp(identity), sealed),
            secret=Secret(secret_text(secret)),
            uri=Secret(provisioning_uri(secret, issuer=self._cluster, account=identity.name)),
        )

    async def finish_totp(
        self, identity: UserIdentity, challenge_id: str, code: str, name: str, *, client_address: str
    ) -> Enrolled:
        """Store the secret, of which `code` is the first code and good for nothing else.

        A wrong code leaves the enrolment as it is: whoever types it has the secret before their eyes.

        :raises InvalidRequestError: the enrolment is over, or the code or the name is not good.
        """
        checked = _checked_name(name, "authenticator app")
        challenge = await self._keys.find(challenge_id, _add_totp(identity))
        if challenge is None:
            raise InvalidRequestError("this enrolment is over: begin again")
        secret = await self._box.open(challenge.payload, context=totp_context(identity.name))
        step = matching_step(secret, code, now=self._sources.now() // 1000)
        if step is None:
            raise InvalidRequestError(
                "that is not the code of this secret: is the clock of the telephone right? Try the next one"
            )
        if await self._keys.consume(challenge_id, _add_totp(identity)) is None:
            raise InvalidRequestError("this enrolment is over: begin again")
        factor = self._new(identity, FactorKind.TOTP, checked)
        return await self._add(
            identity, attrs.evolve(factor, secret=challenge.payload, last_step=step), client_address
        )

    async def begin_key(self, identity: UserIdentity, proof: Proof, *, client_address: str) -> KeyChallenge:
        """Ask for a new security key. :raises RefusedError: as `begin_totp`."""
        await self._may_add(identity, proof, client_address)
        return await self._keys.begin_creation(identity.name, bound_to=binding_of(identity))

    async def finish_key(
        self,
        identity: UserIdentity,
        challenge_id: str,
        credential: Mapping[str, Any],
        name: str,
        *,
        client_address: str,
    ) -> Enrolled:
        """Store the key that has answered.

        :raises InvalidRequestError: the enrolment is over, or the answer or the name is not good.
        :raises ConflictError: the key is enrolled already.
        """
        checked = _checked_name(name, "security key")
        key = await self._keys.finish_creation(
            challenge_id, credential, user_name=identity.name, bound_to=binding_of(identity)
        )
        factor = self._new(identity, FactorKind.WEBAUTHN, checked)
        return await self._add(identity, attrs.evolve(factor, **attrs.asdict(key)), client_address)

    async def remove(
        self, identity: UserIdentity, factor_id: str, proof: Proof, *, client_address: str
    ) -> None:
        """Remove a factor; with the last one the recovery codes go. What was shown ahead of sessions counts no more.

        :raises NotFoundError: the caller has no factor of that id. :raises RefusedError: as `FreshProof.require`.
        """
        rows = await self.listed(identity)
        if factor_id not in {row.id for row in rows}:
            raise NotFoundError("you have no second factor of that id: `msh mfa ls` shows what you have")
        await self._proof.require(identity, proof, client_address=client_address)

        def take_away(conn: Connection) -> FactorRow | None:
            removed = factors.remove(conn, user_name=identity.name, factor_id=factor_id)
            if not factors.kinds_of_user(conn, user_name=identity.name):
                recovery_codes.delete_of_user(conn, user_name=identity.name)
            session_proofs.delete_of_user(conn, user_name=identity.name)
            return removed

        removed = await self._database.write(take_away)
        if removed is not None:
            await self._record(EventType.USER_MFA_REMOVED, identity, removed, client_address)

    async def new_recovery_codes(
        self, identity: UserIdentity, proof: Proof, *, client_address: str
    ) -> tuple[Secret, ...]:
        """Make ten codes; those from before are good no more.

        :raises InvalidRequestError: there is no factor to recover from. :raises RefusedError: as `FreshProof.require`.
        """
        if not await self.listed(identity):
            raise InvalidRequestError("there is no second factor yet: add one first")
        await self._proof.require(identity, proof, client_address=client_address)
        codes = self._made_up_codes()
        now = self._sources.now()
        hashes = _hashes(identity.name, codes)
        await self._database.write(recovery_codes.replace, user_name=identity.name, hashes=hashes, now=now)
        await self._audit.emit(
            EventType.USER_MFA_ADDED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type="user",
            resource_name=identity.name,
            client_ip=client_address,
            factor="recovery_codes",
        )
        return codes

    async def _may_add(self, identity: UserIdentity, proof: Proof, client_address: str) -> None:
        await self._proof.require(identity, proof, client_address=client_address)
        if len(await self.listed(identity)) >= MAX_FACTORS:
            raise InvalidRequestError(f"you have {MAX_FACTORS} factors, and that is the most: remove one")

    def _new(self, identity: UserIdentity, kind: FactorKind, name: str) -> FactorRow:
        return FactorRow(
            id=self._sources.new_id(),
            user_name=identity.name,
            kind=kind,
            name=name,
            created_at=self._sources.now(),
        )

    def _made_up_codes(self) -> tuple[Secret, ...]:
        return tuple(Secret(recovery_code(self._sources.token_bytes(CODE_BYTES))) for _ in range(CODE_COUNT))

    async def _add(self, identity: UserIdentity, factor: FactorRow, client_address: str) -> Enrolled:
        codes, now = self._made_up_codes(), self._sources.now()
        hashes = _hashes(identity.name, codes)

        def store(conn: Connection) -> bool:
            # The user's row first, as a login does: neither sees half of the other.
            users.lock_row(conn, name=identity.name)
            if not factors.kinds_of_user(conn, user_name=identity.name):
                _end_what_a_password_began(conn, identity, now)
            factors.insert(conn, factor=factor)
            has_codes = recovery_codes.count_unused(conn, user_name=identity.name) > 0
            if not has_codes:
                recovery_codes.replace(conn, user_name=identity.name, hashes=hashes, now=now)
            return has_codes

        try:
            had_codes = await self._database.write(store)
        except AlreadyExistsError:
            raise ConflictError("this security key is enrolled already: use another one") from None
        await self._proof.note(identity)
        await self._record(EventType.USER_MFA_ADDED, identity, factor, client_address)
        return Enrolled(factor=factor, recovery_codes=() if had_codes else codes)

    async def _record(
        self, event_type: EventType, identity: UserIdentity, factor: FactorRow, client_address: str
    ) -> None:
        await self._audit.emit(
            event_type,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type="user",
            resource_name=identity.name,
            client_ip=client_address,
            factor=factor.kind.value,
            factor_id=factor.id,
            factor_name=factor.name,
        )


def _end_what_a_password_began(conn: Connection, identity: UserIdentity, now: int) -> None:
    """With the first factor the password alone counts for nothing any more: neither the sessions that were begun with
    it, which may be somebody else's, nor an enrolment that it was the proof for (threat E8).
    """
    web_sessions.revoke_of_user(conn, user_name=identity.name, now=now, keep=identity.session_hash)
    mfa_challenges.delete_of_user(conn, user_name=identity.name)


def _add_totp(identity: UserIdentity) -> AskedFor:
    return AskedFor(action=ChallengeAction.ADD_TOTP, bound_to=binding_of(identity), user_name=identity.name)


def _hashes(user_name: str, codes: tuple[Secret, ...]) -> list[str]:
    return [recovery_code_hash(user_name, code.reveal()) for code in codes]


def _checked_name(name: str, default: str) -> str:
    """Return the label, without what surrounds it. :raises InvalidRequestError: too long, or not printable (H1)."""
    stripped = name.strip() or default
    if len(stripped) > MAX_NAME or not stripped.isprintable():
        raise InvalidRequestError(f"a factor's name has at most {MAX_NAME} characters, all of them printable")
    return stripped
