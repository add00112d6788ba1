# SPDX-License-Identifier: Apache-2.0
"""Every door of a hub against everybody (threat E13).

The expected answers stand here, written by hand. A door that is not in a table fails the test: whoever adds one says
here who may pass.
"""

import attrs
import pytest
import trio

from mezite.api.pb.grpc.health.v1 import health_pb2
from mezite.api.pb.grpc.reflection.v1 import reflection_pb2
from mezite.api.pb.grpc.reflection.v1alpha import reflection_pb2 as reflection_alpha_pb2
from mezite.api.pb.mezite.v1 import (
    apps_pb2,
    audit_pb2,
    auth_pb2,
    authorities_pb2,
    connectors_pb2,
    devices_pb2,
    doctor_pb2,
    enrollment_pb2,
    factors_pb2,
    identities_pb2,
    locks_pb2,
    nodes_pb2,
    requests_pb2,
    roles_pb2,
    session_proofs_pb2,
    sessions_pb2,
    tokens_pb2,
    users_pb2,
)
from mezite.api.rpc import StatusCode
from mezite.services.access.verb_registry import DoorKind
from tests.hub.matrix import EVERYBODY, ROLES, WANTING, address_of, open_cluster

OK, BAD = StatusCode.OK, StatusCode.INVALID_ARGUMENT
PRECONDITION, NOT_FOUND = StatusCode.FAILED_PRECONDITION, StatusCode.NOT_FOUND
NOBODY_KNOWS, MAY_NOT = StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED

ALL = set(EVERYBODY)
USERS = {"user without roles", "auditor", "access", "admin", "user without factor"}
"""What lets somebody in counts, and what a role asks for on nodes does not, until it is about a node (E8)."""
ADMIN = {"admin"}
AUDIT = {"admin", "auditor"}
AGENT = {"agent"}
LOCKED = {"locked user", "locked agent"}
"""Threats E14, F8: known, and stopped at the credential whatever their roles."""


def rpc(who, message, inside):
    """`who` passes; `inside` is what this request is answered behind the door."""
    return who, message, inside


MEZITE = "/mezite.v1."
RPCS = {
    "/grpc.health.v1.Health/Check": rpc(ALL, health_pb2.HealthCheckRequest(), OK),
    "/grpc.health.v1.Health/Watch": rpc(ALL, health_pb2.HealthCheckRequest(), OK),
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": rpc(
        ALL, reflection_pb2.ServerReflectionRequest(list_services=""), OK
    ),
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": rpc(
        ALL, reflection_alpha_pb2.ServerReflectionRequest(list_services=""), OK
    ),
    f"{MEZITE}AuthService/Ping": rpc(ALL, auth_pb2.PingRequest(), OK),
    f"{MEZITE}AuthService/GetClusterCa": rpc(ALL, auth_pb2.GetClusterCaRequest(), OK),
    # The password is in the request, and it is wrong.
    f"{MEZITE}AuthService/AuthenticateLocal": rpc(ALL, auth_pb2.AuthenticateLocalRequest(), NOBODY_KNOWS),
    f"{MEZITE}AuthService/BeginWebAuthnLogin": rpc(ALL, auth_pb2.BeginWebAuthnLoginRequest(), NOBODY_KNOWS),
    f"{MEZITE}AuthService/FinishWebAuthnLogin": rpc(ALL, auth_pb2.FinishWebAuthnLoginRequest(), BAD),
    f"{MEZITE}AuthService/IssueUserCerts": rpc(USERS, auth_pb2.IssueUserCertsRequest(), BAD),
    f"{MEZITE}AuthService/ChangePassword": rpc(USERS, auth_pb2.ChangePasswordRequest(), BAD),
    f"{MEZITE}AuthService/Logout": rpc(USERS, auth_pb2.LogoutRequest(), OK),
    # The token is in the request; the clock is looked at before it.
    f"{MEZITE}EnrollmentService/RegisterAgent": rpc(ALL, enrollment_pb2.RegisterAgentRequest(), PRECONDITION),
    f"{MEZITE}EnrollmentService/RenewAgentIdentity": rpc(
        AGENT, enrollment_pb2.RenewAgentIdentityRequest(), PRECONDITION
    ),
    f"{MEZITE}EnrollmentService/AgentHeartbeat": rpc(AGENT, enrollment_pb2.AgentHeartbeatRequest(), OK),
    f"{MEZITE}EnrollmentService/ReportSessionStart": rpc(
        AGENT, enrollment_pb2.ReportSessionStartRequest(), NOT_FOUND
    ),
    f"{MEZITE}EnrollmentService/ReportSessionEnd": rpc(
        AGENT, enrollment_pb2.ReportSessionEndRequest(), NOT_FOUND
    ),
    f"{MEZITE}EnrollmentService/ReportRefusal": rpc(AGENT, enrollment_pb2.ReportRefusalRequest(), NOT_FOUND),
    f"{MEZITE}LoginProofService/BeginLoginProof": rpc(
        AGENT, session_proofs_pb2.BeginLoginProofRequest(), BAD
    ),
    f"{MEZITE}LoginProofService/AnswerLoginProof": rpc(
        AGENT, session_proofs_pb2.AnswerLoginProofRequest(), BAD
    ),
    f"{MEZITE}LoginProofService/AwaitLoginProof": rpc(
        AGENT, session_proofs_pb2.AwaitLoginProofRequest(), BAD
    ),
    f"{MEZITE}SessionProofService/BeginSessionProof": rpc(
        USERS, session_proofs_pb2.BeginSessionProofRequest(), BAD
    ),
    f"{MEZITE}SessionProofService/AnswerSessionProof": rpc(
        USERS, session_proofs_pb2.AnswerSessionProofRequest(), NOT_FOUND
    ),
    f"{MEZITE}SessionProofService/AwaitSessionProof": rpc(
        USERS, session_proofs_pb2.AwaitSessionProofRequest(), OK
    ),
    f"{MEZITE}UserService/CreateUser": rpc(ADMIN, users_pb2.CreateUserRequest(), BAD),
    f"{MEZITE}UserService/ListUsers": rpc(ADMIN, users_pb2.ListUsersRequest(), OK),
    f"{MEZITE}UserService/GetUser": rpc(ADMIN, users_pb2.GetUserRequest(), NOT_FOUND),
    f"{MEZITE}UserService/UpdateUser": rpc(ADMIN, users_pb2.UpdateUserRequest(), NOT_FOUND),
    f"{MEZITE}UserService/DeleteUser": rpc(ADMIN, users_pb2.DeleteUserRequest(), NOT_FOUND),
    f"{MEZITE}FactorService/ListFactors": rpc(USERS, factors_pb2.ListFactorsRequest(), OK),
    # Nobody changes factors without a fresh proof; for who has no password that is a fresh session.
    f"{MEZITE}FactorService/BeginTotp": rpc(
        USERS, factors_pb2.BeginTotpRequest(), {"session": OK, "certificate": MAY_NOT}
    ),
    f"{MEZITE}FactorService/FinishTotp": rpc(USERS, factors_pb2.FinishTotpRequest(), BAD),
    f"{MEZITE}FactorService/RemoveFactor": rpc(USERS, factors_pb2.RemoveFactorRequest(), NOT_FOUND),
    f"{MEZITE}FactorService/CreateRecoveryCodes": rpc(USERS, factors_pb2.CreateRecoveryCodesRequest(), BAD),
    f"{MEZITE}FactorService/ListUserFactors": rpc(ADMIN, factors_pb2.ListUserFactorsRequest(), NOT_FOUND),
    f"{MEZITE}FactorService/ResetUserFactors": rpc(ADMIN, factors_pb2.ResetUserFactorsRequest(), BAD),
    f"{MEZITE}RoleService/PutRole": rpc(ADMIN, roles_pb2.PutRoleRequest(), BAD),
    f"{MEZITE}RoleService/ListRoles": rpc(ADMIN, roles_pb2.ListRolesRequest(), OK),
    f"{MEZITE}RoleService/GetRole": rpc(ADMIN, roles_pb2.GetRoleRequest(), NOT_FOUND),
    f"{MEZITE}RoleService/DeleteRole": rpc(ADMIN, roles_pb2.DeleteRoleRequest(), NOT_FOUND),
    f"{MEZITE}AppService/RegisterApp": rpc(ADMIN, apps_pb2.RegisterAppRequest(), BAD),
    f"{MEZITE}AppService/ListApps": rpc(ADMIN, apps_pb2.ListAppsRequest(), OK),
    f"{MEZITE}AppService/GetApp": rpc(ADMIN, apps_pb2.GetAppRequest(), NOT_FOUND),
    f"{MEZITE}AppService/AddAppAgent": rpc(ADMIN, apps_pb2.AddAppAgentRequest(), BAD),
    f"{MEZITE}AppService/RemoveAppAgent": rpc(ADMIN, apps_pb2.RemoveAppAgentRequest(), NOT_FOUND),
    f"{MEZITE}AppService/SetAppEnabled": rpc(ADMIN, apps_pb2.SetAppEnabledRequest(), NOT_FOUND),
    f"{MEZITE}AppService/RemoveApp": rpc(ADMIN, apps_pb2.RemoveAppRequest(), NOT_FOUND),
    f"{MEZITE}AppService/ListUserApps": rpc(USERS, apps_pb2.ListUserAppsRequest(), OK),
    f"{MEZITE}ConnectorService/PutConnector": rpc(ADMIN, connectors_pb2.PutConnectorRequest(), BAD),
    f"{MEZITE}ConnectorService/ListConnectors": rpc(ADMIN, connectors_pb2.ListConnectorsRequest(), OK),
    f"{MEZITE}ConnectorService/GetConnector": rpc(ADMIN, connectors_pb2.GetConnectorRequest(), NOT_FOUND),
    f"{MEZITE}ConnectorService/TestConnector": rpc(ADMIN, connectors_pb2.TestConnectorRequest(), NOT_FOUND),
    f"{MEZITE}ConnectorService/DeleteConnector": rpc(
        ADMIN, connectors_pb2.DeleteConnectorRequest(), NOT_FOUND
    ),
    f"{MEZITE}AccessService/ExplainAccess": rpc(ADMIN, roles_pb2.ExplainAccessRequest(), NOT_FOUND),
    # Everybody may ask, and see their own; reviewing needs a role that says so, or an administrator.
    f"{MEZITE}AccessRequestService/CreateAccessRequest": rpc(
        USERS, requests_pb2.CreateAccessRequestRequest(), BAD
    ),
    f"{MEZITE}AccessRequestService/ListAccessRequests": rpc(
        USERS, requests_pb2.ListAccessRequestsRequest(), OK
    ),
    f"{MEZITE}AccessRequestService/GetAccessRequest": rpc(
        USERS, requests_pb2.GetAccessRequestRequest(), NOT_FOUND
    ),
    f"{MEZITE}AccessRequestService/ReviewAccessRequest": rpc(
        ADMIN, requests_pb2.ReviewAccessRequestRequest(approve=True), NOT_FOUND
    ),
    f"{MEZITE}AccessRequestService/WithdrawAccessRequest": rpc(
        USERS, requests_pb2.WithdrawAccessRequestRequest(), NOT_FOUND
    ),
    f"{MEZITE}DeviceService/BeginDeviceProof": rpc(USERS, devices_pb2.BeginDeviceProofRequest(), OK),
    f"{MEZITE}DeviceService/EnrollDevice": rpc(USERS, devices_pb2.EnrollDeviceRequest(), BAD),
    f"{MEZITE}DeviceService/ListDevices": rpc(USERS, devices_pb2.ListDevicesRequest(), OK),
    f"{MEZITE}DeviceService/ApproveDevice": rpc(ADMIN, devices_pb2.ApproveDeviceRequest(), NOT_FOUND),
    f"{MEZITE}DeviceService/RemoveDevice": rpc(USERS, devices_pb2.RemoveDeviceRequest(), NOT_FOUND),
    f"{MEZITE}TokenService/CreateJoinToken": rpc(ADMIN, tokens_pb2.CreateJoinTokenRequest(), BAD),
    f"{MEZITE}TokenService/ListJoinTokens": rpc(ADMIN, tokens_pb2.ListJoinTokensRequest(), OK),
    f"{MEZITE}TokenService/DeleteJoinToken": rpc(ADMIN, tokens_pb2.DeleteJoinTokenRequest(), NOT_FOUND),
    f"{MEZITE}MachineIdentityService/CreateIdentity": rpc(ADMIN, identities_pb2.CreateIdentityRequest(), BAD),
    f"{MEZITE}MachineIdentityService/CreateIdentityToken": rpc(
        ADMIN, identities_pb2.CreateIdentityTokenRequest(name="nobody", token_ttl_seconds=60), NOT_FOUND
    ),
    f"{MEZITE}MachineIdentityService/ListIdentities": rpc(ADMIN, identities_pb2.ListIdentitiesRequest(), OK),
    f"{MEZITE}MachineIdentityService/DeleteIdentity": rpc(
        ADMIN, identities_pb2.DeleteIdentityRequest(), NOT_FOUND
    ),
    # The token is in the request; the clock is looked at before it.
    f"{MEZITE}MachineIdentityService/BootstrapIdentity": rpc(
        ALL, identities_pb2.BootstrapIdentityRequest(), PRECONDITION
    ),
    f"{MEZITE}MachineIdentityService/RenewIdentity": rpc(
        USERS, identities_pb2.RenewIdentityRequest(), PRECONDITION
    ),
    # Every user may ask; what there is to see is decided for each node.
    f"{MEZITE}NodeService/ListNodes": rpc(USERS, nodes_pb2.ListNodesRequest(), OK),
    f"{MEZITE}NodeService/GetNode": rpc(USERS, nodes_pb2.GetNodeRequest(), NOT_FOUND),
    f"{MEZITE}NodeService/RemoveNode": rpc(ADMIN, nodes_pb2.RemoveNodeRequest(), NOT_FOUND),
    f"{MEZITE}LockService/CreateLock": rpc(ADMIN, locks_pb2.CreateLockRequest(), BAD),
    f"{MEZITE}LockService/ListLocks": rpc(ADMIN, locks_pb2.ListLocksRequest(), OK),
    f"{MEZITE}LockService/DeleteLock": rpc(ADMIN, locks_pb2.DeleteLockRequest(), NOT_FOUND),
    f"{MEZITE}SessionService/ListSessions": rpc(ADMIN, sessions_pb2.ListSessionsRequest(), OK),
    f"{MEZITE}SessionService/GetSession": rpc(ADMIN, sessions_pb2.GetSessionRequest(), NOT_FOUND),
    f"{MEZITE}SessionService/KillSession": rpc(ADMIN, sessions_pb2.KillSessionRequest(), NOT_FOUND),
    f"{MEZITE}SessionService/ListLoginSessions": rpc(ADMIN, sessions_pb2.ListLoginSessionsRequest(), OK),
    f"{MEZITE}SessionService/RevokeSession": rpc(ADMIN, sessions_pb2.RevokeSessionRequest(), NOT_FOUND),
    f"{MEZITE}DoctorService/TestLoadBalancer": rpc(
        ADMIN, doctor_pb2.TestLoadBalancerRequest(idle_seconds=-1), BAD
    ),
    f"{MEZITE}DoctorService/ExamineApplications": rpc(ADMIN, doctor_pb2.ExamineApplicationsRequest(), OK),
    f"{MEZITE}AuthorityService/GetRotation": rpc(ADMIN, authorities_pb2.GetRotationRequest(), OK),
    f"{MEZITE}AuthorityService/Rotate": rpc(ADMIN, authorities_pb2.RotateRequest(types=["x"]), BAD),
    f"{MEZITE}AuthorityService/ExportKeys": rpc(ADMIN, authorities_pb2.ExportKeysRequest(), BAD),
    f"{MEZITE}AuditService/ListAuditEvents": rpc(AUDIT, audit_pb2.ListAuditEventsRequest(), OK),
}

ROUTES = {
    "GET /v1/webapi/ping": (ALL, 200),
    "GET /v1/webapi/ca": (ALL, 200),
    "GET /workload-identity/app-jwt-jwks.json": (ALL, 200),
    "POST /v1/webapi/login": (ALL, 400),
    "POST /v1/webapi/invites/accept": (ALL, 400),
    "POST /v1/webapi/logout": (USERS, 200),
    "POST /v1/webapi/certificates": (USERS, 400),
    "POST /v1/webapi/password": (USERS, 400),
    "GET /v1/webapi/me": (USERS, 200),
    "GET /v1/webapi/sessions": (USERS, 200),
    "DELETE /v1/webapi/sessions/<id>": (USERS, 404),
    "GET /v1/webapi/apps": (USERS, 200),
    "GET /v1/webapi/requests": (USERS, 200),
    "POST /v1/webapi/requests": (USERS, 400),
    "DELETE /v1/webapi/requests/<id>": (USERS, 404),
    "POST /v1/webapi/requests/<id>/review": (ADMIN, 400),
    "POST /v1/webapi/mfa/webauthn/login/begin": (ALL, 400),
    "POST /v1/webapi/mfa/webauthn/login/finish": (ALL, 400),
    "POST /v1/webapi/mfa/webauthn/proof/begin": (USERS, 404),
    "POST /v1/webapi/mfa/webauthn/register/begin": (USERS, 200),
    "POST /v1/webapi/mfa/webauthn/register/finish": (USERS, 400),
    "GET /v1/webapi/mfa/factors": (USERS, 200),
    "DELETE /v1/webapi/mfa/factors/<id>": (USERS, 404),
    "POST /v1/webapi/mfa/totp/begin": (USERS, 200),
    "POST /v1/webapi/mfa/totp/finish": (USERS, 400),
    "POST /v1/webapi/mfa/recovery-codes": (USERS, 400),
    # Nothing goes without a browser's own cookie and state, or a program's own secret.
    "GET /v1/webapi/sso/<name>/start": (ALL, 404),
    "GET /v1/webapi/oidc/callback": (ALL, 401),
    "GET /v1/webapi/github/callback": (ALL, 401),
    "GET /sso/device": (ALL, 200),
    "POST /v1/webapi/sso/device/decide": (ALL, 400),
    "POST /v1/webapi/sso/client/begin": (ALL, 400),
    "POST /v1/webapi/sso/client/finish": (ALL, 400),
    "GET /v1/webapi/proofs/<id>": (USERS, 404),
    "POST /v1/webapi/proofs/<id>/webauthn/begin": (USERS, 404),
    "POST /v1/webapi/proofs/<id>/webauthn/finish": (USERS, 400),
    "POST /v1/webapi/proofs/<id>/totp": (USERS, 400),
    "POST /v1/webapi/proofs/<id>/refuse": (USERS, 404),
    "POST /v1/webapi/programs/look": (USERS, 400),
    "POST /v1/webapi/programs/decide": (USERS, 400),
    "POST /v1/webapi/devices/challenge": (USERS, 200),
    "GET /": (ALL, 200),
    "GET /login": (ALL, 200),
    "GET /account/factors": (ALL, 200),
    "GET /account/password": (ALL, 200),
    "GET /approve": (ALL, 200),
    "GET /account/sessions": (ALL, 200),
    "GET /apps": (ALL, 200),
    "GET /apps/enter": (ALL, 200),
    # Who has no session yet is asked for one; the key is one that was never given away.
    "GET /apps/enter/<key>": (ALL, 200),
    "POST /v1/webapi/apps/entries/<key>": (USERS, 400),
    "GET /pages/onward.js": (ALL, 200),
    "GET /program": (ALL, 200),
    "GET /assets/<name>": (ALL, 404),
    "GET /pages/invite.js": (ALL, 200),
    "GET /pages/plain.css": (ALL, 200),
    "GET /invite": (ALL, 200),
}
"""Routes know sessions only: an agent is nobody there."""

WEBSOCKETS = {
    # What is inside proves who it is.
    "/v1/tunnel": (ALL, 101),
    "/v1/webapi/echo": (USERS, 101),
}

NO_TLS, GOODBYE = "no tls", "goodbye REFUSED"
DENIED = ("rejected NOT_FOUND", "rejected REFUSED")
STRANGERS = {
    "nobody": NO_TLS,
    "disabled user": GOODBYE,
    "expired user": NO_TLS,
    "locked user": GOODBYE,
    "locked agent": NO_TLS,
    "agent": NO_TLS,
}
CHANNELS = {
    # To a node that is offline. Who may not is told that there is no such node.
    "ssh": {
        "user without roles": "rejected NOT_FOUND",
        "auditor": "rejected NOT_FOUND",
        "access": "rejected UNREACHABLE",
        "admin": "rejected UNREACHABLE",
        **dict.fromkeys(WANTING, "rejected REFUSED"),
        # Asked for as soon as the node is there.
        "user without factor": "rejected UNREACHABLE",
        **STRANGERS,
    },
    # To an application whose agent is offline; the same.
    "app": {
        "user without roles": "rejected NOT_FOUND",
        "auditor": "rejected NOT_FOUND",
        "access": "rejected UNREACHABLE",
        "admin": "rejected UNREACHABLE",
        **dict.fromkeys(WANTING, "rejected REFUSED"),
        **STRANGERS,
    },
    # The RPCs inside ask for themselves.
    "api": {**dict.fromkeys({*USERS, *WANTING}, "accepted"), **STRANGERS},
}


@attrs.frozen
class Answer:
    """What somebody got at a door, and the refusals that were audited meanwhile."""

    status: object
    denials: tuple


def expected_rpc(door, who, by):
    passing, _, inside = RPCS[door]
    if who == "expired user" and by == "certificate":
        return NO_TLS
    if isinstance(inside, dict):
        inside = inside[by]
    if passing == ALL:
        return inside
    shows_nothing = who == "nobody" or (by == "session" and who not in ROLES)
    if shows_nothing or who in {"disabled user", "expired user"}:
        return NOBODY_KNOWS
    return inside if who in passing else MAY_NOT


def is_denial_audited(door, who, by):
    """A known identity that may not; who is locked is refused before anyone asks what they may."""
    return expected_rpc(door, who, by) is MAY_NOT and who not in RPCS[door][0] | set(LOCKED)


async def walk(folder):
    """Everybody at every door: a dict of answers, and what there is to compare the tables with."""
    async with open_cluster(folder) as cluster:
        found = {"doors": cluster.hub.verbs.doors(), "methods": dict(cluster.hub.api.methods)}
        found["rules"] = list(cluster.hub.web.app.hub.behind.app.url_map.iter_rules())
        visits = {}

        async def note(key, person, visit):
            before = await cluster.position()
            status = await visit
            visits[key] = (status, address_of(person.name), before, await cluster.position())

        async def go_round(person):
            for by in ("session", "certificate"):
                if by == "certificate" and not await cluster.has_tls(person):
                    visits.update({(door, person.name, by): (NO_TLS, "", 0, 0) for door in RPCS})
                    continue
                async with cluster.client(person, by) as client:
                    for door, (_, message, _) in RPCS.items():
                        method = cluster.hub.api.methods[door]
                        call = cluster.call(client, person, method, message, by)
                        await note((door, person.name, by), person, call)
            for door in ROUTES:
                await note((door, person.name), person, cluster.visit(person, door, b"{}"))
            for path in WEBSOCKETS:
                await note((path, person.name), person, cluster.upgrade(person, path))

        # All at once: a visit is mostly waiting for the database, and who has asked is seen by the address.
        async with trio.open_nursery() as nursery:
            for name in EVERYBODY:
                nursery.start_soon(go_round, cluster.people[name])
        for person in cluster.people.values():
            for kind in CHANNELS:
                await note((kind, person.name), person, cluster.open_channel(person, kind))
        chain = await cluster.events()
        return found, {
            key: Answer(status, denials(event for event in chain[before:after] if event.client_ip == address))
            for key, (status, address, before, after) in visits.items()
        }


def denials(events):
    """Refusals of what somebody wanted; that a credential is not good is another matter."""
    return tuple(
        event
        for event in events
        if event.event_type.type_name.endswith(".denied") and event.details.get("verb") != "authenticate"
    )


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    return trio.run(walk, tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="module")
def found(walked):
    return walked[0]


@pytest.fixture(scope="module")
def answers(walked):
    return walked[1]


def names(found, kind):
    return {door.name for door in found["doors"] if door.kind is kind}


def test_the_tables_have_every_door(found):
    assert names(found, DoorKind.RPC) == set(RPCS)
    assert names(found, DoorKind.ROUTE) == set(ROUTES)
    assert names(found, DoorKind.CHANNEL) == set(CHANNELS)
    assert names(found, DoorKind.WEBSOCKET) == set(WEBSOCKETS)


def test_every_method_that_is_served_is_a_door(found):
    for path, method in found["methods"].items():
        (door,) = [each for each in found["doors"] if each.kind is DoorKind.RPC and each.name == path]
        assert (door.verb, door.resource, door.public) == (method.verb, method.resource, method.public)
    assert set(found["methods"]) == names(found, DoorKind.RPC)


def test_every_route_that_is_served_is_a_door(found):
    served = {f"{method} {rule.rule}" for rule in found["rules"] for method in rule.methods - {"HEAD"}}
    assert served == names(found, DoorKind.ROUTE)


def test_doors_are_public_only_where_the_table_lets_all_in(found):
    for door in found["doors"]:
        if door.kind is DoorKind.RPC:
            assert door.public == (RPCS[door.name][0] == ALL), door
        elif door.kind is DoorKind.ROUTE:
            assert door.public == (ROUTES[door.name][0] == ALL), door
        elif door.kind is DoorKind.WEBSOCKET:
            assert door.public == (WEBSOCKETS[door.name][0] == ALL), door
        else:
            assert not door.public


@pytest.mark.parametrize("by", ["session", "certificate"])
@pytest.mark.parametrize("door", RPCS)
def test_rpc(answers, door, by):
    got = {who: answers[door, who, by].status for who in EVERYBODY}
    assert got == {who: expected_rpc(door, who, by) for who in EVERYBODY}


@pytest.mark.parametrize("by", ["session", "certificate"])
@pytest.mark.parametrize("door", RPCS)
def test_every_denied_rpc_is_audited(found, answers, door, by):
    method = found["methods"][door]
    for who in EVERYBODY:
        denials = answers[door, who, by].denials
        assert len(denials) == is_denial_audited(door, who, by), (who, denials)
        for event in denials:
            assert event.event_type.type_name == "authz.denied"
            assert not event.success
            assert (event.details["verb"], event.resource_type) == (method.verb, method.resource)
            assert event.client_ip == address_of(who)
            assert event.decision_id
            if who in ROLES:
                assert (event.user_name, event.user_roles) == (who.replace(" ", "-"), ROLES[who])


def stopped(who):
    return 403 if who == "locked user" else 401


@pytest.mark.parametrize("door", ROUTES)
def test_route(answers, door):
    passing, inside = ROUTES[door]
    expected = {who: inside if who in passing else 403 if who in USERS else stopped(who) for who in EVERYBODY}
    assert {who: answers[door, who].status for who in EVERYBODY} == expected
    for who in EVERYBODY:
        assert len(answers[door, who].denials) == (expected[who] == 403 and who in USERS), who


@pytest.mark.parametrize("path", WEBSOCKETS)
def test_web_socket(answers, path):
    passing, inside = WEBSOCKETS[path]
    expected = {who: inside if who in passing else stopped(who) for who in EVERYBODY}
    assert {who: answers[path, who].status for who in EVERYBODY} == expected


@pytest.mark.parametrize("kind", CHANNELS)
def test_channel(answers, kind):
    assert {who: answers[kind, who].status for who in (*EVERYBODY, *WANTING)} == CHANNELS[kind]


def test_every_denied_node_and_application_is_audited(answers):
    for who in (*EVERYBODY, *WANTING):
        for kind in ("ssh", "app"):
            types = [event.event_type.type_name for event in answers[kind, who].denials]
            assert types == (["access.denied"] if answers[kind, who].status in DENIED else [])
        assert answers["api", who].denials == ()


async def test_a_channel_of_another_kind_is_refused(tmp_path):
    async with open_cluster(tmp_path) as cluster:
        for kind in ("shell", "ssh ", "SSH", "x" * 60):
            assert await cluster.open_channel(cluster.people["admin"], kind) == "rejected REFUSED", kind
