# SPDX-License-Identifier: Apache-2.0
"""A user's own account: logging in and out, the first password, certificates."""

from __future__ import annotations

from typing import Any

import attrs

from mezite.core.device_proof import certified_keys
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.errors import InvalidRequestError, UnauthenticatedError
from mezite.services.factors.password_change import PasswordChange
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.certificates import UserCertificateService
from mezite.services.login.codes import ShownCode
from mezite.services.login.password_login import LoginRefusedError, LoginService
from mezite.services.login.password_rules import WeakPasswordError
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.users.devices import Devices
from mezite.web import browser_session
from mezite.web.certificate_answers import certificates_answer
from mezite.web.device_routes import DEVICE_FIELDS, shown_device
from mezite.web.json_body import read_fields, texts
from mezite.web.login_answers import LoginAnswers
from mezite.web.proof_field import shown_proof
from mezite.web.route_table import RouteTable, bearer_token, client_address

__all__ = ["AccountRoutes"]


@attrs.frozen(kw_only=True)
class AccountRoutes:
    """`login`, `logout`, `password`, `invites/accept`, `certificates`."""

    login: LoginService
    certificates: UserCertificateService
    authorities: CertificateAuthorities
    requests: AccessRequests
    devices: Devices
    answers: LoginAnswers
    password: PasswordChange

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        table.public("POST", "/v1/webapi/login", self._login, "account.login", "account")
        table.public("POST", "/v1/webapi/invites/accept", self._accept_invite, "account.invite", "account")
        table.private("POST", "/v1/webapi/logout", self._logout, "self.logout", "account")
        table.private("POST", "/v1/webapi/password", self._change_password, "self.password.change", "account")
        table.private(
            "POST", "/v1/webapi/certificates", self._certificates, "self.certificates.issue", "account"
        )

    async def _login(self) -> dict[str, Any]:
        fields = await read_fields(
            {"username": str, "password": str}, optional={"totp": str, "recovery_code": str, "cookie": bool}
        )
        kind = self.answers.kind(cookie=fields.get("cookie", False))
        try:
            started = await self.login.with_password(
                fields["username"],
                fields["password"],
                client_address=client_address(),
                kind=kind,
                shown=ShownCode(totp=fields.get("totp", ""), recovery_code=fields.get("recovery_code", "")),
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return await self.answers.started(started, kind)

    async def _accept_invite(self) -> dict[str, Any]:
        fields = await read_fields({"token": str, "password": str})
        try:
            name = await self.login.accept_invite(
                fields["token"], fields["password"], client_address=client_address()
            )
        except WeakPasswordError as weak:
            raise InvalidRequestError(str(weak)) from None
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return {"user": name}

    async def _logout(self, identity: UserIdentity) -> dict[str, Any]:
        ended = await self.login.logout(identity, client_address=client_address())
        if bearer_token() is None:
            browser_session.forget()
        return {"ended": ended}

    async def _change_password(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"old_password": str, "new_password": str}, optional={"proof": dict})
        await self.password.change(
            identity,
            old=fields["old_password"],
            new=fields["new_password"],
            proof=shown_proof(fields),
            client_address=client_address(),
        )
        return {"changed": True}

    async def _certificates(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields(
            {"ssh_public_key": str, "tls_public_key_pem": str},
            optional={"ttl_seconds": int, "request_ids": list, **DEVICE_FIELDS},
        )
        keys = certified_keys(fields["ssh_public_key"], fields["tls_public_key_pem"])
        address = client_address()
        proven = await self.devices.prove(identity, shown_device(fields), keys, client_address=address)
        issued = await self.certificates.issue(
            await self.requests.assume(proven, texts(fields, "request_ids")),
            ssh_public_key=fields["ssh_public_key"],
            tls_public_key_pem=fields["tls_public_key_pem"].encode(),
            ttl_seconds=fields.get("ttl_seconds", 0),
            client_address=address,
        )
        return certificates_answer(issued, self.authorities)
