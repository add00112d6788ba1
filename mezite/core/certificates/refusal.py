# SPDX-License-Identifier: Apache-2.0
"""Why a certificate is refused: a reason to branch on and count, and a sentence for the person who has to
fix it.
"""

import enum

from mezite.core.timestamps import format_seconds

__all__ = ["CertificateRefused", "Reason", "check_window"]


class Reason(enum.Enum):
    """What is wrong with a certificate; the value is stable and goes into audit events."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNSUPPORTED_KEY = "unsupported_key"
    WRONG_TYPE = "wrong_type"
    """A host certificate where a user certificate belongs, or the X.509 certificate of another kind of peer.
    """
    WRONG_CLUSTER = "wrong_cluster"
    UNTRUSTED_SIGNER = "untrusted_signer"
    """Not signed by a plain key that is a CA of this purpose."""
    BAD_SIGNATURE = "bad_signature"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"
    NO_PRINCIPALS = "no_principals"
    PRINCIPAL_MISMATCH = "principal_mismatch"
    UNKNOWN_CRITICAL_OPTION = "unknown_critical_option"
    SOURCE_ADDRESS = "source_address"
    FORCE_COMMAND = "force_command"
    BAD_IDENTITY = "bad_identity"
    """The URI SAN is missing, doubled, or not in the identity grammar."""
    WRONG_USAGE = "wrong_usage"
    """Basic constraints, key usage or extended key usage are not those of this kind of peer."""


class CertificateRefused(Exception):
    """A certificate was refused. ``reason`` is for programs, the message for people and logs."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


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
            f"{format_seconds(now)}); if it was just issued, your clock is {off} s off",
        )
    if now >= not_after:
        off = max(1, now - not_after)
        raise CertificateRefused(
            Reason.EXPIRED,
            f"{what} expired {off} s ago (at {format_seconds(not_after)}, here it is {format_seconds(now)}); "
            f"get a new one, or, if it is fresh, your clock is at least {off} s off",
        )
