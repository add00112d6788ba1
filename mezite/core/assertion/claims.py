# SPDX-License-Identifier: Apache-2.0
"""What an assertion says about one request, and what is left out when it would become too long."""

import json
from collections.abc import Sequence

import attrs

from mezite.core.names import check_app_name, check_role_name, check_user_name

__all__ = ["LIFETIME_S", "ROLES_OMITTED", "AssertionClaims", "payload"]

LIFETIME_S = 60
"""How long an assertion is good for. It is made when the request is sent on; the rest is for clocks and queues."""

ROLES_OMITTED = "roles_omitted"
"""The claim that says how many roles are missing. There only when some are."""

COMPACT = json.JSONEncoder(separators=(",", ":"))


def check_roles(instance: object, attribute: object, roles: tuple[str, ...]) -> None:
    for role in roles:
        check_role_name(role)


@attrs.frozen(kw_only=True)
class AssertionClaims:
    """One user, one application, one minute. Raises InvalidNameError (a ValueError) for names that cannot be.

    The grammars of names are what makes them safe in header fields: ASCII, no comma, no blank.
    """

    issuer: str
    """``https://PUBLIC_HOST``."""
    audience: str
    """The application's internal URI, as it was registered."""
    subject: str = attrs.field(validator=lambda _instance, _attribute, name: check_user_name(name))
    """The user."""
    roles: tuple[str, ...] = attrs.field(validator=check_roles)
    """All of the user's, the most important first: where not all fit, those at the end are missing."""
    app: str = attrs.field(validator=lambda _instance, _attribute, name: check_app_name(name))
    """The application's name."""
    jti: str
    """No two assertions have the same."""
    issued_at: int
    """Seconds since 1970."""


def payload(claims: AssertionClaims, roles: Sequence[str]) -> bytes:
    """The claims as JSON, with these of the roles."""
    members: dict[str, object] = {
        "iss": claims.issuer,
        "aud": claims.audience,
        "sub": claims.subject,
        "roles": list(roles),
        "iat": claims.issued_at,
        "nbf": claims.issued_at,
        "exp": claims.issued_at + LIFETIME_S,
        "jti": claims.jti,
        "app": claims.app,
    }
    if len(roles) < len(claims.roles):
        members[ROLES_OMITTED] = len(claims.roles) - len(roles)
    return COMPACT.encode(members).encode("ascii")
