# SPDX-License-Identifier: Apache-2.0
"""Secrets at rest: sealed with a passphrase, so that a copy of the database alone betrays nothing.

A sealed secret is ``scrypt1:`` and base64 of salt (16 bytes), nonce (12) and AES-256-GCM output, whose key is
scrypt of the passphrase. The context is authenticated: a sealed secret that is moved to another place does not open.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

__all__ = ["NO_SECRET", "SealedSecretError", "seal", "unseal"]

PLAIN, SEALED = "plain:", "scrypt1:"
NO_SECRET = PLAIN
"""What is stored where there is no secret at all."""

SALT_BYTES, NONCE_BYTES = 16, 12

COST = {"n": 2**15, "r": 8, "p": 1, "maxmem": 64 * 1024 * 1024}
"""Some 60 ms and 32 MiB: what OWASP asks of scrypt for passwords."""


class SealedSecretError(ValueError):
    """A sealed secret cannot be opened; the message says what is missing."""


def seal(secret: str, passphrase: bytes | None, context: str, token_bytes: Callable[[int], bytes]) -> str:
    """``secret`` as it is stored; without a passphrase it is stored as it is."""
    if passphrase is None:
        return PLAIN + secret
    salt, nonce = token_bytes(SALT_BYTES), token_bytes(NONCE_BYTES)
    sealed = AESGCM(key_of(passphrase, salt)).encrypt(nonce, secret.encode(), context.encode())
    return SEALED + base64.b64encode(salt + nonce + sealed).decode()


def unseal(stored: str, passphrase: bytes | None, context: str) -> str:
    """What ``seal`` was given. Takes a moment: call it in a thread.

    Raises SealedSecretError: no passphrase, another one, or not what ``seal`` has written for this context.
    """
    if stored.startswith(PLAIN):
        return stored.removeprefix(PLAIN)
    if passphrase is None:
        raise SealedSecretError("it is encrypted: set ca_key_passphrase (or MEZITE_CA_KEY_PASSPHRASE)")
    try:
        sealed = base64.b64decode(stored.removeprefix(SEALED), validate=True)
        salt, nonce = sealed[:SALT_BYTES], sealed[SALT_BYTES : SALT_BYTES + NONCE_BYTES]
        key = key_of(passphrase, salt)
        return AESGCM(key).decrypt(nonce, sealed[SALT_BYTES + NONCE_BYTES :], context.encode()).decode()
    except (InvalidTag, binascii.Error, ValueError):
        raise SealedSecretError("it does not open with the configured ca_key_passphrase") from None


def key_of(passphrase: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, dklen=32, **COST)
