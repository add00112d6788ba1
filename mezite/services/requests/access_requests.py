# SPDX-License-Identifier: Apache-2.0
"""Access for a while: users ask for roles and nodes, others review it, time ends it.

Who may ask for what, and who may review it, is for `authorize()`; when the reviews suffice is for
`core/access_request.py`; that each change is made once is for the conditional updates of `storage/access_requests.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.core.access_request import Change, RequestState, Review, change_by, withdrawal
from mezite.core.audit.event_types import EventType
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.audit_log import AuditLog, AuditUnavailableError
from mezite.services.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
)
from mezite.services.identity.identities import UserIdentity, with_requested
from mezite.services.identity.requested_access import is_active, requested_access
from mezite.services.requests.request_parts import (
    NewRequest,
    PartPolicy,
    check_id,
    check_reason,
    check_wanted,
    lifetime,
    parts_of,
    policies,
    policies_of,
    reviewable,
)
from mezite.services.requests.request_views import AccessRequestView, list_views, view_of
from mezite.services.sources import Sources
from mezite.storage import access_requests as rows
from mezite.storage.access_requests import AccessRequestRow, ReviewRow
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AccessRequests", "NewRequest"]

_log = logging.getLogger("mezite.requests")

PENDING_MS = 24 * 3600 * 1000
"""How long a request waits for its reviewers. A day covers every time zone; what was not decided by then is not urgent,
and a forgotten approval would come as a surprise."""

MAX_LIVE = 20
"""Pending and approved requests of one user: nobody can bury the reviewers."""

MAX_A_DAY = 100
"""Made by one user, whatever became of them: nobody fills the database by asking and dropping."""

DAY_MS = 24 * 3600 * 1000

MAX_AT_ONCE = 16
"""Requests that one certificate can name."""

SWEEP_SECONDS = 10
"""How often it is written down what has run out. Decisions look at the clock themselves and do not wait for it."""

MAX_NAME = 253
"""What is repeated of a name that a user has made up; the longest that a node can have."""

Listener = Callable[[AccessRequestRow, EventType], Awaitable[None]]


class AccessRequests:
    """Ask, review, withdraw, and forget what has run out."""

    def __init__(self, *, database: Database, audit: AuditLog, sources: Sources) -> None:
        self._database = database
        self._audit = audit
        self._sources = sources
        self._listeners: list[Listener] = []

    def on_change(self, listener: Listener) -> None:
        """Have `listener` told of every change, after it is stored and audited. It must not raise."""
        self._listeners.append(listener)

    async def create(
        self, identity: UserIdentity, new: NewRequest, *, client_address: str
    ) -> AccessRequestView:
        """Ask for access.

        :raises InvalidRequestError: nothing or too much is asked for, no reason, a time that is too long, a role that
            the user has or that does not exist, a node without logins.
        :raises AccessDeniedError: no role lets the user ask for it; audited.
        :raises NotFoundError: the request to extend is not an approved one of theirs.
        :raises TooManyRequestsError: the user has too many requests that are not over, or has made too many today.
        """
        reason = check_reason(new.reason)
        now = self._sources.now()
        if new.extends:
            new = await self._extension(identity, new, now)
        parts = parts_of(new)
        for part in parts:
            wanted = Resource(kind=part.kind.value, name=part.name)
            await self._require(identity, "requests.create", wanted, client_address)

        def store(conn: Connection) -> AccessRequestRow:
            if rows.count_live(conn, user_name=identity.name, now=now) >= MAX_LIVE:
                raise TooManyRequestsError(
                    f"you have {MAX_LIVE} access requests that are not over: drop one of them first"
                )
            if rows.count_made(conn, user_name=identity.name, since=now - DAY_MS) >= MAX_A_DAY:
                raise TooManyRequestsError(
                    f"you have made {MAX_A_DAY} access requests within a day: ask again tomorrow"
                )
            found = policies(conn, parts, identity.standing)
            check_wanted(identity, found)
            row = AccessRequestRow(
                request_id=self._sources.new_id(),
                user_name=identity.name,
                roles=new.roles,
                nodes=new.nodes,
                reason=reason,
                ttl_seconds=lifetime(found, new.ttl_seconds),
                extends=new.extends or None,
                created_at=now,
                ends_at=now + PENDING_MS,
            )
            return rows.insert(conn, request=row)

        row = await self._database.write(store)
        await self._tell(EventType.ACCESS_REQUEST_CREATED, row, identity.name, client_address)
        return AccessRequestView(row=row, state=row.state)

    async def list_requests(
        self, identity: UserIdentity, *, state: RequestState | None = None
    ) -> list[AccessRequestView]:
        """Return, newest first, the user's own requests and those that they may review."""
        views = await self._database.read(list_views, identity, now=self._sources.now())
        return [view for view in views if state is None or view.state is state]

    async def get(self, identity: UserIdentity, request_id: str) -> AccessRequestView:
        """Return a request that the user made or may review. :raises NotFoundError: there is no such request."""
        now = self._sources.now()
        view = await self._database.read(view_of, identity, check_id(request_id), now=now)
        if view is None:
            raise _no_such_request(request_id)
        return view

    async def review(
        self, identity: UserIdentity, request_id: str, *, approve: bool, reason: str, client_address: str
    ) -> AccessRequestView:
        """Approve or deny a request, as far as the user may review it. The granted time starts with the last approval.

        :raises InvalidRequestError: a denial without a reason, or one that is too long.
        :raises NotFoundError: there is no such request, or the user may not know of it.
        :raises AccessDeniedError: it is the user's own; audited.
        :raises ConflictError: it is decided or over, or the user has reviewed it before.
        """
        reason = check_reason(reason) if reason or not approve else ""
        row = (await self.get(identity, request_id)).row
        if row.user_name == identity.name:
            own = Resource(kind="access_request", name=row.request_id, owner=row.user_name)
            await self._require(identity, "requests.review", own, client_address)
        now = self._sources.now()

        def store(conn: Connection) -> tuple[AccessRequestRow, Change | None]:
            taken = rows.count_review(conn, request_id=row.request_id, now=now)
            if taken is None:
                raise ConflictError(f"request {row.request_id} is not pending any more: see its state")
            found = policies_of(conn, taken)
            mine = reviewable(identity, taken, found)
            if not mine:
                raise _no_such_request(request_id)
            review = ReviewRow(
                request_id=taken.request_id,
                reviewer=identity.name,
                approves=approve,
                parts=mine,
                reason=reason,
                reviewed_at=now,
            )
            if not rows.add_review(conn, review=review):
                raise ConflictError(
                    f"you have reviewed request {taken.request_id} already: one review counts"
                )
            return self._decide(conn, taken, found, review, now)

        changed, change = await self._database.write(store)
        details = {"reviewer": identity.name, "approves": approve, "review_reason": reason}
        events = {
            Change.APPROVE: EventType.ACCESS_REQUEST_APPROVED,
            Change.DENY: EventType.ACCESS_REQUEST_DENIED,
            None: EventType.ACCESS_REQUEST_REVIEWED,
        }
        await self._tell(events[change], changed, identity.name, client_address, **details)
        return await self.get(identity, request_id)

    async def withdraw(
        self, identity: UserIdentity, request_id: str, *, reason: str = "", client_address: str
    ) -> AccessRequestView:
        """Give up one's own request, or take back one that the user may review: what is pending is cancelled, what is
        approved is revoked and grants nothing from now on, nor does what has extended it.

        :raises NotFoundError: there is no such request, or the user may not know of it.
        :raises ConflictError: it is over already.
        """
        reason = check_reason(reason) if reason else ""
        view = await self.get(identity, request_id)
        if view.state not in {RequestState.PENDING, RequestState.APPROVED}:
            raise ConflictError(f"request {view.row.request_id} is {view.state.value} already")
        now = self._sources.now()
        change = withdrawal(view.state)
        ended = await self._database.write(
            rows.withdraw, row=view.row, change=change, by=identity.name, reason=reason, now=now
        )
        if not ended:
            raise ConflictError(f"request {view.row.request_id} has changed just now: look again")
        for row in ended:
            revoked = row.state is RequestState.REVOKED
            event = EventType.ACCESS_REQUEST_REVOKED if revoked else EventType.ACCESS_REQUEST_CANCELLED
            await self._tell(event, row, identity.name, client_address, review_reason=reason)
        return await self.get(identity, request_id)

    async def assume(self, identity: UserIdentity, request_ids: Collection[str]) -> UserIdentity:
        """Return the user with what these approved requests of theirs grant, for a certificate that names them. Without
        any, the user as they are.

        :raises InvalidRequestError: too many, or one that is not approved, not the user's, or grants nothing any more.
        """
        wanted = sorted(set(request_ids))
        if not wanted:
            return identity
        if len(wanted) > MAX_AT_ONCE:
            raise InvalidRequestError(f"a certificate is for at most {MAX_AT_ONCE} access requests at once")
        now = self._sources.now()
        requested = await self._database.read(
            requested_access, identity.name, identity.standing, [check_id(one) for one in wanted], now=now
        )
        missing = [one for one in wanted if one not in requested.request_ids]
        if missing:
            raise InvalidRequestError(
                f"request {missing[0]} is not an approved one of yours: `msh request ls` shows their states"
            )
        return with_requested(identity, requested)

    async def expire_due(self) -> int:
        """Write down and audit what has run out; return how many requests did."""
        expired = await self._database.write(rows.expire_due, now=self._sources.now())
        for row in expired:
            await self._tell(EventType.ACCESS_REQUEST_EXPIRED, row, row.user_name, "")
        return len(expired)

    async def run(self) -> NoReturn:
        """Do that until cancelled. A database that is away is asked again."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            try:
                await self.expire_due()
            except (StorageError, AuditUnavailableError) as error:
                _log.warning("cannot close what has run out", extra={"reason": str(error)})

    async def _extension(self, identity: UserIdentity, new: NewRequest, now: int) -> NewRequest:
        row = await self._database.read(rows.get, request_id=check_id(new.extends))
        if row is None or row.user_name != identity.name or not is_active(row, now):
            raise NotFoundError(
                f"request {new.extends} is not an approved one of yours: ask for access anew instead"
            )
        if new.roles or new.nodes:
            raise InvalidRequestError("an extension is for what was granted: name no roles and nodes")
        return attrs.evolve(new, roles=row.roles, nodes=row.nodes)

    def _decide(
        self,
        conn: Connection,
        row: AccessRequestRow,
        found: tuple[PartPolicy, ...],
        review: ReviewRow,
        now: int,
    ) -> tuple[AccessRequestRow, Change | None]:
        """Apply what the reviews make of the request, in the transaction that holds its row."""
        said = [
            Review(reviewer=each.reviewer, approves=each.approves, parts=each.parts)
            for each in rows.list_reviews(conn, request_ids=[row.request_id])
        ]
        change = change_by({str(policy.part): policy.approvals for policy in found}, said)
        changed: AccessRequestRow | None = row
        if change is Change.APPROVE:
            ends_at = _starting_point(conn, row, now) + row.ttl_seconds * 1000
            changed = rows.approve(conn, request_id=row.request_id, ends_at=ends_at, now=now)
        elif change is Change.DENY:
            changed = rows.apply(
                conn, row=row, change=change, by=review.reviewer, reason=review.reason, now=now
            )
        if changed is None:
            raise AssertionError("a request changed in spite of the transaction that holds it")
        return changed, change

    async def _require(
        self, identity: UserIdentity, verb: str, resource: Resource, client_address: str
    ) -> None:
        context = AccessContext(client_address=client_address, decision_id=self._sources.new_id())
        decision = authorize(identity, verb, resource, context)
        if decision.allowed:
            return
        event_id = await self._audit.emit(
            EventType.AUTHZ_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type=resource.kind,
            resource_name=resource.name[:MAX_NAME],
            client_ip=client_address,
            success=False,
            error_message=decision.reason,
            decision_id=decision.decision_id,
            verb=verb,
        )
        raise AccessDeniedError(
            f"{verb} of {resource.kind} {resource.name[:MAX_NAME]} is not allowed: {decision.reason}; "
            f"ask an administrator (event {event_id})",
            event_id=event_id,
        )

    async def _tell(
        self, event: EventType, row: AccessRequestRow, by: str, client_address: str, **details: object
    ) -> None:
        await self._audit.emit(
            event,
            user_name=by,
            resource_type="access_request",
            resource_name=row.request_id,
            client_ip=client_address,
            requester=row.user_name,
            roles=list(row.roles),
            nodes=list(row.nodes),
            reason=row.reason,
            ttl_seconds=row.ttl_seconds,
            state=row.state.value,
            ends_at_ms=row.ends_at,
            **details,
        )
        for listener in self._listeners:
            await listener(row, event)


def _starting_point(conn: Connection, row: AccessRequestRow, now: int) -> int:
    """When the granted time starts: at the approval; that of an extension where the granted time would have ended."""
    parent = None if row.extends is None else rows.get(conn, request_id=row.extends)
    return parent.ends_at if parent is not None and is_active(parent, now) else now


def _no_such_request(request_id: str) -> NotFoundError:
    return NotFoundError(
        f"request {request_id[:MAX_NAME]}: not found, or not yours to see; `mezctl requests ls` shows those that are"
    )
