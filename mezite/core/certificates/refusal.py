# SPDX-License-Identifier: Apache-2.0
"""Why a certificate is refused: a reason to branch on and count, and a sentence for the person who has to
fix it.
"""

import enum

__all__ = ["CertificateRefused", "Reason"]


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
