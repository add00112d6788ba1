# SPDX-License-Identifier: Apache-2.0
"""The life of an access request: what it asks for, who has said what about it, and what state that makes.

    PENDING ── approve ──▶ APPROVED ── revoke ──▶ REVOKED
       │                      └─────── expire ──▶ EXPIRED
       ├── deny ────▶ DENIED
       ├── cancel ──▶ CANCELLED
       └── expire ──▶ EXPIRED

The clock of the granted access starts at the approval, not at the request. A request is made of parts, one for each
role and node; each part needs its own number of approvals, from reviewers who may review it. One denial by a reviewer
of any part ends it.
"""

import enum
from collections.abc import Collection, Mapping

import attrs

__all__ = [
    "Change",
    "PartKind",
    "RequestPart",
    "RequestState",
    "Review",
    "WrongStateError",
    "change_by",
    "next_state",
    "state_at",
    "withdrawal",
]


class RequestState(enum.StrEnum):
    """Where a request stands. The last four are ends."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    REVOKED = "revoked"


class Change(enum.Enum):
    """What can happen to a request."""

    APPROVE = "approve"
    """Every part has its approvals."""
    DENY = "deny"
    CANCEL = "cancel"
    """Withdrawn before it was decided."""
    EXPIRE = "expire"
    """Nobody decided in time, or the granted time is over."""
    REVOKE = "revoke"
    """Taken or given back before the granted time is over."""


TRANSITIONS: Mapping[tuple[RequestState, Change], RequestState] = {
    (RequestState.PENDING, Change.APPROVE): RequestState.APPROVED,
    (RequestState.PENDING, Change.DENY): RequestState.DENIED,
    (RequestState.PENDING, Change.CANCEL): RequestState.CANCELLED,
    (RequestState.PENDING, Change.EXPIRE): RequestState.EXPIRED,
    (RequestState.APPROVED, Change.EXPIRE): RequestState.EXPIRED,
    (RequestState.APPROVED, Change.REVOKE): RequestState.REVOKED,
}
"""Every legal change; all other pairs are refused and leave the request as it was."""


class WrongStateError(ValueError):
    """The request cannot change that way any more."""


def next_state(state: RequestState, change: Change) -> RequestState:
    """The state after ``change``. Raises WrongStateError: not from ``state``."""
    try:
        return TRANSITIONS[state, change]
    except KeyError:
        raise WrongStateError(
            f"a request that is {state.value} cannot be changed by {change.value}"
        ) from None


def withdrawal(state: RequestState) -> Change:
    """How a request in ``state`` is given up by its maker or taken back: a pending one is cancelled, an approved one
    revoked. Raises WrongStateError: it is over.
    """
    change = Change.REVOKE if state is RequestState.APPROVED else Change.CANCEL
    next_state(state, change)
    return change


def state_at(state: RequestState, *, ends_at: int, now: int) -> RequestState:
    """``state`` as it is at ``now``: a request whose time is over has expired, whether or not somebody has written
    that down yet. ``ends_at`` is the end of the wait for a pending request, of the granted time for an approved one.
    """
    if now >= ends_at and (state, Change.EXPIRE) in TRANSITIONS:
        return RequestState.EXPIRED
    return state


class PartKind(enum.Enum):
    """What can be asked for."""

    ROLE = "role"
    NODE = "node"


@attrs.frozen
class RequestPart:
    """One thing that is asked for."""

    kind: PartKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.value}:{self.name}"


@attrs.frozen(kw_only=True)
class Review:
    """What one reviewer has said. There is at most one of each reviewer."""

    reviewer: str
    approves: bool
    parts: Collection[str]
    """The parts that this reviewer may review, as text: for these it counts."""


def change_by(needed: Mapping[str, int], reviews: Collection[Review]) -> Change | None:
    """What ``reviews`` make of a pending request; None while approvals are missing.

    ``needed`` has the number of approvals for each part. A request without parts is never approved.
    """
    if any(not review.approves and review.parts for review in reviews):
        return Change.DENY
    reviewers = {
        part: {review.reviewer for review in reviews if review.approves and part in review.parts}
        for part in needed
    }
    if needed and all(len(reviewers[part]) >= max(count, 1) for part, count in needed.items()):
        return Change.APPROVE
    return None
