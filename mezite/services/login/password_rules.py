# SPDX-License-Identifier: Apache-2.0
"""Which passwords may be set."""

from __future__ import annotations

__all__ = ["MAX_PASSWORD", "MIN_PASSWORD", "WeakPasswordError", "check_password_strength"]

MIN_PASSWORD = 12
"""NIST SP 800-63B asks for 8 with a second factor and 15 without; 12 is where a leaked argon2id hash stays safe."""

MAX_PASSWORD = 1024
"""argon2 hashes any length in the same time; this only bounds what is read."""


class WeakPasswordError(ValueError):
    """A new password is too short or too long."""


def check_password_strength(password: str) -> str:
    """Return `password` if it may be set. :raises WeakPasswordError: too short or too long."""
    if len(password) < MIN_PASSWORD:
        raise WeakPasswordError(
            f"the password has {len(password)} characters; at least {MIN_PASSWORD} are needed"
        )
    if len(password) > MAX_PASSWORD:
        raise WeakPasswordError(
            f"the password has {len(password)} characters; at most {MAX_PASSWORD} are read"
        )
    return password
