# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.EnrollmentService` over a connection, as an agent uses it."""

import attrs
import pytest

from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.storage import agents, node_sessions
from tests.api.services import calling, calling_as_agent
from tests.services.nodes.test_live_connections import connection_of
from tests.services.world import CLUSTER, HOUR, SSH_PUBLIC_LINE, START, TLS_PUBLIC_PEM, certificate_der

KEYS = {
    "tls_public_key_pem": TLS_PUBLIC_PEM.decode(),
    "ssh_public_key": SSH_PUBLIC_LINE,
    "agent_time_ms": START,
}
START_REPORT = pb.ReportSessionStartRequest(
    connection_id="c-1", session_id="s-1", login="ubuntu", kind="exec", command="id", pty=True
)


def register(secret, **changes):
    fields = {"join_token": secret, "node_name": "web-1", "labels": {"env": "prod"}, "version": "0.1", **KEYS}
    return pb.RegisterAgentRequest(**fields | changes)


async def test_joining_needs_the_token_alone(world):
    secret = await world.join_token()
    async with calling(world) as call:
        identity = await call("EnrollmentService/RegisterAgent", register(secret))
        error = await call.refused("EnrollmentService/RegisterAgent", register(secret, node_name="web-2"))
    assert error.status is StatusCode.UNAUTHENTICATED
    assert (identity.node_name, identity.cluster_name, identity.generation) == ("web-1", CLUSTER, 1)
    assert identity.expires_at_ms == START + 24 * HOUR
    assert identity.server_time_ms == START
    assert list(identity.host_tls_ca_pem) == world.authorities.host_tls_ca_pem
    assert list(identity.user_ssh_ca) == world.authorities.user_ssh_ca_lines
    peer = world.authorities.verify_client(certificate_der(identity.tls_certificate_pem), now=START)
    assert (peer.name, peer.node_name) == (identity.agent_id, "web-1")
    assert identity.ssh_host_certificate


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"join_token": "wrong"}, StatusCode.UNAUTHENTICATED, "the join token is not known here"),
        ({"node_name": "Web 1"}, StatusCode.INVALID_ARGUMENT, "node name"),
        ({"ssh_public_key": ""}, StatusCode.INVALID_ARGUMENT, "key"),
        ({"agent_time_ms": START - 600_000}, StatusCode.FAILED_PRECONDITION, "10m behind the hub's"),
    ],
)
async def test_refusals_say_why(world, changes, status, text):
    secret = await world.join_token()
    async with calling(world) as call:
        error = await call.refused("EnrollmentService/RegisterAgent", register(secret, **changes))
        assert error.status is status
        assert text in error.message


async def test_a_name_that_is_taken(world):
    await world.join("web-1")
    async with calling(world) as call:
        request = register(await world.join_token())
        assert (
            await call.refused("EnrollmentService/RegisterAgent", request)
        ).status is StatusCode.ALREADY_EXISTS


async def test_renewing(world):
    enrolled = await world.join()
    request = pb.RenewAgentIdentityRequest(**KEYS)
    async with calling_as_agent(world, enrolled) as call:
        renewed = await call("EnrollmentService/RenewAgentIdentity", request)
        assert (renewed.agent_id, renewed.generation) == (enrolled.agent.agent_id, 2)
    newer = attrs.evolve(
        enrolled,
        certificates=attrs.evolve(enrolled.certificates, tls_certificate_pem=renewed.tls_certificate_pem),
    )
    async with calling_as_agent(world, newer) as call:
        assert (await call("EnrollmentService/RenewAgentIdentity", request)).generation == 3
    async with calling_as_agent(world, enrolled) as call:
        error = await call.refused("EnrollmentService/RenewAgentIdentity", request)
        assert error.status is StatusCode.PERMISSION_DENIED
        assert "in use in two places" in error.message


async def test_a_heartbeat(world):
    enrolled = await world.join()
    async with calling_as_agent(world, enrolled) as call:
        request = pb.AgentHeartbeatRequest(version="0.2", labels={"env": "dev"})
        answer = await call("EnrollmentService/AgentHeartbeat", request)
    assert (answer.server_time_ms, list(answer.user_ssh_ca)) == (START, world.authorities.user_ssh_ca_lines)
    row = await world.database.read(agents.get, agent_id=enrolled.agent.agent_id)
    assert (row.version, row.labels) == ("0.2", {"env": "dev"})


async def test_reporting_a_session(world):
    enrolled = await world.join()
    agent = await world.agent_of(enrolled)
    with world.connections.track(await connection_of(world, agent)):
        async with calling_as_agent(world, enrolled) as call:
            await call("EnrollmentService/ReportSessionStart", START_REPORT)
            end = pb.ReportSessionEndRequest(session_id="s-1", exit_status=0, bytes_in=3, bytes_out=4)
            await call("EnrollmentService/ReportSessionEnd", end)
            refusal = pb.ReportRefusalRequest(connection_id="c-1", login="root", reason="no such account")
            answer = await call("EnrollmentService/ReportRefusal", refusal)
    row = await world.database.read(node_sessions.get, session_id="s-1")
    assert (row.exit_status, row.bytes_from_user, row.bytes_to_user) == (0, 3, 4)
    (event,) = await world.events("access.denied")
    assert answer.event_id == event["id"]


async def test_a_session_without_an_exit_status(world):
    """Status 0 and no status are two things."""
    enrolled = await world.join()
    with world.connections.track(await connection_of(world, await world.agent_of(enrolled))):
        async with calling_as_agent(world, enrolled) as call:
            await call("EnrollmentService/ReportSessionStart", START_REPORT)
            end = pb.ReportSessionEndRequest(session_id="s-1", exit_signal="KILL" * 99)
            await call("EnrollmentService/ReportSessionEnd", end)
    (event,) = await world.events("session.end")
    assert event["exit_status"] is None
    assert len(event["exit_signal"]) == 32


async def test_another_agents_connection(world):
    """Threat G5."""
    one, two = await world.join("web-1"), await world.join("web-2")
    with world.connections.track(await connection_of(world, await world.agent_of(one))):
        async with calling_as_agent(world, two) as call:
            error = await call.refused("EnrollmentService/ReportSessionStart", START_REPORT)
            assert error.status is StatusCode.NOT_FOUND


async def test_a_tunnel_outlives_the_certificate_it_was_made_with(world):
    """Threat B5: agents renew through the tunnel, which stands for months; they must not fall silent after a day."""
    enrolled = await world.join()
    agent = await world.leases.check_generation(await world.agent_of(enrolled), "")
    with world.connections.track(await connection_of(world, agent)):
        async with calling(world, agent=agent) as call:
            for day in range(4):
                world.clock.now = START + day * 24 * HOUR
                keys = KEYS | {"agent_time_ms": world.clock.now}
                await call("EnrollmentService/AgentHeartbeat", pb.AgentHeartbeatRequest())
                request = pb.RenewAgentIdentityRequest(**keys)
                renewed = await call("EnrollmentService/RenewAgentIdentity", request)
            await call("EnrollmentService/ReportSessionStart", START_REPORT)
    last = await world.authenticator.by_tls_certificate(certificate_der(renewed.tls_certificate_pem))
    assert (await world.leases.check_generation(last, "")).generation == 5


@pytest.mark.parametrize("end", ["removed", "locked"])
async def test_a_tunnel_is_asked_about_its_agent_at_each_call(world, end):
    """Threats E14, F8."""
    agent = await world.agent_of(await world.join())
    async with calling(world, agent=agent) as call:
        await call("EnrollmentService/AgentHeartbeat", pb.AgentHeartbeatRequest())
        if end == "removed":
            await world.database.write(agents.remove, agent_id=agent.agent_id, now=START)
        else:
            await world.database.write(agents.lock, agent_id=agent.agent_id, reason="lost", now=START)
        error = await call.refused("EnrollmentService/AgentHeartbeat", pb.AgentHeartbeatRequest())
    expected = StatusCode.UNAUTHENTICATED if end == "removed" else StatusCode.PERMISSION_DENIED
    assert error.status is expected
