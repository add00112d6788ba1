# SPDX-License-Identifier: Apache-2.0
"""Signing assertions: ES256, and never longer than servers take a header field to be."""

import base64
import json
from collections.abc import Sequence
from itertools import accumulate

import attrs
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mezite.core.assertion.claims import AssertionClaims, payload
from mezite.core.certificates.jwk import key_id

__all__ = ["MAX_TOKEN", "Assertion", "AssertionSigner", "AssertionTooLongError"]

MAX_TOKEN = 1500
"""Bytes. Many servers take 8 KiB of header fields in all, cookies included."""

NUMBER_BYTES = 32
SIGNATURE_BYTES = 2 * NUMBER_BYTES
"""Two numbers of P-256 (RFC 7518 section 3.4)."""

ES256 = ECDSA(hashes.SHA256())


class AssertionTooLongError(ValueError):
    """Not even an assertion without any role would fit: the addresses and names in it are too long."""


@attrs.frozen
class Assertion:
    """A signed assertion."""

    token: str
    roles: tuple[str, ...]
    """Those that are in it."""


class AssertionSigner:
    """Signs with one key. Raises InvalidKeyError when made with a key that is not on P-256."""

    def __init__(self, key: EllipticCurvePrivateKey) -> None:
        self.key_id = key_id(key.public_key())
        header = {"alg": "ES256", "kid": self.key_id, "typ": "JWT"}
        self._key = key
        self._header = encode(json.dumps(header, separators=(",", ":")).encode("ascii"))
        # What is left for the claims, after two dots.
        self._room = (MAX_TOKEN - len(self._header) - encoded_length(SIGNATURE_BYTES) - 2) * 3 // 4

    def sign(self, claims: AssertionClaims) -> Assertion:
        """Sign the claims, with as many roles as fit; those that do not are counted in ``roles_omitted``.

        A role that is missing can only take something away from its holder. Raises AssertionTooLongError.
        """
        roles: Sequence[str] = claims.roles
        body = payload(claims, roles)
        if len(body) > self._room:
            roles = self._fitting(claims)
            body = payload(claims, roles)
        signed = b".".join((self._header, encode(body)))
        numbers = decode_dss_signature(self._key.sign(signed, ES256))
        signature = b"".join(number.to_bytes(NUMBER_BYTES, "big") for number in numbers)
        token = b".".join((signed, encode(signature)))
        return Assertion(token.decode("ascii"), tuple(roles))

    def _fitting(self, claims: AssertionClaims) -> tuple[str, ...]:
        # Each role takes its name, two quotes and a comma, but for the first one's. Measured with none, the number of
        # those omitted is at its longest.
        room = self._room - len(payload(claims, ()))
        if room < 0:
            raise AssertionTooLongError(
                f"an assertion for {claims.audience[:100]} would be longer than {MAX_TOKEN} bytes: "
                "give the application a shorter URI"
            )
        used = accumulate(len(role) + 3 for role in claims.roles)
        return claims.roles[: sum(1 for length in used if length - 1 <= room)]


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def encoded_length(size: int) -> int:
    return (size * 4 + 2) // 3
