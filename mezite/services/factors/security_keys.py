# SPDX-License-Identifier: Apache-2.0
"""Challenges to security keys, and what becomes of the answers: bound, single use, with counters (threat E7)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mezite.core.secret import Secret, token_hash
from mezite.services.errors import InvalidRequestError, NotFoundError
from mezite.services.factors.relying_party import (
    EnrolledKey,
    NoRelyingPartyError,
    RefusedCredentialError,
    RelyingParty,
    VerifiedAssertion,
    user_handle,
)
from mezite.services.login.codes import FactorRefusedError, FactorShown
from mezite.services.sources import Sources
from mezite.storage import factors, mfa_challenges, users
from mezite.storage.database import Database
from mezite.storage.factors import FactorKind
from mezite.storage.mfa_challenges import ChallengeAction, ChallengeRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CHALLENGE_MS", "AskedFor", "KeyChallenge", "SecurityKeys"]

CHALLENGE_MS = 5 * 60 * 1000
"""Time to find the key and its PIN; threat E7 allows no more."""

_KEY_ID = re.compile(r"[A-Za-z0-9_-]{1,1364}", re.ASCII)
"""Base64url of at most 1023 bytes (WebAuthn section 4)."""


@attrs.frozen(kw_only=True)
class AskedFor:
    """What a challenge is good for."""

    action: ChallengeAction
    bound_to: str
    """The stored hash of the session, or a word for a credential that has none."""
    user_name: str | None
    """None where the challenge itself tells (login)."""


@attrs.frozen(kw_only=True)
class KeyChallenge:
    """A question to a browser."""

    id: Secret
    """256 bits; only its hash is stored."""
    options: Mapping[str, Any]
    """What the browser's `navigator.credentials` takes, as JSON."""


class SecurityKeys:
    """The ceremonies of one hub."""

    def __init__(
        self,
        *,
        database: Database,
        sources: Sources,
        cluster: str,
        party: Callable[[], RelyingParty],
    ) -> None:
        """`party` is asked each time: the hub learns its ports when they are bound."""
        self._database = database
        self._sources = sources
        self._cluster = cluster
        self._party = party

    async def begin_assertion(
        self, user_name: str, action: ChallengeAction, *, bound_to: str, covering: bytes = b""
    ) -> KeyChallenge:
        """Ask for one of the user's keys. What it signs covers `covering`, and 256 random bits.

        :raises NotFoundError: the user has none. :raises InvalidRequestError: no browser could answer.
        """
        party = self._relying_party()
        rows = await self._database.read(factors.list_of_user, user_name=user_name)
        keys = [row for row in rows if row.kind is FactorKind.WEBAUTHN]
        if not keys:
            raise NotFoundError("there is no security key on this account: use a code")
        challenge = hashlib.sha256(self._sources.token_bytes(32) + covering).digest()
        options = party.request_options(
            challenge,
            [str(row.credential_id) for row in keys],
            verify_user=all(row.verifies_user for row in keys),
        )
        asked = AskedFor(action=action, bound_to=bound_to, user_name=user_name)
        return KeyChallenge(id=await self.store(asked, challenge), options=options)

    async def check_assertion(
        self, challenge_id: str, credential: Mapping[str, Any], asked: AskedFor
    ) -> FactorShown | None:
        """Use the challenge up, and pass when a key of its user has answered it. A wrong answer uses it up as well.

        None: there is no such challenge, or no longer. :raises FactorRefusedError: the answer is not good.
        """
        answer = await self.check_answer(challenge_id, credential, asked)
        return None if answer is None else FactorShown.WEBAUTHN

    async def check_answer(
        self, challenge_id: str, credential: Mapping[str, Any], asked: AskedFor
    ) -> VerifiedAssertion | None:
        """As `check_assertion`; return what the key says of itself."""
        challenge = await self.consume(challenge_id, asked)
        if challenge is None:
            return None
        try:
            return await self._accept(challenge, credential)
        except RefusedCredentialError as refused:
            raise FactorRefusedError(f"security key: {refused}") from None

    async def begin_creation(self, user_name: str, *, bound_to: str) -> KeyChallenge:
        """Ask for a new key. :raises InvalidRequestError: no browser could answer."""
        party = self._relying_party()
        rows = await self._database.read(factors.list_of_user, user_name=user_name)
        challenge = self._sources.token_bytes(32)
        known = [row.credential_id for row in rows if row.credential_id is not None]
        options = party.creation_options(user_name, await self._handle(user_name), challenge, known)
        asked = AskedFor(action=ChallengeAction.ADD_WEBAUTHN, bound_to=bound_to, user_name=user_name)
        return KeyChallenge(id=await self.store(asked, challenge), options=options)

    async def finish_creation(
        self, challenge_id: str, credential: Mapping[str, Any], *, user_name: str, bound_to: str
    ) -> EnrolledKey:
        """Return the new key, which the caller stores.

        :raises InvalidRequestError: the challenge is over, or the answer is not good.
        """
        asked = AskedFor(action=ChallengeAction.ADD_WEBAUTHN, bound_to=bound_to, user_name=user_name)
        challenge = await self.consume(challenge_id, asked)
        if challenge is None:
            raise InvalidRequestError("this enrolment is over: begin again")
        try:
            return self._relying_party().verified_creation(credential, challenge=challenge.payload)
        except RefusedCredentialError as refused:
            raise InvalidRequestError(f"the security key was not accepted: {refused}") from None

    async def find(self, challenge_id: str, asked: AskedFor) -> ChallengeRow | None:
        """Look a challenge up without using it up."""
        return await self._database.read(mfa_challenges.find, **self._question(challenge_id, asked))

    async def consume(self, challenge_id: str, asked: AskedFor) -> ChallengeRow | None:
        """Use a challenge up; None for one that is not, or no longer, good for this."""
        return await self._database.write(mfa_challenges.consume, **self._question(challenge_id, asked))

    async def store(self, asked: AskedFor, payload: bytes) -> Secret:
        """Store a challenge and return its id."""
        secret, now = self._sources.new_secret(), self._sources.now()
        row = ChallengeRow(
            token_hash=token_hash(secret),
            user_name=asked.user_name or "",
            bound_to=asked.bound_to,
            action=asked.action,
            payload=payload,
            created_at=now,
            expires_at=now + CHALLENGE_MS,
        )
        await self._database.write(mfa_challenges.insert, challenge=row)
        return Secret(secret)

    def _question(self, challenge_id: str, asked: AskedFor) -> dict[str, Any]:
        return {"token_hash": token_hash(challenge_id), "now": self._sources.now(), **attrs.asdict(asked)}

    async def _accept(self, challenge: ChallengeRow, credential: Mapping[str, Any]) -> VerifiedAssertion:
        name, key_id = challenge.user_name, credential.get("id")
        # What is no credential's id is not asked of the database: it may not even be storable there.
        if not isinstance(key_id, str) or _KEY_ID.fullmatch(key_id) is None:
            raise RefusedCredentialError("it names no key")
        row = await self._database.read(factors.get_credential, user_name=name, credential_id=key_id)
        if row is None or row.public_key is None:
            raise RefusedCredentialError("it is no key of this user")
        found = self._relying_party().verified_assertion(
            credential,
            challenge=challenge.payload,
            public_key=row.public_key,
            handle=await self._handle(name),
            verify_user=bool(row.verifies_user),
        )

        def accept(conn: Connection) -> bool:
            return factors.accept_counter(
                conn, factor_id=row.id, counter=found.counter, now=self._sources.now()
            )

        if not await self._database.write(accept):
            raise RefusedCredentialError(
                f"the counter of {row.name} went from {row.sign_count} to {found.counter}: it may have been copied"
            )
        return found

    async def _handle(self, user_name: str) -> bytes:
        user = await self._database.read(users.get, name=user_name)
        created_at = 0 if user is None else user.created_at
        return user_handle(self._cluster, user_name, created_at)

    def _relying_party(self) -> RelyingParty:
        try:
            return self._party()
        except NoRelyingPartyError as error:
            raise InvalidRequestError(str(error)) from None
