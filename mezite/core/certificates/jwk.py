# SPDX-License-Identifier: Apache-2.0
"""Public keys as JSON Web Keys (RFC 7517), for those who check assertions."""

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.certificates.keys import InvalidKeyError, PublicKey

__all__ = ["key_id", "public_jwk"]

COORDINATE_BYTES = 32
"""Of P-256 (RFC 7518 section 6.2.1.2): the full length, with leading zeros."""


def public_jwk(key: PublicKey) -> dict[str, str]:
    """A P-256 key for ES256, under its own thumbprint. Raises InvalidKeyError: another kind of key."""
    return {**members(key), "use": "sig", "alg": "ES256", "kid": key_id(key)}


def key_id(key: PublicKey) -> str:
    """The thumbprint of RFC 7638, 43 characters. Raises InvalidKeyError."""
    text = json.dumps(members(key), sort_keys=True, separators=(",", ":"))
    return encode(hashlib.sha256(text.encode("ascii")).digest())


def members(key: PublicKey) -> dict[str, str]:
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise InvalidKeyError("assertions are signed with P-256 keys")
    numbers = key.public_numbers()
    x, y = (number.to_bytes(COORDINATE_BYTES, "big") for number in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": encode(x), "y": encode(y)}


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
