# SPDX-License-Identifier: Apache-2.0
"""Access requests as mezctl and msh show them."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import requests_pb2 as pb
from mezite.cli.terminal.output import Column
from mezite.core.durations import format_duration
from mezite.core.timestamps import format_timestamp

__all__ = ["REQUEST_COLUMNS", "request_row"]

REQUEST_COLUMNS = (
    Column("id", "Id"),
    Column("user", "User"),
    Column("state", "State"),
    Column("roles", "Roles"),
    Column("nodes", "Nodes"),
    Column("ttl", "For"),
    Column("ends_at", "Until"),
    Column("reason", "Reason"),
)


def request_row(request: pb.AccessRequest) -> dict[str, object]:
    """Return the JSON form, whose keys are stable."""
    return {
        "id": request.id,
        "user": request.user_name,
        "state": request.state,
        "roles": list(request.roles),
        "nodes": list(request.nodes),
        "reason": request.reason,
        "ttl": format_duration(request.ttl_seconds),
        "extends": request.extends or None,
        "created_at": format_timestamp(request.created_at_ms),
        "approved_at": _moment(request.approved_at_ms),
        "ends_at": format_timestamp(request.ends_at_ms),
        "closed_at": _moment(request.closed_at_ms),
        "closed_by": request.closed_by or None,
        "closing_reason": request.closing_reason or None,
        "reviews": [
            {
                "reviewer": review.reviewer,
                "approves": review.approves,
                "parts": list(review.parts),
                "reason": review.reason or None,
                "reviewed_at": format_timestamp(review.reviewed_at_ms),
            }
            for review in request.reviews
        ],
    }


def _moment(milliseconds: int) -> str | None:
    return format_timestamp(milliseconds) if milliseconds else None
