# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AccessRequestService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import requests_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.requests.request_parts import NewRequest, check_state
from mezite.services.requests.request_views import AccessRequestView

__all__ = ["AccessRequestsApi"]

_SERVICE = "/mezite.v1.AccessRequestService/"


class AccessRequestsApi:
    """The RPCs of one service."""

    def __init__(self, requests: AccessRequests) -> None:
        self._requests = requests

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        create = unary(_SERVICE + "CreateAccessRequest", pb.CreateAccessRequestRequest, pb.AccessRequest)
        listing = unary(
            _SERVICE + "ListAccessRequests", pb.ListAccessRequestsRequest, pb.ListAccessRequestsResponse
        )
        get = unary(_SERVICE + "GetAccessRequest", pb.GetAccessRequestRequest, pb.AccessRequest)
        review = unary(_SERVICE + "ReviewAccessRequest", pb.ReviewAccessRequestRequest, pb.AccessRequest)
        withdraw = unary(
            _SERVICE + "WithdrawAccessRequest", pb.WithdrawAccessRequestRequest, pb.AccessRequest
        )
        return [
            create(self.create, "self.requests.create", "access_request"),
            listing(self.list_requests, "self.requests.list", "access_request"),
            get(self.get, "self.requests.get", "access_request"),
            review(self.review, "requests.review", "access_request"),
            withdraw(self.withdraw, "self.requests.withdraw", "access_request"),
        ]

    async def create(self, request: pb.CreateAccessRequestRequest, context: CallContext) -> pb.AccessRequest:
        """Ask for roles and nodes; which ones is for the roles of the caller to say."""
        new = NewRequest(
            roles=tuple(request.roles),
            nodes=tuple(request.nodes),
            reason=request.reason,
            ttl_seconds=request.ttl_seconds,
            extends=request.extends,
        )
        address = context.peer.client_address
        return _message(await self._requests.create(user_of(context), new, client_address=address))

    async def list_requests(
        self, request: pb.ListAccessRequestsRequest, context: CallContext
    ) -> pb.ListAccessRequestsResponse:
        """The caller's own and those that they may review."""
        views = await self._requests.list_requests(user_of(context), state=check_state(request.state))
        return pb.ListAccessRequestsResponse(requests=[_message(view) for view in views])

    async def get(self, request: pb.GetAccessRequestRequest, context: CallContext) -> pb.AccessRequest:
        """One of those."""
        return _message(await self._requests.get(user_of(context), request.id))

    async def review(self, request: pb.ReviewAccessRequestRequest, context: CallContext) -> pb.AccessRequest:
        """Approve or deny."""
        reviewed = await self._requests.review(
            user_of(context),
            request.id,
            approve=request.approve,
            reason=request.reason,
            client_address=context.peer.client_address,
        )
        return _message(reviewed)

    async def withdraw(
        self, request: pb.WithdrawAccessRequestRequest, context: CallContext
    ) -> pb.AccessRequest:
        """Cancel or revoke."""
        ended = await self._requests.withdraw(
            user_of(context), request.id, reason=request.reason, client_address=context.peer.client_address
        )
        return _message(ended)


def _message(view: AccessRequestView) -> pb.AccessRequest:
    row = view.row
    return pb.AccessRequest(
        id=row.request_id,
        user_name=row.user_name,
        roles=row.roles,
        nodes=row.nodes,
        reason=row.reason,
        ttl_seconds=row.ttl_seconds,
        extends=row.extends or "",
        state=view.state.value,
        created_at_ms=row.created_at,
        approved_at_ms=row.approved_at or 0,
        ends_at_ms=row.ends_at,
        closed_at_ms=row.closed_at or 0,
        closed_by=row.closed_by or "",
        closing_reason=row.closing_reason or "",
        reviews=[
            pb.AccessReview(
                reviewer=review.reviewer,
                approves=review.approves,
                parts=review.parts,
                reason=review.reason,
                reviewed_at_ms=review.reviewed_at,
            )
            for review in view.reviews
        ],
    )
