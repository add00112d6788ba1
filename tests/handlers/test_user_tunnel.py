# SPDX-License-Identifier: Apache-2.0
"""What msh's connections may do (threats A12, E6, E14, P3)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.pb.mezite.v1 import nodes_pb2
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.handlers.user_tunnel import UserTunnelHandler
from mezite.net.mux_session import ChannelRejectedError, MuxSession
from mezite.storage import users
from tests.handlers.peers import (
    API,
    FakeAgent,
    agent_context,
    goodbye,
    online_agent,
    read_all,
    session_on,
    user_context,
    user_session,
)
from tests.handlers.test_agent_tunnel import tls_pair
from tests.hub.live_hub import LiveHub, live_hub


def to(node: str, login: str = "") -> ChannelHeader:
    return ChannelHeader(kind="ssh", target=node, attributes={"login": login} if login else {})


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[LiveHub, FakeAgent, MuxSession]]:
    """A hub, the node web-1, and alice connected."""
    async with live_hub(folder) as hub:
        _current, profile = await hub.user()
        async with online_agent(hub, await hub.enroll()) as agent, user_session(hub, profile) as session:
            yield hub, agent, session


async def refusal(session: MuxSession, header: ChannelHeader) -> ChannelRejectedError:
    with pytest.raises(ChannelRejectedError) as refused:
        await session.open_channel(header)
    return refused.value


async def test_bytes_go_both_ways_and_each_direction_ends_by_itself(tmp_path: Path) -> None:
    """Threat B7 on the way: the first bytes are not lost, whoever is first."""
    async with cluster(tmp_path) as (_hub, agent, session):
        channel = await session.open_channel(to("web-1", "ubuntu"))
        await channel.send_all(b"hello")
        await channel.send_eof()
        assert await read_all(channel) == b"hello<end>"
        header = agent.headers[0]
        assert (header.kind, header.target, header.user) == ("ssh", "web-1", "alice")
        assert header.attributes["logins"] == "ubuntu"
        assert header.client_address.startswith("127.0.0.1:")


async def test_without_a_login_the_allowed_ones_are_passed_on(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        _current, profile = await hub.user(logins=("deploy", "ubuntu"))
        async with online_agent(hub, await hub.enroll()) as agent, user_session(hub, profile) as session:
            await session.open_channel(to("web-1"))
            # The hub has accepted, so the agent has.
            assert agent.headers[0].attributes["logins"] == "deploy,ubuntu"


async def test_what_is_refused_has_its_code_and_reason(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (hub, agent, session):
        unknown = await refusal(session, ChannelHeader(kind="vnc", target="wiki"))
        assert (unknown.code, unknown.text) == (ErrorCode.REFUSED, "there is no channel of kind vnc")
        missing = await refusal(session, to("nosuch", "ubuntu"))
        assert missing.code is ErrorCode.NOT_FOUND
        assert missing.text.startswith("node nosuch: not found, or you have no login there")
        denied = await refusal(session, to("web-1", "root"))
        assert denied.code is ErrorCode.REFUSED
        assert "login root on node web-1 is not allowed" in denied.text
        await hub.enroll("web-2")
        offline = await refusal(session, to("web-2", "ubuntu"))
        assert offline.code is ErrorCode.UNREACHABLE
        assert offline.text.startswith("node web-2 is offline since")
        assert agent.headers == [], "nothing reached the agent"
        denials = [json.loads(line) for line in await hub.audited("access.denied")]
        assert {(event["resource_name"], event["login"]) for event in denials} == {
            ("nosuch", "ubuntu"),
            ("web-1", "root"),
        }


async def test_the_api_is_the_users(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_hub, _agent, session):
        channel = await session.open_channel(API)
        async with open_api_client(channel, ClientOptions(authority="hub")) as client:
            answer = await client.unary(
                "/mezite.v1.NodeService/ListNodes",
                nodes_pb2.ListNodesRequest(),
                nodes_pb2.ListNodesResponse,
            )
        assert [(node.name, list(node.logins)) for node in answer.nodes] == [("web-1", ["ubuntu"])]


async def test_a_user_who_is_gone_is_told(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        _current, profile = hub.profile("ghost", ("access",), ("ubuntu",))
        async with user_session(hub, profile) as session:
            assert await goodbye(session) == "REFUSED user ghost is not known here: log in again"


async def test_a_connection_is_not_a_credential(tmp_path: Path) -> None:
    """Threats E6, E14: who was deleted opens nothing more, on a connection of before either."""
    async with cluster(tmp_path) as (hub, _agent, session):
        await session.open_channel(to("web-1", "ubuntu"))
        await hub.hub.ground.database.write(users.delete, name="alice")
        refused = await refusal(session, to("web-1", "ubuntu"))
        assert refused.text == "user alice is not known here: log in again"


async def test_agents_are_sent_to_the_other_port(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        near, far = await tls_pair(agent_context(await hub.enroll()), hub.hub.tls.tunnel)
        nursery.start_soon(hub.hub.user_tunnels.serve, far, "192.0.2.1:1")
        async with session_on(near) as session:
            said = await goodbye(session)
        assert said == "REFUSED this port is for users: agents connect to the tunnel port"


async def ended(channel: trio.abc.ReceiveStream) -> None:
    """In order or by a reset."""
    try:
        assert await read_all(channel) == b""
    except trio.BrokenResourceError:
        return


async def test_an_agent_that_breaks_off_ends_its_channel_only(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_hub, agent, session):
        channel = await session.open_channel(to("web-1", "ubuntu"))
        await channel.send_all(b"x")
        assert await channel.receive_some() == b"x"
        await trio.aclose_forcefully(agent.channels[0])
        with trio.fail_after(10):
            await ended(channel)
        again = await session.open_channel(to("web-1", "ubuntu"))
        await again.send_all(b"y")
        assert await again.receive_some() == b"y"


async def test_a_user_who_gives_up_at_once_harms_nothing(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_hub, _agent, session):
        for _ in range(10):
            with pytest.raises(ChannelRejectedError):
                await session.open_channel(to("web-1", "ubuntu"), deadline_seconds=0)
        channel = await session.open_channel(to("web-1", "ubuntu"))
        await channel.send_all(b"y")
        assert await channel.receive_some() == b"y"


async def test_draining_lets_sessions_finish(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (hub, _agent, session):
        channel = await session.open_channel(to("web-1", "ubuntu"))
        hub.stop.set()
        await trio.lowlevel.checkpoint()
        await channel.send_all(b"still here")
        await channel.send_eof()
        assert await read_all(channel) == b"still here<end>"


class AccessThatBreaks:
    """Something nobody thought of."""

    def connect(self, *_args: object, **_options: object) -> None:
        raise ValueError("the disk is full")


async def test_a_fault_of_the_hub_rejects_one_channel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat P3."""
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        _current, profile = await hub.user()
        real = hub.hub.user_tunnels
        handler = UserTunnelHandler(
            authenticator=real.authenticator,
            access=AccessThatBreaks(),
            apps=real.apps,
            refusals=real.refusals,
            live=real.live,
            serve_api=real.serve_api,
            verbs=real.verbs,
        )
        near, far = await tls_pair(user_context(profile), hub.hub.tls.connect)
        nursery.start_soon(handler.serve, far, "192.0.2.1:1")
        async with session_on(near) as session:
            for _ in range(2):
                refused = await refusal(session, to("web-1", "ubuntu"))
                assert refused.code is ErrorCode.INTERNAL_ERROR
                assert "disk" not in refused.text
    assert "the disk is full" in caplog.text


async def test_a_certificate_is_a_condition(tmp_path: Path) -> None:
    class NoCertificate:
        def peer_certificate(self) -> None:
            return None

    handler = UserTunnelHandler(
        authenticator=None, access=None, apps=None, refusals=None, live=None, serve_api=None, verbs=None
    )
    with pytest.raises(AssertionError, match="demands a certificate"):
        await handler.serve(NoCertificate(), "192.0.2.1:1")
