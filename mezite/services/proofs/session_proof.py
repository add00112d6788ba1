# SPDX-License-Identifier: Apache-2.0
"""A second factor for one session: asked for, shown in a browser or typed, used up (threats E7, E8).

`begin` makes a proof that waits, with an address for a browser and a code to compare. Whoever is that user and shows a
factor that is strict enough finishes it. `take…` turns it, once, into the `SessionProof` that `authorize()` wants. That
is bound to the user, the targets, the certificate, and the connection or web session it was asked for with. Several
hubs share it by the database: the browser may talk to another one than the terminal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor, SessionProof, satisfies
from mezite.core.secret import Secret, token_hash
from mezite.services.audit_log import AuditLog
from mezite.services.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
)
from mezite.services.factors.security_keys import AskedFor, KeyChallenge, SecurityKeys
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.codes import FactorCodes, FactorRefusedError, FactorShown, ShownCode
from mezite.services.login.password_login import LoginRefusedError, LoginService
from mezite.services.proofs.pending_proof import (
    PendingProof,
    ProofRequest,
    ProofView,
    check_extent,
    code_of,
    covering,
    proof_of,
)
from mezite.services.sources import Sources
from mezite.storage import session_proofs
from mezite.storage.database import Database
from mezite.storage.factors import FactorKind
from mezite.storage.mfa_challenges import ChallengeAction
from mezite.storage.session_proofs import SessionProofRow

__all__ = ["PendingProof", "ProofRequest", "ProofView", "SessionProofs"]

PENDING_MS = 3 * 60 * 1000
"""Time to take out the telephone or to find the key; threat E7 allows five minutes at most."""

ONCE_MS = 60 * 1000
"""How soon what was shown ahead must be used: the connection follows at once."""

LOOK_SECONDS = 0.5
"""How often the database is asked whether a factor was shown on another hub; only while somebody waits."""

_FACTORS = {FactorKind.TOTP: ProvenFactor.TOTP, FactorKind.WEBAUTHN: ProvenFactor.HARDWARE_KEY}
"""The best that each kind of factor may turn out to be."""


@attrs.frozen(kw_only=True)
class SessionProofs:
    """The proofs of one cluster, as one hub sees them."""

    database: Database
    login: LoginService
    codes: FactorCodes
    keys: SecurityKeys
    audit: AuditLog
    sources: Sources
    web_url: Callable[[], str]

    async def begin(self, request: ProofRequest) -> PendingProof:
        """Store a proof that waits.

        :raises AccessDeniedError: the user has no factor that would do. :raises InvalidRequestError: too much at once.
        """
        check_extent(request)
        factors = await self._factors(request.user_name, request.needs)
        if not factors:
            raise AccessDeniedError(
                f"this session needs a second factor ({request.needs.value}) and you have none that would do: "
                "add one with `msh mfa add` or in the browser"
            )
        proof_id, now = self.sources.token_bytes(16).hex(), self.sources.now()
        row = SessionProofRow(
            token_hash=token_hash(proof_id),
            user_name=request.user_name,
            kind=request.kind,
            targets=request.targets,
            needs=request.needs.value,
            serial=request.serial,
            bound_to=request.bound_to,
            client_ip=request.client_address,
            window_ms=request.window_seconds * 1000,
            created_at=now,
            expires_at=now + PENDING_MS,
        )
        await self.database.write(session_proofs.insert, proof=row)
        return PendingProof(
            id=Secret(proof_id),
            url=f"{self.web_url()}/approve#{proof_id}",
            code=code_of(row),
            factors=factors,
            expires_at=row.expires_at,
        )

    async def begin_for_app(
        self, identity: UserIdentity, app_name: str, needs: SessionMfa, *, client_address: str
    ) -> PendingProof:
        """Ask for a factor before a session on an application, of who is logged in by `identity`. As `begin`."""
        request = ProofRequest(
            user_name=identity.name,
            needs=needs,
            kind=ProvenFor.APP,
            targets=(app_name,),
            serial=identity.serial,
            bound_to=identity.session_hash,
            client_address=client_address,
        )
        return await self.begin(request)

    async def take_for_app(self, identity: UserIdentity, app_name: str) -> SessionProof | None:
        """Use up what was shown for this application in this web session; None: nothing, or it is used up."""
        return await self._take_any(
            identity, ProvenFor.APP, identity.session_hash, lambda proof: proof.covers("app", app_name, None)
        )

    async def take_for_node(
        self, identity: UserIdentity, node_name: str, logins: Iterable[str], needs: SessionMfa
    ) -> SessionProof | None:
        """Use what was shown ahead with this certificate for one of these logins on the node; None: nothing."""
        wanted = tuple(logins)

        def is_for_this(proof: SessionProof) -> bool:
            named = any(proof.covers("node", node_name, login) for login in wanted)
            return named and satisfies(proof.factor, needs)

        return await self._take_any(identity, ProvenFor.NODE, "", is_for_this)

    async def take(self, proof_id: str, bound_to: str) -> SessionProof | None:
        """Use up the proof of that id; None: it was not shown, is for another connection or is used up."""
        row = await self.database.write(
            session_proofs.use, token_hash=token_hash(proof_id), bound_to=bound_to, now=self.sources.now()
        )
        return None if row is None else proof_of(row)

    async def wait_decided(self, proof_id: str) -> SessionProofRow | None:
        """Wait until a factor was shown or the user has refused; None when it is too late for either."""
        while True:
            row = await self.database.read(session_proofs.get, token_hash=token_hash(proof_id))
            if row is None or row.proven_at is not None or row.refused_at is not None:
                return row
            if row.expires_at <= self.sources.now():
                return None
            await trio.sleep(LOOK_SECONDS)

    async def view(self, identity: UserIdentity, proof_id: str) -> ProofView:
        """Return what the user is asked for. :raises NotFoundError: there is no such proof of theirs."""
        row = await self._own(identity.name, proof_id, "")
        factors = await self._factors(row.user_name, SessionMfa(row.needs))
        return ProofView(row=row, code=code_of(row), factors=factors)

    async def show_code(
        self, user_name: str, proof_id: str, totp: str, *, client_address: str, bound_to: str | None = None
    ) -> None:
        """Finish with a code of an authenticator application. Recovery codes are for logging in only.

        With `bound_to`, only a proof for that connection: what is typed for one must not finish another.

        :raises NotFoundError: there is no such proof of theirs, or it is decided.
        :raises UnauthenticatedError: it is wrong or was used before; counts like a wrong password.
        """
        row = await self._own(user_name, proof_id, client_address)
        if bound_to not in (None, row.bound_to):
            raise await self._no_such(user_name, client_address)
        if not satisfies(ProvenFactor.TOTP, SessionMfa(row.needs)):
            raise InvalidRequestError("this session needs a security key: open the address in a browser")

        async def check() -> FactorShown | None:
            return await self.codes.check(user_name, ShownCode(totp=totp))

        await self._checked(user_name, check, client_address)
        await self._prove(row, ProvenFactor.TOTP, client_address)

    async def begin_key(self, identity: UserIdentity, proof_id: str) -> KeyChallenge:
        """Ask for a security key; what it signs covers all that the proof is bound to. :raises NotFoundError."""
        row = await self._own(identity.name, proof_id, "")
        return await self.keys.begin_assertion(
            identity.name,
            ChallengeAction.SESSION,
            bound_to=_binding(row, identity),
            covering=covering(row),
        )

    async def show_key(
        self,
        identity: UserIdentity,
        proof_id: str,
        challenge_id: str,
        credential: Mapping[str, Any],
        *,
        client_address: str,
    ) -> None:
        """Finish with the answer of a security key. :raises UnauthenticatedError: it is not good; counts too."""
        row = await self._own(identity.name, proof_id, client_address)
        asked = AskedFor(
            action=ChallengeAction.SESSION, bound_to=_binding(row, identity), user_name=identity.name
        )
        shown = ProvenFactor.WEBAUTHN

        async def check() -> FactorShown | None:
            nonlocal shown
            answer = await self.keys.check_answer(challenge_id, credential, asked)
            if answer is None:
                return None
            shown = ProvenFactor.HARDWARE_KEY if answer.is_device_bound else ProvenFactor.WEBAUTHN
            if not satisfies(shown, SessionMfa(row.needs)):
                raise FactorRefusedError("security key: it can be copied, and a hardware key is needed")
            return FactorShown.WEBAUTHN

        await self._checked(identity.name, check, client_address)
        await self._prove(row, shown, client_address)

    async def refuse(self, identity: UserIdentity, proof_id: str, *, client_address: str) -> None:
        """The user does not know of it: whoever waits for it is told no. :raises NotFoundError: as above."""
        row = await self._own(identity.name, proof_id, client_address)
        now = self.sources.now()
        refused = await self.database.write(
            session_proofs.refuse, token_hash=row.token_hash, user_name=identity.name, now=now
        )
        if refused is None:
            raise await self._no_such(identity.name, client_address)
        await self._audit(row, EventType.USER_MFA_REFUSED, client_address, "the user refused it")

    async def _own(self, user_name: str, proof_id: str, client_address: str) -> SessionProofRow:
        row = await self.database.read(session_proofs.get, token_hash=token_hash(proof_id))
        late = row is not None and row.proven_at is None and row.expires_at <= self.sources.now()
        if row is None or late or row.user_name != user_name:
            raise await self._no_such(user_name, client_address)
        return row

    async def _no_such(self, user_name: str, client_address: str) -> NotFoundError:
        """One text for all that may be wrong; looking is not audited, acting is."""
        event_id = ""
        if client_address:
            event_id = await self.audit.emit(
                EventType.USER_MFA_REFUSED,
                user_name=user_name,
                client_ip=client_address,
                success=False,
                error_message="there is no such proof of this user that waits",
            )
        return NotFoundError(
            "there is nothing to approve here: it is too late, decided already or somebody else's; "
            "connect again",
            event_id=event_id,
        )

    async def _factors(self, user_name: str, needs: SessionMfa) -> tuple[str, ...]:
        kinds = await self.codes.kinds(user_name)
        return tuple(kind.value for kind in kinds if satisfies(_FACTORS[kind], needs))

    async def _checked(
        self, user_name: str, check: Callable[[], Awaitable[FactorShown | None]], client_address: str
    ) -> None:
        try:
            await self.login.check_factor(user_name, check, client_address=client_address)
        except LoginRefusedError as refused:
            raise UnauthenticatedError(
                f"the factor is not good, or was used before: {refused}", event_id=refused.event_id
            ) from None
        await self.login.give_back(user_name)

    async def _prove(self, row: SessionProofRow, factor: ProvenFactor, client_address: str) -> None:
        proven = await self.database.write(
            session_proofs.prove,
            token_hash=row.token_hash,
            user_name=row.user_name,
            factor=factor,
            good_ms=row.window_ms or ONCE_MS,
            now=self.sources.now(),
        )
        if proven is None:
            raise await self._no_such(row.user_name, client_address)
        await self._audit(proven, EventType.USER_MFA_PROVEN, client_address, "")

    async def _audit(self, row: SessionProofRow, event: EventType, client_address: str, error: str) -> None:
        await self.audit.emit(
            event,
            user_name=row.user_name,
            resource_type=row.kind.value,
            resource_name=row.targets[0],
            client_ip=client_address,
            success=not error,
            error_message=error,
            targets=row.targets,
            factor="" if row.factor is None else row.factor.value,
            window_seconds=row.window_ms // 1000,
            asked_from=row.client_ip,
        )

    async def _take_any(
        self,
        identity: UserIdentity,
        kind: ProvenFor,
        bound_to: str,
        is_good: Callable[[SessionProof], bool],
    ) -> SessionProof | None:
        """Use the newest that is good; what lasts comes first, so that nothing is used up needlessly."""
        rows = await self.database.read(
            session_proofs.list_good,
            user_name=identity.name,
            kind=kind,
            serial=identity.serial,
            bound_to=bound_to,
            now=self.sources.now(),
        )
        for row in sorted(rows, key=lambda row: row.window_ms == 0):
            if not is_good(proof_of(row)):
                continue
            used = await self.database.write(
                session_proofs.use, token_hash=row.token_hash, bound_to=bound_to, now=self.sources.now()
            )
            if used is not None:
                return proof_of(used)
        return None


def _binding(row: SessionProofRow, identity: UserIdentity) -> str:
    """What the challenge is tied to: this proof, in this web session."""
    return hashlib.sha256(f"{row.token_hash}\0{identity.session_hash}".encode()).hexdigest()
