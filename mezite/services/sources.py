# SPDX-License-Identifier: Apache-2.0
"""Where services get time and randomness from: values, so that tests and simulations can supply their own."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

import attrs

from mezite.core.identifiers import uuid7

__all__ = ["Sources", "system_sources"]


@attrs.frozen
class Sources:
    """The clock and the randomness of one hub."""

    now: Callable[[], int]
    """Wall clock, milliseconds since 1970, UTC. For validity and records, never for deadlines (threat P28)."""

    token_bytes: Callable[[int], bytes]
    """That many bytes of cryptographic randomness."""

    def new_id(self) -> str:
        """Return a fresh UUIDv7."""
        return uuid7(self.now(), self.token_bytes(10))

    def new_secret(self) -> str:
        """Return 256 random bits as 64 hex digits: hex survives every header, URL and shell (threat E11)."""
        return self.token_bytes(32).hex()

    def new_serial(self) -> int:
        """Return a certificate serial: 63 random bits, positive in X.509 and in SSH's uint64."""
        return int.from_bytes(self.token_bytes(8), "big") >> 1 or 1


def system_sources() -> Sources:
    """Return the machine's own clock and randomness."""
    return Sources(now=lambda: time.time_ns() // 1_000_000, token_bytes=secrets.token_bytes)
