# SPDX-License-Identifier: Apache-2.0
"""Assertions as a hub makes them, and as nobody should: signed whatever they say."""

import base64
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.assertion.claims import AssertionClaims
from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.certificates.jwk import public_jwk

NOW = 1_800_000_000
ISSUER = "https://hub.example.com"
AUDIENCE = "http://127.0.0.1:3000"
KEY = ec.derive_private_key(4711, ec.SECP256R1())
JWK = public_jwk(KEY.public_key())
KEYS = AssertionKeys.parse(json.dumps({"keys": [JWK]}))
CLAIMS = AssertionClaims(
    issuer=ISSUER,
    audience=AUDIENCE,
    subject="alice",
    roles=("access", "auditor"),
    app="grafana",
    jti="id-1",
    issued_at=NOW,
)
HEADER = {"alg": "ES256", "kid": JWK["kid"], "typ": "JWT"}
BODY = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "alice",
    "roles": ["access", "auditor"],
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 60,
    "jti": "id-1",
    "app": "grafana",
}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def text_of(part) -> str:
    """Values as JSON; texts as they are."""
    return part if isinstance(part, str) else json.dumps(part)


def forged(body=BODY, header=HEADER, key=KEY, algorithm="ES256") -> str:
    """`body` and `header` signed with `key`: values, or the very text."""
    signed = f"{b64(text_of(header).encode())}.{b64(text_of(body).encode())}"
    signature = jwt.get_algorithm_by_name(algorithm).sign(signed.encode(), key)
    return f"{signed}.{b64(signature)}"


def without(values, *names, **changes):
    return {name: value for name, value in {**values, **changes}.items() if name not in names}
