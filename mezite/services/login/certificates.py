# SPDX-License-Identifier: Apache-2.0
"""Short-lived certificates for users: one for SSH, one for TLS, for keys that the user made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.certificates.keys import InvalidKeyError
from mezite.core.certificates.ssh import NO_LOGIN_PRINCIPAL
from mezite.core.rbac.evaluator import all_logins
from mezite.services.access.authorization import session_permissions
from mezite.services.audit_log import AuditLog
from mezite.services.authorities.certificate_authority import (
    CertificateAuthorities,
    UserCertificateRequest,
    UserCertificates,
)
from mezite.services.authorities.keys import USER_CERTIFICATE_S
from mezite.services.errors import InvalidRequestError, UnauthenticatedError
from mezite.services.identity.address_pins import own_block
from mezite.services.identity.identities import CredentialKind, UserIdentity
from mezite.services.sources import Sources

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["IssuedToUser", "UserCertificateService"]

DEFAULT_TTL_S = 12 * 3600
MAX_TTL_S = USER_CERTIFICATE_S
MIN_TTL_S = 60

MAX_PRINCIPALS = 256
"""OpenSSH refuses a certificate with more."""


@attrs.frozen(kw_only=True)
class IssuedToUser:
    """Certificates and what a client needs to use them."""

    certificates: UserCertificates
    user_name: str
    roles: tuple[str, ...]
    logins: tuple[str, ...]
    request_ids: tuple[str, ...] = ()
    """Access requests that they are good for."""
    device_id: str = ""
    """The trusted device that they are for; empty for none."""


class UserCertificateService:
    """Issues certificates to authenticated users."""

    def __init__(self, *, authorities: CertificateAuthorities, audit: AuditLog, sources: Sources) -> None:
        self._authorities = authorities
        self._audit = audit
        self._sources = sources

    async def issue(
        self,
        identity: UserIdentity,
        *,
        ssh_public_key: str,
        tls_public_key_pem: bytes,
        ttl_seconds: int,
        client_address: str,
    ) -> IssuedToUser:
        """Certify two keys of the user for `ttl_seconds` (0: 12 h), at most 24 h or what the user's roles say.

        What is issued for a certificate never outlives that certificate (threat E9); a session is a fresh login and
        sets no such bound. When a role asks for `pin_source_ip`, they are good from one address only: that of the
        session's login, or of this request; what is pinned already stays so. A certificate for approved access
        requests ends when the first of them runs out.

        :raises InvalidRequestError: a key of an unsupported kind, or a time to live below a minute or over 24 h.
        :raises UnauthenticatedError: the certificate has less than a minute left.
        """
        ttl = self._lifetime(identity, ttl_seconds)
        possible = all_logins(identity.definitions_anywhere, identity.traits, identity.claims)
        logins = tuple(sorted(possible))[:MAX_PRINCIPALS]
        request = UserCertificateRequest(
            user_name=identity.name,
            roles=identity.roles,
            traits=identity.traits,
            principals=logins or (NO_LOGIN_PRINCIPAL,),
            extensions=_extensions(session_permissions(identity)),
            ssh_public_key=ssh_public_key,
            tls_public_key_pem=tls_public_key_pem,
            ttl_seconds=ttl,
            request_ids=identity.requested.request_ids,
            source_address=_pin(identity, client_address),
            device_id=identity.device_id,
        )
        try:
            certificates = self._authorities.issue_user(request)
        except InvalidKeyError as error:
            raise InvalidRequestError(str(error)) from None
        await self._audit.emit(
            EventType.USER_CERT_ISSUED,
            user_name=identity.name,
            user_roles=identity.roles,
            client_ip=client_address,
            serial=str(certificates.serial),
            logins=list(logins),
            ttl_seconds=ttl,
            source_address=request.source_address,
            request_ids=list(identity.requested.request_ids),
            device_id=identity.device_id,
        )
        return IssuedToUser(
            certificates=certificates,
            user_name=identity.name,
            roles=identity.roles,
            logins=logins,
            request_ids=identity.requested.request_ids,
            device_id=identity.device_id,
        )

    def _lifetime(self, identity: UserIdentity, asked: int) -> int:
        if asked < 0 or 0 < asked < MIN_TTL_S or asked > MAX_TTL_S:
            raise InvalidRequestError("the time to live of a certificate is at least 1m and at most 24h")
        bounds = [asked or DEFAULT_TTL_S, *(role.options.max_session_ttl for role in identity.definitions)]
        if identity.credential is not CredentialKind.SESSION:
            bounds.append((identity.expires_at - self._sources.now()) // 1000)
        if identity.requested.request_ids:
            bounds.append((identity.requested.ends_at - self._sources.now()) // 1000)
        if min(bounds) < MIN_TTL_S:
            raise UnauthenticatedError(
                "your certificate, or the access that you were granted, is about to expire: log in again"
            )
        return min(bounds)


def _pin(identity: UserIdentity, client_address: str) -> str:
    """The addresses that a certificate for this user is good from; never more than the credential is (threat E9)."""
    is_session = identity.credential is CredentialKind.SESSION
    if identity.pinned_to and not is_session:
        return identity.pinned_to
    if not any(role.options.pin_source_ip for role in identity.definitions):
        return ""
    pin = identity.pinned_to if is_session else own_block(client_address)
    if not pin:
        raise UnauthenticatedError(
            "your roles ask for a certificate that is pinned to your address, which is not known: log in again"
        )
    return pin


def _extensions(permissions: Iterable[str]) -> tuple[str, ...]:
    names = {
        "agent_forwarding": "permit-agent-forwarding",
        "port_forwarding": "permit-port-forwarding",
    }
    return ("permit-pty", *(names[permission] for permission in permissions if permission in names))
