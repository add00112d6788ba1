# SPDX-License-Identifier: Apache-2.0
"""What strangers can ask of a whole hub: bounded for each address, through every door, and so is its record (H7)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mezite.api.client import ApiClient, RpcError
from mezite.api.dialing import connect_api
from mezite.api.pb.mezite.v1 import auth_pb2, enrollment_pb2
from mezite.api.rpc import StatusCode
from mezite.config.schema import ProxyConfig
from mezite.net.dialer import dial
from mezite.net.http1_client import Response, request
from mezite.net.tls_contexts import unverified_client_context
from mezite.services.authentication.refusal_log import PER_SOURCE
from tests.hub.live_hub import ANYWHERE, PASSWORD, LiveHub, live_hub

GUESSER, OTHER = "198.51.100.9", "203.0.113.4"
BURST = 30

BEHIND_A_BALANCER = ProxyConfig(
    listen_addr=ANYWHERE,
    ssh_listen_addr=ANYWHERE,
    tunnel_listen_addr=ANYWHERE,
    tls_mode="off",
    trusted_ip_header="X-Forwarded-For",
)


@asynccontextmanager
async def hub_and_api(folder: Path) -> AsyncIterator[tuple[LiveHub, ApiClient]]:
    """A hub behind something at 127.0.0.1 that names the client in a header, for HTTP and for gRPC."""
    async with live_hub(folder, proxy=BEHIND_A_BALANCER) as hub:
        await hub.hub.ground.accounts.create(
            "alice", roles=("access",), traits={}, password=PASSWORD, by="test"
        )
        async with connect_api(hub.address("auth"), unverified_client_context(("h2",))) as client:
            yield hub, client


async def post(hub: LiveHub, path: str, client: str, **fields: str) -> Response:
    async with await dial(hub.address("web"), 1) as stream:
        headers = [("content-type", "application/json"), ("x-forwarded-for", client)]
        body = json.dumps(fields).encode()
        return await request(stream, "POST", f"/v1/webapi/{path}", headers, body, host="localhost")


async def log_in(client: ApiClient, source: str, user: str, password: str) -> str:
    answer = await client.unary(
        "/mezite.v1.AuthService/AuthenticateLocal",
        auth_pb2.AuthenticateLocalRequest(username=user, password=password),
        auth_pb2.AuthenticateLocalResponse,
        metadata=[("x-forwarded-for", source)],
    )
    return answer.user_name


async def outcome(call: Awaitable[object]) -> tuple[StatusCode, Mapping[str, str]]:
    try:
        await call
    except RpcError as refused:
        return refused.status, refused.details
    return StatusCode.OK, {}


async def guess(hub: LiveHub, client: ApiClient, number: int) -> Response | None:
    """Guess through one of three doors, the last times through the quickest; the answer when there were too many."""
    if number < BURST and number % 10 == 2:
        status, _details = await outcome(log_in(client, GUESSER, f"nobody-{number}", "guess"))
        assert status is StatusCode.UNAUTHENTICATED
        return None
    if number < BURST and number % 10 == 3:
        answer = await post(hub, "login", GUESSER, username=f"nobody-{number}", password="guess")
        assert answer.status == 401
        return None
    answer = await post(hub, "invites/accept", GUESSER, token=f"{number}", password=PASSWORD)
    if answer.status == 429:
        return answer
    assert answer.status == 401
    return None


async def test_guesses_are_counted_by_address_through_every_door(tmp_path: Path) -> None:
    async with hub_and_api(tmp_path) as (hub, client):
        wrong, too_many = 0, None
        while too_many is None:
            too_many = await guess(hub, client, wrong)
            wrong += too_many is None
        assert wrong >= BURST
        assert 1 <= int(too_many.header(b"retry-after") or b"0") <= 6
        assert "too many wrong passwords and invites" in json.loads(too_many.body)["error"]["message"]
        status, details = await outcome(log_in(client, GUESSER, "alice", PASSWORD))
        assert status is StatusCode.RESOURCE_EXHAUSTED
        assert 1 <= int(details["retry_after"]) <= 6

        assert await log_in(client, OTHER, "alice", PASSWORD) == "alice"
        assert (await post(hub, "login", OTHER, username="alice", password=PASSWORD)).status == 200

        failed = [json.loads(text) for text in await hub.audited("user.login.failed")]
        assert {event["client_ip"] for event in failed} == {GUESSER}
        assert len(failed) == PER_SOURCE
        await hub.hub.ground.refusals.summarise()
        (summary, *_) = [json.loads(text) for text in await hub.audited("user.login.failed")]
        assert (summary["client_ip"], summary["repeated"]) == (GUESSER, wrong - PER_SOURCE + 2)


async def join(client: ApiClient, source: str, hub: LiveHub) -> None:
    await client.unary(
        "/mezite.v1.EnrollmentService/RegisterAgent",
        enrollment_pb2.RegisterAgentRequest(
            join_token="made-up", node_name="web-1", agent_time_ms=hub.sources.now()
        ),
        enrollment_pb2.AgentIdentity,
        metadata=[("x-forwarded-for", source)],
    )


async def test_made_up_join_tokens(tmp_path: Path) -> None:
    async with hub_and_api(tmp_path) as (hub, client):
        statuses = []
        for _ in range(BURST + 10):
            with pytest.raises(RpcError) as refused:
                await join(client, GUESSER, hub)
            statuses.append(refused.value.status)
        assert statuses == [StatusCode.UNAUTHENTICATED] * BURST + [StatusCode.RESOURCE_EXHAUSTED] * 10
        with pytest.raises(RpcError, match="not known here"):
            await join(client, OTHER, hub)
        assert len(await hub.audited("access.denied")) == PER_SOURCE + 1


async def test_calls_without_a_credential(tmp_path: Path) -> None:
    """They touch nothing but memory; a rack may make two hundred at once, a flood is slowed down."""
    statuses: list[StatusCode] = []

    async def ask(client: ApiClient, source: str) -> None:
        try:
            await client.unary(
                "/mezite.v1.AuthService/GetClusterCa",
                auth_pb2.GetClusterCaRequest(),
                auth_pb2.GetClusterCaResponse,
                metadata=[("x-forwarded-for", source)],
            )
        except RpcError as refused:
            statuses.append(refused.status)

    async with hub_and_api(tmp_path) as (_hub, client):
        for _ in range(4):
            async with trio.open_nursery() as nursery:
                for _ in range(90):
                    nursery.start_soon(ask, client, GUESSER)
        assert set(statuses) == {StatusCode.RESOURCE_EXHAUSTED}
        statuses.clear()
        await ask(client, OTHER)
        assert statuses == []


async def test_inside_tunnels_nobody_speaks_for_others(tmp_path: Path) -> None:
    """Threat D7: the header is a balancer's, on the gRPC port; the hub is told so for that port only."""
    async with live_hub(tmp_path, proxy=BEHIND_A_BALANCER) as hub:
        assert hub.hub.client_of is not None
    async with live_hub(tmp_path / "direct") as hub:
        assert hub.hub.client_of is None
