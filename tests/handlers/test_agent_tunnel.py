# SPDX-License-Identifier: Apache-2.0
"""What a hub does with agents that dial in (threats B1, B4, E14, P3)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.handlers.agent_tunnel import PROOF_SECONDS, AgentTunnelHandler, _Peer
from mezite.net.mux_session import ChannelRejectedError, MuxSession
from mezite.net.tls_stream import TlsStream
from mezite.services.errors import UnauthenticatedError
from mezite.services.nodes.tunnel_registry import Tunnel
from mezite.storage import agents
from tests.handlers.peers import (
    API,
    agent_context,
    agent_session,
    goodbye,
    online_agent,
    session_on,
    user_context,
)
from tests.hub.live_hub import LiveHub, live_hub

BEAT = "/mezite.v1.EnrollmentService/AgentHeartbeat"


async def beat(session: MuxSession) -> pb.AgentHeartbeatResponse:
    channel = await session.open_channel(API)
    async with open_api_client(channel, ClientOptions(authority="hub")) as client:
        return await client.unary(
            BEAT, pb.AgentHeartbeatRequest(version="0.1", labels={"env": "prod"}), pb.AgentHeartbeatResponse
        )


async def tls_pair(near: object, far: object) -> tuple[TlsStream, TlsStream]:
    """A client's and a server's end, in memory, after the handshake."""
    ours, theirs = memory_stream_pair()
    client, server = TlsStream(ours, near, server_side=False), TlsStream(theirs, far, server_side=True)
    async with trio.open_nursery() as shaking:
        shaking.start_soon(client.do_handshake)
        shaking.start_soon(server.do_handshake)
    return client, server


async def test_a_tunnel_is_there_for_exactly_its_life(tmp_path: Path) -> None:
    """Threat B4."""
    async with live_hub(tmp_path) as hub:
        enrolled = await hub.enroll()
        registry, agent_id = hub.hub.services.registry, enrolled.identity.agent_id
        async with online_agent(hub, enrolled):
            tunnel = registry.find(agent_id)
            assert tunnel is not None
            assert (tunnel.node_name, tunnel.epoch) == ("web-1", 1)
            assert await is_connected(hub, agent_id)
        with trio.fail_after(5):
            while registry.find(agent_id) is not None or await is_connected(hub, agent_id):
                await trio.lowlevel.checkpoint()


async def is_connected(hub: LiveHub, agent_id: str) -> bool:
    row = await hub.hub.ground.database.read(agents.get, agent_id=agent_id)
    return row.is_connected(hub.sources.now())


async def test_what_an_agent_may_open(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, online_agent(hub, await hub.enroll()) as agent:
        with pytest.raises(ChannelRejectedError, match="a hub serves no ssh channels to agents") as refused:
            await agent.session.open_channel(ChannelHeader(kind="ssh", target="web-1"))
        assert refused.value.code is ErrorCode.REFUSED
        assert len((await beat(agent.session)).user_ssh_ca) == 1


async def test_a_channel_that_is_given_up_at_once_harms_nothing(tmp_path: Path) -> None:
    """Threat P3: it was the tunnel that went, with every session in it."""
    async with live_hub(tmp_path) as hub, online_agent(hub, await hub.enroll()) as agent:
        for _ in range(20):
            with pytest.raises(ChannelRejectedError):
                await agent.session.open_channel(API, deadline_seconds=0)
        assert len((await beat(agent.session)).user_ssh_ca) == 1


async def removed(hub: LiveHub, agent_id: str) -> None:
    await hub.hub.ground.database.write(agents.remove, agent_id=agent_id, now=hub.sources.now())


async def locked(hub: LiveHub, agent_id: str) -> None:
    await hub.hub.ground.database.write(
        agents.lock, agent_id=agent_id, reason="stolen laptop", now=hub.sources.now()
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (removed, "is not known here: it was removed; delete its data directory and join again"),
        (locked, "is locked: stolen laptop; delete the data directory of every copy"),
    ],
)
async def test_an_agent_that_may_not_come_is_told_why(
    tmp_path: Path, change: Callable[[LiveHub, str], Awaitable[None]], text: str
) -> None:
    async with live_hub(tmp_path) as hub:
        enrolled = await hub.enroll()
        await change(hub, enrolled.identity.agent_id)
        async with agent_session(hub, enrolled) as session:
            said = await goodbye(session)
        assert said.startswith(f"REFUSED agent {enrolled.identity.agent_id} ")
        assert text in said
        assert session.goaway_received is not None
        assert session.goaway_received.retry_after_ms == 30_000


async def test_users_are_sent_to_the_other_port(tmp_path: Path) -> None:
    """The tunnel port's own context would not let them in; the handler does not rely on that."""
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        _current, profile = await hub.user()
        near, far = await tls_pair(user_context(profile), hub.hub.tls.connect)
        nursery.start_soon(hub.hub.agent_tunnels.serve, far, "192.0.2.1:1")
        async with session_on(near) as session:
            assert "this port is for agents: users connect to the SSH port" in await goodbye(session)


async def test_an_older_connection_is_refused(tmp_path: Path) -> None:
    """Threat B1: two connections of one agent crossed on the way; the higher epoch stays."""
    async with live_hub(tmp_path) as hub:
        enrolled = await hub.enroll()
        newer = Tunnel(
            agent_id=enrolled.identity.agent_id,
            node_name="web-1",
            epoch=1_000_000,
            session=MuxSession(memory_stream_pair()[0], Side.ACCEPTER),
            close=lambda: None,
        )
        with hub.hub.services.registry.claim(newer):
            async with agent_session(hub, enrolled) as session:
                said = await goodbye(session)
            assert said == "REPLACED a newer connection of this agent is there already"
            assert hub.hub.services.registry.find(enrolled.identity.agent_id) is newer


async def test_a_newer_connection_takes_over(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        enrolled = await hub.enroll()
        async with online_agent(hub, enrolled) as old, agent_session(hub, enrolled) as new:
            with trio.fail_after(5):
                await old.session.wait_closed()
            await new.wait_round_trip()
            tunnel = hub.hub.services.registry.find(enrolled.identity.agent_id)
            assert tunnel is not None
            assert tunnel.epoch == 2


async def test_draining_sends_agents_elsewhere(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, online_agent(hub, await hub.enroll()) as agent:
        hub.stop.set()
        assert await goodbye(agent.session) == "DRAINING the hub is shutting down"


@attrs.define
class LeasesThatRefuse:
    """The agent is removed between being identified and being entered."""

    async def begin(self, _agent: object, _address: str) -> int:
        await trio.lowlevel.checkpoint()
        raise UnauthenticatedError("agent a-1 was removed: join again with a new token")

    async def check_generation(self, agent: object, _address: str) -> object:
        await trio.lowlevel.checkpoint()
        return agent


async def test_an_agent_that_is_removed_meanwhile(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        near, far = await tls_pair(agent_context(await hub.enroll()), hub.hub.tls.tunnel)
        real = hub.hub.agent_tunnels
        handler = AgentTunnelHandler(
            authenticator=real.authenticator,
            registry=real.registry,
            leases=LeasesThatRefuse(),
            refusals=real.refusals,
            live=real.live,
            serve_api=real.serve_api,
        )
        nursery.start_soon(handler.serve, far, "192.0.2.1:1")
        async with session_on(near) as session:
            assert await goodbye(session) == "REFUSED agent a-1 was removed: join again with a new token"


async def test_a_tunnel_that_proves_nothing_is_let_go(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat B4: online is who answers."""
    session = MuxSession(memory_stream_pair()[0], Side.ACCEPTER)
    handler = AgentTunnelHandler(
        authenticator=None, registry=None, leases=None, refusals=None, live=None, serve_api=None
    )
    begin = trio.current_time()
    with caplog.at_level(logging.INFO, "mezite.tunnel"):
        await handler._serve_session(session, None, _Peer("192.0.2.1:1", b""))
    assert trio.current_time() - begin == PROOF_SECONDS
    assert "no round trip within 10 s" in caplog.text


async def test_a_certificate_is_a_condition() -> None:
    class NoCertificate:
        def peer_certificate(self) -> None:
            return None

    handler = AgentTunnelHandler(
        authenticator=None, registry=None, leases=None, refusals=None, live=None, serve_api=None
    )
    with pytest.raises(AssertionError, match="demands a certificate"):
        await handler.serve(NoCertificate(), "192.0.2.1:1")
