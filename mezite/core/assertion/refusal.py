# SPDX-License-Identifier: Apache-2.0
"""Why an assertion is refused: a reason to branch on and count, and a sentence for whoever has to fix it."""

import enum

__all__ = ["AssertionReason", "AssertionRefused"]


class AssertionReason(enum.Enum):
    """What is wrong with an assertion; the value is stable."""

    MISSING = "missing"
    """There is none: the request has not come through a hub."""
    MALFORMED = "malformed"
    WRONG_ALGORITHM = "wrong_algorithm"
    UNKNOWN_KEY = "unknown_key"
    """Signed with a key that is not in the key set: by another cluster, or the key set is an old copy."""
    BAD_SIGNATURE = "bad_signature"
    WRONG_AUDIENCE = "wrong_audience"
    """Made for another application."""
    WRONG_APP = "wrong_app"
    """Made for another application with the same URI."""
    WRONG_ISSUER = "wrong_issuer"
    EXPIRED = "expired"
    NOT_YET_VALID = "not_yet_valid"


class AssertionRefused(Exception):
    """An assertion was refused. ``reason`` is for programs, ``message`` for people and logs."""

    def __init__(self, reason: AssertionReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
