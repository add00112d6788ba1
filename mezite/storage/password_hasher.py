# SPDX-License-Identifier: Apache-2.0
"""Password hashes: argon2id in worker threads of their own.

A hash takes tens of milliseconds and 64 MiB by design, so it must neither run in the event loop (threat P9) nor
compete with database calls for threads (threat P7).
"""

from __future__ import annotations

import argon2
import trio

__all__ = ["PasswordHasher"]

# Two at once: one core's worth of logins per second is about twenty, and each hash holds 64 MiB.
_CONCURRENT_HASHES = 2

DECOY = "$argon2id$v=19$m=65536,t=3,p=4$txwtaaK2y1A8HC/2yUEjew$mCfQGgeEmNncmxDQ/TbOh6qr6dAUnGGtSrCydwSvnCA"
"""A hash with the default parameters, of nobody's password: what is checked with it is refused whatever comes out. It
is here because making it takes as long as a login, at each start of a hub."""


class PasswordHasher:
    """Hash and check passwords without blocking the event loop.

    The parameters are the RFC 9106 section 4 second choice (64 MiB, 3 passes, 4 lanes), argon2-cffi's default.
    """

    def __init__(self, *, hasher: argon2.PasswordHasher | None = None) -> None:
        self._hasher = hasher or argon2.PasswordHasher()
        self._limiter = trio.CapacityLimiter(_CONCURRENT_HASHES)
        # Of other parameters one is made at once, not at the first unknown name: that would take twice as long (E17).
        is_like_ours = not self._hasher.check_needs_rehash(DECOY)
        self._decoy = DECOY if is_like_ours else self._hasher.hash("decoy")

    async def hash(self, password: str) -> str:
        """Return the encoded hash of a password. Cancelling waits for the thread: a hash is short."""
        return await trio.to_thread.run_sync(self._hasher.hash, password, limiter=self._limiter)

    async def verify(self, stored: str | None, password: str) -> bool:
        """Say whether `password` is the one that `stored` was made from.

        With `stored` None (no such user, or one without a password) a decoy is checked in its place, so that the
        answer takes as long as for a user who exists (threat E17), and the result is False.
        """
        return await trio.to_thread.run_sync(self._verify_sync, stored, password, limiter=self._limiter)

    def _verify_sync(self, stored: str | None, password: str) -> bool:
        try:
            self._hasher.verify(self._decoy if stored is None else stored, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False
        return stored is not None
