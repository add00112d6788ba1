# SPDX-License-Identifier: Apache-2.0
"""From what a provider says of somebody to a user name, roles and traits (threat E5)."""

from collections.abc import Mapping
from typing import Any

import attrs

from mezite.core.certificates.identity import IdentityError, encode_traits
from mezite.core.names import InvalidNameError, check_login, check_user_name
from mezite.core.oidc.connector import Connector, OidcSpec

__all__ = [
    "MAX_TRAITS_BYTES",
    "ClaimsRefusedError",
    "MappedUser",
    "map_claims",
    "merged_claims",
    "trustworthy_claims",
]

MAX_TRAITS_BYTES = 6 * 1024
"""As JSON: as many as fit a certificate beside everything else; the same for local users."""

MAX_VALUES = 1024
"""Values of one claim that are looked at: providers list groups by the hundred, hostile ones by the million."""

MAX_VALUE = 256
"""Characters of one value; a longer one is no group, and no trait."""


class ClaimsRefusedError(ValueError):
    """Somebody cannot sign in with these claims; the message says what would have to be different."""


EMAIL_PAIR = frozenset({"email", "email_verified"})


@attrs.frozen(kw_only=True)
class MappedUser:
    """Who somebody is here."""

    name: str
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]


def map_claims(connector: Connector, claims: Mapping[str, Any]) -> MappedUser:
    """The user behind verified ``claims``.

    Raises ClaimsRefusedError: no usable name, no role, or traits that no certificate has room for.
    """
    claims = trustworthy_claims(claims)
    name = user_name(connector, claims)
    roles = tuple(
        dict.fromkeys(
            role
            for rule in connector.role_rules
            if any(rule.condition.admits(value) for value in values_of(claims, rule.claim))
            for role in rule.roles
        )
    )
    if not roles:
        raise ClaimsRefusedError(
            f"no rule of connector {connector.name} gives {name} a role: ask an administrator"
        )
    return MappedUser(name=name, roles=roles, traits=traits_of(connector, claims))


def merged_claims(*, signed: Mapping[str, Any], told: Mapping[str, Any]) -> Mapping[str, Any]:
    """The claims of an ID token and what the userinfo endpoint has told besides; what is signed comes first.

    An address and whether it is verified come from one of the two, the first that says both (threat E5).
    """
    merged = {key: value for key, value in {**told, **signed}.items() if key not in EMAIL_PAIR}
    pair = next((claims for claims in (signed, told) if claims.keys() >= EMAIL_PAIR), {})
    return merged | {key: pair[key] for key in EMAIL_PAIR & pair.keys()}


def trustworthy_claims(claims: Mapping[str, Any]) -> Mapping[str, Any]:
    """``claims`` without an e-mail address that the provider has not verified or that is none.

    An address with two ``@`` has two domains, depending on who reads it (threat E5).
    """
    email = claims.get("email")
    good = isinstance(email, str) and email.count("@") == 1 and not email.startswith("@")
    if good and claims.get("email_verified") is True:
        return claims
    return {key: value for key, value in claims.items() if key != "email"}


def user_name(connector: Connector, claims: Mapping[str, Any]) -> str:
    claim = connector.provider.username_claim if isinstance(connector.provider, OidcSpec) else "login"
    value = claims.get(claim)
    if not isinstance(value, str):
        hint = " that is verified (email_verified)" if claim == "email" else ""
        raise ClaimsRefusedError(
            f"the provider names no {claim}{hint}, which connector {connector.name} takes for the user name: "
            "choose another with spec.username_claim, or change the provider"
        )
    try:
        return check_user_name(value)
    except InvalidNameError as error:
        raise ClaimsRefusedError(f"{claim} of the provider cannot be a user name: {error}") from None


def traits_of(connector: Connector, claims: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    traits: dict[str, tuple[str, ...]] = {}
    for rule in connector.trait_rules:
        values = values_of(claims, rule.claim)
        if rule.trait == "logins":
            values = tuple(value for value in values if is_login(value))
        merged = tuple(dict.fromkeys((*traits.get(rule.trait, ()), *values)))
        if merged:
            traits[rule.trait] = merged
    try:
        size = len(encode_traits(traits))
    except IdentityError as error:
        raise ClaimsRefusedError(f"{error}: map fewer claims to traits") from None
    if size > MAX_TRAITS_BYTES:
        raise ClaimsRefusedError(
            f"the traits have {size} bytes, more than the {MAX_TRAITS_BYTES} that fit a certificate: map fewer claims"
        )
    return traits


def is_login(value: str) -> bool:
    try:
        check_login(value)
    except InvalidNameError:
        return False
    return True


def values_of(claims: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """The texts in claim ``name``: one, or a list. ``a.b`` is also b inside a, as Keycloak nests its roles.

    What is no text has no place in a role or trait: it is left out.
    """
    value = found(claims, name)
    values = value if isinstance(value, list) else [value]
    return tuple(each for each in values[:MAX_VALUES] if isinstance(each, str) and is_value(each))


def is_value(text: str) -> bool:
    return 0 < len(text) <= MAX_VALUE and text.isprintable()


def found(claims: Mapping[str, Any], name: str) -> object:
    if name in claims:
        return claims[name]
    inside: object = claims
    for part in name.split("."):
        inside = inside.get(part) if isinstance(inside, Mapping) else None
    return inside
