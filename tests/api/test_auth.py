# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AuthService` over a connection."""

import pytest

from mezite import __version__
from mezite.api.pb.mezite.v1 import auth_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling, calling_as
from tests.services.world import (
    CLUSTER,
    HOUR,
    PASSWORD,
    SSH_PUBLIC_LINE,
    START,
    TLS_PUBLIC_PEM,
    certificate_der,
)

CERTS = pb.IssueUserCertsRequest(ssh_public_key=SSH_PUBLIC_LINE, tls_public_key_pem=TLS_PUBLIC_PEM.decode())


async def test_who_the_cluster_is(world):
    async with calling(world) as call:
        pong = await call("AuthService/Ping")
        assert (pong.cluster_name, pong.version, pong.server_time_ms) == (CLUSTER, __version__, START)
        assert pong.host_ca_pin == f"sha256:{world.authorities.host_pin}"
        bundle = await call("AuthService/GetClusterCa")
        assert list(bundle.host_tls_ca_pem) == world.authorities.host_tls_ca_pem
        assert (bundle.cluster_name, bundle.server_time_ms) == (CLUSTER, START)


async def test_password_in_session_out_certificates_out(world):
    await world.user("alice", logins=("ubuntu", "deploy"))
    async with calling(world) as call:
        login = pb.AuthenticateLocalRequest(username="alice", password=PASSWORD)
        session = await call("AuthService/AuthenticateLocal", login)
    assert (session.user_name, list(session.roles)) == ("alice", ["access"])
    assert session.expires_at_ms == START + 12 * HOUR
    async with calling(world, token=session.session_token) as call:
        issued = await call("AuthService/IssueUserCerts", CERTS)
    assert (issued.user_name, issued.cluster_name) == ("alice", CLUSTER)
    assert (list(issued.logins), list(issued.roles)) == (["deploy", "ubuntu"], ["access"])
    assert list(issued.ssh_host_ca) == world.authorities.host_ssh_ca_lines
    assert list(issued.host_tls_ca_pem) == world.authorities.host_tls_ca_pem
    assert issued.expires_at_ms == START + 12 * HOUR
    peer = world.authorities.verify_client(certificate_der(issued.tls_certificate_pem), now=START)
    assert peer.name == "alice"
    assert issued.ssh_certificate.startswith("ssh-ed25519-cert-v01@openssh.com ")


@pytest.mark.parametrize(("name", "password"), [("alice", "wrong"), ("nobody", PASSWORD), ("", "")])
async def test_a_wrong_password(world, name, password):
    await world.user("alice")
    async with calling(world) as call:
        request = pb.AuthenticateLocalRequest(username=name, password=password)
        error = await call.refused("AuthService/AuthenticateLocal", request)
    assert error.status is StatusCode.UNAUTHENTICATED
    assert error.message.startswith("wrong user name or password")


async def test_a_bad_key_and_a_bad_time(world):
    async with calling_as(world, "alice", roles=()) as call:
        for request in (pb.IssueUserCertsRequest(), pb.IssueUserCertsRequest(ttl_seconds=-1)):
            assert (
                await call.refused("AuthService/IssueUserCerts", request)
            ).status is StatusCode.INVALID_ARGUMENT


async def test_changing_the_password(world):
    change = pb.ChangePasswordRequest(old_password=PASSWORD, new_password="a whole new password")
    weak = pb.ChangePasswordRequest(old_password=PASSWORD, new_password="short")
    async with calling_as(world, "alice", roles=()) as call:
        assert (await call.refused("AuthService/ChangePassword", weak)).status is StatusCode.INVALID_ARGUMENT
        await call("AuthService/ChangePassword", change)
        # The session that the call was made with goes on; the old password is nothing any more.
        error = await call.refused("AuthService/ChangePassword", change)
        assert error.status is StatusCode.UNAUTHENTICATED


async def test_logging_out(world):
    async with calling_as(world, "alice", roles=()) as call:
        await call("AuthService/Logout")
        assert (await call.refused("AuthService/Logout")).status is StatusCode.UNAUTHENTICATED
