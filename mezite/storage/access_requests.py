# SPDX-License-Identifier: Apache-2.0
"""Access requests: every change is one conditional UPDATE, so that of any number of racers one makes it (threat E10).

`count_review` comes first in a transaction that reviews: it takes the row, so that two reviewers who come at once are
counted one after the other, each once.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import and_, delete, func, or_, select, update

from mezite.core.access_request import Change, RequestState, next_state, withdrawal
from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import access_request_reviews, access_requests

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "LIVE",
    "AccessRequestRow",
    "ReviewRow",
    "add_review",
    "apply",
    "approve",
    "count_live",
    "count_made",
    "count_review",
    "delete_closed",
    "expire_due",
    "get",
    "get_many",
    "insert",
    "list_all",
    "list_reviews",
    "withdraw",
]

LIVE = (RequestState.PENDING, RequestState.APPROVED)
"""What is not over."""


@attrs.frozen(kw_only=True)
class AccessRequestRow:
    """One request. Times in ms; None is "not" or "not yet"."""

    request_id: str
    user_name: str
    roles: tuple[str, ...]
    nodes: tuple[str, ...]
    reason: str
    ttl_seconds: int
    extends: str | None = None
    """The request whose granted time this one prolongs."""
    state: RequestState = RequestState.PENDING
    created_at: int
    ends_at: int
    """While pending: when nobody may approve it any more. Approved: when the granted time is over."""
    approved_at: int | None = None
    closed_at: int | None = None
    closed_by: str | None = None
    """Who denied, withdrew or revoked it; None when time did."""
    closing_reason: str | None = None
    review_count: int = 0


@attrs.frozen(kw_only=True)
class ReviewRow:
    """What one reviewer said, and for which parts it counts."""

    request_id: str
    reviewer: str
    approves: bool
    parts: tuple[str, ...]
    reason: str
    reviewed_at: int


def insert(conn: Connection, *, request: AccessRequestRow) -> AccessRequestRow:
    """Insert. ConstraintError (at the transaction) without such a user."""
    row = insert_if_absent(conn, access_requests, attrs.asdict(request, recurse=False))
    if row is None:
        raise AssertionError(f"request id {request.request_id} was made twice")
    return AccessRequestRow(**row._mapping)


def get(conn: Connection, *, request_id: str) -> AccessRequestRow | None:
    """The request, or None."""
    statement = select(access_requests).where(access_requests.c.request_id == request_id)
    return first_row(AccessRequestRow, conn.execute(statement))


def get_many(conn: Connection, *, request_ids: Collection[str]) -> list[AccessRequestRow]:
    """Those of the requests that exist, by id; no question to the database when there are none."""
    if not request_ids:
        return []
    statement = select(access_requests).where(access_requests.c.request_id.in_(sorted(request_ids)))
    return all_rows(AccessRequestRow, conn.execute(statement.order_by(access_requests.c.request_id)))


def list_all(
    conn: Connection, *, user_name: str = "", state: RequestState | None = None, limit: int = 1000
) -> list[AccessRequestRow]:
    """Up to `limit` requests, newest first: all, or those of one user, or in one stored state."""
    statement = select(access_requests)
    if user_name:
        statement = statement.where(access_requests.c.user_name == user_name)
    if state is not None:
        statement = statement.where(access_requests.c.state == state)
    newest_first = (access_requests.c.created_at.desc(), access_requests.c.request_id)
    return all_rows(AccessRequestRow, conn.execute(statement.order_by(*newest_first).limit(limit)))


def count_live(conn: Connection, *, user_name: str, now: int) -> int:
    """How many requests of the user are pending or approved now."""
    statement = (
        select(func.count())
        .select_from(access_requests)
        .where(
            access_requests.c.user_name == user_name,
            access_requests.c.state.in_(LIVE),
            access_requests.c.ends_at > now,
        )
    )
    return conn.execute(statement).scalar_one()


def count_made(conn: Connection, *, user_name: str, since: int) -> int:
    """How many requests the user has made since."""
    statement = select(func.count()).select_from(access_requests)
    made = (access_requests.c.user_name == user_name, access_requests.c.created_at > since)
    return conn.execute(statement.where(*made)).scalar_one()


def count_review(conn: Connection, *, request_id: str, now: int) -> AccessRequestRow | None:
    """Take the request for a review; None when it is not pending any more, or its time is over."""
    statement = (
        update(access_requests)
        .where(
            access_requests.c.request_id == request_id,
            access_requests.c.state == RequestState.PENDING,
            access_requests.c.ends_at > now,
        )
        .values(review_count=access_requests.c.review_count + 1)
        .returning(*access_requests.c)
    )
    return first_row(AccessRequestRow, conn.execute(statement))


def add_review(conn: Connection, *, review: ReviewRow) -> bool:
    """Store what a reviewer said; False when that reviewer has said something already."""
    return insert_if_absent(conn, access_request_reviews, attrs.asdict(review, recurse=False)) is not None


def list_reviews(conn: Connection, *, request_ids: Collection[str]) -> list[ReviewRow]:
    """All reviews of these requests, oldest first."""
    if not request_ids:
        return []
    reviews = access_request_reviews
    statement = select(reviews).where(reviews.c.request_id.in_(sorted(request_ids)))
    return all_rows(ReviewRow, conn.execute(statement.order_by(reviews.c.reviewed_at, reviews.c.reviewer)))


def approve(conn: Connection, *, request_id: str, ends_at: int, now: int) -> AccessRequestRow | None:
    """Begin the granted time; None when the request is not pending any more, or its wait is over."""
    statement = (
        update(access_requests)
        .where(
            access_requests.c.request_id == request_id,
            access_requests.c.state == RequestState.PENDING,
            access_requests.c.ends_at > now,
        )
        .values(
            state=next_state(RequestState.PENDING, Change.APPROVE),
            approved_at=now,
            ends_at=ends_at,
        )
        .returning(*access_requests.c)
    )
    return first_row(AccessRequestRow, conn.execute(statement))


def apply(
    conn: Connection, *, row: AccessRequestRow, change: Change, by: str, reason: str, now: int
) -> AccessRequestRow | None:
    """End the request as `row` saw it; None when it has changed since, or its time is over. What is taken back is
    noted, so that every hub asks about what is live.

    WrongStateError: `change` does not go with the state of `row`.
    """
    statement = (
        update(access_requests)
        .where(
            access_requests.c.request_id == row.request_id,
            access_requests.c.state == row.state,
            access_requests.c.ends_at > now,
        )
        .values(state=next_state(row.state, change), closed_at=now, closed_by=by, closing_reason=reason)
        .returning(*access_requests.c)
    )
    ended = first_row(AccessRequestRow, conn.execute(statement))
    if ended is not None and change is Change.REVOKE:
        access_changes.note(conn, AccessChange.RIGHTS)
    return ended


def withdraw(
    conn: Connection, *, row: AccessRequestRow, change: Change, by: str, reason: str, now: int
) -> list[AccessRequestRow]:
    """`apply` to the request, and take back what prolongs it; all that has ended, none when the request has not."""
    ended = apply(conn, row=row, change=change, by=by, reason=reason, now=now)
    if ended is None:
        return []
    columns = access_requests.c
    longer = select(access_requests).where(
        columns.user_name == row.user_name, columns.extends == row.request_id, columns.state.in_(LIVE)
    )
    found = [ended]
    for each in all_rows(AccessRequestRow, conn.execute(longer.order_by(columns.request_id))):
        found += withdraw(conn, row=each, change=withdrawal(each.state), by=by, reason=reason, now=now)
    return found


def delete_closed(conn: Connection, *, before: int) -> int:
    """Delete requests that were over by then, with their reviews; how many."""
    columns = access_requests.c
    over = delete(access_requests).where(columns.state.not_in(LIVE), columns.closed_at < before)
    return conn.execute(over).rowcount


def expire_due(conn: Connection, *, now: int, limit: int = 256) -> list[AccessRequestRow]:
    """Write down that the time of up to `limit` requests is over; each is returned to one caller only."""
    due = and_(or_(*(access_requests.c.state == state for state in LIVE)), access_requests.c.ends_at <= now)
    ids = conn.execute(select(access_requests.c.request_id).where(due).limit(limit)).scalars().all()
    statement = (
        update(access_requests)
        .where(access_requests.c.request_id.in_(ids), due)
        .values(state=RequestState.EXPIRED, closed_at=now)
        .returning(*access_requests.c)
    )
    expired = all_rows(AccessRequestRow, conn.execute(statement)) if ids else []
    if any(row.approved_at is not None for row in expired):
        access_changes.note(conn, AccessChange.RIGHTS)
    return expired
