# SPDX-License-Identifier: Apache-2.0
"""Claim: an ID token is accepted only when the provider's key has signed it and it says everything that it must; text
that the key has not signed is never accepted.

Allowed exceptions: ProviderError, from ``verify_id_token``.
"""

import base64
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.id_token import LEEWAY_S, ExpectedToken, verify_id_token
from mezite.core.oidc.key_set import parse_key_set

NOW = 1_800_000_000
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
EXPECTED = ExpectedToken(
    issuer="https://id.example.com", client_id="mezite", nonce="nonce-1", access_token="access-1"
)


def text64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


KEYS = parse_key_set(
    json.dumps(
        {
            "keys": [
                {"kty": "OKP", "crv": "Ed25519", "kid": "1", "x": text64(KEY.public_key().public_bytes_raw())}
            ]
        }
    ).encode()
)


def signed(header: bytes, claims: bytes) -> str:
    text = f"{text64(header)}.{text64(claims)}"
    return f"{text}.{text64(KEY.sign(text.encode()))}"


GOOD = signed(
    b'{"alg":"EdDSA","kid":"1"}',
    json.dumps(
        {
            "iss": EXPECTED.issuer,
            "aud": "mezite",
            "sub": "alice",
            "nonce": "nonce-1",
            "iat": NOW,
            "exp": NOW + 300,
        }
    ).encode(),
)


def check(data: bytes) -> None:
    """Header and claims to be signed, on two lines; or, behind a NUL, a position and text to put over a good token."""
    if data[:1] == b"\0":
        position, patch = int.from_bytes(data[1:3], "big"), data[3:].decode("utf-8", "surrogateescape")
        check_unsigned(GOOD[:position] + patch + GOOD[position + len(patch) :])
    else:
        check_signed(*data.partition(b"\n")[::2])


def check_unsigned(token: str) -> None:
    try:
        verify_id_token(token, KEYS, EXPECTED, now=NOW)
    except ProviderError as error:
        check_message(str(error))
    else:
        # The last letter of base64url has bits that say nothing.
        assert token[:-1] == GOOD[:-1]


def check_signed(header: bytes, claims: bytes) -> None:
    try:
        found = verify_id_token(signed(header, claims), KEYS, EXPECTED, now=NOW)
    except ProviderError as error:
        check_message(str(error))
        return
    assert found["iss"] == EXPECTED.issuer
    assert EXPECTED.client_id in (found["aud"] if isinstance(found["aud"], list) else [found["aud"]])
    assert found["nonce"] == EXPECTED.nonce
    assert found["exp"] + LEEWAY_S > NOW
    assert found["iat"] - LEEWAY_S <= NOW
    assert found["sub"].isprintable()


def check_message(message: str) -> None:
    assert message.isprintable()
