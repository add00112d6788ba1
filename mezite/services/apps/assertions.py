# SPDX-License-Identifier: Apache-2.0
"""What the hub tells applications about who asks: an assertion for each request, and the same in plain fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from mezite.core.apps.app import App
from mezite.core.assertion.claims import AssertionClaims
from mezite.core.assertion.signer import AssertionSigner
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.keys import Purpose
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources

__all__ = ["ASSERTION_FIELD", "ROLES_FIELD", "USER_FIELD", "AppAssertions"]

ASSERTION_FIELD: Final = b"Mezite-Jwt-Assertion"
USER_FIELD: Final = b"X-Mezite-User"
ROLES_FIELD: Final = b"X-Mezite-Roles"


class AppAssertions:
    """Signs with whichever key is active: an assertion for each request, so that no `jti` is seen twice."""

    def __init__(
        self, *, authorities: CertificateAuthorities, issuer: Callable[[], str], sources: Sources
    ) -> None:
        """`issuer` returns `https://PUBLIC_HOST`; it may be known only when the listeners are bound."""
        self._authorities = authorities
        self._issuer = issuer
        self._sources = sources
        self._signer: tuple[str, AssertionSigner] | None = None

    def fields(self, app: App, identity: UserIdentity) -> list[tuple[bytes, bytes]]:
        """Return the fields of one request by `identity`, which the hub has let through to `app`.

        The plain fields say what the assertion says. Names of users and roles need no escaping: their grammars
        have nothing in them that a field, or a list with commas, could not carry.

        :raises AssertionTooLongError: the application's URI is too long for any assertion.
        """
        claims = AssertionClaims(
            issuer=self._issuer(),
            audience=app.uri,
            subject=identity.name,
            roles=_by_importance(app, identity),
            app=app.name,
            jti=self._sources.new_id(),
            issued_at=self._sources.now() // 1000,
        )
        assertion = self._active().sign(claims)
        return [
            (ASSERTION_FIELD, assertion.token.encode("ascii")),
            (USER_FIELD, identity.name.encode("ascii")),
            (ROLES_FIELD, ",".join(assertion.roles).encode("ascii")),
        ]

    def _active(self) -> AssertionSigner:
        authority = self._authorities.ring.active(Purpose.APP_JWT)
        if self._signer is None or self._signer[0] != authority.key_id:
            key = authority.key
            if not isinstance(key, EllipticCurvePrivateKey):
                raise AssertionError(f"the key for assertions is a {type(key).__name__}")
            self._signer = (authority.key_id, AssertionSigner(key))
        return self._signer[1]


def _by_importance(app: App, identity: UserIdentity) -> tuple[str, ...]:
    """Those that let the user in come first: they are the last to be missing where a user has very many."""
    letting_in = identity.app_grants.letting_in(app.labels)
    return tuple(sorted(dict.fromkeys(identity.roles), key=lambda name: name not in letting_in))
