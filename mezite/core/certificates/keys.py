# SPDX-License-Identifier: Apache-2.0
"""Private and public keys: making them, reading them strictly, and their fingerprints.

SSH CAs are Ed25519. TLS keys and CAs are P-256: browsers and several TLS libraries that peers use (Chromium,
the TLS stacks of macOS and Windows) do not accept Ed25519 in server certificates, and one kind of TLS key
everywhere is less to get wrong. Both kinds are supported for both uses.
"""

import hashlib

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

__all__ = [
    "InvalidKeyError",
    "PrivateKey",
    "PublicKey",
    "check_public_key",
    "generate_ed25519",
    "generate_p256",
    "load_private_key",
    "load_public_key",
    "private_key_pem",
    "public_key_pem",
    "spki_sha256",
]

PrivateKey = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
"""A key that mezite makes and signs with."""

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey
"""A key that mezite may certify or trust."""

MIN_RSA_BITS = 2048
MAX_RSA_BITS = 8192
"""Threat A9: each verification with a larger key costs a peer nothing and us milliseconds."""

MAX_RSA_EXPONENT = 2**32 - 1
"""65537 and small primes are what exists; a long exponent makes verifying as slow as signing (threat A9)."""

MAX_PEM_BYTES = 64 * 1024
"""An RSA-8192 private key in PEM has 6.4 kB; ten times that is no key."""

CURVES = ("secp256r1", "secp384r1", "secp521r1")


class InvalidKeyError(ValueError):
    """A key cannot be read, or is of a kind, size or curve that is not supported; the message says which."""


def generate_ed25519() -> ed25519.Ed25519PrivateKey:
    """A fresh Ed25519 key, for SSH CAs, SSH host keys and SSH user keys."""
    return ed25519.Ed25519PrivateKey.generate()


def generate_p256() -> ec.EllipticCurvePrivateKey:
    """A fresh NIST P-256 key, for TLS."""
    return ec.generate_private_key(ec.SECP256R1())


def private_key_pem(key: PrivateKey, passphrase: bytes | None = None) -> bytes:
    """PKCS #8 in PEM; encrypted (PBES2, scrypt or PBKDF2 as the library chooses best) when a passphrase is
    given.

    Raises ValueError: the passphrase is empty.
    """
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def load_private_key(pem: bytes, passphrase: bytes | None = None) -> PrivateKey:
    """Read an Ed25519 or NIST-curve private key in PEM or in OpenSSH's format.

    Raises InvalidKeyError: not PEM, wrong or missing or needless passphrase, or another kind of key.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise InvalidKeyError(f"a private key of {len(pem)} bytes is larger than any key that is supported")
    try:
        load = load_openssh if b"BEGIN OPENSSH" in pem else load_pkcs8
        key = load(pem, passphrase)
    except TypeError as error:
        raise InvalidKeyError(f"the private key cannot be opened: {str(error).lower()}") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = " or the passphrase is wrong" if passphrase is not None else ""
        raise InvalidKeyError(f"the private key cannot be read: it is damaged{hint}") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise InvalidKeyError("the private key is neither Ed25519 nor on a NIST curve")
    check_public_key(key.public_key())
    return key


def load_openssh(pem: bytes, passphrase: bytes | None) -> object:
    return serialization.load_ssh_private_key(pem, passphrase)


def load_pkcs8(pem: bytes, passphrase: bytes | None) -> object:
    return serialization.load_pem_private_key(pem, passphrase)


def public_key_pem(key: PublicKey) -> bytes:
    """SubjectPublicKeyInfo in PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def load_public_key(pem: bytes) -> PublicKey:
    """Read a SubjectPublicKeyInfo in PEM. Raises InvalidKeyError: damaged, or not a supported key."""
    if len(pem) > MAX_PEM_BYTES:
        raise InvalidKeyError(f"a public key of {len(pem)} bytes is larger than any key that is supported")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidKeyError("the public key cannot be read: it is damaged or of an unknown kind") from None
    return check_public_key(key)


def check_public_key(key: object) -> PublicKey:
    """Return ``key`` if it is Ed25519, on P-256/384/521, or RSA of 2048 to 8192 bits.

    Raises InvalidKeyError for every other key (DSA, other curves, RSA outside the bounds).
    """
    match key:
        case ed25519.Ed25519PublicKey():
            return key
        case ec.EllipticCurvePublicKey():
            if key.curve.name not in CURVES:
                raise InvalidKeyError(f"the curve {key.curve.name} is not supported")
            return key
        case rsa.RSAPublicKey():
            check_rsa_numbers(key.public_numbers().n, key.public_numbers().e)
            return key
        case _:
            raise InvalidKeyError("the key is neither Ed25519, nor on a NIST curve, nor RSA")


def check_rsa_numbers(modulus: int, exponent: int) -> None:
    """Refuse RSA keys that are weak or expensive, before any arithmetic with them (threat A9).

    Raises InvalidKeyError.
    """
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise InvalidKeyError(
            f"an RSA key of {bits} bits is refused: {MIN_RSA_BITS} to {MAX_RSA_BITS} are allowed"
        )
    if modulus % 2 == 0 or exponent % 2 == 0 or not 3 <= exponent <= MAX_RSA_EXPONENT:
        raise InvalidKeyError("the RSA key has an impossible modulus or exponent")


def spki_sha256(key: PublicKey) -> str:
    """The pin of a key: SHA-256 of its DER SubjectPublicKeyInfo, 64 lower-case hexadecimal digits."""
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()
