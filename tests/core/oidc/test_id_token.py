# SPDX-License-Identifier: Apache-2.0
"""Each claim missing, wrong and of another type (threats E1, E2); what a provider does is in tests/services."""

import hashlib
import json

import attrs
import jwt
import pytest

from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.id_token import ExpectedToken, verify_id_token
from mezite.core.oidc.key_set import ALGORITHMS, UnknownKeyError
from tests.core.oidc.signing import b64, jwk, key_for, key_set

NOW = 1_800_000_000
ISSUER = "https://login.example.com"
EXPECTED = ExpectedToken(issuer=ISSUER, client_id="mezite", nonce="n-1", access_token="at")
CLAIMS = {"iss": ISSUER, "aud": "mezite", "sub": "u-1", "nonce": "n-1", "iat": NOW, "exp": NOW + 300}
KEYS = key_set(*(jwk(algorithm, kid=algorithm, alg=algorithm) for algorithm in ALGORITHMS))


def signed(claims, algorithm="ES256", **header):
    """Signed as it is, also what no library would sign; `claims` are values or the very text."""
    text = claims if isinstance(claims, str) else json.dumps(claims)
    head = {"alg": algorithm, "kid": algorithm, **header}
    head = {name: value for name, value in head.items() if value is not None}
    parts = f"{b64(json.dumps(head).encode())}.{b64(text.encode())}"
    signature = jwt.get_algorithm_by_name(algorithm).sign(parts.encode(), key_for(algorithm))
    return f"{parts}.{b64(signature)}"


def verified(token, expected=EXPECTED, now=NOW):
    return verify_id_token(token, KEYS, expected, now=now)


def changed(**changes):
    return {name: value for name, value in {**CLAIMS, **changes}.items() if value is not None}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_good_token(algorithm):
    digest = (hashlib.sha512 if algorithm == "EdDSA" else hashlib.sha256)(b"at").digest()
    claims = {**CLAIMS, "at_hash": b64(digest[: len(digest) // 2])}
    assert verified(signed(claims, algorithm)) == claims
    with pytest.raises(ProviderError, match="access token is not the one"):
        verified(signed(claims, algorithm), attrs.evolve(EXPECTED, access_token="other"))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": ["mezite"]},
        {"aud": ["mezite", "grafana"], "azp": "mezite"},
        {"azp": "mezite"},
        {"exp": NOW - 59},
        {"iat": NOW + 60},
        {"nbf": NOW + 60},
        {"exp": NOW + 0.5, "iat": NOW - 0.5},
        {"nbf": NOW},
    ],
)
def test_what_is_allowed(changes):
    assert verified(signed(changed(**changes)))["sub"] == "u-1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        *(({"iss": value}, "of the issuer") for value in (None, "https://x", ISSUER + "/", [ISSUER], 5)),
        *(({"aud": value}, "not for this client") for value in (None, "x", [], ["x"], 5, {"mezite": 1})),
        ({"aud": ["mezite", 5]}, "not for this client"),
        ({"aud": ["mezite", "x"]}, "was given to None"),
        *(({"azp": value}, "was given to") for value in ("x", "", ["mezite"])),
        *(({"sub": value}, "sub is not a name") for value in (None, "", 5, "x" * 256, "a\nb", ["u-1"])),
        *(({"nonce": value}, "of another login") for value in (None, "", "n-2", 5, ["n-1"], "\ud800")),
        *(({"exp": value}, "exp is not a time") for value in (None, "x", True, [], -1, 2**53, 1e300)),
        *(({"iat": value}, "iat is not a time") for value in (None, "x", False)),
        ({"nbf": "x"}, "nbf is not a time"),
        ({"exp": NOW - 60}, "has expired"),
        ({"iat": NOW + 61}, "issued in the future"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"at_hash": 5}, "access token is not the one"),
    ],
)
def test_a_claim_that_is_wrong(changes, message):
    with pytest.raises(ProviderError, match=message):
        verified(signed(changed(**changes)))


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"alg": "none"}, "signed with 'none'"),
        ({"alg": "HS256"}, "signed with 'HS256'"),
        ({"alg": "ES384"}, "signed with 'ES384'"),
        ({"alg": None}, "signed with None"),
        ({"alg": ["ES256"]}, "signed with"),
        ({"alg": "es256"}, "signed with 'es256'"),
        ({"typ": "at+jwt"}, "which is another kind of token"),
        ({"typ": 5}, "of the type 5"),
        ({"crit": ["exp"]}, "has crit"),
        ({"b64": True}, "has b64"),
        ({"zip": "DEF"}, "has zip"),
        ({"enc": "A128GCM"}, "has enc"),
        ({"cty": "JWT"}, "has cty"),
        ({"kid": 5}, "kid is not text"),
    ],
)
def test_a_header_that_is_refused(header, message):
    with pytest.raises(ProviderError, match=message):
        verified(signed(CLAIMS, **header))


def test_where_a_header_points_to_is_not_read():
    assert verified(signed(CLAIMS, jku="https://evil.example", x5u="x", jwk={"kty": "oct"}, typ="jwt"))


def test_keys():
    with pytest.raises(UnknownKeyError):
        verified(signed(CLAIMS, kid="other"))
    assert verified(signed(CLAIMS, kid=None))
    keys = key_set(jwk("RS256", kid="RS256"))
    with pytest.raises(ProviderError, match="signature is wrong"):
        verify_id_token(signed(CLAIMS, "PS256", kid="RS256"), keys, EXPECTED, now=NOW)


@pytest.mark.parametrize(
    "token",
    ["", "a.b", "a.b.c.d", "a..c", ".b.c", "a.b.c=", "a b.c.d", "ä.b.c", "a.b.c\n", "x" * 20_000, "a.b.c"],
)
def test_what_is_no_token(token):
    with pytest.raises(ProviderError, match=r"three parts|too long|base64url"):
        verified(token)


def test_json_inside():
    for claims in ('{"a": 1, "a": 2}', "[]", "x", '{"exp": NaN}'):
        with pytest.raises(ProviderError, match="JSON"):
            verified(signed(claims))


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_a_token_that_is_cut(cut):
    with pytest.raises(ProviderError):
        verified(signed(CLAIMS)[:-cut])
