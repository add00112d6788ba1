# SPDX-License-Identifier: Apache-2.0
"""Recovery codes: what lets a user in once when the telephone is at the bottom of a lake.

`abcd-efgh-ijkl-mnop`: 80 bits in base32, which has no digit that looks like a letter. That much cannot be guessed from
a stolen database either, so a fast hash over user and code is enough.
"""

from __future__ import annotations

import base64
import hashlib

__all__ = ["CODE_BYTES", "CODE_COUNT", "recovery_code", "recovery_code_hash"]

CODE_BYTES = 10

CODE_COUNT = 10
"""A sheet of paper holds them, and nobody loses ten telephones."""

GROUP = 4


def recovery_code(random: bytes) -> str:
    """Return the code made of `CODE_BYTES` random bytes. :raises ValueError: there are more or fewer."""
    if len(random) != CODE_BYTES:
        raise ValueError(f"a recovery code is made of {CODE_BYTES} bytes")
    text = base64.b32encode(random).decode().lower()
    return "-".join(text[start : start + GROUP] for start in range(0, len(text), GROUP))


def recovery_code_hash(user_name: str, code: str) -> str:
    """Return what is stored of a code: SHA-256, hex. Dashes, spaces and case, which people get wrong, do not count."""
    plain = "".join(code.split()).replace("-", "").lower()
    return hashlib.sha256(
        f"mezite recovery code\0{user_name}\0{plain}".encode("utf-8", "surrogatepass")
    ).hexdigest()
