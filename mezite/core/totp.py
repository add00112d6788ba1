# SPDX-License-Identifier: Apache-2.0
"""Time-based one-time passwords (RFC 6238), as every authenticator application makes them.

SHA-1, six digits and steps of thirty seconds are what all of them can; several ignore what a URI says beyond that.
A code says for which step it is good: who accepts one stores that step and refuses it and all before it from then on,
so that nobody who looked over a shoulder uses it again (RFC 6238 section 5.2).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote

__all__ = [
    "DIGITS",
    "SECRET_BYTES",
    "STEP_SECONDS",
    "matching_step",
    "provisioning_uri",
    "secret_text",
    "totp_code",
]

DIGITS = 6
STEP_SECONDS = 30

SECRET_BYTES = 20
"""RFC 4226 section 4 asks for 128 bits and recommends 160."""

SKEW_STEPS = 1
"""One step to either side: a telephone's clock, and the seconds that typing takes (RFC 6238 section 5.2)."""


def totp_code(secret: bytes, step: int) -> str:
    """Return the code of `secret` for the step that many `STEP_SECONDS` after 1970."""
    digest = hmac.digest(secret, step.to_bytes(8, "big"), hashlib.sha1)
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 10**DIGITS:0{DIGITS}}"


def matching_step(secret: bytes, code: str, *, now: int) -> int | None:
    """Return the step that `code` is for, of the few around `now` (in seconds); None when it is for none of them.

    All of them are looked at, whichever matches.
    """
    current = now // STEP_SECONDS
    given = code.encode("utf-8", "surrogatepass")
    found = None
    for step in range(current - SKEW_STEPS, current + SKEW_STEPS + 1):
        if hmac.compare_digest(totp_code(secret, step).encode(), given):
            found = step
    return found


def secret_text(secret: bytes) -> str:
    """Return the secret as people type it: base32 without padding."""
    return base64.b32encode(secret).decode().rstrip("=")


def provisioning_uri(secret: bytes, *, issuer: str, account: str) -> str:
    """Return what is in the QR code: `otpauth://totp/ISSUER:ACCOUNT?...`, in Google's Key URI format."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='')}"
    return (
        f"otpauth://totp/{label}?secret={secret_text(secret)}&issuer={quote(issuer, safe='')}"
        f"&algorithm=SHA1&digits={DIGITS}&period={STEP_SECONDS}"
    )
