# SPDX-License-Identifier: Apache-2.0
"""Small secrets in the database (TOTP): sealed where `ca_key_passphrase` is set, like the CA keys.

A sealed value is `0x01`, a salt of 16 bytes, a nonce of 12 bytes and AES-256-GCM; without a passphrase it is `0x00` and
the value itself. The key comes from the passphrase and the salt by scrypt, which takes tens of milliseconds and 16 MiB
by design: it runs in threads of its own (threats P7, P9), once for each salt. A hub keeps one salt for all it seals, so
there are as many salts as hubs have been started.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from mezite.storage.errors import StorageError

__all__ = ["SealedSecretError", "SecretBox"]

_PLAIN, _SEALED = b"\x00", b"\x01"
_SALT_BYTES, _NONCE_BYTES, _KEY_BYTES = 16, 12, 32

# OWASP's password storage cheat sheet lists N=2^14, r=8, p=5 among its choices for scrypt: 16 MiB.
_COST, _BLOCK, _PARALLEL = 2**14, 8, 5

_MAX_KEYS = 256
"""Salts whose key is kept; a hub is not restarted more often than that while people enrol."""


class SealedSecretError(StorageError):
    """A stored secret cannot be opened: another passphrase, none, or a damaged or moved value."""


class SecretBox:
    """Seals and opens. `context` names what a value belongs to: moved elsewhere it does not open."""

    def __init__(self, passphrase: bytes | None, *, token_bytes: Callable[[int], bytes]) -> None:
        self._passphrase = passphrase
        self._token_bytes = token_bytes
        self._salt = token_bytes(_SALT_BYTES)
        self._keys: OrderedDict[bytes, bytes] = OrderedDict()
        # One at a time: a derivation is done once, and 16 MiB should not add up.
        self._limiter = trio.CapacityLimiter(1)

    async def seal(self, value: bytes, *, context: str) -> bytes:
        """Return `value` as it is stored."""
        if self._passphrase is None:
            await trio.lowlevel.checkpoint()
            return _PLAIN + value
        key = await self._key(self._passphrase, self._salt)
        nonce = self._token_bytes(_NONCE_BYTES)
        return _SEALED + self._salt + nonce + AESGCM(key).encrypt(nonce, value, context.encode())

    async def open(self, stored: bytes, *, context: str) -> bytes:
        """Return the value that was sealed; one from before there was a passphrase is good too.

        :raises SealedSecretError: it cannot be opened.
        """
        kind, rest = stored[:1], stored[1:]
        if kind == _PLAIN:
            await trio.lowlevel.checkpoint()
            return rest
        if kind != _SEALED or len(rest) < _SALT_BYTES + _NONCE_BYTES:
            raise SealedSecretError("a stored secret is damaged")
        if self._passphrase is None:
            raise SealedSecretError(
                "a stored secret is encrypted: set ca_key_passphrase (or MEZITE_CA_KEY_PASSPHRASE)"
            )
        salt, nonce = rest[:_SALT_BYTES], rest[_SALT_BYTES:][:_NONCE_BYTES]
        key = await self._key(self._passphrase, salt)
        try:
            return AESGCM(key).decrypt(nonce, rest[_SALT_BYTES + _NONCE_BYTES :], context.encode())
        except InvalidTag:
            raise SealedSecretError("a stored secret cannot be opened: is ca_key_passphrase right?") from None

    async def _key(self, passphrase: bytes, salt: bytes) -> bytes:
        async with self._limiter:
            if salt not in self._keys:
                self._keys[salt] = await trio.to_thread.run_sync(
                    _derive, passphrase, salt, limiter=trio.CapacityLimiter(1)
                )
                while len(self._keys) > _MAX_KEYS:
                    self._keys.popitem(last=False)
            return self._keys[salt]


def _derive(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=_KEY_BYTES, n=_COST, r=_BLOCK, p=_PARALLEL).derive(passphrase)
