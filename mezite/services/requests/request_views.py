# SPDX-License-Identifier: Apache-2.0
"""Access requests as people see them: as of now, with what reviewers have said."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs

from mezite.core.access_request import RequestState, state_at
from mezite.services.identity.identities import UserIdentity
from mezite.services.requests.request_parts import reviews_any, sees
from mezite.storage import access_requests as rows
from mezite.storage.access_requests import AccessRequestRow, ReviewRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MAX_LISTED", "AccessRequestView", "list_views", "view_of"]

MAX_LISTED = 256
"""The newest of one's own, of all that are not over, and of all; for older ones there is the audit log."""


@attrs.frozen(kw_only=True)
class AccessRequestView:
    """A request as somebody sees it."""

    row: AccessRequestRow
    state: RequestState
    """As of now: what has run out is expired, whether or not that is written down yet."""
    reviews: tuple[ReviewRow, ...] = ()


def list_views(conn: Connection, identity: UserIdentity, *, now: int) -> list[AccessRequestView]:
    """Return, newest first, the user's own requests and those that they may review.

    What is not over is looked for by itself: nobody hides what others wait for behind requests that came to nothing.
    """
    found = rows.list_all(conn, user_name=identity.name, limit=MAX_LISTED)
    if reviews_any(identity):
        for state in rows.LIVE:
            found += rows.list_all(conn, state=state, limit=MAX_LISTED)
        found += rows.list_all(conn, limit=MAX_LISTED)
    seen = {row.request_id: row for row in found}
    visible = [row for row in seen.values() if sees(conn, identity, row)]
    return _views(conn, sorted(visible, key=lambda row: row.created_at, reverse=True), now)


def view_of(
    conn: Connection, identity: UserIdentity, request_id: str, *, now: int
) -> AccessRequestView | None:
    """Return a request that the user made or may review; None when there is none of that id for them."""
    row = rows.get(conn, request_id=request_id)
    return None if row is None or not sees(conn, identity, row) else _views(conn, [row], now)[0]


def _views(conn: Connection, found: Collection[AccessRequestRow], now: int) -> list[AccessRequestView]:
    reviews = rows.list_reviews(conn, request_ids=[row.request_id for row in found])
    return [
        AccessRequestView(
            row=row,
            state=state_at(row.state, ends_at=row.ends_at, now=now),
            reviews=tuple(each for each in reviews if each.request_id == row.request_id),
        )
        for row in found
    ]
