# SPDX-License-Identifier: Apache-2.0
"""The keys with which a provider signs (RFC 7517): which there are, and for which algorithm each is good.

The key decides about the algorithm, never the token (threat E1): an RSA key verifies RSA signatures, and no text that
calls it a shared secret changes that.
"""

import base64
from collections.abc import Mapping
from typing import Any

import attrs
import jwt.algorithms
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from mezite.core.oidc.answers import ProviderError, parse_object

__all__ = ["ALGORITHMS", "KeySet", "UnknownKeyError", "VerificationKey", "parse_key_set"]

ALGORITHMS = ("RS256", "PS256", "ES256", "EdDSA")
"""All that is accepted: no ``none``, nothing with a shared secret."""

VERIFIERS = {
    "RS256": jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256),
    "PS256": jwt.algorithms.RSAPSSAlgorithm(jwt.algorithms.RSAPSSAlgorithm.SHA256),
    "ES256": jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256),
    "EdDSA": jwt.algorithms.OKPAlgorithm(),
}

MAX_KEYS = 64
"""Providers publish two or three; each of a larger number costs a moment to read."""

RSA_BITS = range(2048, 8193)
"""Below, NIST SP 800-131A forbids it; above, each signature takes milliseconds of ours."""

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "k"})
KINDS = {
    "RSA None": ("RS256", "PS256"),
    "EC P-256": ("ES256",),
    "OKP Ed25519": ("EdDSA",),
}

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey


class UnknownKeyError(ProviderError):
    """No key of that name: the provider may have changed its keys since they were fetched."""


@attrs.frozen(kw_only=True)
class VerificationKey:
    """One public key."""

    key_id: str | None
    algorithms: tuple[str, ...]
    key: PublicKey = attrs.field(eq=False, repr=False)

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` of ``signed`` is this key's."""
        return VERIFIERS[algorithm].verify(signed, self.key, signature)


@attrs.frozen
class KeySet:
    """The usable keys of a provider; others that it publishes are not in here."""

    keys: tuple[VerificationKey, ...] = ()

    def find(self, key_id: str | None, algorithm: str) -> VerificationKey:
        """The one key of that name and algorithm; without a name, the only one of that algorithm.

        Raises UnknownKeyError: there is none; ProviderError: there are several, and nobody knows which is meant.
        """
        fitting = [key for key in self.keys if algorithm in key.algorithms]
        if key_id is not None:
            fitting = [key for key in fitting if key.key_id == key_id]
        if not fitting:
            raise UnknownKeyError(
                "the token is signed with a key that the provider does not publish for this algorithm"
            )
        if len(fitting) > 1:
            raise ProviderError("the token does not say which of the provider's keys has signed it")
        return fitting[0]


def parse_key_set(body: bytes) -> KeySet:
    """The key set in ``body``; keys of other kinds, for encryption, too short or private are left out.

    Raises ProviderError: it is no key set, or has not one usable key.
    """
    listed = parse_object(body, "the key set").get("keys")
    if not isinstance(listed, list):
        raise ProviderError("the key set has no list of keys")
    if len(listed) > MAX_KEYS:
        raise ProviderError(f"the key set has {len(listed)} keys; {MAX_KEYS} are read")
    keys = tuple(key for each in listed if (key := usable_key(each)) is not None)
    if not keys:
        raise ProviderError(f"the key set has no key that is good for {', '.join(ALGORITHMS)}")
    return KeySet(keys)


def usable_key(record: object) -> VerificationKey | None:
    if not isinstance(record, Mapping) or PRIVATE_MEMBERS & record.keys():
        # A private key that is published signs for everybody.
        return None
    operations = record.get("key_ops", ["verify"])
    if record.get("use", "sig") != "sig" or not isinstance(operations, list) or "verify" not in operations:
        return None
    algorithms = algorithms_of(record)
    key_id = record.get("kid")
    if not algorithms or not (key_id is None or isinstance(key_id, str)):
        return None
    try:
        key = public_key(record)
    except (jwt.PyJWTError, ValueError, TypeError, LookupError, AttributeError):
        return None
    return None if key is None else VerificationKey(key_id=key_id, algorithms=algorithms, key=key)


def algorithms_of(record: Mapping[str, Any]) -> tuple[str, ...]:
    curve = None if record.get("kty") == "RSA" else record.get("crv")
    named = record.get("alg")
    kind = f"{record.get('kty')} {curve}"
    possible = KINDS.get(kind, ())
    return possible if named is None else tuple(each for each in possible if each == named)


def public_key(record: Mapping[str, Any]) -> PublicKey | None:
    kind = record["kty"]
    if kind == "RSA":
        # Before anything is computed with it.
        if base64url_bits(record["n"]) > RSA_BITS.stop or base64url_bits(record["e"]) > 64:
            return None
        key: Any = jwt.algorithms.RSAAlgorithm.from_jwk(dict(record))
        return key if key.key_size in RSA_BITS else None
    algorithm = jwt.algorithms.ECAlgorithm if kind == "EC" else jwt.algorithms.OKPAlgorithm
    return algorithm.from_jwk(dict(record))  # type: ignore[return-value]


def base64url_bits(text: object) -> int:
    if not isinstance(text, str):
        raise TypeError("a number of an RSA key is text")
    return 8 * len(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
