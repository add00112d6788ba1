# SPDX-License-Identifier: Apache-2.0
"""Second factors in the browser: logging in with a security key, and what a user does with their own factors."""

from __future__ import annotations

from typing import Any

import attrs
import quart

from mezite.services.errors import UnauthenticatedError
from mezite.services.factors.own_factors import Enrolled
from mezite.services.factors.security_keys import KeyChallenge
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.password_login import LoginRefusedError
from mezite.services.proofs.assembly import FactorServices
from mezite.storage.factors import FactorRow
from mezite.web.json_body import read_fields
from mezite.web.login_answers import LoginAnswers
from mezite.web.proof_field import shown_proof
from mezite.web.route_table import RouteTable, client_address

__all__ = ["FactorRoutes"]

_BASE = "/v1/webapi/mfa"


@attrs.frozen(kw_only=True)
class FactorRoutes:
    """Everything under `mfa/`."""

    factors: FactorServices
    answers: LoginAnswers

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        key = f"{_BASE}/webauthn"
        table.public("POST", f"{key}/login/begin", self._begin_login, "account.login", "account")
        table.public("POST", f"{key}/login/finish", self._finish_login, "account.login", "account")
        table.private("POST", f"{key}/proof/begin", self._begin_proof, "self.factors.prove", "account")
        table.private("POST", f"{key}/register/begin", self._begin_key, "self.factors.add", "account")
        table.private("POST", f"{key}/register/finish", self._finish_key, "self.factors.add", "account")
        table.private("GET", f"{_BASE}/factors", self._list, "self.factors.list", "account")
        table.private("DELETE", f"{_BASE}/factors/<id>", self._remove, "self.factors.remove", "account")
        table.private("POST", f"{_BASE}/totp/begin", self._begin_totp, "self.factors.add", "account")
        table.private("POST", f"{_BASE}/totp/finish", self._finish_totp, "self.factors.add", "account")
        table.private("POST", f"{_BASE}/recovery-codes", self._codes, "self.factors.add", "account")

    async def _begin_login(self) -> dict[str, Any]:
        fields = await read_fields({"username": str, "password": str})
        try:
            asked = await self.factors.key_login.begin(
                fields["username"], fields["password"], client_address=client_address()
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return _challenge(asked)

    async def _finish_login(self) -> dict[str, Any]:
        fields = await read_fields({"challenge_id": str, "credential": dict}, optional={"cookie": bool})
        kind = self.answers.kind(cookie=fields.get("cookie", False))
        try:
            started = await self.factors.key_login.finish(
                fields["challenge_id"], fields["credential"], client_address=client_address(), kind=kind
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return await self.answers.started(started, kind)

    async def _begin_proof(self, identity: UserIdentity) -> dict[str, Any]:
        await read_fields({})
        return _challenge(await self.factors.proof.begin(identity))

    async def _begin_key(self, identity: UserIdentity) -> dict[str, Any]:
        proof = shown_proof(await read_fields({}, optional={"proof": dict}))
        return _challenge(await self.factors.own.begin_key(identity, proof, client_address=client_address()))

    async def _finish_key(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"challenge_id": str, "credential": dict}, optional={"name": str})
        enrolled = await self.factors.own.finish_key(
            identity,
            fields["challenge_id"],
            fields["credential"],
            fields.get("name", ""),
            client_address=client_address(),
        )
        return _enrolled(enrolled)

    async def _list(self, identity: UserIdentity) -> dict[str, Any]:
        own = self.factors.own
        return {
            "factors": [_factor(row) for row in await own.listed(identity)],
            "recovery_codes_left": await own.recovery_codes_left(identity),
        }

    async def _remove(self, identity: UserIdentity) -> dict[str, Any]:
        proof = shown_proof(await read_fields({}, optional={"proof": dict}))
        factor_id = (quart.request.view_args or {})["id"]
        await self.factors.own.remove(identity, factor_id, proof, client_address=client_address())
        return {"removed": True}

    async def _begin_totp(self, identity: UserIdentity) -> dict[str, Any]:
        proof = shown_proof(await read_fields({}, optional={"proof": dict}))
        begun = await self.factors.own.begin_totp(identity, proof, client_address=client_address())
        return {
            "challenge_id": begun.challenge_id.reveal(),
            "secret": begun.secret.reveal(),
            "uri": begun.uri.reveal(),
        }

    async def _finish_totp(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"challenge_id": str, "code": str}, optional={"name": str})
        enrolled = await self.factors.own.finish_totp(
            identity,
            fields["challenge_id"],
            fields["code"],
            fields.get("name", ""),
            client_address=client_address(),
        )
        return _enrolled(enrolled)

    async def _codes(self, identity: UserIdentity) -> dict[str, Any]:
        proof = shown_proof(await read_fields({}, optional={"proof": dict}))
        codes = await self.factors.own.new_recovery_codes(identity, proof, client_address=client_address())
        return {"codes": [code.reveal() for code in codes]}


def _challenge(asked: KeyChallenge) -> dict[str, Any]:
    return {"challenge_id": asked.id.reveal(), "options": asked.options}


def _factor(row: FactorRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "kind": row.kind.value,
        "name": row.name,
        "created_at_ms": row.created_at,
        "last_used_at_ms": row.last_used_at,
    }


def _enrolled(enrolled: Enrolled) -> dict[str, Any]:
    return {
        "factor": _factor(enrolled.factor),
        "recovery_codes": [code.reveal() for code in enrolled.recovery_codes],
    }
