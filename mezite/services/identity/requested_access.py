# SPDX-License-Identifier: Apache-2.0
"""What the approved access requests behind a credential are worth now.

A certificate names the requests that it was issued for. They are asked about at each use, in the transaction that
reads the user: what was revoked, has run out, or may not be asked for any more gives nothing from then on, and the
certificate is as good as one without them.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs

from mezite.core.access_request import RequestState, state_at
from mezite.core.rbac.request_rules import may_request_role, roles_naming
from mezite.core.rbac.roles import Role
from mezite.services.identity.role_definitions import definitions
from mezite.storage import access_requests
from mezite.storage.access_requests import AccessRequestRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["NOTHING_REQUESTED", "RequestedAccess", "is_active", "requested_access"]


@attrs.frozen(kw_only=True)
class RequestedAccess:
    """Roles and nodes beyond those that a user has for good."""

    request_ids: tuple[str, ...] = ()
    """The requests that count now."""
    definitions: tuple[Role, ...] = ()
    """The granted roles as they are now; none that the user has anyway."""
    nodes: frozenset[str] = frozenset()
    """The granted nodes."""
    ends_at: int = 0
    """When the first of the requests runs out, milliseconds; 0 without any."""


NOTHING_REQUESTED = RequestedAccess()


def is_active(row: AccessRequestRow, now: int) -> bool:
    """Whether the request is approved and its time has not run out."""
    return state_at(row.state, ends_at=row.ends_at, now=now) is RequestState.APPROVED


def requested_access(
    conn: Connection, user_name: str, standing: Collection[Role], request_ids: Collection[str], *, now: int
) -> RequestedAccess:
    """Return what these requests give `user_name`, who has the roles `standing` for good.

    Requests of others, or of an earlier user of that name, give nothing (E6, E9).
    """
    rows = [
        row
        for row in access_requests.get_many(conn, request_ids=request_ids)
        if row.user_name == user_name and is_active(row, now)
    ]
    if not rows:
        return NOTHING_REQUESTED
    has = {role.name for role in standing}
    names = {
        name for row in rows for name in row.roles if name not in has and may_request_role(standing, name)
    }
    return RequestedAccess(
        request_ids=tuple(row.request_id for row in rows),
        definitions=definitions(conn, sorted(names)),
        nodes=frozenset(node for row in rows for node in row.nodes if roles_naming(standing, node)),
        ends_at=min(row.ends_at for row in rows),
    )
