# SPDX-License-Identifier: Apache-2.0
"""Access requests: ask, list, review, withdraw."""

from __future__ import annotations

from typing import Any

import attrs
import quart

from mezite.services.identity.identities import UserIdentity
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.requests.request_parts import NewRequest, check_state
from mezite.services.requests.request_views import AccessRequestView
from mezite.web.json_body import read_fields, texts
from mezite.web.route_table import RouteTable, client_address

__all__ = ["RequestRoutes"]

_PATH = "/v1/webapi/requests"


@attrs.frozen(kw_only=True)
class RequestRoutes:
    """`requests`, `requests/ID`, `requests/ID/review`."""

    requests: AccessRequests

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        kind = "access_request"
        table.private("GET", _PATH, self._list, "self.requests.list", kind)
        table.private("POST", _PATH, self._create, "self.requests.create", kind)
        table.private("DELETE", f"{_PATH}/<id>", self._withdraw, "self.requests.withdraw", kind)
        table.private("POST", f"{_PATH}/<id>/review", self._review, "requests.review", kind)

    async def _list(self, identity: UserIdentity) -> dict[str, Any]:
        state = check_state(quart.request.args.get("state", ""))
        views = await self.requests.list_requests(identity, state=state)
        return {"requests": [_document(view) for view in views]}

    async def _create(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields(
            {"reason": str}, optional={"roles": list, "nodes": list, "ttl_seconds": int, "extends": str}
        )
        new = NewRequest(
            roles=texts(fields, "roles"),
            nodes=texts(fields, "nodes"),
            reason=fields["reason"],
            ttl_seconds=fields.get("ttl_seconds", 0),
            extends=fields.get("extends", ""),
        )
        return _document(await self.requests.create(identity, new, client_address=client_address()))

    async def _review(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"approve": bool}, optional={"reason": str})
        reviewed = await self.requests.review(
            identity,
            _id(),
            approve=fields["approve"],
            reason=fields.get("reason", ""),
            client_address=client_address(),
        )
        return _document(reviewed)

    async def _withdraw(self, identity: UserIdentity) -> dict[str, Any]:
        ended = await self.requests.withdraw(identity, _id(), client_address=client_address())
        return _document(ended)


def _id() -> str:
    return str((quart.request.view_args or {})["id"])


def _document(view: AccessRequestView) -> dict[str, Any]:
    row = view.row
    return {
        "id": row.request_id,
        "user": row.user_name,
        "roles": list(row.roles),
        "nodes": list(row.nodes),
        "reason": row.reason,
        "ttl_seconds": row.ttl_seconds,
        "extends": row.extends,
        "state": view.state.value,
        "created_at_ms": row.created_at,
        "approved_at_ms": row.approved_at,
        "ends_at_ms": row.ends_at,
        "closed_at_ms": row.closed_at,
        "closed_by": row.closed_by,
        "closing_reason": row.closing_reason,
        "reviews": [
            {
                "reviewer": review.reviewer,
                "approves": review.approves,
                "parts": list(review.parts),
                "reason": review.reason,
                "reviewed_at_ms": review.reviewed_at,
            }
            for review in view.reviews
        ],
    }
