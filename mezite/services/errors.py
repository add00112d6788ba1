# SPDX-License-Identifier: Apache-2.0
"""What services refuse, in words for the person who asked.

Handlers, RPCs and routes translate these at one place each (`api/failures.py`, `web/failures.py`); nothing above
has to know what went wrong inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = [
    "AccessDeniedError",
    "ClockSkewError",
    "ConflictError",
    "InvalidRequestError",
    "LockedError",
    "MfaRequiredError",
    "NotFoundError",
    "ProofRequiredError",
    "RefusedError",
    "TooManyRequestsError",
    "UnauthenticatedError",
    "UnavailableError",
]


class RefusedError(Exception):
    """A request was refused. The text is one sentence: what: why; what to do."""

    def __init__(self, message: str, *, event_id: str = "", retry_after: int = 0) -> None:
        super().__init__(message)
        self.event_id = event_id
        """The audit event about the refusal; empty when it is not audited."""
        self.retry_after = retry_after
        """Seconds after which it may be tried again; 0 when time changes nothing or nobody knows."""

    @property
    def details(self) -> Mapping[str, str | Sequence[str]]:
        """What a program needs in order to go on: a `code` and what belongs to it; mostly nothing."""
        return {}


class InvalidRequestError(RefusedError):
    """A value in the request breaks a rule."""


class UnauthenticatedError(RefusedError):
    """No credential, or one that is not (or no longer) good."""


class MfaRequiredError(UnauthenticatedError):
    """The password is right; a second factor is missing."""

    def __init__(self, factors: Sequence[str], *, event_id: str) -> None:
        super().__init__(
            f"a second factor is needed ({' or '.join(factors)}): send its code too", event_id=event_id
        )
        self.factors = tuple(factors)

    @property
    def details(self) -> Mapping[str, str | Sequence[str]]:
        """The kinds of factors that this user has."""
        return {"code": "mfa_required", "factors": self.factors}


class AccessDeniedError(RefusedError):
    """The identity is known and may not."""


class ProofRequiredError(AccessDeniedError):
    """Who asks is logged in, and has to show again that it is they."""

    def __init__(self, proofs: Sequence[str]) -> None:
        what = "log in again" if list(proofs) == ["login"] else f"show one of {', '.join(proofs)}"
        super().__init__(f"this needs a fresh proof that it is you: {what}")
        self.proofs = tuple(proofs)

    @property
    def details(self) -> Mapping[str, str | Sequence[str]]:
        """What would do."""
        return {"code": "proof_required", "proofs": self.proofs}


class NotFoundError(RefusedError):
    """There is no such thing, or none that this identity may know of."""


class ConflictError(RefusedError):
    """It is there already, or belongs to someone else."""


class LockedError(RefusedError):
    """The user or agent is locked."""


class ClockSkewError(RefusedError):
    """The peer's clock is too far off for certificates to work."""


class UnavailableError(RefusedError):
    """It exists but cannot be reached now."""


class TooManyRequestsError(UnavailableError):
    """The client has asked too often."""
