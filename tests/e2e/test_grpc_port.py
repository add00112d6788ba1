# SPDX-License-Identifier: Apache-2.0
"""Other people's clients at a hub's gRPC port, with TLS and without (threats D13, F3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
import trio

from mezite.api.pb.mezite.v1 import auth_pb2, users_pb2
from tests.e2e.harness import Cluster, running_cluster
from tests.e2e.test_grpc_interop import channel_to, in_thread, nginx, run_program
from tests.net.test_h2c_entrance import upgrade_head

pytestmark = pytest.mark.e2e

USERS = "/mezite.v1.UserService/ListUsers"
EMPTY_MESSAGE = b"\0\0\0\0\0"
GRPC_FIELDS = ("-H", "content-type: application/grpc", "-H", "te: trailers")


@pytest.fixture(scope="module")
def open_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A hub that takes cleartext on its gRPC port, beside TLS."""
    with running_cluster(tmp_path_factory.mktemp("hub"), auth={"grpc_allow_http": True}) as cluster:
        yield cluster


@pytest.fixture
def body(tmp_path: Path) -> Path:
    path = tmp_path / "body"
    path.write_bytes(EMPTY_MESSAGE)
    return path


def list_users(channel: grpc.Channel, token: str) -> list[str]:
    call = channel.unary_unary(
        USERS, users_pb2.ListUsersRequest.SerializeToString, users_pb2.ListUsersResponse.FromString
    )
    metadata = [("authorization", f"Bearer {token}")] if token else []
    return [user.name for user in call(users_pb2.ListUsersRequest(), metadata=metadata, timeout=20).users]


def needs_a_credential(channel: grpc.Channel, token: str) -> None:
    """Asked with the token, without one, and with a wrong one."""
    assert list_users(channel, token) == ["admin"]
    for wrong in ("", token + "x"):
        with pytest.raises(grpc.RpcError) as caught:
            list_users(channel, wrong)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert list_users(channel, token) == ["admin"]


def roots(channel: grpc.Channel) -> bytes:
    call = channel.unary_unary(
        "/mezite.v1.AuthService/GetClusterCa",
        auth_pb2.GetClusterCaRequest.SerializeToString,
        auth_pb2.GetClusterCaResponse.FromString,
    )
    return "".join(call(auth_pb2.GetClusterCaRequest(), timeout=20).host_tls_ca_pem).encode()


def test_grpcio(open_port: Cluster) -> None:
    address = open_port.addresses["auth"]
    with grpc.insecure_channel(address) as channel:
        needs_a_credential(channel, open_port.token)
        credentials = grpc.ssl_channel_credentials(roots(channel))
    port = address.rpartition(":")[2]
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        needs_a_credential(channel, open_port.token)


async def test_grpcio_through_nginx(open_port: Cluster, tmp_path: Path) -> None:
    def ask(port: int) -> None:
        with channel_to(port, tls=True) as channel:
            needs_a_credential(channel, open_port.token)

    upstream = int(open_port.addresses["auth"].rpartition(":")[2])
    async with nginx(tmp_path, upstream) as port:
        await in_thread(ask, port)


@pytest.mark.parametrize("how", ["--http2", "--http2-prior-knowledge"])
async def test_curl(open_port: Cluster, body: Path, how: str) -> None:
    """``--http2`` sends the message together with the wish for HTTP/2."""
    call = ("curl", "-sS", "-i", how, "--data-binary", f"@{body}", *GRPC_FIELDS)
    url = f"http://{open_port.addresses['auth']}{USERS}"
    done = await run_program(*call, "-H", f"authorization: Bearer {open_port.token}", url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"HTTP/1.1 101 ") == (how == "--http2")
    assert b"HTTP/2 200" in done.stdout
    assert b"grpc-status: 0" in done.stdout
    assert b"admin" in done.stdout
    done = await run_program(*call, url)
    assert b"grpc-status: 16" in done.stdout
    assert b"admin" not in done.stdout
    done = await run_program("curl", "-sS", "-i", how, url)
    assert b"HTTP/2 405" in done.stdout


async def test_curl_that_cannot_be_served(open_port: Cluster, tmp_path: Path) -> None:
    url = f"http://{open_port.addresses['auth']}/"
    done = await run_program("curl", "-sS", "-i", "--http1.1", url)
    assert done.stdout.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert b"gRPC port" in done.stdout
    done = await run_program("curl", "-sS", "-I", "--http1.1", url)
    assert done.returncode == 0, done.stderr
    large = tmp_path / "large"
    large.write_bytes(bytes(40_000))
    done = await run_program("curl", "-sS", "-i", "--http2", "--data-binary", f"@{large}", url)
    assert done.stdout.startswith(b"HTTP/1.1 413 ")
    assert b"--http2-prior-knowledge" in done.stdout
    done = await run_program("curl", "-sSk", "-i", "--http1.1", url.replace("http:", "https:"))
    assert done.stdout.startswith(b"HTTP/1.1 505 ")


@pytest.mark.parametrize("how", ["-u", "-v"])
async def test_nghttp(open_port: Cluster, body: Path, how: str) -> None:
    """With ``-u`` and a body nghttp upgrades an ``OPTIONS *`` and makes its call behind it."""
    url = f"http://{open_port.addresses['auth']}{USERS}"
    fields = ("-H", "content-type: application/grpc", "-H", f"authorization: Bearer {open_port.token}")
    done = await run_program("nghttp", "-v", how, "-d", str(body), *fields, url)
    assert done.returncode == 0, done.stderr
    assert (b"Upgrade: h2c" in done.stdout) == (how == "-u")
    assert b"grpc-status: 0" in done.stdout
    assert b"admin" in done.stdout
    assert b"PROTOCOL_ERROR" not in done.stdout
    done = await run_program("nghttp", "-v", how, url)
    assert b":status: 405" in done.stdout
    assert b"PROTOCOL_ERROR" not in done.stdout


async def test_other_ports_do_not_upgrade(open_port: Cluster) -> None:
    """D13: HTTP/2 behind the back of a proxy that reads HTTP/1 is for the gRPC port alone."""
    wish = (
        "-H",
        "Connection: Upgrade, HTTP2-Settings",
        "-H",
        "Upgrade: h2c",
        "-H",
        "HTTP2-Settings: AAMAAABk",
    )
    url = f"{open_port.addresses['web']}/v1/webapi/ping"
    done = await run_program("curl", "-sSk", "-i", "--http1.1", *wish, f"https://{url}")
    assert not done.stdout.startswith(b"HTTP/1.1 101")
    assert b"h2c" not in done.stdout


async def test_an_upgrade_that_carries_a_second_request(open_port: Cluster) -> None:
    host, _, port = open_port.addresses["auth"].rpartition(":")
    stream = await trio.open_tcp_stream(host, int(port))
    smuggled = b"GET /v1/webapi/ping HTTP/1.1\r\nHost: hub\r\n\r\n"
    heard = b""
    async with stream:
        await stream.send_all(upgrade_head() + smuggled * 3)
        with trio.fail_after(10):
            try:
                while data := await stream.receive_some():
                    heard += data
            except trio.BrokenResourceError:
                pass
    assert heard.startswith(b"HTTP/1.1 101 ")
    assert heard.count(b"HTTP/1.1") == 1
