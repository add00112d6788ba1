# SPDX-License-Identifier: Apache-2.0
"""The token in which a provider says who has signed in (OpenID Connect Core 1.0 section 3.1.3.7), without mercy.

Everything is required and compared exactly (threats E1, E2). What the token's header says about keys is not read,
except for the name of the key; no key is ever fetched from where a token points to.
"""

import base64
import binascii
import hashlib
import hmac
import re
from typing import Any

import attrs

from mezite.core.oidc.answers import ProviderError, parse_object, shown
from mezite.core.oidc.key_set import ALGORITHMS, KeySet

__all__ = ["LEEWAY_S", "ExpectedToken", "verify_id_token"]

LEEWAY_S = 60
"""How far two clocks may be apart; NTP keeps them within one second."""

MAX_TOKEN = 16 * 1024
"""Characters. Two hundred groups with ids of 36, which is where Entra ID stops listing, take ten thousand."""

MAX_SUBJECT = 255
"""OpenID Connect Core section 2."""

PARTS = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)", re.ASCII)
HASHES = {"RS256": hashlib.sha256, "PS256": hashlib.sha256, "ES256": hashlib.sha256, "EdDSA": hashlib.sha512}
UNDERSTOOD_NOT = ("crit", "b64", "zip", "enc", "cty")
"""Header members that change what the token means."""

NUMBER = int | float
MAX_TIME = 2**53
"""Seconds; beyond, JSON's numbers are not exact. Refuses infinity and what is no number at all, too."""


@attrs.frozen(kw_only=True)
class ExpectedToken:
    """What the token of this login must say."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str = ""
    """Came along with it; checked against the token's ``at_hash``, if there is one."""


def verify_id_token(token: str, keys: KeySet, expected: ExpectedToken, *, now: int) -> dict[str, Any]:
    """The claims of ``token``, which is who it should be from, for whom, and of this login; ``now`` in seconds.

    Raises UnknownKeyError: signed with a key that is not in ``keys``; ProviderError: anything else is wrong.
    """
    match = PARTS.fullmatch(token) if len(token) <= MAX_TOKEN else None
    if match is None:
        raise ProviderError("the ID token is not three parts of base64url, or too long")
    header = parse_object(decoded(match[1]), "the ID token's header")
    algorithm = algorithm_of(header)
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise ProviderError("the ID token's kid is not text")
    key = keys.find(key_id, algorithm)
    signed = f"{match[1]}.{match[2]}".encode("ascii")
    if not key.verifies(algorithm, signed, decoded(match[3])):
        raise ProviderError("the ID token's signature is wrong")
    claims = parse_object(decoded(match[2]), "the ID token")
    check_claims(claims, expected, now=now)
    check_access_token(claims, expected.access_token, algorithm)
    return claims


def decoded(part: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise ProviderError("the ID token is not base64url") from None


def algorithm_of(header: dict[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise ProviderError(
            f"the ID token is signed with {shown(algorithm)}, which is none of {', '.join(ALGORITHMS)}"
        )
    kind = header.get("typ", "JWT")
    if not isinstance(kind, str) or kind.upper() != "JWT":
        raise ProviderError(f"the ID token is of the type {shown(kind)}, which is another kind of token")
    for name in UNDERSTOOD_NOT:
        if name in header:
            raise ProviderError(f"the ID token's header has {name}, which is not understood here")
    return algorithm


def check_claims(claims: dict[str, Any], expected: ExpectedToken, *, now: int) -> None:
    if claims.get("iss") != expected.issuer:
        raise ProviderError(f"the ID token is of the issuer {shown(claims.get('iss'))}")
    check_audience(claims, expected.client_id)
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise ProviderError("the ID token's sub is not a name of 1 to 255 characters")
    nonce = claims.get("nonce")
    if not isinstance(nonce, str) or not is_same(nonce, expected.nonce):
        raise ProviderError("the ID token is of another login: its nonce is another one, or missing")
    if time_of(claims, "exp") + LEEWAY_S <= now:
        raise ProviderError("the ID token has expired: is one of the two clocks wrong?")
    if time_of(claims, "iat") - LEEWAY_S > now:
        raise ProviderError("the ID token was issued in the future: is one of the two clocks wrong?")
    if "nbf" in claims and time_of(claims, "nbf") - LEEWAY_S > now:
        raise ProviderError("the ID token is not valid yet: is one of the two clocks wrong?")


def is_same(said: str, wanted: str) -> bool:
    # JSON can spell halves of characters, which are no UTF-8.
    return hmac.compare_digest(said.encode("utf-8", "surrogatepass"), wanted.encode())


def check_audience(claims: dict[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    if client_id not in listed or not all(isinstance(each, str) for each in listed):
        raise ProviderError(f"the ID token is for {shown(audience)}, not for this client")
    party = claims.get("azp")
    if ("azp" in claims or len(listed) > 1) and party != client_id:
        raise ProviderError(f"the ID token was given to {shown(party)}, not to this client")


def time_of(claims: dict[str, Any], name: str) -> NUMBER:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, NUMBER) or not 0 <= value < MAX_TIME:
        raise ProviderError(f"the ID token's {name} is not a time, or missing")
    return value


def check_access_token(claims: dict[str, Any], access_token: str, algorithm: str) -> None:
    """OpenID Connect Core section 3.1.3.8: the left half of the hash of the access token that came along."""
    if "at_hash" not in claims:
        return
    digest = HASHES[algorithm](access_token.encode()).digest()
    half = base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
    if claims["at_hash"] != half:
        raise ProviderError("the access token is not the one that the ID token was issued with")
