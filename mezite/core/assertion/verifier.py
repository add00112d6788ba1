# SPDX-License-Identifier: Apache-2.0
"""Verifying an assertion, for backends: who asks, as the hub has said it, for this application and now.

Nothing in the token decides how it is checked (threat E1): the algorithm is ES256, the ``kid`` is looked up in the
key set of the cluster, and whatever else the header says about keys is not read. Every claim is required and compared
exactly (threat E2).
"""

import base64
import re
from typing import Any

import attrs
import jwt.algorithms

from mezite.core.assertion.claims import LIFETIME_S, ROLES_OMITTED
from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.assertion.refusal import AssertionReason, AssertionRefused
from mezite.core.oidc.answers import ProviderError, parse_object, shown

__all__ = ["LEEWAY_S", "Caller", "key_id_of", "verify_assertion"]

LEEWAY_S = 30
"""How far the clocks of hub and backend may be apart; NTP keeps them within one second."""

MAX_ASSERTION = 8 * 1024
"""Characters: five times what hubs make."""

MAX_TIME = 2**53
"""Seconds; beyond, JSON's numbers are not exact. Refuses infinity, too."""

PARTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{86})", re.ASCII)
HEADER = frozenset({"alg", "kid", "typ"})
ES256 = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)


@attrs.frozen(kw_only=True)
class Caller:
    """Who asks, as a verified assertion says."""

    user: str
    roles: tuple[str, ...]
    roles_omitted: int
    """How many more roles the user has, which did not fit."""
    app: str
    """The application's name in the cluster."""
    issuer: str
    expires_at: int
    """Seconds since 1970."""
    jti: str
    """No other assertion has it: remember it until `expires_at` where one must not be used twice."""


def verify_assertion(
    token: str | bytes | None,
    keys: AssertionKeys,
    *,
    audience: str,
    now: float,
    issuer: str | None = None,
    app: str | None = None,
    leeway: float = LEEWAY_S,
) -> Caller:
    """The caller that ``token``, the value of ``Mezite-Jwt-Assertion``, is about.

    ``audience`` is this application's own internal URI, as it was registered: without it, whoever has an assertion for
    another application could use it here. ``app``, its name in the cluster, is compared when it is given: on another
    machine ``http://localhost:3000`` is another application. ``now`` is ``time.time()``; ``issuer`` is compared when it
    is given.

    Raises AssertionRefused; ValueError: ``audience`` is empty.
    """
    if not audience:
        raise ValueError("the audience is this application's internal URI: it cannot be empty")
    header, claims, signed, signature = taken_apart(token)
    key = keys.by_id.get(checked_key_id(header))
    if key is None:
        raise AssertionRefused(
            AssertionReason.UNKNOWN_KEY,
            f"the assertion is signed with the key {shown(header['kid'])}, which is not in the key set: fetch it "
            "anew, and look whether it is this cluster's",
        )
    if not ES256.verify(signed, key, signature):
        raise AssertionRefused(AssertionReason.BAD_SIGNATURE, "the assertion's signature is wrong")
    if issuer is not None and claims.get("iss") != issuer:
        raise AssertionRefused(
            AssertionReason.WRONG_ISSUER,
            f"the assertion is by {shown(claims.get('iss'))}, not by {shown(issuer)}",
        )
    if claims.get("aud") != audience:
        raise AssertionRefused(
            AssertionReason.WRONG_AUDIENCE,
            f"the assertion is for {shown(claims.get('aud'))}, not for {shown(audience)}",
        )
    if app is not None and claims.get("app") != app:
        raise AssertionRefused(
            AssertionReason.WRONG_APP,
            f"the assertion is for the application {shown(claims.get('app'))}, not for {shown(app)}",
        )
    check_times(claims, now, leeway)
    return caller(claims)


def key_id_of(token: str | bytes | None) -> str:
    """The id of the key that ``token`` names; nothing is verified. Raises AssertionRefused."""
    return checked_key_id(taken_apart(token)[0])


def malformed(why: str) -> AssertionRefused:
    return AssertionRefused(AssertionReason.MALFORMED, f"the assertion is damaged: {why}")


def taken_apart(token: str | bytes | None) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    if not token:
        raise AssertionRefused(
            AssertionReason.MISSING, "there is no assertion: the request has not come through a hub"
        )
    text = token.decode("latin-1") if isinstance(token, bytes) else token
    match = PARTS.fullmatch(text) if len(text) <= MAX_ASSERTION else None
    if match is None:
        raise malformed("it is not three parts of base64url, the last of them a signature of 64 bytes")
    try:
        header = parse_object(decoded(match[1]), "its header")
        claims = parse_object(decoded(match[2]), "its second part")
    except ProviderError as error:
        raise malformed(str(error)) from None
    return header, claims, f"{match[1]}.{match[2]}".encode("ascii"), decoded(match[3])


def decoded(part: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except ValueError:
        raise malformed("a part of it is not base64url") from None
    # The last character can hide bits that nobody reads: one assertion has one spelling.
    if base64.urlsafe_b64encode(data).rstrip(b"=") != part.encode("ascii"):
        raise malformed("a part of it is not base64url in the one way that it is written")
    return data


def checked_key_id(header: dict[str, Any]) -> str:
    if header.get("alg") != "ES256":
        raise AssertionRefused(
            AssertionReason.WRONG_ALGORITHM,
            f"the assertion is signed with {shown(header.get('alg'))}; only ES256 is accepted",
        )
    if header.get("typ") != "JWT" or not header.keys() <= HEADER:
        # `crit`, `b64`, `zip`: they change what a token means. `jwk`, `jku`, `x5u`: keys that a stranger would choose.
        raise malformed("its header says something else than alg, kid and typ: JWT")
    key_id = header.get("kid")
    if not isinstance(key_id, str):
        raise malformed("it does not say which key has signed it")
    return key_id


def check_times(claims: dict[str, Any], now: float, leeway: float) -> None:
    begin = max(time_of(claims, "nbf"), time_of(claims, "iat"))
    end = time_of(claims, "exp")
    if now >= end + leeway:
        raise AssertionRefused(
            AssertionReason.EXPIRED,
            f"the assertion has expired {now - end:.0f} s ago: they last {LIFETIME_S} s, so that it was either kept "
            "too long or one of the two clocks is wrong",
        )
    if now < begin - leeway:
        raise AssertionRefused(
            AssertionReason.NOT_YET_VALID,
            f"the assertion is not valid for another {begin - now:.0f} s: one of the two clocks is wrong",
        )


def time_of(claims: dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < MAX_TIME:
        raise malformed(f"its {name} is not a time")
    return value


def caller(claims: dict[str, Any]) -> Caller:
    roles = claims.get("roles")
    if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
        raise malformed("its roles are not a list of names")
    omitted = claims.get(ROLES_OMITTED, 0)
    if isinstance(omitted, bool) or not isinstance(omitted, int) or omitted < 0:
        raise malformed(f"its {ROLES_OMITTED} is not a number")
    return Caller(
        user=text_of(claims, "sub"),
        roles=tuple(roles),
        roles_omitted=omitted,
        app=text_of(claims, "app"),
        issuer=text_of(claims, "iss"),
        expires_at=int(time_of(claims, "exp")),
        jti=text_of(claims, "jti"),
    )


def text_of(claims: dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not value:
        raise malformed(f"it has no {name}")
    return value
