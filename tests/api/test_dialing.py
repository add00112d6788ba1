# SPDX-License-Identifier: Apache-2.0
"""Reaching the gRPC port, and knowing whether it is the right hub."""

import pytest
import trio
import trio.testing

from mezite.api.dialing import (
    CONNECT_SECONDS,
    GRPC_ALPN,
    ApiConnectError,
    connect_api,
    fetch_cluster_ca,
)
from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.api.rpc import PeerInfo
from mezite.api.server import GrpcServer
from mezite.api.signed_trust import check_pin
from mezite.core.certificates.keys import generate_ed25519, generate_p256, private_key_pem
from mezite.core.certificates.trust_bundle import key_id_of_certificate
from mezite.net.dialer import DialError
from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.api.services import make_server
from tests.loopback import listening
from tests.services.world import CLIENT, CLUSTER, START

PING = ("/mezite.v1.AuthService/Ping", auth_pb2.PingRequest(), auth_pb2.PingResponse)


def hub(world, context, server=None):
    """A gRPC port with that TLS context; None for h2c."""
    server = server or make_server(world)

    async def handle(transport):
        stream = transport
        if context is not None:
            stream = TlsStream(transport, context, server_side=True)
            await stream.do_handshake()
        await server.serve_connection(stream, PeerInfo(client_address=CLIENT))

    return handle


def own_context(alpn=GRPC_ALPN):
    return server_context(*self_signed_pem(), alpn)


def trusting():
    return client_context([self_signed_pem()[0]], GRPC_ALPN)


async def test_over_tls(world):
    await world.user("alice")
    token = await world.token("alice")
    async with (
        listening(hub(world, own_context())) as address,
        connect_api(address, trusting(), token=token) as client,
    ):
        assert (await client.unary(*PING)).cluster_name == CLUSTER
        request, answer = auth_pb2.LogoutRequest(), auth_pb2.LogoutResponse
        await client.unary("/mezite.v1.AuthService/Logout", request, answer)


async def test_over_cleartext(world):
    async with listening(hub(world, None)) as address, connect_api(address, None) as client:
        assert (await client.unary(*PING)).server_time_ms == START


async def refused(address, context):
    with pytest.raises(ApiConnectError) as refused:
        async with connect_api(address, context):
            pytest.fail("it was taken for a hub")
    error = refused.value
    assert str(error) == f"{error.what}: {error.why}; {error.hint}"
    assert address in error.what
    return error


async def test_a_certificate_that_is_not_trusted(world):
    strangers = client_context([self_signed_pem("other.example")[0]], GRPC_ALPN)
    async with listening(hub(world, own_context())) as address:
        error = await refused(address, strangers)
        assert "verify failed" in error.why
        assert "--ca-pin" in error.hint


async def test_a_port_that_speaks_no_http2(world):
    """The HTTPS port, for one."""
    async with listening(hub(world, own_context(("http/1.1",)))) as address:
        error = await refused(address, trusting())
        assert "is not a gRPC port" in error.what
        assert "default port 3025" in error.hint


async def test_a_port_that_speaks_no_tls():
    async def ssh(stream):
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
        await stream.receive_some()

    async with listening(ssh) as address:
        error = await refused(address, trusting())
        assert "speaks TLS" in error.hint


async def test_a_port_that_says_nothing(mock_clock):
    greeted = trio.Event()

    async def silent(stream):
        await stream.receive_some()
        greeted.set()
        await trio.sleep_forever()

    async def turn():
        await greeted.wait()
        mock_clock.jump(CONNECT_SECONDS)

    async with listening(silent) as address, trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        error = await refused(address, trusting())
        assert error.why == "no TLS handshake within 15 s"


async def test_nobody_there():
    async with listening(trio.aclose_forcefully) as address:
        pass
    with pytest.raises(DialError, match="connection refused"):
        async with connect_api(address, trusting()):
            pytest.fail("connected to nobody")


def ca_context(world):
    """A hub's real certificate; the clock of these tests is not that of OpenSSL, and the pin needs none."""
    issued = world.authorities.issue_hub(
        hub_id="hub-1", tls_key=KEY, ssh_key=generate_ed25519(), names=("localhost",), addresses=()
    )
    return server_context(issued.tls_certificate_pem, private_key_pem(KEY), GRPC_ALPN)


KEY = generate_p256()


async def test_the_ca_bundle_is_held_against_the_pin(world):
    async with listening(hub(world, ca_context(world))) as address:
        found = await fetch_cluster_ca(address, world.authorities.host_pin)
        assert (found.cluster_name, found.server_time) == (CLUSTER, START)
        assert [pem.decode() for pem in found.bundle] == world.authorities.host_tls_ca_pem
        with pytest.raises(ApiConnectError, match="not the one that the CA pin names") as wrong:
            await fetch_cluster_ca(address, "0" * 64)
        assert world.authorities.host_pin in wrong.value.why
        assert "someone is in between" in wrong.value.hint


async def nobody(*_arguments):
    return None


async def test_a_port_that_answers_something_else(world):
    """An h2 server that knows no such method."""
    server = GrpcServer([], authenticate=nobody, authorize=nobody)
    async with listening(hub(world, own_context(), server)) as address:
        with pytest.raises(ApiConnectError, match="does not answer"):
            await fetch_cluster_ca(address, "0" * 64)


@pytest.mark.parametrize("how", ["empty", "damaged", "two"])
def test_bundles_that_are_not_believed(how):
    """A second certificate beside the pinned one would be trusted as well."""
    pem, other = (self_signed_pem(name)[0].decode() for name in ("localhost", "other.example"))
    pems = {"empty": (), "damaged": ("nonsense",), "two": (pem, other)}[how]
    for pin in ("0" * 64, key_id_of_certificate(pem)):
        with pytest.raises(ApiConnectError, match="not the one"):
            check_pin(pems, [], pin, "hub:3025")
    assert check_pin((pem,), [], key_id_of_certificate(pem), "hub:3025") == (pem.encode(),)
