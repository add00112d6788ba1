# SPDX-License-Identifier: Apache-2.0
"""Whether it is still the user who sits there: asked before the factors of an account change.

A stolen session must not be enough to enrol the thief's key or to remove the owner's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mezite.services.errors import ProofRequiredError, UnauthenticatedError
from mezite.services.factors.security_keys import AskedFor, KeyChallenge, SecurityKeys
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.codes import NO_CODE, FactorCodes, FactorShown, ShownCode
from mezite.services.login.password_login import LoginRefusedError, LoginService
from mezite.services.sources import Sources
from mezite.storage import users, web_sessions
from mezite.storage.database import Database
from mezite.storage.mfa_challenges import ChallengeAction
from mezite.storage.web_sessions import WebSessionRow

__all__ = ["NO_PROOF", "FreshProof", "Proof", "binding_of"]

FRESH_MS = 5 * 60 * 1000
"""Enrol a key, look at the list, make recovery codes: one touch for a sitting, not for a lunch break."""


@attrs.frozen(kw_only=True)
class Proof:
    """What was shown together with a request; all empty: nothing."""

    code: ShownCode = NO_CODE
    password: str = attrs.field(default="", repr=False)
    challenge_id: str = attrs.field(default="", repr=False)
    credential: Mapping[str, Any] | None = attrs.field(default=None, repr=False)
    """The answer of a security key to the challenge of that id."""


NO_PROOF = Proof()


def binding_of(identity: UserIdentity) -> str:
    """What a challenge within a session is tied to; certificates have none but their kind."""
    return identity.session_hash or identity.credential.value


@attrs.frozen(kw_only=True)
class FreshProof:
    """Asks for a proof where none was given within five minutes."""

    database: Database
    login: LoginService
    codes: FactorCodes
    keys: SecurityKeys
    sources: Sources

    async def begin(self, identity: UserIdentity) -> KeyChallenge:
        """Ask for one of the user's keys as the proof. :raises NotFoundError: there is none."""
        return await self.keys.begin_assertion(
            identity.name, ChallengeAction.PROOF, bound_to=binding_of(identity)
        )

    async def require(self, identity: UserIdentity, proof: Proof, *, client_address: str) -> None:
        """Pass when a factor was shown in this session within five minutes, or is shown now.

        Where there is no factor yet it is the password; where there is no password either, a fresh login.

        :raises ProofRequiredError: nothing was shown. :raises UnauthenticatedError: what was shown is wrong; it counts
            like a wrong password.
        """
        if not await self.codes.kinds(identity.name):
            await self._require_password(identity, proof, client_address)
            return
        await self.require_factor(identity, proof, client_address=client_address)

    async def require_factor(self, identity: UserIdentity, proof: Proof, *, client_address: str) -> None:
        """The same, and pass without a proof where there is no factor yet: the caller asks for the password itself.

        :raises ProofRequiredError: and UnauthenticatedError as `require`.
        """
        kinds = await self.codes.kinds(identity.name)
        if not kinds:
            return
        session = await self._session(identity)
        if session is not None and self._is_fresh(session.factor_at):
            return
        if not proof.code and proof.credential is None:
            shown = FactorShown.RECOVERY_CODE.value
            raise ProofRequiredError([*(kind.value for kind in kinds), shown])
        try:
            await self.login.check_factor(
                identity.name, lambda: self._check(identity, proof), client_address=client_address
            )
        except LoginRefusedError as refused:
            raise _wrong(refused) from None
        await self.login.give_back(identity.name)
        await self.note(identity)

    async def note(self, identity: UserIdentity) -> None:
        """Remember that a factor was shown in this session now."""
        if identity.session_hash:
            await self.database.write(
                web_sessions.note_factor, token_hash=identity.session_hash, now=self.sources.now()
            )

    async def _check(self, identity: UserIdentity, proof: Proof) -> FactorShown | None:
        if proof.credential is None:
            return await self.codes.check(identity.name, proof.code)
        asked = AskedFor(action=ChallengeAction.PROOF, bound_to=binding_of(identity), user_name=identity.name)
        return await self.keys.check_assertion(proof.challenge_id, proof.credential, asked)

    async def _require_password(self, identity: UserIdentity, proof: Proof, client_address: str) -> None:
        user = await self.database.read(users.get, name=identity.name)
        if user is None or user.password_hash is None:
            session = await self._session(identity)
            if session is None or not self._is_fresh(session.created_at):
                raise ProofRequiredError(["login"])
            return
        if not proof.password:
            raise ProofRequiredError(["password"])
        try:
            await self.login.check_password(identity.name, proof.password, client_address=client_address)
        except LoginRefusedError as refused:
            raise _wrong(refused) from None

    async def _session(self, identity: UserIdentity) -> WebSessionRow | None:
        if not identity.session_hash:
            return None
        return await self.database.read(web_sessions.get, token_hash=identity.session_hash)

    def _is_fresh(self, at: int | None) -> bool:
        return at is not None and self.sources.now() - at < FRESH_MS


def _wrong(refused: LoginRefusedError) -> UnauthenticatedError:
    return UnauthenticatedError(str(refused), event_id=refused.event_id)
