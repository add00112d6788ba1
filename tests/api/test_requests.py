# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AccessRequestService` over a connection, and certificates for what was approved."""

import json

import pytest

from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.api.pb.mezite.v1 import requests_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.roles import Conditions, Role
from tests.api.services import calling, calling_as
from tests.services.world import CLIENT, HOUR, SSH_PUBLIC_LINE, START, TLS_PUBLIC_PEM

CREATE = pb.CreateAccessRequestRequest(roles=["auditor"], reason="incident 4711", ttl_seconds=3600)
SERVICE = "AccessRequestService/"


@pytest.fixture
async def requesters(world):
    role = Role(name="developer", allow=Conditions(request_roles=("auditor",)))
    await world.roles.put(json.dumps(role_document(role)), by="root", client_address=CLIENT)
    return world


async def test_from_asking_to_the_certificate(requesters):
    async with calling_as(requesters) as admin, calling_as(requesters, "alice", ("developer",)) as alice:
        made = await alice(SERVICE + "CreateAccessRequest", CREATE)
        assert (made.user_name, list(made.roles), made.state) == ("alice", ["auditor"], "pending")
        assert (made.created_at_ms, made.ends_at_ms, made.approved_at_ms) == (START, START + 24 * HOUR, 0)
        listed = await admin(SERVICE + "ListAccessRequests", pb.ListAccessRequestsRequest(state="pending"))
        assert list(listed.requests) == [made]
        approval = pb.ReviewAccessRequestRequest(id=made.id, approve=True, reason="go on")
        approved = await admin(SERVICE + "ReviewAccessRequest", approval)
        assert (approved.state, approved.approved_at_ms, approved.ends_at_ms) == (
            "approved",
            START,
            START + HOUR,
        )
        (review,) = approved.reviews
        assert (review.reviewer, review.approves, list(review.parts)) == ("root", True, ["role:auditor"])
        assert (review.reason, review.reviewed_at_ms) == ("go on", START)
        assert await alice(SERVICE + "GetAccessRequest", pb.GetAccessRequestRequest(id=made.id)) == approved
        issued = await alice("AuthService/IssueUserCerts", certificates(made.id))
        assert (list(issued.roles), list(issued.request_ids)) == (["developer", "auditor"], [made.id])
        assert issued.expires_at_ms == START + HOUR
        async with calling(requesters, certificate_pem=issued.tls_certificate_pem) as granted:
            await granted("AuditService/ListAuditEvents")
            revoked = await alice(
                SERVICE + "WithdrawAccessRequest", pb.WithdrawAccessRequestRequest(id=made.id)
            )
            assert (revoked.state, revoked.closed_by, revoked.closed_at_ms) == ("revoked", "alice", START)
            # At once, on the same connection.
            refused = await granted.refused("AuditService/ListAuditEvents")
            assert refused.status is StatusCode.PERMISSION_DENIED


def certificates(*request_ids):
    return auth_pb2.IssueUserCertsRequest(
        ssh_public_key=SSH_PUBLIC_LINE, tls_public_key_pem=TLS_PUBLIC_PEM.decode(), request_ids=request_ids
    )


async def test_what_is_refused(requesters):
    async with calling_as(requesters, "alice", ("developer",)) as alice:
        made = await alice(SERVICE + "CreateAccessRequest", CREATE)
        approval = pb.ReviewAccessRequestRequest(id=made.id, approve=True)
        listing = pb.ListAccessRequestsRequest(state="nearly")
        other = pb.CreateAccessRequestRequest(roles=["admin"], reason="because")
        for name, request, status in (
            ("ReviewAccessRequest", approval, StatusCode.PERMISSION_DENIED),
            ("ListAccessRequests", listing, StatusCode.INVALID_ARGUMENT),
            ("CreateAccessRequest", other, StatusCode.PERMISSION_DENIED),
            ("GetAccessRequest", pb.GetAccessRequestRequest(id="x"), StatusCode.NOT_FOUND),
        ):
            assert (await alice.refused(SERVICE + name, request)).status is status, name
        refused = await alice.refused("AuthService/IssueUserCerts", certificates(made.id))
        assert refused.status is StatusCode.INVALID_ARGUMENT
