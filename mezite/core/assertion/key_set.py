# SPDX-License-Identifier: Apache-2.0
"""The public keys of a cluster, as ``/workload-identity/app-jwt-jwks.json`` has them (RFC 7517)."""

import base64
from collections.abc import Mapping
from typing import Any

import attrs
from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.oidc.answers import ProviderError, parse_object

__all__ = ["AssertionKeys", "InvalidKeySetError"]

MAX_KEYS = 16
"""A cluster has at most one that signs, one that is next, and four former ones."""

COORDINATE_BYTES = 32
COORDINATE_CHARACTERS = 43


class InvalidKeySetError(ValueError):
    """What should be a key set is none, or has no key for assertions."""


@attrs.frozen
class AssertionKeys:
    """The keys that assertions may be signed with, by their ids."""

    by_id: Mapping[str, ec.EllipticCurvePublicKey] = attrs.field(repr=lambda keys: str(sorted(keys)))

    @classmethod
    def parse(cls, document: bytes | str) -> "AssertionKeys":
        """Read the JSON of a key set; keys of other kinds, which later versions may add, are left out.

        Raises InvalidKeySetError: it is none, has no usable key, or two keys with one id.
        """
        try:
            listed = parse_object(document, "the key set").get("keys")
        except ProviderError as error:
            raise InvalidKeySetError(str(error)) from None
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise InvalidKeySetError(f"the key set has no list of at most {MAX_KEYS} keys")
        found = [known for each in listed if (known := usable_key(each)) is not None]
        keys = dict(found)
        if len(keys) != len(found):
            raise InvalidKeySetError("two keys of the key set have the same kid")
        if not keys:
            raise InvalidKeySetError("the key set has no key for ES256 with a kid")
        return cls(keys)


def usable_key(record: object) -> tuple[str, ec.EllipticCurvePublicKey] | None:
    if not isinstance(record, dict) or "d" in record:
        # A private key that is published signs for everybody.
        return None
    key_id = record.get("kid")
    expected = {"kty": "EC", "crv": "P-256"}
    optional = {"alg": "ES256", "use": "sig"}
    fits = all(record.get(name) == value for name, value in expected.items())
    fits = fits and all(record.get(name, value) == value for name, value in optional.items())
    if not fits or not isinstance(key_id, str):
        return None
    try:
        numbers = ec.EllipticCurvePublicNumbers(
            coordinate(record.get("x")), coordinate(record.get("y")), ec.SECP256R1()
        )
        return key_id, numbers.public_key()
    except ValueError:
        return None


def coordinate(text: Any) -> int:
    if not isinstance(text, str) or len(text) != COORDINATE_CHARACTERS:
        raise ValueError("a coordinate has 32 bytes")
    return int.from_bytes(base64.b64decode(text + "=", altchars=b"-_", validate=True), "big")
