# SPDX-License-Identifier: Apache-2.0
"""Every door that leads to a node or an application, for somebody whose sessions need a second factor (threat E8)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mezite.api.client import ClientOptions, RpcError, StatusCode, open_api_client
from mezite.api.pb.mezite.v1 import enrollment_pb2
from mezite.cli.hub_client.profile_store import Profile
from mezite.core.mux.connection import ChannelHeader
from mezite.net.mux_session import MuxSession
from mezite.net.tls_stream import TlsStream
from mezite.net.tunnel_route import TUNNEL_PATH, Carrier
from mezite.net.websocket_stream import WebSocketStream
from mezite.ssh.policy import ChannelKind
from mezite.storage import roles
from tests.handlers.peers import API, FakeAgent, online_agent, session_on, user_context, user_session
from tests.handlers.test_web_sockets import websocket
from tests.hub.live_hub import LiveHub, live_hub

ROLE = {
    "kind": "role",
    "version": "v1",
    "metadata": {"name": "careful"},
    "spec": {
        "options": {"require_session_mfa": "any"},
        "allow": {"node_labels": {"*": "*"}, "logins": ["ubuntu"]},
    },
}

LEADING = {"nodes.connect", "apps.connect"}
"""The verbs of what ends at a node or an application."""

DOORS = {
    "channel ssh": "the agent asks: below, and tests/e2e/test_session_mfa.py",
    "channel app": "TCP can ask nobody: refused, tests/services/apps/test_authorization.py",
}
"""Of the registry; port 3023 for stock clients is in tests/e2e/test_session_mfa.py, and applications in the browser ask
before their session begins."""

SERVED = sorted({"shell", "exec", "subsystem", "direct-tcpip", "tcpip-forward"})
"""All that an agent reports before it serves it: `SessionInfo.kind`."""


def test_what_an_agent_serves_is_all_here() -> None:
    within = {ChannelKind.SESSION, ChannelKind.PTY, ChannelKind.AGENT_FORWARDING}
    assert {kind.value for kind in set(ChannelKind) - within} == set(SERVED)


async def report(agent: FakeAgent, kind: str) -> RpcError:
    """What the hub says to an agent that has asked for nothing and lets the user in."""
    request = enrollment_pb2.ReportSessionStartRequest(
        connection_id=agent.headers[-1].trace_id,
        session_id=f"s-{kind}",
        login="ubuntu",
        kind=kind,
        certificate_serial="1",
    )
    channel = await agent.session.open_channel(API)
    async with open_api_client(channel, ClientOptions(authority="hub")) as client:
        with pytest.raises(RpcError) as refused:
            await client.unary(
                "/mezite.v1.EnrollmentService/ReportSessionStart",
                request,
                enrollment_pb2.ReportSessionStartResponse,
            )
    return refused.value


@asynccontextmanager
async def inner_session(hub: LiveHub, profile: Profile, carrier: Carrier) -> AsyncIterator[MuxSession]:
    """As msh connects: bare, or where only HTTP passes."""
    if carrier is Carrier.TCP:
        async with user_session(hub, profile) as session:
            yield session
        return
    async with websocket(hub, TUNNEL_PATH) as connection:
        inner = TlsStream(WebSocketStream(connection), user_context(profile), server_side=False)
        await inner.do_handshake()
        async with session_on(inner) as session:
            yield session


async def test_each_way_and_each_use(tmp_path: Path) -> None:
    """Path by requirement: bare and in a WebSocket, and whatever is asked for inside."""
    async with live_hub(tmp_path) as hub:
        leading = {f"{door.kind.value} {door.name}" for door in hub.hub.verbs.doors() if door.verb in LEADING}
        assert leading == set(DOORS)
        await hub.hub.ground.database.write(
            roles.put, name="careful", document=json.dumps(ROLE), now=hub.sources.now()
        )
        _current, profile = await hub.user(roles=("careful",))
        async with online_agent(hub, await hub.enroll()) as agent:
            for carrier in (Carrier.TCP, Carrier.WEBSOCKET):
                async with inner_session(hub, profile, carrier) as session:
                    for kind in SERVED:
                        await session.open_channel(
                            ChannelHeader(kind="ssh", target="web-1", attributes={"login": "ubuntu"})
                        )
                        assert agent.headers[-1].attributes["unproven"] == "*"
                        refused = await report(agent, kind)
                        assert refused.status is StatusCode.PERMISSION_DENIED
                        assert "require_session_mfa: any" in refused.message
        assert len(await hub.audited("access.denied")) == 2 * len(SERVED)
        assert not await hub.audited("session.start")
        assert not await hub.audited("port.forward")
