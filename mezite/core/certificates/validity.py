# SPDX-License-Identifier: Apache-2.0
"""When a certificate is good: windows that begin a little in the past, and what is said outside of them."""

import attrs

from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.timestamps import format_seconds

__all__ = ["BACKDATE_SECONDS", "Validity", "check_window"]

BACKDATE_SECONDS = 300
"""How far a window begins before the time of issue: clocks of peers may be behind this much (threat F6)."""


@attrs.frozen
class Validity:
    """A window in seconds since 1970; the last second of it is ``not_after - 1``."""

    not_before: int
    not_after: int

    @classmethod
    def starting(cls, now: int, lifetime_seconds: int) -> "Validity":
        """From five minutes before ``now`` (threat F6) until ``lifetime_seconds`` after it."""
        return cls(now - BACKDATE_SECONDS, now + lifetime_seconds)


def check_window(what: str, not_before: int, not_after: int, now: int) -> None:
    """Refuse outside ``not_before <= now < not_after`` (seconds since 1970), and an empty or reversed window.

    The message says by how much, since one of two clocks being off is the usual cause (threat F6).

    Raises CertificateRefused: MALFORMED, NOT_YET_VALID, EXPIRED.
    """
    if not_before >= not_after:
        raise CertificateRefused(Reason.MALFORMED, f"{what} ends before it begins")
    if now < not_before:
        off = not_before - now
        raise CertificateRefused(
            Reason.NOT_YET_VALID,
            f"{what} is not valid for another {off} s (from {format_seconds(not_before)}, here it is "
            f"{format_seconds(now)}); if it was just issued, your clock is {off + BACKDATE_SECONDS} s off",
        )
    if now >= not_after:
        off = max(1, now - not_after)
        raise CertificateRefused(
            Reason.EXPIRED,
            f"{what} expired {off} s ago (at {format_seconds(not_after)}, here it is {format_seconds(now)}); "
            f"get a new one, or, if it is fresh, your clock is at least {off} s off",
        )
