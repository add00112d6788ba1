# SPDX-License-Identifier: Apache-2.0
"""Small secrets of users (TOTP) in the database, sealed as `core.sealing` does, in a thread of their own.

Sealing takes tens of milliseconds and 32 MiB by design, so it must neither run in the event loop (threat P9) nor
compete with database calls for threads (threat P7).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from mezite.core.sealing import seal, unseal

__all__ = ["SecretBox"]


class SecretBox:
    """Seals and opens. `context` names what a value belongs to: moved elsewhere it does not open."""

    def __init__(self, passphrase: bytes | None, *, token_bytes: Callable[[int], bytes]) -> None:
        """Without a passphrase values are stored as they are, like the CA keys."""
        self._passphrase = passphrase
        self._token_bytes = token_bytes
        # One at a time: 32 MiB should not add up.
        self._limiter = trio.CapacityLimiter(1)

    async def seal(self, value: bytes, *, context: str) -> bytes:
        """Return `value` as it is stored. Cancelling waits for the thread, which is short."""
        sealed = await trio.to_thread.run_sync(
            seal, value.hex(), self._passphrase, context, self._token_bytes, limiter=self._limiter
        )
        return sealed.encode()

    async def open(self, stored: bytes, *, context: str) -> bytes:
        """Return the value that was sealed; one from before there was a passphrase is good too.

        :raises SealedSecretError: another passphrase, none, or a damaged or moved value.
        """
        value = await trio.to_thread.run_sync(
            unseal, stored.decode("ascii", "replace"), self._passphrase, context, limiter=self._limiter
        )
        return bytes.fromhex(value)
