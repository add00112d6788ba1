# SPDX-License-Identifier: Apache-2.0
"""Keys of every kind a provider may sign with, made once."""

import base64
import functools
import json

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mezite.core.oidc.key_set import parse_key_set


@functools.cache
def key_for(algorithm: str):
    if algorithm == "ES256":
        return ec.generate_private_key(ec.SECP256R1())
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 2048)


def jwk(algorithm: str, **members):
    key = key_for(algorithm)
    kinds = {"ES256": jwt.algorithms.ECAlgorithm, "EdDSA": jwt.algorithms.OKPAlgorithm}
    record = json.loads(kinds.get(algorithm, jwt.algorithms.RSAAlgorithm).to_jwk(key.public_key()))
    record.pop("key_ops", None)
    return {name: value for name, value in {**record, **members}.items() if value is not None}


def key_set(*records):
    return parse_key_set(json.dumps({"keys": records}).encode())


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
