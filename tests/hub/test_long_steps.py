# SPDX-License-Identifier: Apache-2.0
"""Threat P9: nothing that a peer can ask for keeps everybody else waiting for more than 50 ms."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from mezite.api.dialing import connect_api
from mezite.api.pb.mezite.v1 import auth_pb2, nodes_pb2
from mezite.api.rpc import RpcError
from mezite.net.dialer import dial
from mezite.net.http1_client import Http1ClientError, request
from mezite.net.tls_contexts import client_context, unverified_client_context
from mezite.net.tls_stream import TlsStream
from tests.handlers.peers import agent_context, dial_tls, user_context
from tests.hub.live_hub import PASSWORD, LiveHub, live_hub
from tests.hub.step_clock import step_clock

LONGEST_SECONDS = 0.05
"""Measured: 2 ms, and 5 where lines are counted for coverage."""

SIZES = (7_000, 60_000)
"""Bytes of a body: one that is read as a whole, and one that may be refused on the way."""


def hostile_bodies(size: int) -> Iterator[bytes]:
    yield b'{"username": ' + b"[" * (size // 2) + b"]" * (size // 2) + b', "password": "x"}'
    yield json.dumps({f"key{number}": number for number in range(size // 20)}).encode()
    yield json.dumps({"username": "alice", "password": "x" * size}).encode()
    yield b'{"username": ' + b"9" * size + b"}"


async def https(hub: LiveHub) -> TlsStream:
    roots = [pem.encode() for pem in hub.hub.ground.authorities.host_tls_ca_pem]
    transport, context = await dial(hub.address("web"), 1), client_context(roots, ("http/1.1",))
    stream = TlsStream(transport, context, server_side=False, server_hostname="localhost")
    await stream.do_handshake()
    return stream


async def post(hub: LiveHub, body: bytes) -> int:
    """The status of the answer; 413 also when the hub ended the connection while the body was on its way."""
    async with await https(hub) as stream:
        headers = [("content-type", "application/json")]
        try:
            answer = await request(stream, "POST", "/v1/webapi/login", headers, body, host="localhost")
        except Http1ClientError:
            return 413
        return answer.status


async def strangers(hub: LiveHub) -> None:
    for size in SIZES:
        for body in hostile_bodies(size):
            assert await post(hub, body) in {400, 401, 413}
    async with await https(hub) as stream:
        fields = [(f"x-field-{number}", "y" * 100) for number in range(60)]
        answer = await request(stream, "GET", f"/v1/webapi/{'a/' * 500}", fields, b"", host="localhost")
        assert answer.status in {400, 404, 414, 431}


async def users(hub: LiveHub) -> None:
    await hub.hub.ground.accounts.create("alice", roles=("access",), traits={}, password=PASSWORD, by="test")
    async with connect_api(hub.address("auth"), unverified_client_context(("h2",))) as client:
        for password in (PASSWORD, "wrong"):
            call = client.unary(
                "/mezite.v1.AuthService/AuthenticateLocal",
                auth_pb2.AuthenticateLocalRequest(username="alice", password=password),
                auth_pb2.AuthenticateLocalResponse,
            )
            if password == PASSWORD:
                token = (await call).session_token
                continue
            with pytest.raises(RpcError):
                await call
        await client.unary(
            "/mezite.v1.NodeService/ListNodes",
            nodes_pb2.ListNodesRequest(),
            nodes_pb2.ListNodesResponse,
            metadata=[("authorization", f"Bearer {token}")],
        )


async def tunnels(hub: LiveHub) -> None:
    enrolled = await hub.enroll()
    _current, profile = await hub.user("bob")
    for port, context in (("tunnel", agent_context(enrolled)), ("ssh", user_context(profile))):
        async with await dial_tls(hub.address(port), context):
            await trio.testing.wait_all_tasks_blocked(0.05)


async def test_the_clock_sees_what_keeps_the_loop() -> None:
    async def greedy() -> None:
        until = time.thread_time() + 2 * LONGEST_SECONDS
        while time.thread_time() < until:
            pass
        await trio.lowlevel.checkpoint()

    with step_clock() as clock:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(greedy)
            nursery.start_soon(trio.sleep, 0)
    (name,) = clock.longer_than(LONGEST_SECONDS)
    assert name.endswith("greedy")


async def test_no_step_is_long(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        await users_and_nodes_are_loaded(hub)
        with step_clock() as clock:
            await tunnels(hub)
            await strangers(hub)
            await users(hub)
        assert clock.longest
        assert clock.longer_than(LONGEST_SECONDS) == {}


async def users_and_nodes_are_loaded(hub: LiveHub) -> None:
    """What is imported at the first request only is not a step that repeats."""
    await post(hub, b"{}")
