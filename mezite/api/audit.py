# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AuditService`."""

from __future__ import annotations

import difflib

from mezite.api.pb.mezite.v1 import audit_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary
from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditLog
from mezite.services.errors import InvalidRequestError
from mezite.storage.audit_events import AuditQuery

__all__ = ["AuditApi"]

_SERVICE = "/mezite.v1.AuditService/"

DEFAULT_LIMIT = 100
MAX_LIMIT = 1000
"""A thousand events of a kilobyte each stay under the 4 MiB of a message."""

MAX_EVENTS_BYTES = 3 * 1024 * 1024
"""Events are ASCII. What people and agents can put into one, a command for instance, makes it up to 100 KiB long."""


class AuditApi:
    """The RPCs of one service."""

    def __init__(self, audit: AuditLog) -> None:
        self._audit = audit

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        listing = unary(_SERVICE + "ListAuditEvents", pb.ListAuditEventsRequest, pb.ListAuditEventsResponse)
        return [listing(self.list_events, "audit.list", "audit")]

    async def list_events(
        self, request: pb.ListAuditEventsRequest, _context: CallContext
    ) -> pb.ListAuditEventsResponse:
        """Events, newest first; fewer than asked for when they are long."""
        if request.limit < 0:
            raise InvalidRequestError("a limit is not negative")
        wanted = AuditQuery(
            event_types=(request.event_type,) if request.event_type else (),
            user_name=request.user_name or None,
            since=request.since_ms or None,
            until=request.until_ms or None,
            limit=min(request.limit or DEFAULT_LIMIT, MAX_LIMIT),
        )
        events = _fitting(await self._audit.query(wanted))
        if not events:
            _check_type(request.event_type)
        return pb.ListAuditEventsResponse(events_json=events)


def _check_type(name: str) -> None:
    """A type of which nothing is there may be misspelled; one of which something is there is none, though a newer hub
    has written it.
    """
    known = [event_type.type_name for event_type in EventType]
    if not name or name in known:
        return
    near = difflib.get_close_matches(name[:64], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "`mezctl audit ls` shows those of what happened"
    raise InvalidRequestError(f"{name[:64]!r} is not a type of audit event: {hint}")


def _fitting(events: list[str]) -> list[str]:
    """As many as fit a message, the newest in any case: events of 25 KiB must not keep others from being read (H7)."""
    size = 0
    for number, event in enumerate(events):
        size += len(event)
        if number and size > MAX_EVENTS_BYTES:
            return events[:number]
    return events
